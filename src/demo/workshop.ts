/**
 * Where runs of the simulated engine take place: its slots, its speeds, its cache, and the pace at which a run goes on.
 * It keeps time and counts; it knows neither prompts nor HTTP.
 */
import type { Figures } from './figures.ts';
import type { Gate } from './gate.ts';
import type { PrefixCache, Slots, Task } from './model.ts';
import { pause } from './wire.ts';

export interface Speeds {
  /** The part of the time to the first token that does not depend on the prompt. */
  firstTokenMs: number;
  /** 0 for at once. Tokens that the cache holds take no time. */
  prefillTokensPerSecond: number;
  /** Of one slot; 0 for as fast as possible. */
  tokensPerSecond: number;
}

/** Where runs take place. */
export interface Workshop {
  slots: Slots;
  cache: PrefixCache;
  speeds: Speeds;
  figures: Figures;
  /** While it is closed nothing moves. */
  gate: Gate;
  /** How long a slot works on for a client that has left. */
  abortLagMs: number;
  /** Aborted when the engine ends. */
  stopped: AbortSignal;
}

/** Moments of a run, counted from its beginning. Time while the gate is closed does not count. */
export class Pace {
  #begunMs = performance.now();

  constructor(
    private readonly gate: Gate,
    private readonly signal: AbortSignal,
  ) {}

  isDue(dueMs: number): boolean {
    return this.gate.isOpen && this.#begunMs + dueMs - performance.now() < 1;
  }

  /** Resolves at that moment; rejects when the client is gone. */
  async until(dueMs: number): Promise<void> {
    while (!this.isDue(dueMs)) {
      const nowMs = performance.now();
      if (this.gate.isOpen) {
        await pause(this.#begunMs + dueMs - nowMs, this.signal);
      } else {
        await this.gate.passed(this.signal);
        this.#begunMs += performance.now() - nowMs;
      }
    }
  }
}

/** Takes a slot for the task once one is free; gives what frees it again. */
export async function takeSlot(
  task: Task,
  workshop: Workshop,
  signal: AbortSignal,
): Promise<() => void> {
  const { slots, gate, figures, abortLagMs, stopped } = workshop;
  await gate.passed(signal);
  const slot = await slots.acquire(task, signal);
  const takenAt = performance.now();
  let goneAt = signal.aborted ? takenAt : undefined;
  function noteGone(): void {
    goneAt = performance.now();
  }
  signal.addEventListener('abort', noteGone, { once: true });

  function free(): void {
    signal.removeEventListener('abort', noteGone);
    const now = performance.now();
    figures.predictedTokens += task.decodedTokens;
    figures.busyMs += now - takenAt;
    figures.goneMs += now - (goneAt ?? now);
    slots.release(slot);
  }
  async function linger(): Promise<void> {
    if (abortLagMs > 0) await pause(abortLagMs, stopped);
    await gate.passed(stopped);
  }
  return () => {
    const isLingering = signal.aborted && (abortLagMs > 0 || !gate.isOpen);
    if (isLingering) void linger().then(free, free);
    else free();
  };
}

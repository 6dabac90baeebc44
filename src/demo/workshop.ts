/**
 * What runs of the simulated engine share (slots, speeds, cache, counters), the timing of a run, and taking a slot. It
 * knows neither prompts nor HTTP.
 */
import type { Figures } from './figures.ts';
import type { Gate } from './gate.ts';
import type { PrefixCache, Slots, Task } from './model.ts';
import { pause } from './wire.ts';

export interface Speeds {
  /** The time to the first token that is added for every prompt, whatever its length. */
  firstTokenMs: number;
  /** 0 for no time. Cached tokens take no time. */
  prefillTokensPerSecond: number;
  /** Speed of one slot; 0 for as fast as possible. */
  tokensPerSecond: number;
}

/** What all runs share. */
export interface Workshop {
  slots: Slots;
  cache: PrefixCache;
  speeds: Speeds;
  figures: Figures;
  /** While it is closed, all runs stand still. */
  gate: Gate;
  /** How long a slot stays taken after its client has left. */
  abortLagMs: number;
  /** Aborted when the engine stops. */
  stopped: AbortSignal;
}

/** A clock that starts at 0 when it is made and stands still while the gate is closed. */
export class Pace {
  #begunMs = performance.now();

  constructor(
    private readonly gate: Gate,
    private readonly signal: AbortSignal,
  ) {}

  isDue(dueMs: number): boolean {
    return this.gate.isOpen && this.#begunMs + dueMs - performance.now() < 1;
  }

  /** Resolves at that time of the clock; rejects when the client has left. */
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

/** Resolves to a function that releases the slot, once the task has one. */
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

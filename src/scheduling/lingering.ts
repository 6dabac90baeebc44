/**
 * Slots whose requests have ended while their engine may still work for them: a slot comes back when the engine reports
 * that it is idle, or when a bounded wait ends. It reads no clock, sets no timer and asks nothing by itself.
 */
import type { Lease } from './lease.ts';

/** What matters of a lease that has ended. */
export interface EndedLease {
  readonly upstream: Pick<Lease['upstream'], 'isHopeful'>;
  readonly units: number;
}

export interface LingeringOptions<L extends EndedLease> {
  /** Longest wait for the engine's report, in milliseconds. */
  timeoutMs(): number;
  /** Asks the engine how busy it is, unless it was asked within `pauseMs`; returns whether it does. */
  askLoad(upstream: L['upstream'], pauseMs: number): boolean;
  /** Releases the slots of a lease; called once for each. */
  release(lease: L): void;
}

/** How soon a slot that should be free is looked at: a stream that has begun ends with its next token. */
const firstLookMs = 20;
/** llama.cpp looks for clients that left after a second without any result, and an answer to a question is one. */
const nextLookMs = 1_500;

interface Linger<L> {
  readonly lease: L;
  since: number;
  lookAt: number;
  /** How long until the look after the next. */
  pauseMs: number;
}

export class Lingering<L extends EndedLease> {
  readonly #lingers = new Set<Linger<L>>();
  readonly #options: LingeringOptions<L>;

  constructor(options: LingeringOptions<L>) {
    this.#options = options;
  }

  get size(): number {
    return this.#lingers.size;
  }

  /** @param hasBegun whether the engine had begun to answer, so that it notices soon that nobody reads */
  add(lease: L, hasBegun: boolean, now: number): void {
    const pauseMs = hasBegun ? firstLookMs : nextLookMs;
    this.#lingers.add({ lease, since: now, lookAt: now + firstLookMs, pauseMs });
  }

  /** This process stood still for so long, in which no report could come. */
  paused(lostMs: number, now: number): void {
    for (const linger of this.#lingers) linger.since = Math.min(now, linger.since + lostMs);
  }

  /** Releases slots whose engine did not report in time that they are idle, and has it asked while there is time. */
  look(now: number): void {
    for (const linger of this.#lingers) {
      const { lease, since, lookAt, pauseMs } = linger;
      const isOver = now - since >= this.#options.timeoutMs();
      if (isOver || !lease.upstream.isHopeful) {
        this.#release(linger);
      } else if (now >= lookAt && this.#options.askLoad(lease.upstream, firstLookMs)) {
        linger.lookAt = now + pauseMs;
        linger.pauseMs = Math.min(pauseMs * 2, nextLookMs);
      }
    }
  }

  /**
   * Takes an engine's report: releases the slots for which it works no more.
   * @param lingeringUnits slots in which it works for requests that have ended
   * @param askedAt when it was asked; what has ended later is not in its answer
   */
  loaded(upstream: L['upstream'], lingeringUnits: number, askedAt: number): void {
    let left = lingeringUnits;
    for (const linger of [...this.#lingers].reverse()) {
      const { lease, since } = linger;
      if (lease.upstream !== upstream || since > askedAt) continue;
      if (left > 0) left -= lease.units;
      else this.#release(linger);
    }
  }

  #release(linger: Linger<L>): void {
    this.#lingers.delete(linger);
    this.#options.release(linger.lease);
  }
}

/**
 * How an engine counts the tokens of its streams, as it was seen: only when it is asked, unasked as well, or never
 * because it refuses to be asked. Pure.
 */

/** `ask`: put the question into the request. `watch`: leave the request as it is, and see whether it is counted. */
export type StreamUsagePlan = 'ask' | 'watch' | 'leave';

export class StreamUsage {
  /** `undefined` before its first stream. */
  #habit: 'asked' | 'unasked' | 'refused' | undefined;

  /** Returns what to do with the next stream whose client did not ask. Only the first one is watched. */
  plan(): StreamUsagePlan {
    if (this.#habit === 'asked') return 'ask';
    if (this.#habit !== undefined) return 'leave';
    // Others that begin meanwhile are counted as usual.
    this.#habit = 'asked';
    return 'watch';
  }

  /** A stream that was left as it is has ended; relay/exchange.ts calls it. */
  watched(isCounted: boolean): void {
    if (isCounted) this.#habit = 'unasked';
  }

  /** A request that asked was refused for it, and was answered without; relay/exchange.ts calls it. */
  refused(): void {
    this.#habit = 'refused';
  }

  /** It may be another engine by now; upstream.ts calls it. */
  forget(): void {
    this.#habit = undefined;
  }
}

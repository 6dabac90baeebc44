/**
 * Whether an engine that takes connections stands still: requests are open, and neither a byte nor a counter moves for
 * many times the usual gap. One long prefill stalls every slot, and is progress as long as the engine's counters move. It
 * reads no clock, and never judges by silence an engine that has no way to show progress.
 */

export interface StallQuestion {
  /** Requests at the engine now. */
  openRequests: number;
  /** Whether silence means anything: the engine has counters, or one of the open requests has begun to stream. */
  canJudge: boolean;
  /** Milliseconds. */
  now: number;
  /** Least silence that counts, in milliseconds; 0 for never. */
  floorMs: number;
  /** How many usual gaps the silence must last. */
  factor: number;
}

/** How much the latest gap counts in the usual one. */
const gapShare = 0.1;

/** The progress of one upstream. Every `now` is milliseconds on one clock. */
export class Progress {
  /** The later of the last movement and the moment since when requests are open. */
  #since: number | undefined;
  #isOpen = false;
  /**
   * Whether that was a movement, so that the next one ends a gap. The wait for the first one is none: it tells how long
   * a prompt is, not how fast the engine steps.
   */
  #isGap = false;
  #usualGapMs: number | undefined;
  #counters: number | undefined;

  /** Since when nothing has moved; `undefined` before anything could. */
  get silentSince(): number | undefined {
    return this.#since;
  }

  /** Whether the engine has counters, so that its silence means something. */
  get hasCounters(): boolean {
    return this.#counters !== undefined;
  }

  /** The moving average of gaps between movements while requests were open, in milliseconds; 0 before the first. */
  get usualGapMs(): number {
    return this.#usualGapMs ?? 0;
  }

  /** The first request was sent to an engine that had none. */
  opened(now: number): void {
    this.#isOpen = true;
    this.#since = now;
  }

  /** The last open request has ended: the silence from here on is no gap. */
  closed(): void {
    this.#isOpen = false;
    this.#isGap = false;
  }

  /** A byte of any answer came, or an answer has ended. */
  moved(now: number): void {
    // What comes within one millisecond is one step of the engine.
    if (this.#isGap && this.#since !== undefined && now > this.#since) {
      this.#learn(now - this.#since);
    }
    this.#isGap = this.#isOpen;
    this.#since = now;
  }

  /** Takes the sum of the engine's prompt and decode counters: any change moves, a drop too. `undefined`: no answer. */
  counters(sum: number | undefined, now: number): void {
    if (sum === undefined) return;
    if (this.#counters !== undefined && sum !== this.#counters) this.moved(now);
    this.#counters = sum;
  }

  /** This process stood still for so long until now: what moved meanwhile is not known. */
  paused(lostMs: number, now: number): void {
    if (this.#since === undefined) return;
    this.#since = Math.min(now, this.#since + lostMs);
    this.#isGap = false;
  }

  isStalled({ openRequests, canJudge, now, floorMs, factor }: StallQuestion): boolean {
    if (openRequests === 0 || !canJudge || floorMs === 0 || this.#since === undefined) return false;
    return now - this.#since >= Math.max(floorMs, factor * this.usualGapMs);
  }

  #learn(gapMs: number): void {
    const usual = this.#usualGapMs ?? gapMs;
    this.#usualGapMs = usual + (gapMs - usual) * gapShare;
  }
}

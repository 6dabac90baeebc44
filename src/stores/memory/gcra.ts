/**
 * A bucket that holds one minute of a rate: the generic cell rate algorithm of the ATM Forum (Traffic Management 4.0,
 * virtual scheduling), with costs that may be corrected afterwards. It decides about one rate alone and reads no clock.
 */
import type { BucketStanding } from '../../accounts/limits.ts';

/** What a full bucket holds is one minute of its rate. */
const windowMs = 60_000;
/**
 * The longest that a bucket may take to be full again. One answer that cost far more than it had reserved, or that an
 * engine has counted wrongly, must not lock its caller out for hours.
 */
const longestDebtMs = 10 * windowMs;
/** Sums of fractions of milliseconds differ from the truth by less. */
const slackMs = 1e-3;

/** What has been taken from a bucket and may still be corrected. Written by the bucket alone. */
export interface Share {
  readonly units: number;
  /** Milliseconds in which the bucket gains one unit. */
  intervalMs: number;
  /** When the bucket would be full again had it been full right after this was taken. */
  floor: number;
}

/**
 * What is kept is the theoretical arrival time alone: when the bucket is full again.
 *
 * A correction must leave the bucket as if the truth had been known at first; giving back what time has filled up
 * meanwhile would let more than a full bucket through at once. After costs x(i) at times t(i) the bucket is full at the
 * maximum over k of t(k) + x(k) + x(k+1) + …, so that a smaller x(j) lowers the terms up to j and no others. The maximum
 * of the others is the floor of j. Keeping the floors costs O(open shares) each time.
 */
export class Bucket {
  #fullAt = -Infinity;
  #rate = Infinity;
  /** In the order in which they were taken. */
  readonly #open = new Set<Share>();

  isFull(now: number): boolean {
    return this.#fullAt <= now;
  }

  /**
   * Sets the units a minute; needed before anything is taken. After a raise the same units are missing, so that a debt
   * is over sooner; after a cut the same part of a minute is, so that nobody waits for hours.
   */
  setRate(rate: number, now: number): void {
    if (rate > this.#rate) this.#scale(this.#rate / rate, now);
    this.#rate = rate;
  }

  #scale(factor: number, now: number): void {
    const scaled = (at: number) => now + Math.max(0, at - now) * factor;
    this.#fullAt = scaled(this.#fullAt);
    for (const share of this.#open) {
      share.intervalMs *= factor;
      share.floor = scaled(share.floor);
    }
  }

  /** Never more than a full bucket holds, so that every cost can pass. */
  #unitsOf(units: number): number {
    return Math.min(units, this.#rate);
  }

  /** Pure decision: whole milliseconds until so many units can be taken; 0 for at once. */
  waitMs(units: number, now: number): number {
    const costMs = (this.#unitsOf(units) * windowMs) / this.#rate;
    const waitMs = Math.max(this.#fullAt, now) + costMs - windowMs - now;
    // Less slack than in the decision itself: who waits so long is let in for certain.
    return waitMs <= slackMs ? 0 : Math.ceil(waitMs - slackMs / 2);
  }

  /** Takes units, whether or not they are there. */
  take(units: number, now: number): Share {
    const taken = this.#unitsOf(units);
    const share = { units: taken, intervalMs: windowMs / this.#rate, floor: -Infinity };
    this.#charge(taken * share.intervalMs, now);
    this.#open.add(share);
    return share;
  }

  #charge(costMs: number, now: number): void {
    const latest = now + longestDebtMs;
    for (const share of this.#open) {
      share.floor = Math.min(Math.max(share.floor, now) + costMs, latest);
    }
    this.#fullAt = Math.min(Math.max(this.#fullAt, now) + costMs, latest);
  }

  /**
   * Corrects what was taken to what was used, once: less is as if it had never been taken, more is taken now, as debt if
   * need be.
   */
  settle(share: Share, usedUnits: number, now: number): void {
    if (!this.#open.has(share)) return;
    const moreMs = (usedUnits - share.units) * share.intervalMs;
    if (moreMs < 0) this.#giveBack(share, -moreMs);
    this.#open.delete(share);
    if (moreMs > 0) this.#charge(moreMs, now);
  }

  #giveBack(share: Share, lessMs: number): void {
    for (const earlier of this.#open) {
      if (earlier === share) break;
      earlier.floor = Math.max(earlier.floor - lessMs, share.floor);
    }
    this.#fullAt = Math.max(this.#fullAt - lessMs, share.floor);
  }

  standing(now: number): BucketStanding {
    const missingMs = Math.max(0, this.#fullAt - now);
    const remaining = Math.floor(((windowMs + slackMs - missingMs) * this.#rate) / windowMs);
    return {
      limit: this.#rate,
      remaining: Math.max(0, Math.min(this.#rate, remaining)),
      resetMs: missingMs <= slackMs ? 0 : Math.ceil(missingMs - slackMs / 2),
    };
  }
}

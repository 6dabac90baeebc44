/**
 * The calendar days and months of a time zone, as spans of epoch milliseconds, and what was spent in one. It reads no
 * clock.
 */
import type { PeriodName } from '../request/caller.ts';

/** Epoch milliseconds; the end is the start of the next one. */
export interface Period {
  readonly start: number;
  readonly end: number;
}

const hourMs = 3_600_000;

/** Longer than any: a day has 25 hours when summer time ends. */
export const longestMs = { day: 26 * hourMs, month: 32 * 24 * hourMs };

/** Returns the first whole number up to `to` that is true; `from` must be false, `to` true, with one change between. */
function firstTrue(from: number, to: number, isTrue: (at: number) => boolean): number {
  let [last, first] = [from, to];
  while (first - last > 1) {
    const middle = Math.floor((last + first) / 2);
    if (isTrue(middle)) first = middle;
    else last = middle;
  }
  return first;
}

/** Returns a text that differs between any two neighbouring days, or months. */
type NameOf = Record<PeriodName, (epochMs: number) => string>;

/** Without Intl, whose first use takes more than ten milliseconds. */
const utc: NameOf = {
  day: (at) => new Date(at).toISOString().slice(0, 10),
  month: (at) => new Date(at).toISOString().slice(0, 7),
};

function namesIn(timeZone: string): NameOf {
  const day = new Intl.DateTimeFormat('en', { timeZone, dateStyle: 'short' });
  const month = new Intl.DateTimeFormat('en', { timeZone, year: 'numeric', month: 'numeric' });
  return { day: (at) => day.format(at), month: (at) => month.format(at) };
}

/** Keeps the current day and month, so that their boundaries are looked up once in each. */
export class Calendar {
  readonly #nameOf: NameOf;
  readonly #current: Record<PeriodName, Period> = {
    day: { start: 0, end: 0 },
    month: { start: 0, end: 0 },
  };

  /** @param timeZone an IANA name; throws a RangeError for any other */
  constructor(timeZone = 'UTC') {
    this.#nameOf = timeZone === 'UTC' ? utc : namesIn(timeZone);
  }

  /** Returns the day or month that this moment is in. */
  periodOf(name: PeriodName, epochMs: number): Period {
    const current = this.#current[name];
    if (epochMs >= current.start && epochMs < current.end) return current;
    const found = this.#find(name, Math.floor(epochMs));
    this.#current[name] = found;
    return found;
  }

  /**
   * Looks where the date on the wall changes, rather than computing with offsets: in some zones summer time begins at
   * midnight, so that a day begins at one.
   */
  #find(name: PeriodName, epochMs: number): Period {
    const nameOf = this.#nameOf[name];
    const current = nameOf(epochMs);
    const isSame = (at: number) => nameOf(at) === current;
    const longest = longestMs[name];
    return {
      start: firstTrue(epochMs - longest, epochMs, isSame),
      end: firstTrue(epochMs, epochMs + longest, (at) => !isSame(at)),
    };
  }
}

/**
 * What was spent in the two periods that were set last; 0 in any other. Two, because a clock can step back over the
 * beginning of a period and later pass it again: neither may then begin anew.
 */
export class Tally {
  #start = 0;
  #tokens = 0;
  #otherStart = 0;
  #otherTokens = 0;

  in({ start }: Period): number {
    if (start === this.#start) return this.#tokens;
    return start === this.#otherStart ? this.#otherTokens : 0;
  }

  set({ start }: Period, tokens: number): void {
    if (start !== this.#start) {
      this.#otherStart = this.#start;
      this.#otherTokens = this.#tokens;
      this.#start = start;
    }
    this.#tokens = tokens;
  }

  /** Returns whether nothing was spent in the periods that began after that time, in epoch milliseconds. */
  isEmptySince(epochMs: number): boolean {
    const isEmpty = this.#start <= epochMs || this.#tokens === 0;
    return isEmpty && (this.#otherStart <= epochMs || this.#otherTokens === 0);
  }
}

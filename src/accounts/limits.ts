/**
 * What a caller may use: requests and tokens a minute, open requests, tokens a day or a month; and the contract of the
 * store that counts what it uses. It counts nothing itself.
 */
import type { Limits, PeriodName } from '../request/caller.ts';

/** A result that may be there at once. On the path of a request, look whether it is a promise before awaiting it. */
export type MaybePromise<T> = T | Promise<T>;

/** One moment on two clocks, in milliseconds: `ms` never goes back, `epochMs` knows the date. */
export interface Moment {
  readonly ms: number;
  readonly epochMs: number;
}

/** What a request asks of its caller's limits. */
export interface Demand {
  principal: string;
  limits: Limits;
  /** An estimate. */
  promptTokens: number;
  /** The most tokens of one answer. Without it the store reserves what this caller's answers usually have. */
  maxAnswerTokens: number | undefined;
  /** How many answers the request asks for; 0 if answers of its route have no tokens, and the store learns nothing. */
  answers: number;
}

/** What an admitted request holds until it is settled: an id that only the store that made it understands. */
export interface Reservation {
  readonly id: string | number;
}

/** How a caller stands with one rate, for the headers `x-ratelimit-*`. */
export interface BucketStanding {
  /** Units a minute. */
  limit: number;
  /** Units that can be taken at once. */
  remaining: number;
  /** Milliseconds until the bucket is full again. */
  resetMs: number;
}

/** How a caller stands with its rates; a rate that it does not have is absent. */
export interface Standing {
  requests?: BucketStanding;
  tokens?: BucketStanding;
}

export const refusalCodes = [
  'rate_limited',
  'tokens_exhausted',
  'too_many_concurrent',
  'budget_spent',
] as const;

export type RefusalCode = (typeof refusalCodes)[number];

export type Decision =
  | { isAdmitted: true; reservation: Reservation; standing: Standing }
  | { isAdmitted: false; code: RefusalCode; retryAfterMs: number; standing: Standing };

/** Tokens that count for a principal's budgets: of prompts and answers, without hits of the response cache. */
export interface Spent extends Record<PeriodName, number> {
  principal: string;
  /** Since the beginning of the day. */
  day: number;
  /** Since the beginning of the month. */
  month: number;
}

/**
 * Counts what callers use. What it takes and returns is plain data, so that it can be in this process or be shared by
 * several gateways. It answers soon or throws or rejects soon: a request waits for `admit`. In this process it answers
 * at once and never fails.
 *
 * `ms` of a Moment is this process's own clock; a shared store goes by its own.
 */
export interface LimitStore {
  /** Takes from every limit of the caller or from none. A request is refused with `store_unavailable` if this fails. */
  admit(demand: Demand, now: Moment): MaybePromise<Decision>;
  /**
   * Ends a reservation: counts the request as closed and corrects its tokens from the estimate to the truth. It counts
   * once, however often it is called. If it fails, the store ends the reservation by itself, as if the estimate had been
   * used.
   * @param usedTokens `undefined` if no engine had the request: then it is as if it had never been
   */
  settle(reservation: Reservation, usedTokens: number | undefined, now: Moment): MaybePromise<void>;
  /** Counts tokens that were used without a reservation, because the key had no budget when the request came. */
  count(spent: Spent, now: Moment): MaybePromise<void>;
  /**
   * Adds what principals had spent in the current day and month before this gateway began to count: all of it or none.
   * A store that outlives a gateway, or is shared, ignores what it knows already; and what it has lost it reads from the
   * ledger itself, so that nobody has to ask.
   */
  restore(spent: readonly Spent[], now: Moment): MaybePromise<void>;
  /** Forgets callers who stand as if they had never come. Called about once a minute. */
  sweep(now: Moment): MaybePromise<void>;
}

/** Returns whether a key has no limit at all. */
export function isUnlimited(limits: Limits): boolean {
  return (
    limits.requestsPerMinute === undefined &&
    limits.tokensPerMinute === undefined &&
    limits.concurrentRequests === undefined &&
    !limits.budgets?.length
  );
}

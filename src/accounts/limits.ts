/**
 * What a caller may use: requests and tokens a minute, open requests, tokens a day or a month; and the contract of
 * whoever counts that. It counts nothing itself.
 */
import type { BucketStanding, Share } from '../stores/memory/gcra.ts';
import type { PeriodName, Limits } from '../request/caller.ts';

/** One moment on two clocks, in milliseconds: `ms` never goes back, `epochMs` knows the date. */
export interface Moment {
  readonly ms: number;
  readonly epochMs: number;
}

/** What a request needs. */
export interface Demand {
  principal: string;
  limits: Limits;
  /** An estimate of all its tokens, to reserve. */
  tokens: number;
  /** How many of them are its prompt's; `undefined` where nothing is to be learned of the usual length of answers. */
  promptTokens?: number | undefined;
}

/** What an admitted request holds until it is settled. Written by the store alone. */
export interface Reservation {
  readonly principal: string;
  readonly tokens: number;
  readonly promptTokens: number | undefined;
  readonly takenAtMs: number;
  readonly requestShare: Share | undefined;
  readonly tokenShare: Share | undefined;
  /** Whether its tokens count against a day and a month. */
  readonly hasBudget: boolean;
  isSettled: boolean;
}

/** For the headers `x-ratelimit-*`; absent where there is no such limit. */
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

export type Admission =
  | { isAdmitted: true; reservation: Reservation; standing: Standing }
  | { isAdmitted: false; code: RefusalCode; retryAfterMs: number; standing: Standing };

export type MaybePromise<T> = T | Promise<T>;

/** Where the counters are kept. One in memory answers at once, one that several gateways share later. */
export interface LimitStore {
  /** Takes from every limit or from none. */
  admit(ask: Demand, now: Moment): MaybePromise<Admission>;
  /**
   * Ends a reservation, once: gives back the open request and corrects tokens from the estimate to the truth.
   * @param usedTokens `undefined` when no engine had the request: then it is as if it had never been
   */
  settle(reservation: Reservation, usedTokens: number | undefined, now: Moment): MaybePromise<void>;
  /** How long the answers of this caller usually are, in tokens: what to reserve where it sets no maximum. */
  usualTokens(principal: string): MaybePromise<number>;
  /**
   * Adds what a caller has spent in the current day and month that no reservation has counted: before a start, or before
   * it got its first budget.
   */
  restore(principal: string, spent: Record<PeriodName, number>, now: Moment): MaybePromise<void>;
}

/** Says whether a key allows everything. */
export function isUnlimited(limits: Limits): boolean {
  return (
    limits.requestsPerMinute === undefined &&
    limits.tokensPerMinute === undefined &&
    limits.concurrentRequests === undefined &&
    !limits.budgets?.length
  );
}

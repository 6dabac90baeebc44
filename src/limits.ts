/**
 * What a caller may use: requests and tokens a minute, open requests, tokens a day or a month. Pure decisions about
 * counters in memory; time is an argument, and nothing is kept of a caller without limits.
 */
import { Bucket, type BucketStanding, type Share } from './gcra.ts';
import { Calendar, Tally, type PeriodName } from './periods.ts';

/** An amount of tokens for a day or a calendar month. */
export interface Budget {
  tokens: number;
  per: PeriodName;
}

/** What a key allows, in whole numbers above 0; `undefined` is no limit. */
export interface Limits {
  readonly requestsPerMinute?: number | undefined;
  readonly tokensPerMinute?: number | undefined;
  /** Open requests, queued ones included. */
  readonly concurrentRequests?: number | undefined;
  readonly budgets?: readonly Budget[] | undefined;
}

/** One moment on two clocks, in milliseconds: `ms` never goes back, `epochMs` knows the date. */
export interface Moment {
  readonly ms: number;
  readonly epochMs: number;
}

/** What a request needs. */
export interface Ask {
  principal: string;
  limits: Limits;
  /** An estimate of all its tokens, to reserve. */
  tokens: number;
  /** How many of them are its prompt's, so that `usualTokens` learns the length of the answers alone. */
  promptTokens?: number | undefined;
}

/** What an admitted request holds until it is settled. Written by the store alone. */
export interface Reservation {
  readonly principal: string;
  readonly tokens: number;
  readonly promptTokens: number;
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

const refusalCodes = [
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
  admit(ask: Ask, now: Moment): MaybePromise<Admission>;
  /**
   * Ends a reservation, once: gives back the open request and corrects tokens from the estimate to the truth.
   * @param usedTokens `undefined` when no engine had the request: then it is as if it had never been
   */
  settle(reservation: Reservation, usedTokens: number | undefined, now: Moment): MaybePromise<void>;
  /** How long the answers of this caller usually are, in tokens: what to reserve where it sets no maximum. */
  usualTokens(principal: string): MaybePromise<number>;
  /** Sets what a caller has spent in the current day and month: after a start, or when it gets its first budget. */
  restore(principal: string, spent: Record<PeriodName, number>, now: Moment): MaybePromise<void>;
}

const startingUsualTokens = 256;
const startingLifeMs = 1_000;
/** Of the newest value in a running mean. */
const newestWeight = 0.2;
/** No request has more; a larger `max_tokens` must not spoil the sums. */
const maxTokens = 1e9;

const unlimited: Admission = {
  isAdmitted: true,
  reservation: {
    principal: '',
    tokens: 0,
    promptTokens: 0,
    takenAtMs: 0,
    requestShare: undefined,
    tokenShare: undefined,
    hasBudget: false,
    isSettled: true,
  },
  standing: {},
};

/** Says whether a key allows everything. */
export function isUnlimited(limits: Limits): boolean {
  return (
    limits.requestsPerMinute === undefined &&
    limits.tokensPerMinute === undefined &&
    limits.concurrentRequests === undefined &&
    !limits.budgets?.length
  );
}

function wholeTokens(tokens: number): number {
  return tokens > 0 ? Math.ceil(Math.min(tokens, maxTokens)) : 0;
}

function nextMean(mean: number, newest: number): number {
  return mean + newestWeight * (newest - mean);
}

type Waits = Record<RefusalCode, number>;

/** The counters of one principal. */
class Account {
  readonly requests = new Bucket();
  readonly tokens = new Bucket();
  readonly spent = { day: new Tally(), month: new Tally() };
  open = 0;
  /** Tokens of its open reservations. */
  reserved = 0;
  usualTokens = startingUsualTokens;
  /** How long its reservations live. */
  #lifeMs = startingLifeMs;

  /** Estimates when the next of its open requests, or the one that is so many behind it, will end. */
  endMs(count: number): number {
    return Math.max(1, Math.ceil((this.#lifeMs * count) / Math.max(1, this.open)));
  }

  learn(reservation: Reservation, usedTokens: number | undefined, now: Moment): void {
    this.#lifeMs = nextMean(this.#lifeMs, now.ms - reservation.takenAtMs);
    if (usedTokens === undefined) return;
    const answerTokens = Math.max(0, usedTokens - reservation.promptTokens);
    this.usualTokens = nextMean(this.usualTokens, answerTokens);
  }

  /** The limits of a key may have changed. */
  adopt({ requestsPerMinute, tokensPerMinute }: Limits, now: Moment): void {
    if (requestsPerMinute !== undefined) this.requests.setRate(requestsPerMinute, now.ms);
    if (tokensPerMinute !== undefined) this.tokens.setRate(tokensPerMinute, now.ms);
  }

  /** Pure decision: for how many milliseconds each limit refuses; 0 where it does not. */
  waits(limits: Limits, tokens: number, now: Moment, calendar: Calendar): Waits {
    const { requestsPerMinute, tokensPerMinute, concurrentRequests = Infinity, budgets } = limits;
    const excess = this.open + 1 - concurrentRequests;
    return {
      rate_limited: requestsPerMinute === undefined ? 0 : this.requests.waitMs(1, now.ms),
      tokens_exhausted: tokensPerMinute === undefined ? 0 : this.tokens.waitMs(tokens, now.ms),
      too_many_concurrent: excess > 0 ? this.endMs(excess) : 0,
      budget_spent: budgets === undefined ? 0 : this.#budgetWaitMs(budgets, now, calendar),
    };
  }

  #budgetWaitMs(budgets: readonly Budget[], now: Moment, calendar: Calendar): number {
    let waitMs = 0;
    for (const { tokens, per } of budgets) {
      const period = calendar.periodOf(per, now.epochMs);
      const spent = this.spent[per].in(period);
      // Not the estimate of this request: whoever has something left may use it.
      if (spent + this.reserved < tokens) continue;
      const untilNextMs = Math.ceil(period.end - now.epochMs);
      // What is only reserved may come back as soon as an open request ends.
      const untilMs = spent < tokens ? Math.min(untilNextMs, this.endMs(1)) : untilNextMs;
      waitMs = Math.max(waitMs, untilMs);
    }
    return waitMs;
  }

  standing(limits: Limits, now: Moment): Standing {
    const { requestsPerMinute, tokensPerMinute } = limits;
    const standing: Standing = {};
    if (requestsPerMinute !== undefined) standing.requests = this.requests.standing(now.ms);
    if (tokensPerMinute !== undefined) standing.tokens = this.tokens.standing(now.ms);
    return standing;
  }

  isFresh(now: Moment, calendar: Calendar): boolean {
    return (
      this.open === 0 &&
      this.requests.isFull(now.ms) &&
      this.tokens.isFull(now.ms) &&
      // What was spent in the day was spent in the month.
      this.spent.month.in(calendar.periodOf('month', now.epochMs)) === 0
    );
  }
}

/** Gives the limit that refuses for the longest, since until then waiting does not help. */
function longestOf(waits: Waits): { code: RefusalCode; retryAfterMs: number } | undefined {
  let code: RefusalCode | undefined;
  let retryAfterMs = 0;
  for (const other of refusalCodes) {
    if (waits[other] <= retryAfterMs) continue;
    code = other;
    retryAfterMs = waits[other];
  }
  return code === undefined ? undefined : { code, retryAfterMs };
}

/** The counters of all principals, in memory. */
export class Limiter implements LimitStore {
  /** Where days and months begin. */
  readonly calendar: Calendar;
  readonly #accounts = new Map<string, Account>();

  /** @param timeZone of the budgets' days, an IANA name; throws a RangeError for any other */
  constructor(timeZone?: string) {
    this.calendar = new Calendar(timeZone);
  }

  /** How many principals something is kept of. */
  get size(): number {
    return this.#accounts.size;
  }

  /** What all open reservations hold together. */
  held(): { requests: number; tokens: number } {
    const held = { requests: 0, tokens: 0 };
    for (const { open, reserved } of this.#accounts.values()) {
      held.requests += open;
      held.tokens += reserved;
    }
    return held;
  }

  admit({ principal, limits, tokens, promptTokens = 0 }: Ask, now: Moment): Admission {
    if (isUnlimited(limits)) return unlimited;
    const account = this.#accounts.get(principal) ?? new Account();
    account.adopt(limits, now);
    const asked = wholeTokens(tokens);
    const refusal = longestOf(account.waits(limits, asked, now, this.calendar));
    if (refusal) return { isAdmitted: false, ...refusal, standing: account.standing(limits, now) };
    this.#accounts.set(principal, account);
    account.open++;
    account.reserved += asked;
    const { requestsPerMinute, tokensPerMinute, budgets } = limits;
    const reservation: Reservation = {
      principal,
      tokens: asked,
      promptTokens: wholeTokens(promptTokens),
      takenAtMs: now.ms,
      requestShare: requestsPerMinute === undefined ? undefined : account.requests.take(1, now.ms),
      tokenShare: tokensPerMinute === undefined ? undefined : account.tokens.take(asked, now.ms),
      hasBudget: budgets !== undefined && budgets.length > 0,
      isSettled: false,
    };
    return { isAdmitted: true, reservation, standing: account.standing(limits, now) };
  }

  settle(reservation: Reservation, usedTokens: number | undefined, now: Moment): void {
    if (reservation.isSettled) return;
    reservation.isSettled = true;
    const account = this.#accountOf(reservation.principal);
    const used = usedTokens === undefined ? undefined : wholeTokens(usedTokens);
    const { tokens, requestShare, tokenShare, hasBudget } = reservation;
    account.open--;
    account.reserved -= tokens;
    if (requestShare) account.requests.settle(requestShare, used === undefined ? 0 : 1, now.ms);
    if (tokenShare) account.tokens.settle(tokenShare, used ?? 0, now.ms);
    account.learn(reservation, used, now);
    if (!hasBudget || !used) return;
    for (const name of ['day', 'month'] as const) {
      const period = this.calendar.periodOf(name, now.epochMs);
      const tally = account.spent[name];
      tally.set(period, tally.in(period) + used);
    }
  }

  /** Also for a caller of whom nothing is kept. */
  usualTokens(principal: string): number {
    return Math.ceil(this.#accounts.get(principal)?.usualTokens ?? startingUsualTokens);
  }

  restore(principal: string, spent: Record<PeriodName, number>, now: Moment): void {
    if (spent.day === 0 && spent.month === 0 && !this.#accounts.has(principal)) return;
    const account = this.#accountOf(principal);
    account.spent.day.set(this.calendar.periodOf('day', now.epochMs), spent.day);
    account.spent.month.set(this.calendar.periodOf('month', now.epochMs), spent.month);
  }

  /**
   * Forgets the callers who stand as if they had never come; what they usually use goes with them. To be called about
   * once a minute, the time in which an empty bucket fills. Costs O(callers).
   */
  sweep(now: Moment): void {
    for (const [principal, account] of this.#accounts) {
      if (account.isFresh(now, this.calendar)) this.#accounts.delete(principal);
    }
  }

  #accountOf(principal: string): Account {
    const account = this.#accounts.get(principal) ?? new Account();
    this.#accounts.set(principal, account);
    return account;
  }
}

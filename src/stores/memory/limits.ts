/**
 * The counters of all principals, in memory. Pure decisions; time is an argument, and nothing is kept of a caller without
 * limits.
 */
import { Account, startingUsualTokens, type Waits } from './counters.ts';
import {
  isUnlimited,
  refusalCodes,
  type Admission,
  type Demand,
  type LimitStore,
  type Moment,
  type RefusalCode,
  type Reservation,
} from '../../accounts/limits.ts';
import { Calendar } from '../../accounts/calendar.ts';
import type { PeriodName } from '../../request/caller.ts';

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

function wholeTokens(tokens: number): number {
  return tokens > 0 ? Math.ceil(Math.min(tokens, maxTokens)) : 0;
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

  admit({ principal, limits, tokens, promptTokens }: Demand, now: Moment): Admission {
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
      promptTokens: promptTokens === undefined ? undefined : wholeTokens(promptTokens),
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
    if (hasBudget && used) this.#spend(account, { day: used, month: used }, now);
  }

  /** Also for a caller of whom nothing is kept. */
  usualTokens(principal: string): number {
    return Math.ceil(this.#accounts.get(principal)?.usualTokens ?? startingUsualTokens);
  }

  restore(principal: string, spent: Record<PeriodName, number>, now: Moment): void {
    // What was spent in the day was spent in the month.
    if (spent.month > 0) this.#spend(this.#accountOf(principal), spent, now);
  }

  #spend(account: Account, tokens: Record<PeriodName, number>, now: Moment): void {
    for (const name of ['day', 'month'] as const) {
      const period = this.calendar.periodOf(name, now.epochMs);
      const tally = account.spent[name];
      tally.set(period, tally.in(period) + tokens[name]);
    }
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

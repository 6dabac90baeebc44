/**
 * The counters of all principals, in memory. Pure decisions; time is an argument, and nothing is kept of a caller without
 * limits.
 */
import { Counters, startingUsualTokens, type Waits } from './counters.ts';
import { HeldReservations, type Held } from './held.ts';
import {
  isUnlimited,
  refusalCodes,
  type Decision,
  type Demand,
  type LimitStore,
  type Moment,
  type RefusalCode,
  type Reservation,
  type Spent,
} from '../../accounts/limits.ts';
import type { Calendar } from '../../accounts/calendar.ts';

/** No request has more; a larger `max_tokens` must not spoil the sums. */
const maxTokens = 1e9;

/** The reservation of a caller without limits: an id that nothing is held under. */
const unlimited: Decision = { isAdmitted: true, reservation: { id: -1 }, standing: {} };

function wholeTokens(tokens: number): number {
  return tokens > 0 ? Math.ceil(Math.min(tokens, maxTokens)) : 0;
}

/** Returns the limit that refuses for the longest, since until then waiting does not help. */
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

/** Returns how many tokens to reserve. */
function estimateOf(
  { promptTokens, maxAnswerTokens, answers }: Demand,
  usualTokens: number,
): number {
  return wholeTokens(promptTokens + answers * (maxAnswerTokens ?? Math.ceil(usualTokens)));
}

export class MemoryLimits implements LimitStore {
  readonly #counters = new Map<string, Counters>();
  readonly #held = new HeldReservations();

  /** @param calendar says when days and months begin */
  constructor(private readonly calendar: Calendar) {}

  /** How many principals something is kept of. */
  get size(): number {
    return this.#counters.size;
  }

  /** What all open reservations hold together. */
  held(): { requests: number; tokens: number } {
    const held = { requests: 0, tokens: 0 };
    for (const { open, reserved } of this.#counters.values()) {
      held.requests += open;
      held.tokens += reserved;
    }
    return held;
  }

  admit(demand: Demand, now: Moment): Decision {
    const { principal, limits, promptTokens, answers } = demand;
    if (isUnlimited(limits)) return unlimited;
    const known = this.#counters.get(principal);
    const counters = known ?? new Counters();
    counters.adopt(limits, now);
    const tokens = estimateOf(demand, known?.usualTokens ?? startingUsualTokens);
    const refusal = longestOf(counters.waits(limits, tokens, now, this.calendar));
    if (refusal) return { isAdmitted: false, ...refusal, standing: counters.standing(limits, now) };
    if (known === undefined) this.#counters.set(principal, counters);
    counters.open++;
    counters.reserved += tokens;
    const { requestsPerMinute, tokensPerMinute, budgets } = limits;
    const id = this.#held.add({
      principal,
      tokens,
      promptTokens: wholeTokens(promptTokens),
      hasAnswers: answers > 0,
      takenAtMs: now.ms,
      requestShare: requestsPerMinute === undefined ? undefined : counters.requests.take(1, now.ms),
      tokenShare: tokensPerMinute === undefined ? undefined : counters.tokens.take(tokens, now.ms),
      hasBudget: budgets !== undefined && budgets.length > 0,
    });
    return { isAdmitted: true, reservation: { id }, standing: counters.standing(limits, now) };
  }

  settle({ id }: Reservation, usedTokens: number | undefined, now: Moment): void {
    const held = this.#held.take(id);
    if (held !== undefined) this.#end(held, usedTokens, now);
  }

  #end(held: Held, usedTokens: number | undefined, now: Moment): void {
    const { principal, tokens, requestShare, tokenShare, hasBudget } = held;
    const counters = this.#countersOf(principal);
    const used = usedTokens === undefined ? undefined : wholeTokens(usedTokens);
    counters.open--;
    counters.reserved -= tokens;
    if (requestShare) counters.requests.settle(requestShare, used === undefined ? 0 : 1, now.ms);
    if (tokenShare) counters.tokens.settle(tokenShare, used ?? 0, now.ms);
    counters.learn(held, used, now);
    if (hasBudget && used) this.#spend({ principal, day: used, month: used }, now);
  }

  count(spent: Spent, now: Moment): void {
    // What was spent in the day was spent in the month.
    if (spent.month > 0) this.#spend(spent, now);
  }

  restore(spent: readonly Spent[], now: Moment): void {
    for (const each of spent) this.count(each, now);
  }

  #spend(spent: Spent, now: Moment): void {
    const counters = this.#countersOf(spent.principal);
    for (const name of ['day', 'month'] as const) {
      const period = this.calendar.periodOf(name, now.epochMs);
      const tally = counters.spent[name];
      tally.set(period, tally.in(period) + spent[name]);
    }
  }

  /**
   * Forgets the callers who stand as if they had never come; what they usually use goes with them. To be called about
   * once a minute, the time in which an empty bucket fills. Costs O(callers).
   */
  sweep(now: Moment): void {
    for (const [principal, counters] of this.#counters) {
      if (counters.isFresh(now)) this.#counters.delete(principal);
    }
  }

  #countersOf(principal: string): Counters {
    const counters = this.#counters.get(principal) ?? new Counters();
    this.#counters.set(principal, counters);
    return counters;
  }
}

/**
 * The counters of one principal, and what they say to a request. Pure decisions; time is an argument. limits.ts writes
 * what a request takes and gives back.
 */
import { Bucket } from './gcra.ts';
import type { Held } from './held.ts';
import type { Moment, RefusalCode, Standing } from '../../accounts/limits.ts';
import { longestMs, Tally, type Calendar } from '../../accounts/calendar.ts';
import type { Budget, Limits } from '../../request/caller.ts';

/** The usual length of answers in tokens, before there are any. */
export const startingUsualTokens = 256;
const startingLifeMs = 1_000;
/** The weight of the newest value in a running mean. */
const newestWeight = 0.2;

function nextMean(mean: number, newest: number): number {
  return mean + newestWeight * (newest - mean);
}

/** For how many milliseconds each limit refuses; 0 if it does not. */
export type Waits = Record<RefusalCode, number>;

/** The counters of one principal. */
export class Counters {
  readonly requests = new Bucket();
  readonly tokens = new Bucket();
  readonly spent = { day: new Tally(), month: new Tally() };
  open = 0;
  /** Tokens of its open reservations. */
  reserved = 0;
  usualTokens = startingUsualTokens;
  /** How long its reservations usually live. */
  #lifeMs = startingLifeMs;

  /** Estimates in how many milliseconds so many of its open requests will have ended. */
  endMs(count: number): number {
    return Math.max(1, Math.ceil((this.#lifeMs * count) / Math.max(1, this.open)));
  }

  /** Learns from a request that has ended how long requests are open, and how long answers are. */
  learn(
    {
      takenAtMs,
      promptTokens,
      hasAnswers,
    }: Pick<Held, 'takenAtMs' | 'promptTokens' | 'hasAnswers'>,
    usedTokens: number | undefined,
    now: Moment,
  ): void {
    this.#lifeMs = nextMean(this.#lifeMs, now.ms - takenAtMs);
    if (!usedTokens || !hasAnswers) return;
    const answerTokens = Math.max(0, usedTokens - promptTokens);
    this.usualTokens = nextMean(this.usualTokens, answerTokens);
  }

  /** Takes the limits of a key, which may have changed. */
  adopt({ requestsPerMinute, tokensPerMinute }: Limits, now: Moment): void {
    if (requestsPerMinute !== undefined) this.requests.setRate(requestsPerMinute, now.ms);
    if (tokensPerMinute !== undefined) this.tokens.setRate(tokensPerMinute, now.ms);
  }

  /** Pure decision: for how many milliseconds each limit refuses; 0 if it does not. */
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
      // Without the estimate of this request: a caller that has something left may use it.
      if (spent + this.reserved < tokens) continue;
      const untilNextMs = Math.ceil(period.end - now.epochMs);
      // What is only reserved may come back as soon as an open request ends.
      const untilMs = spent < tokens ? Math.min(untilNextMs, this.endMs(1)) : untilNextMs;
      waitMs = Math.max(waitMs, untilMs);
    }
    return waitMs;
  }

  /** Returns how the principal stands with its rates. */
  standing(limits: Limits, now: Moment): Standing {
    const { requestsPerMinute, tokensPerMinute } = limits;
    const standing: Standing = {};
    if (requestsPerMinute !== undefined) standing.requests = this.requests.standing(now.ms);
    if (tokensPerMinute !== undefined) standing.tokens = this.tokens.standing(now.ms);
    return standing;
  }

  /** Returns whether it stands as if nobody had come. */
  isFresh(now: Moment): boolean {
    return (
      this.open === 0 &&
      this.requests.isFull(now.ms) &&
      this.tokens.isFull(now.ms) &&
      // What was spent in the day was spent in the month. A clock that is a day ahead may step back.
      this.spent.month.isEmptySince(now.epochMs - (longestMs.month + longestMs.day))
    );
  }
}

/**
 * The counters of one principal by themselves: which limit refuses and for how long, what is learnt from requests that
 * have ended, and when there is nothing to keep. tests/contracts/limits.ts tests them together.
 */
import { describe, expect, test } from 'bun:test';
import { Counters, startingUsualTokens } from '../../../../src/stores/memory/counters.ts';
import type { Moment } from '../../../../src/accounts/limits.ts';
import { Calendar } from '../../../../src/accounts/calendar.ts';
import type { Limits } from '../../../../src/request/caller.ts';

const noon = Date.parse('2026-11-24T12:00:00Z');
const calendar = new Calendar();

/** The clocks so many milliseconds after noon. */
function after(ms: number): Moment {
  return { ms: 1_000 + ms, epochMs: noon + ms };
}

function ended(takenAtMs: number, promptTokens = 0) {
  return { takenAtMs, promptTokens, hasAnswers: true };
}

/** Returns the waits that are not 0. */
function waitsOf(counters: Counters, limits: Limits, tokens = 0, now = after(0)) {
  counters.adopt(limits, now);
  const waits = Object.entries(counters.waits(limits, tokens, now, calendar));
  return Object.fromEntries(waits.filter(([, ms]) => ms > 0));
}

describe('waits', () => {
  test('are nothing for a caller that has used nothing', () => {
    const limits: Limits = {
      requestsPerMinute: 1,
      tokensPerMinute: 10,
      concurrentRequests: 1,
      budgets: [{ tokens: 10, per: 'day' }],
    };
    expect(waitsOf(new Counters(), limits, 10)).toEqual({});
  });

  test('change nothing: the answer is the same every time', () => {
    const counters = new Counters();
    counters.adopt({ requestsPerMinute: 1 }, after(0));
    counters.requests.take(1, after(0).ms);
    for (let i = 0; i < 3; i++) {
      expect(waitsOf(counters, { requestsPerMinute: 1 })).toEqual({ rate_limited: 60_000 });
    }
  });

  test('for an open request go by how many must end first', () => {
    const counters = new Counters();
    counters.open = 4;
    const one = waitsOf(counters, { concurrentRequests: 4 });
    const three = waitsOf(counters, { concurrentRequests: 2 });
    expect([one, three]).toEqual([{ too_many_concurrent: 250 }, { too_many_concurrent: 750 }]);
  });

  test('of a budget last until the next day where it is spent, and less where it is only reserved', () => {
    const limits: Limits = { budgets: [{ tokens: 10, per: 'day' }] };
    const counters = new Counters();
    counters.open = 1;
    counters.reserved = 10;
    expect(waitsOf(counters, limits)).toEqual({ budget_spent: 1_000 });
    counters.spent.day.set(calendar.periodOf('day', noon), 10);
    expect(waitsOf(counters, limits)).toEqual({ budget_spent: 12 * 3_600_000 });
  });
});

describe('a rate', () => {
  const rates = [
    ['requests', 'requestsPerMinute', 'rate_limited'],
    ['tokens', 'tokensPerMinute', 'tokens_exhausted'],
  ] as const;

  test.each(rates)('of %s refuses what is beyond it, and says how it stands', (of, limit, code) => {
    const counters = new Counters();
    const limits = { [limit]: 60 };
    expect(waitsOf(counters, limits, 1)).toEqual({});
    counters[of].take(60, after(0).ms);
    expect(waitsOf(counters, limits, 1)).toEqual({ [code]: 1_000 });
    const standing = counters.standing(limits, after(0));
    expect(standing).toEqual({ [of]: { limit: 60, remaining: 0, resetMs: 60_000 } });
  });

  test.each(rates)('of %s that a key has no more refuses nothing', (of, limit) => {
    const counters = new Counters();
    counters.adopt({ [limit]: 60 }, after(0));
    counters[of].take(60, after(0).ms);
    expect(waitsOf(counters, {}, 1)).toEqual({});
    expect(counters.standing({}, after(0))).toEqual({});
    // Its debt is kept, and is over sooner under a higher rate.
    expect(counters.isFresh(after(0))).toBe(false);
    counters.adopt({ [limit]: 120 }, after(0));
    expect(counters.isFresh(after(30_000))).toBe(true);
    expect(counters.isFresh(after(29_999))).toBe(false);
  });
});

describe('what is learnt', () => {
  test('is how long answers are, without their prompts', () => {
    const counters = new Counters();
    expect(counters.usualTokens).toBe(startingUsualTokens);
    for (let i = 0; i < 60; i++) counters.learn(ended(0, 900), 1_000, after(0));
    expect(counters.usualTokens).toBeCloseTo(100, 0);
  });

  test('is nothing from answers without tokens', () => {
    const counters = new Counters();
    counters.learn({ ...ended(0, 900), hasAnswers: false }, 1_000, after(0));
    expect(counters.usualTokens).toBe(startingUsualTokens);
  });

  test('is how long requests are open, also of those that no engine had', () => {
    const counters = new Counters();
    for (let i = 0; i < 60; i++) counters.learn(ended(after(0).ms), undefined, after(8_000));
    expect(counters.usualTokens).toBe(startingUsualTokens);
    expect(counters.endMs(1)).toBe(8_000);
  });
});

test('it stands as if nobody had come once its buckets are full, nothing is open and no month counts', () => {
  const counters = new Counters();
  expect(counters.isFresh(after(0))).toBe(true);
  counters.adopt({ requestsPerMinute: 1 }, after(0));
  counters.requests.take(1, after(0).ms);
  expect(counters.isFresh(after(59_999))).toBe(false);
  expect(counters.isFresh(after(60_000))).toBe(true);
  counters.open = 1;
  expect(counters.isFresh(after(60_000))).toBe(false);
  counters.open = 0;
  counters.spent.month.set(calendar.periodOf('month', noon), 1);
  expect(counters.isFresh(after(60_000))).toBe(false);
  // The month is over, but a clock that is a day ahead may step back.
  expect(counters.isFresh(after(7 * 86_400_000))).toBe(false);
  expect(counters.isFresh(after(31 * 86_400_000))).toBe(true);
});

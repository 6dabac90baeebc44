/**
 * The counters of one principal by themselves: which limit refuses and for how long, what is learnt from requests that
 * have ended, and when there is nothing to keep. The limiter's tests have all of it together.
 */
import { describe, expect, test } from 'bun:test';
import { Account, startingUsualTokens } from '../../../../src/stores/memory/counters.ts';
import type { Moment, Reservation } from '../../../../src/accounts/limits.ts';
import { Calendar } from '../../../../src/accounts/calendar.ts';
import type { Limits } from '../../../../src/request/caller.ts';

const noon = Date.parse('2026-11-24T12:00:00Z');
const calendar = new Calendar();

/** The clocks so many milliseconds after noon. */
function after(ms: number): Moment {
  return { ms: 1_000 + ms, epochMs: noon + ms };
}

function reservation(takenAtMs: number, promptTokens = 0): Reservation {
  return {
    principal: 'alice',
    tokens: 0,
    promptTokens,
    takenAtMs,
    requestShare: undefined,
    tokenShare: undefined,
    hasBudget: false,
    isSettled: false,
  };
}

/** Gives the waits that are not 0. */
function waitsOf(account: Account, limits: Limits, tokens = 0, now = after(0)) {
  account.adopt(limits, now);
  const waits = Object.entries(account.waits(limits, tokens, now, calendar));
  return Object.fromEntries(waits.filter(([, ms]) => ms > 0));
}

describe('waits', () => {
  test('are nothing for whoever has used nothing', () => {
    const limits: Limits = {
      requestsPerMinute: 1,
      tokensPerMinute: 10,
      concurrentRequests: 1,
      budgets: [{ tokens: 10, per: 'day' }],
    };
    expect(waitsOf(new Account(), limits, 10)).toEqual({});
  });

  test('change nothing: the same is told however often it is asked', () => {
    const account = new Account();
    account.adopt({ requestsPerMinute: 1 }, after(0));
    account.requests.take(1, after(0).ms);
    for (let i = 0; i < 3; i++) {
      expect(waitsOf(account, { requestsPerMinute: 1 })).toEqual({ rate_limited: 60_000 });
    }
  });

  test('for an open request go by how many must end first', () => {
    const account = new Account();
    account.open = 4;
    const one = waitsOf(account, { concurrentRequests: 4 });
    const three = waitsOf(account, { concurrentRequests: 2 });
    expect([one, three]).toEqual([{ too_many_concurrent: 250 }, { too_many_concurrent: 750 }]);
  });

  test('of a budget last until the next day where it is spent, and less where it is only reserved', () => {
    const limits: Limits = { budgets: [{ tokens: 10, per: 'day' }] };
    const account = new Account();
    account.open = 1;
    account.reserved = 10;
    expect(waitsOf(account, limits)).toEqual({ budget_spent: 1_000 });
    account.spent.day.set(calendar.periodOf('day', noon), 10);
    expect(waitsOf(account, limits)).toEqual({ budget_spent: 12 * 3_600_000 });
  });
});

describe('what is learnt', () => {
  test('is how long answers are, without their prompts', () => {
    const account = new Account();
    expect(account.usualTokens).toBe(startingUsualTokens);
    for (let i = 0; i < 60; i++) account.learn(reservation(0, 900), 1_000, after(0));
    expect(account.usualTokens).toBeCloseTo(100, 0);
  });

  test('is how long requests are open, also of those that no engine had', () => {
    const account = new Account();
    for (let i = 0; i < 60; i++) account.learn(reservation(after(0).ms), undefined, after(8_000));
    expect(account.usualTokens).toBe(startingUsualTokens);
    expect(account.endMs(1)).toBe(8_000);
  });
});

test('it stands as if nobody had come once its buckets are full, nothing is open and no month counts', () => {
  const account = new Account();
  expect(account.isFresh(after(0), calendar)).toBe(true);
  account.adopt({ requestsPerMinute: 1 }, after(0));
  account.requests.take(1, after(0).ms);
  expect(account.isFresh(after(59_999), calendar)).toBe(false);
  expect(account.isFresh(after(60_000), calendar)).toBe(true);
  account.open = 1;
  expect(account.isFresh(after(60_000), calendar)).toBe(false);
  account.open = 0;
  account.spent.month.set(calendar.periodOf('month', noon), 1);
  expect(account.isFresh(after(60_000), calendar)).toBe(false);
  expect(account.isFresh(after(31 * 86_400_000), calendar)).toBe(true);
});

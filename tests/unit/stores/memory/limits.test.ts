/**
 * The limits in memory: the contract, also for a store that answers late; that they answer at once; what is held, and
 * what is forgotten.
 */
import { describe, expect, test } from 'bun:test';
import { MemoryLimits } from '../../../../src/stores/memory/limits.ts';
import type { Decision, Reservation } from '../../../../src/accounts/limits.ts';
import { Calendar } from '../../../../src/accounts/calendar.ts';
import { LateLimits } from '../../../contracts/latelimits.ts';
import { admitted, after, ask, dayMs, limitContract } from '../../../contracts/limits.ts';
import { forSeeds } from '../../../support/random.ts';
import type { Limits } from '../../../../src/request/caller.ts';

limitContract('in memory', (calendar) => new MemoryLimits(calendar));
limitContract('that answer late', (calendar) => new LateLimits(new MemoryLimits(calendar)));

const fresh = () => new MemoryLimits(new Calendar());

test('it answers at once, so that no request waits for it', () => {
  const limits = fresh();
  const decision = limits.admit(ask({ requestsPerMinute: 1 }), after(0));
  expect(decision).not.toBeInstanceOf(Promise);
  const answers: unknown[] = [
    limits.settle(admitted(decision), 1, after(0)),
    limits.count({ principal: 'alice', day: 1, month: 1 }, after(0)),
    limits.restore([], after(0)),
    limits.sweep(after(0)),
  ];
  expect(answers).toEqual([undefined, undefined, undefined, undefined]);
});

describe('a caller without limits', () => {
  test('leaves no trace, and gets one shared decision', () => {
    const limits = fresh();
    const none: Limits[] = [{}, { budgets: [] }, { requestsPerMinute: undefined }];
    const decisions = none.map((each) => limits.admit(ask(each, 1_000), after(0)));
    expect(new Set(decisions).size).toBe(1);
    limits.settle(admitted(decisions[0] as Decision), 1_000, after(1));
    expect(limits.size).toBe(0);
  });
});

describe('what is held', () => {
  test('is what was admitted and has not ended', () => {
    const limits = fresh();
    const both: Limits = { concurrentRequests: 2, tokensPerMinute: 600 };
    const one = admitted(limits.admit(ask(both, 10), after(0)));
    admitted(limits.admit(ask(both, 20), after(0)));
    expect(limits.admit(ask(both, 5), after(0)).isAdmitted).toBe(false);
    expect(limits.held()).toEqual({ requests: 2, tokens: 30 });
    for (let i = 0; i < 2; i++) limits.settle(one, 5, after(0));
    expect(limits.held()).toEqual({ requests: 1, tokens: 20 });
  });

  test('is nothing for an estimate that is no number, or below zero', () => {
    const limits = fresh();
    for (const tokens of [-1, Number.NaN]) {
      admitted(limits.admit(ask({ tokensPerMinute: 600 }, tokens), after(0)));
    }
    expect(limits.held()).toEqual({ requests: 2, tokens: 0 });
  });

  test('is not spoilt by an estimate beyond all reason', () => {
    const limits = fresh();
    const wide: Limits = { budgets: [{ tokens: 1e12, per: 'day' }] };
    const open = [5, 1e300, Infinity, 7].map((tokens) =>
      admitted(limits.admit(ask(wide, tokens), after(0))),
    );
    for (const reservation of open.slice(1)) limits.settle(reservation, 1, after(0));
    expect(limits.held()).toEqual({ requests: 1, tokens: 5 });
  });

  test('is nothing when all have ended, and nothing is kept a month later', async () => {
    await forSeeds(100, (random) => {
      const store = fresh();
      const some = (below: number) => (random.oneIn(3) ? undefined : random.below(below) + 1);
      const limits: Limits = {
        requestsPerMinute: some(20),
        tokensPerMinute: some(3_000),
        concurrentRequests: 4,
        budgets: [{ tokens: 20_000, per: random.pick(['day', 'month']) }],
      };
      const open: Reservation[] = [];
      let [ms, most] = [0, 0];
      function settle() {
        const [reservation] = open.splice(random.below(open.length), 1);
        if (reservation === undefined) return;
        store.settle(reservation, random.pick([undefined, 0, random.below(3_000)]), after(ms));
      }
      for (let i = 0; i < 150; i++) {
        ms += random.oneIn(2) ? random.below(random.pick([5, 3_000, 40_000])) : 0;
        if (random.oneIn(10)) store.sweep(after(ms));
        const asked = ask(limits, random.below(3_000) / 7, random.pick(['alice', 'bob']));
        const decision = random.oneIn(2) ? undefined : store.admit(asked, after(ms));
        if (decision?.isAdmitted) open.push(decision.reservation);
        if (decision === undefined) settle();
        most = Math.max(most, store.held().requests);
        expect(store.held().requests).toBe(open.length);
      }
      expect(most).toBeGreaterThan(0);
      expect(most).toBeLessThanOrEqual(2 * 4);
      while (open.length > 0) settle();
      expect(store.held()).toEqual({ requests: 0, tokens: 0 });
      store.sweep(after(32 * dayMs));
      expect(store.size).toBe(0);
    });
  });
});

describe('sweep', () => {
  test('keeps a caller while a bucket fills, and while a request is open', () => {
    const store = fresh();
    const limits = { requestsPerMinute: 60, tokensPerMinute: 60 };
    const open = admitted(store.admit(ask(limits, 30), after(0)));
    store.sweep(after(600_000));
    expect(store.size).toBe(1);
    store.settle(open, 60, after(600_000));
    store.sweep(after(600_000));
    expect(store.size).toBe(1);
    store.sweep(after(660_000));
    expect(store.size).toBe(0);
  });

  test('keeps what was spent of a budget until the month is over for certain, also by a clock that is ahead', () => {
    const store = fresh();
    const limits: Limits = { budgets: [{ tokens: 10, per: 'month' }] };
    store.settle(admitted(store.admit(ask(limits, 10), after(0))), 10, after(0));
    store.sweep(after(7 * dayMs));
    expect(store.size).toBe(1);
    store.sweep(after(11 * dayMs));
    expect(store.size).toBe(0);
  });

  test('finds no entry of a caller that was refused at once, or that has spent nothing', () => {
    const store = fresh();
    const limits: Limits = { budgets: [{ tokens: 0, per: 'day' }] };
    expect(store.admit(ask(limits, 10), after(0)).isAdmitted).toBe(false);
    store.restore([{ principal: 'bob', day: 0, month: 0 }], after(0));
    store.count({ principal: 'carol', day: 0, month: 0 }, after(0));
    expect(store.size).toBe(0);
  });
});

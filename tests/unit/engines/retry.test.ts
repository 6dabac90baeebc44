/** Retries: what each policy allows, where there is somebody else to ask, and that an outage is not multiplied. */
import { describe, expect, test } from 'bun:test';
import {
  isAllowed,
  Retries,
  RetryBudget,
  type RetryFailure,
  type RetryPolicy,
} from '../../../src/engines/retry.ts';
import type { Upstream } from '../../../src/engines/upstream.ts';
import { forSeeds } from '../../support/random.ts';
import { fleetOf, jobOf, settingsOf } from '../../support/schedulingworld.ts';

const failures: RetryFailure[] = ['unreachable', 'loading', 'reset'];

/** Takes retries until none is left; gives how many there were. */
function drain(budget: RetryBudget): number {
  let taken = 0;
  while (budget.tryTake()) taken++;
  return taken;
}

test.each<[RetryPolicy, RetryFailure[]]>([
  ['never', []],
  ['unsent', ['unreachable', 'loading']],
  ['resets', ['unreachable', 'loading', 'reset']],
])('the policy %s allows %p', (policy, allowed) => {
  expect(failures.filter((failure) => isAllowed(policy, failure))).toEqual(allowed);
});

describe('the budget', () => {
  test('starts with ten retries', () => {
    expect(drain(new RetryBudget())).toBe(10);
  });

  test('gets one more for every ten requests, exactly', () => {
    const budget = new RetryBudget();
    drain(budget);
    for (let i = 0; i < 9; i++) budget.deposit();
    expect(budget.tryTake()).toBe(false);
    budget.deposit();
    expect(budget.tryTake()).toBe(true);
    expect(budget.tryTake()).toBe(false);
  });

  test('saves no more than ten', () => {
    const budget = new RetryBudget();
    for (let i = 0; i < 10_000; i++) budget.deposit();
    expect(drain(budget)).toBe(10);
  });

  test('never gives more than ten retries and a tenth of the requests, at any moment', async () => {
    await forSeeds(50, (random) => {
      const budget = new RetryBudget();
      const outage = 1 + random.below(20);
      let requests = 0;
      let retries = 0;
      for (let i = 0; i < 2_000; i++) {
        if (random.oneIn(outage)) {
          budget.deposit();
          requests++;
        } else if (budget.tryTake()) retries++;
        expect(retries * 10).toBeLessThanOrEqual(100 + requests);
      }
    });
  });

  test('gives the whole tenth when every request fails', () => {
    const budget = new RetryBudget();
    let retries = 0;
    for (let i = 0; i < 1_000; i++) {
      budget.deposit();
      if (budget.tryTake()) retries++;
    }
    // The first deposit finds the bucket full.
    expect(retries).toBe(109);
  });
});

describe('a request that has failed', () => {
  function stage(ids: readonly string[] = ['a', 'b'], policy: RetryPolicy = 'resets') {
    const fleet = fleetOf(ids.map((id) => settingsOf(id)));
    const retries = new Retries({ fleet, policy: () => policy });
    const [a, b] = fleet.upstreams as [Upstream, Upstream];
    const mayRetry = (failure: RetryFailure = 'reset') => retries.mayRetry(a, failure, jobOf('k'));
    /** Retries until that is refused; gives how often it was not. */
    function retryAll(): number {
      let count = 0;
      while (count < 1_000 && mayRetry()) count++;
      return count;
    }
    return { retries, b, mayRetry, retryAll };
  }

  test('is tried again ten times, and once more for every ten requests, however many fail', () => {
    const { retries, mayRetry, retryAll } = stage();
    expect(retryAll()).toBe(10);
    for (let i = 0; i < 9; i++) retries.counted();
    expect(mayRetry()).toBe(false);
    retries.counted();
    expect(retryAll()).toBe(1);
    for (let i = 0; i < 50; i++) retries.counted();
    expect(retryAll()).toBe(5);
  });

  test('is tried again as the policy says', () => {
    for (const policy of ['never', 'unsent', 'resets'] as const) {
      const allowed = failures.filter((failure) => stage(undefined, policy).mayRetry(failure));
      expect(allowed).toEqual(failures.filter((failure) => isAllowed(policy, failure)));
    }
  });

  test('is not tried again where there is no other, or none that is hoped for; and that costs nothing', () => {
    expect(stage(['a']).retryAll()).toBe(0);
    const { b, retryAll } = stage();
    b.breaker.unreachable(0);
    expect(retryAll()).toBe(0);
    b.breaker.reached(1);
    expect(retryAll()).toBe(10);
  });

  test('because a model loads waits for it without a limit, also where there is no other', () => {
    const { mayRetry, retryAll } = stage();
    for (let i = 0; i < 100; i++) expect(mayRetry('loading')).toBe(true);
    expect(retryAll()).toBe(10);
    expect(mayRetry('loading')).toBe(true);
    expect(stage(['a']).mayRetry('loading')).toBe(true);
  });
});

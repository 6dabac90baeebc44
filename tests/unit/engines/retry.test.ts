/** Retries: what each policy allows, where there is somebody else to ask, and that an outage is not multiplied. */
import { describe, expect, test } from 'bun:test';
import { Retries, type RetryFailure, type RetryPolicy } from '../../../src/engines/retry.ts';
import type { Upstream } from '../../../src/engines/upstream.ts';
import { forSeeds } from '../../support/random.ts';
import { fleetOf, jobOf, settingsOf } from '../../support/schedulingworld.ts';

const failures: RetryFailure[] = ['unreachable', 'loading', 'reset'];

/** The retries of two engines, or of others; what fails, fails at the first. */
function stage(ids: readonly string[] = ['a', 'b'], policy: RetryPolicy = 'resets') {
  const fleet = fleetOf(ids.map((id) => settingsOf(id)));
  const retries = new Retries({ fleet, policy: () => policy });
  const [a, b] = fleet.upstreams as [Upstream, Upstream];
  const mayRetry = (failure: RetryFailure = 'reset') => retries.mayRetry(a, failure, jobOf('k'));
  /** Counts that many requests of clients. */
  function count(requests: number): void {
    for (let i = 0; i < requests; i++) retries.counted();
  }
  /** Retries until that is refused; gives how often it was not. */
  function retryAll(): number {
    let taken = 0;
    while (taken < 1_000 && mayRetry()) taken++;
    return taken;
  }
  return { b, count, mayRetry, retryAll };
}

test.each<[RetryPolicy, RetryFailure[]]>([
  ['never', []],
  ['unsent', ['unreachable', 'loading']],
  ['resets', ['unreachable', 'loading', 'reset']],
])('the policy %s allows %p', (policy, allowed) => {
  const { mayRetry } = stage(undefined, policy);
  expect(failures.filter((failure) => mayRetry(failure))).toEqual(allowed);
});

describe('the budget of all requests', () => {
  test('starts with ten retries', () => {
    expect(stage().retryAll()).toBe(10);
  });

  test('gets one more for every ten requests, exactly', () => {
    const { count, mayRetry, retryAll } = stage();
    retryAll();
    count(9);
    expect(mayRetry()).toBe(false);
    count(1);
    expect([mayRetry(), mayRetry()]).toEqual([true, false]);
    count(50);
    expect(retryAll()).toBe(5);
  });

  test('saves no more than ten', () => {
    const { count, retryAll } = stage();
    count(10_000);
    expect(retryAll()).toBe(10);
  });

  test('never gives more than ten retries and a tenth of the requests, at any moment', async () => {
    await forSeeds(50, (random) => {
      const { count, mayRetry } = stage();
      const outage = 1 + random.below(20);
      let requests = 0;
      let retries = 0;
      for (let i = 0; i < 2_000; i++) {
        if (random.oneIn(outage)) {
          count(1);
          requests++;
        } else if (mayRetry(random.pick(['unreachable', 'reset']))) retries++;
        expect(retries * 10).toBeLessThanOrEqual(100 + requests);
      }
    });
  });

  test('gives the whole tenth when every request fails', () => {
    const { count, mayRetry } = stage();
    let retries = 0;
    for (let i = 0; i < 1_000; i++) {
      count(1);
      if (mayRetry()) retries++;
    }
    // The first request finds the bucket full.
    expect(retries).toBe(109);
  });
});

describe('a request that has failed', () => {
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

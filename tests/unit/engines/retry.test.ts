/**
 * Retries: what each policy allows, that an outage is not multiplied, and that only llama.cpp's own words count as a
 * model that loads.
 */
import { describe, expect, test } from 'bun:test';
import {
  isLoadingModel,
  mayRetry,
  RetryBudget,
  type RetryFailure,
  type RetryPolicy,
} from '../../../src/engines/retry.ts';
import { forSeeds } from '../../support/random.ts';

const failures: RetryFailure[] = ['unreachable', 'loading', 'reset'];

/** Takes retries until none is left; gives how many there were. */
function drain(budget: RetryBudget): number {
  let taken = 0;
  while (budget.tryTake('unreachable')) taken++;
  return taken;
}

test.each<[RetryPolicy, RetryFailure[]]>([
  ['never', []],
  ['unsent', ['unreachable', 'loading']],
  ['resets', ['unreachable', 'loading', 'reset']],
])('the policy %s allows %p', (policy, allowed) => {
  expect(failures.filter((failure) => mayRetry(policy, failure))).toEqual(allowed);
});

describe('the budget', () => {
  test('starts with ten retries', () => {
    expect(drain(new RetryBudget())).toBe(10);
  });

  test('gets one more for every ten requests, exactly', () => {
    const budget = new RetryBudget();
    drain(budget);
    for (let i = 0; i < 9; i++) budget.deposit();
    expect(budget.tryTake('reset')).toBe(false);
    budget.deposit();
    expect(budget.tryTake('reset')).toBe(true);
    expect(budget.tryTake('reset')).toBe(false);
  });

  test('saves no more than ten', () => {
    const budget = new RetryBudget();
    for (let i = 0; i < 10_000; i++) budget.deposit();
    expect(drain(budget)).toBe(10);
  });

  test('is not needed, and not spent, for a model that loads', () => {
    const budget = new RetryBudget();
    for (let i = 0; i < 100; i++) expect(budget.tryTake('loading')).toBe(true);
    expect(drain(budget)).toBe(10);
    expect(budget.tryTake('loading')).toBe(true);
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
        } else if (budget.tryTake(random.pick(['unreachable', 'reset']))) retries++;
        expect(retries * 10).toBeLessThanOrEqual(100 + requests);
      }
    });
  });

  test('gives the whole tenth when every request fails', () => {
    const budget = new RetryBudget();
    let retries = 0;
    for (let i = 0; i < 1_000; i++) {
      budget.deposit();
      if (budget.tryTake('unreachable')) retries++;
    }
    // The first deposit finds the bucket full.
    expect(retries).toBe(109);
  });
});

describe('isLoadingModel', () => {
  const loading = '{"error":{"message":"Loading model","type":"unavailable_error","code":503}}';
  const isLoading = (status: number, body: string) => isLoadingModel(status, Buffer.from(body));

  test('knows what llama.cpp says, in any order and spacing', () => {
    expect(isLoading(503, loading)).toBe(true);
    expect(
      isLoading(503, '{ "error": {"code": 503, "message": "Loading model", "type": "x"} }\n'),
    ).toBe(true);
  });

  test.each([
    ['', 503],
    ['Loading model', 503],
    ['{"error":"Loading model"}', 503],
    ['{"error":null}', 503],
    ['{"error":{}}', 503],
    ['{"error":{"message":["Loading model"]}}', 503],
    ['{"error":{"message":"no slot available","type":"unavailable_error","code":503}}', 503],
    ['{"message":"Loading model"}', 503],
    [loading.slice(0, -2), 503],
    [loading, 500],
    [loading, 200],
    [`{"pad":"${'x'.repeat(2_000)}",${loading.slice(1)}`, 503],
  ])('does not take %p with status %d for it', (body, status) => {
    expect(isLoading(status, body)).toBe(false);
  });

  test('throws on no bytes whatever', async () => {
    await forSeeds(200, (random) => {
      const body = Buffer.from(loading);
      for (let i = 0; i < 3; i++) body[random.below(body.length)] = random.below(256);
      expect(typeof isLoadingModel(503, body.subarray(random.below(20)))).toBe('boolean');
    });
  });
});

/** Batches get a tenth of the tokens while both classes wait, whatever the sizes of jobs. */
import { expect, test } from 'bun:test';
import { BatchBound } from '../../../src/scheduling/batchbound.ts';
import { forSeeds } from '../../support/random.ts';

test('it is the turn of a batch when interactive jobs were served nine times its tokens', () => {
  const bound = new BatchBound();
  expect(bound.isDue).toBe(false);
  bound.served('interactive', 1, true);
  expect(bound.isDue).toBe(true);
  bound.served('batch', 10, true);
  bound.served('interactive', 89, true);
  expect(bound.isDue).toBe(false);
  bound.served('interactive', 1, true);
  expect(bound.isDue).toBe(true);
});

test('tokens of which nobody else was in need count for neither', () => {
  const bound = new BatchBound();
  bound.served('batch', 1_000, false);
  bound.served('interactive', 1_000, false);
  expect(bound.isDue).toBe(false);
  bound.served('interactive', 1, true);
  expect(bound.isDue).toBe(true);
});

test('what batches had too much is paid back while none waits, and a turn that none takes is lost', () => {
  const bound = new BatchBound();
  bound.served('batch', 10, true);
  bound.served('interactive', 1_000, false);
  bound.served('interactive', 1, true);
  expect(bound.isDue).toBe(true);
  bound.served('interactive', 500, true);
  bound.served('interactive', 0, false);
  expect(bound.isDue).toBe(false);
});

test('a correction takes back what was counted', () => {
  const bound = new BatchBound();
  bound.served('batch', 100, true);
  bound.served('batch', -99, true);
  bound.served('interactive', 10, true);
  expect(bound.isDue).toBe(true);
});

test('in the long run batches have a tenth, within one job of each class', async () => {
  await forSeeds(30, (random) => {
    const bound = new BatchBound();
    const sizes = { interactive: 1 + random.below(2_000), batch: 1 + random.below(20_000) };
    const served = { interactive: 0, batch: 0 };
    for (let job = 0; job < 5_000; job++) {
      const priority = bound.isDue ? 'batch' : 'interactive';
      const tokens = 1 + random.below(sizes[priority]);
      served[priority] += tokens;
      bound.served(priority, tokens, true);
      const owed = served.interactive / 9 - served.batch;
      expect(owed).toBeLessThanOrEqual(sizes.interactive / 9);
      expect(owed).toBeGreaterThanOrEqual(-sizes.batch);
    }
  });
});

/** Batches get a tenth of the tokens while both classes wait, whatever the sizes of jobs. */
import { describe, expect, test } from 'bun:test';
import { Domain } from '../../../src/engines/slots.ts';
import { Contest } from '../../../src/scheduling/contest.ts';
import { forSeeds } from '../../support/random.ts';

/** A contest in which a job takes ten tokens. */
function contest(): Contest {
  const made = new Contest(new Domain('a'));
  made.granted();
  made.served('interactive', 10, false);
  return made;
}

/** Counts a job of an interactive caller past a batch. */
function pass(made: Contest, tokens = 10): void {
  made.granted();
  made.served('interactive', tokens, true);
}

test('a job takes what the latest ones took', () => {
  const made = new Contest(new Domain('a'));
  expect(made.jobTokens).toBe(1);
  made.served('batch', 5, true);
  expect(made.jobTokens).toBe(1);
  for (let i = 0; i < 200; i++) pass(made, 40);
  expect(made.jobTokens).toBeCloseTo(40, 1);
});

describe('it is the turn of a batch', () => {
  test('when nine usual jobs have gone past it, and again after nine more', () => {
    const made = contest();
    const turns = Array.from({ length: 30 }, () => {
      const isDue = made.isBatchDue;
      made.granted();
      made.served(isDue ? 'batch' : 'interactive', 10, true);
      return isDue;
    });
    expect(turns.flatMap((isDue, i) => (isDue ? [i] : []))).toEqual([9, 19, 29]);
  });

  test('later when the one before it was longer', () => {
    const made = contest();
    made.served('batch', 10, true);
    for (let i = 0; i < 17; i++) pass(made);
    expect(made.isBatchDue).toBe(false);
    for (let i = 0; i < 3; i++) pass(made);
    expect(made.isBatchDue).toBe(true);
  });

  test('as if tokens had not been served that nobody else was in need of', () => {
    const made = contest();
    made.served('batch', 10, false);
    made.served('interactive', 10, false);
    for (let i = 0; i < 11; i++) pass(made);
    expect(made.isBatchDue).toBe(true);
  });

  test('not before any job was granted here', () => {
    const made = new Contest(new Domain('a'));
    made.served('interactive', 1_000, true);
    expect(made.isBatchDue).toBe(false);
    made.granted();
    for (let i = 0; i < 99; i++) pass(made);
    expect(made.isBatchDue).toBe(true);
  });

  test('not for what it has waited for before it left', () => {
    const made = contest();
    for (let i = 0; i < 9; i++) pass(made);
    expect(made.isBatchDue).toBe(true);
    made.served('interactive', 0, false);
    expect(made.isBatchDue).toBe(false);
  });

  test('sooner where its tokens were corrected', () => {
    const made = contest();
    made.served('batch', 100, true);
    made.served('batch', -100, true);
    for (let i = 0; i < 9; i++) pass(made);
    expect(made.isBatchDue).toBe(true);
  });
});

test('in the long run batches have a tenth, whatever the sizes', async () => {
  await forSeeds(30, (random) => {
    const made = new Contest(new Domain('a'));
    const sizes = { interactive: 1 + random.below(2_000), batch: 1 + random.below(20_000) };
    const served = { interactive: 0, batch: 0 };
    for (let job = 0; job < 20_000; job++) {
      const priority = made.isBatchDue ? 'batch' : 'interactive';
      const tokens = 1 + random.below(sizes[priority]);
      served[priority] += tokens;
      made.granted();
      made.served(priority, tokens, true);
      const owed = served.interactive / 9 - served.batch;
      // Nine jobs before it, the largest that they can have been.
      expect(owed).toBeLessThanOrEqual(
        Math.max(sizes.interactive, sizes.batch) + sizes.interactive,
      );
      expect(owed).toBeGreaterThanOrEqual(-sizes.batch);
    }
  });
});

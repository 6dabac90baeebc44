/**
 * One bucket: what passes, what a correction changes, and that both agree with the definition under any order of events.
 */
import { describe, expect, test } from 'bun:test';
import { Bucket, type Share } from '../../../../src/stores/memory/gcra.ts';
import { forSeeds, type Random } from '../../../support/random.ts';

function bucketOf(rate: number, now = 0): Bucket {
  const bucket = new Bucket();
  bucket.setRate(rate, now);
  return bucket;
}

describe('a bucket of 60 a minute', () => {
  test('allows all 60 at once, and then one a second', () => {
    const bucket = bucketOf(60, 5_000);
    for (let i = 0; i < 60; i++) {
      expect(bucket.waitMs(1, 5_000)).toBe(0);
      bucket.take(1, 5_000);
    }
    expect(bucket.waitMs(1, 5_000)).toBe(1_000);
    expect(bucket.waitMs(1, 5_999)).toBe(1);
    expect(bucket.waitMs(1, 6_000)).toBe(0);
    expect(bucket.waitMs(10, 6_000)).toBe(9_000);
  });

  test('says what is left, and when it will be full', () => {
    const bucket = bucketOf(60);
    expect(bucket.standing(0)).toEqual({ limit: 60, remaining: 60, resetMs: 0 });
    bucket.take(20, 0);
    expect(bucket.standing(0)).toEqual({ limit: 60, remaining: 40, resetMs: 20_000 });
    expect(bucket.standing(500)).toEqual({ limit: 60, remaining: 40, resetMs: 19_500 });
    expect(bucket.standing(1_000)).toEqual({ limit: 60, remaining: 41, resetMs: 19_000 });
    expect(bucket.isFull(19_999)).toBe(false);
    expect(bucket.isFull(20_000)).toBe(true);
  });

  test('lets a cost above all that it holds pass when it is full, and no sooner', () => {
    const bucket = bucketOf(60);
    bucket.take(1, 0);
    expect(bucket.waitMs(1_000, 0)).toBe(1_000);
    expect(bucket.waitMs(1_000, 1_000)).toBe(0);
    expect(bucket.take(1_000, 1_000).units).toBe(60);
  });

  test('a cost of nothing passes unless there is debt', () => {
    const bucket = bucketOf(60);
    const share = bucket.take(60, 0);
    expect(bucket.waitMs(0, 0)).toBe(0);
    bucket.settle(share, 61, 0);
    expect(bucket.waitMs(0, 0)).toBe(1_000);
  });
});

test('fractions of a millisecond lose no unit', () => {
  for (const rate of [7, 11, 13, 49, 997, 123_457]) {
    const now = 86_400_000 * 30 + 0.1;
    const bucket = bucketOf(rate, now);
    const part = Math.floor(rate / 7);
    for (let i = 0; i < 7; i++) {
      expect(bucket.waitMs(part, now)).toBe(0);
      bucket.take(part, now);
    }
    const rest = rate - 7 * part;
    expect(bucket.standing(now).remaining).toBe(rest);
    expect(bucket.waitMs(rest, now)).toBe(0);
    expect(bucket.waitMs(rest + 1, now)).toBeGreaterThan(0);
  }
});

describe('settle', () => {
  test('returns what was not used to the bucket', () => {
    const bucket = bucketOf(100);
    const share = bucket.take(100, 0);
    bucket.settle(share, 30, 0);
    expect(bucket.standing(0).remaining).toBe(70);
  });

  test('takes what was used beyond, as debt', () => {
    const bucket = bucketOf(100);
    bucket.settle(bucket.take(100, 0), 250, 0);
    expect(bucket.standing(0)).toEqual({ limit: 100, remaining: 0, resetMs: 150_000 });
    expect(bucket.waitMs(1, 0)).toBe(90_600);
  });

  test('takes no more than ten minutes to be full again, whatever was used', () => {
    const bucket = bucketOf(100);
    const open = bucket.take(10, 0);
    bucket.settle(bucket.take(10, 0), 1e9, 0);
    expect(bucket.standing(0).resetMs).toBe(600_000);
    expect(bucket.waitMs(1, 0)).toBe(540_600);
    // What comes back comes off it, as far as time has not filled it up already.
    bucket.settle(open, 0, 0);
    expect(bucket.standing(0).resetMs).toBe(600_000);
    expect(bucket.waitMs(100, 600_000)).toBe(0);
  });

  test('counts once', () => {
    const bucket = bucketOf(100);
    const [other, share] = [bucket.take(50, 0), bucket.take(50, 0)];
    for (const used of [0, 0, 80]) bucket.settle(share, used, 0);
    expect(bucket.standing(0).remaining).toBe(50);
    for (const used of [60, 60, 0]) bucket.settle(other, used, 0);
    expect(bucket.standing(0).remaining).toBe(40);
  });

  test('does not give back what time has filled up already', () => {
    const bucket = bucketOf(1);
    const first = bucket.take(1, 0);
    bucket.take(1, 60_000);
    bucket.settle(first, 0, 60_000);
    expect(bucket.waitMs(1, 60_000)).toBe(60_000);
  });

  test('returns all of it, however late, if the bucket was never full in between', () => {
    const bucket = bucketOf(60);
    bucket.take(50, 0);
    const share = bucket.take(10, 0);
    for (let at = 10_000; at <= 300_000; at += 10_000) bucket.take(10, at);
    expect(bucket.standing(300_000).remaining).toBe(0);
    bucket.settle(share, 0, 300_000);
    expect(bucket.standing(300_000).remaining).toBe(10);
  });

  test('two that come back give no more than time had left of them', () => {
    const bucket = bucketOf(2);
    const [one, two] = [bucket.take(1, 0), bucket.take(1, 0)];
    bucket.take(1, 59_000);
    bucket.settle(one, 0, 59_000);
    bucket.settle(two, 0, 59_000);
    expect(bucket.standing(59_000)).toEqual({ limit: 2, remaining: 1, resetMs: 30_000 });
  });
});

describe('setRate', () => {
  test('leaves the same part of a minute missing after a cut', () => {
    const bucket = bucketOf(1_000);
    bucket.take(500, 0);
    bucket.setRate(10, 0);
    expect(bucket.standing(0)).toEqual({ limit: 10, remaining: 5, resetMs: 30_000 });
  });

  test('leaves the same units missing after a raise, so that a debt is over sooner', () => {
    const bucket = bucketOf(100);
    bucket.settle(bucket.take(100, 0), 600, 0);
    expect(bucket.waitMs(1, 0)).toBeGreaterThan(300_000);
    bucket.setRate(1_000, 0);
    expect(bucket.standing(0)).toEqual({ limit: 1_000, remaining: 400, resetMs: 36_000 });
  });

  test('corrects by the measure that is in force, for what was taken before', () => {
    const raised = bucketOf(100);
    const one = raised.take(100, 0);
    raised.setRate(1_000, 0);
    expect(raised.standing(0).remaining).toBe(900);
    raised.settle(one, 50, 0);
    expect(raised.standing(0).remaining).toBe(950);

    const cut = bucketOf(1_000);
    const two = cut.take(500, 0);
    cut.setRate(10, 0);
    cut.settle(two, 250, 0);
    expect(cut.standing(0)).toEqual({ limit: 10, remaining: 7, resetMs: 15_000 });
  });

  test('keeps what time has filled up from being given back', () => {
    const bucket = bucketOf(1);
    const share = bucket.take(1, 0);
    bucket.take(1, 60_000);
    bucket.setRate(2, 60_000);
    bucket.settle(share, 0, 60_000);
    expect(bucket.standing(60_000)).toEqual({ limit: 2, remaining: 1, resetMs: 30_000 });
  });
});

describe('under any order of events', () => {
  interface Entry {
    at: number;
    units: number;
  }

  /** The definition: from the truth of every cost, in order of time. */
  function fullAt(entries: readonly Entry[], rate: number): number {
    let latest = -Infinity;
    let units = 0;
    for (const entry of entries.toReversed()) {
      units += entry.units;
      latest = Math.max(latest, entry.at + (units * 60_000) / rate);
    }
    return latest;
  }

  interface Run {
    now: number;
    bucket: Bucket;
    rate: number;
    entries: Entry[];
    open: { share: Share; entry: Entry }[];
  }

  /** Takes, settles and lets time pass by chance; `used` returns how much of a share was used. */
  function step(random: Random, run: Run, used: (units: number) => number): void {
    const { bucket, rate, entries, open } = run;
    if (random.oneIn(2))
      run.now += random.below(random.pick([3, 2_000, 40_000])) + random.below(8) / 8;
    if (random.oneIn(2) && open.length > 0) {
      const [ended] = open.splice(random.below(open.length), 1);
      if (ended === undefined) return;
      const { share, entry } = ended;
      const truth = used(share.units);
      bucket.settle(share, truth, run.now);
      entry.units = Math.min(truth, share.units);
      if (truth > share.units) entries.push({ at: run.now, units: truth - share.units });
      return;
    }
    const units = random.below(random.pick([2, rate, rate + 5])) + 1;
    if (bucket.waitMs(units, run.now) > 0) return;
    const share = bucket.take(units, run.now);
    const entry = { at: run.now, units: share.units };
    entries.push(entry);
    open.push({ share, entry });
  }

  function runOf(random: Random): Run {
    const rate = random.below(random.pick([3, 20, 5_000])) + 1;
    const now = random.below(1_000_000);
    return { now, bucket: bucketOf(rate, now), rate, entries: [], open: [] };
  }

  test('it stands as if the truth of every share had been known at first', async () => {
    await forSeeds(300, (random) => {
      const run = runOf(random);
      for (let i = 0; i < 120; i++) {
        step(random, run, (units) => random.below(random.pick([1, units + 1, 2 * units + 1])));
        const expected = Math.max(0, fullAt(run.entries, run.rate) - run.now);
        expect(Math.abs(run.bucket.standing(run.now).resetMs - expected)).toBeLessThanOrEqual(
          1.001,
        );
      }
    });
  });

  test('no stretch of time has more of what was used than a full bucket and the rate', async () => {
    await forSeeds(300, (random) => {
      const run = runOf(random);
      for (let i = 0; i < 120; i++) step(random, run, (units) => random.below(units + 1));
      const { entries, rate } = run;
      for (const [first, { at: from }] of entries.entries()) {
        let units = 0;
        for (const { at, units: more } of entries.slice(first)) {
          units += more;
          expect(units).toBeLessThanOrEqual(rate + ((at - from + 0.01) * rate) / 60_000 + 1e-6);
        }
      }
    });
  });

  test('a request after the wait that was told passes, and one two milliseconds earlier does not', async () => {
    await forSeeds(300, (random) => {
      const run = runOf(random);
      for (let i = 0; i < 120; i++) {
        step(random, run, (units) => random.below(2 * units + 1));
        const units = random.below(run.rate) + 1;
        const waitMs = run.bucket.waitMs(units, run.now);
        expect(run.bucket.waitMs(units, run.now + waitMs)).toBe(0);
        if (waitMs >= 2) {
          expect(run.bucket.waitMs(units, run.now + waitMs - 2)).toBeGreaterThan(0);
        }
      }
    });
  });

  test('it is full again in the end, and a minute of the rate suffices where there was no debt', async () => {
    await forSeeds(100, (random) => {
      const run = runOf(random);
      for (let i = 0; i < 120; i++) step(random, run, (units) => random.below(units + 1));
      expect(run.bucket.isFull(run.now + 60_000.01)).toBe(true);
    });
  });
});

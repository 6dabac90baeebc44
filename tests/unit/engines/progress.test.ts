/**
 * Progress of one upstream: how long a silence of open requests may last before it counts as a wedge, and which
 * silences prove nothing.
 */
import { describe, expect, test } from 'bun:test';
import { Progress, type StallQuestion } from '../../../src/engines/progress.ts';
import { forSeeds } from '../../support/random.ts';

const floorMs = 30_000;

/** Asks at that time, of an engine with one open request whose silence would mean something. */
function isStalled(progress: Progress, now: number, other: Partial<StallQuestion> = {}): boolean {
  return progress.isStalled({
    openRequests: 1,
    canJudge: true,
    floorMs,
    factor: 10,
    ...other,
    now,
  });
}

/** Returns the progress of an engine with requests since 0 that moved every `gapMs` up to `endMs`. */
function moving(gapMs: number, endMs: number): Progress {
  const progress = new Progress();
  progress.opened(0);
  for (let now = gapMs; now <= endMs; now += gapMs) progress.moved(now);
  return progress;
}

describe('a silence of open requests', () => {
  test('is a stall once it has lasted the floor, since the last movement', () => {
    const progress = moving(20, 1_000);
    expect(isStalled(progress, 30_999)).toBe(false);
    expect(isStalled(progress, 31_000)).toBe(true);
  });

  test('is a stall once it has lasted the floor, since requests are open', () => {
    const progress = moving(20, 1_000);
    progress.closed();
    progress.opened(500_000);
    expect(isStalled(progress, 529_999)).toBe(false);
    expect(isStalled(progress, 530_000)).toBe(true);
  });

  test('must last many usual gaps where those are long', () => {
    const progress = moving(10_000, 200_000);
    expect(progress.usualGapMs).toBeCloseTo(10_000);
    expect(isStalled(progress, 299_000)).toBe(false);
    expect(isStalled(progress, 300_001)).toBe(true);
    expect(isStalled(progress, 231_000, { factor: 3 })).toBe(true);
  });

  test('ends with the next movement', () => {
    const progress = moving(20, 1_000);
    expect(isStalled(progress, 90_000)).toBe(true);
    progress.moved(90_000);
    expect(isStalled(progress, 90_001)).toBe(false);
    expect(isStalled(progress, 400_000)).toBe(true);
  });
});

describe('no silence is a stall', () => {
  const progress = moving(20, 1_000);

  test('while no request is open', () => {
    expect(isStalled(progress, 1e9, { openRequests: 0 })).toBe(false);
  });

  test('while the engine has no way to show progress', () => {
    expect(isStalled(progress, 1e9, { canJudge: false })).toBe(false);
  });

  test('where the floor is 0', () => {
    expect(isStalled(progress, 1e9, { floorMs: 0 })).toBe(false);
  });

  test('before anything is known', () => {
    expect(isStalled(new Progress(), 1e9)).toBe(false);
  });
});

test('silentSince is the later of the last movement and the first open request', () => {
  const progress = new Progress();
  expect(progress.silentSince).toBeUndefined();
  progress.opened(100);
  expect(progress.silentSince).toBe(100);
  progress.moved(250);
  expect(progress.silentSince).toBe(250);
  progress.closed();
  progress.opened(900);
  expect(progress.silentSince).toBe(900);
});

describe('counters', () => {
  test('are known of from the first read that gave a sum, 0 included', () => {
    const progress = new Progress();
    progress.counters(undefined, 0);
    expect(progress.hasCounters).toBe(false);
    progress.counters(0, 0);
    expect(progress.hasCounters).toBe(true);
  });

  test('that move are progress, so that a long prefill is no stall', () => {
    const progress = new Progress();
    progress.opened(0);
    for (let now = 0; now <= 600_000; now += 1_000) {
      progress.counters(now / 2, now);
      expect(isStalled(progress, now)).toBe(false);
    }
    expect(isStalled(progress, 630_000)).toBe(true);
  });

  test('that stand still are none, however often they are read', () => {
    const progress = new Progress();
    progress.opened(0);
    for (let now = 0; now <= 30_000; now += 1_000) progress.counters(7, now);
    expect(isStalled(progress, 30_000)).toBe(true);
  });

  test('move when they fall, as after a new task on a slot', () => {
    const progress = new Progress();
    progress.opened(0);
    progress.counters(500, 1_000);
    progress.counters(3, 20_000);
    expect(isStalled(progress, 49_999)).toBe(false);
    expect(isStalled(progress, 50_000)).toBe(true);
  });

  test('are compared over a read that gave nothing', () => {
    const progress = new Progress();
    progress.opened(0);
    progress.counters(7, 1_000);
    progress.counters(undefined, 20_000);
    progress.counters(7, 29_000);
    expect(isStalled(progress, 30_000)).toBe(true);
    progress.counters(8, 30_000);
    expect(isStalled(progress, 30_000)).toBe(false);
  });

  test('show nothing when they are read for the first time', () => {
    const progress = new Progress();
    progress.opened(0);
    progress.counters(7, 29_000);
    expect(isStalled(progress, 30_000)).toBe(true);
  });
});

describe('the usual gap', () => {
  test('is 0 before the first', () => {
    expect(new Progress().usualGapMs).toBe(0);
  });

  test('begins with the first gap and moves by a tenth of each difference', () => {
    const progress = new Progress();
    progress.opened(0);
    progress.moved(1_100);
    progress.moved(1_200);
    expect(progress.usualGapMs).toBe(100);
    progress.moved(1_400);
    expect(progress.usualGapMs).toBeCloseTo(110);
  });

  test('does not shrink because several bytes come in the same millisecond', () => {
    const progress = moving(100, 1_000);
    for (let i = 0; i < 1_000; i++) progress.moved(1_000);
    expect(progress.usualGapMs).toBeCloseTo(100);
  });

  test('leaves out the time without requests', () => {
    const progress = moving(100, 1_000);
    progress.closed();
    progress.moved(900_000);
    progress.moved(950_000);
    progress.opened(1_000_000);
    progress.moved(1_000_900);
    progress.moved(1_001_000);
    expect(progress.usualGapMs).toBeCloseTo(100);
  });

  test('leaves out the wait for the first movement, which a long prompt can make long', () => {
    const progress = new Progress();
    progress.opened(0);
    progress.moved(25_000);
    expect(progress.usualGapMs).toBe(0);
    expect(isStalled(progress, 55_000)).toBe(true);
  });
});

test('whatever happened, an engine is stalled exactly when it has been silent for long enough', async () => {
  const seen = { stalled: 0, fine: 0 };
  await forSeeds(100, (random) => {
    const progress = new Progress();
    let now = 0;
    let open = 0;
    let counters = 0;
    let since = 0;
    for (let i = 0; i < 200; i++) {
      now += random.pick([0, 1, 30, 2_000, 40_000]);
      const event = random.below(6);
      if (event === 0 && open++ === 0) {
        progress.opened(now);
        since = now;
      }
      if (event === 1 && open > 0) {
        progress.moved(now);
        since = now;
        if (--open === 0) progress.closed();
      }
      if (event === 2 && open > 0) {
        counters += random.below(2);
        const isNew = random.oneIn(2) ? counters : undefined;
        const before = read.get(progress);
        progress.counters(isNew, now);
        if (isNew !== undefined && before !== undefined && before !== isNew) since = now;
        if (isNew !== undefined) read.set(progress, isNew);
      }
      const limit = Math.max(floorMs, 3 * progress.usualGapMs);
      const expected = open > 0 && now - since >= limit;
      seen[expected ? 'stalled' : 'fine']++;
      expect(isStalled(progress, now, { openRequests: open, factor: 3 })).toBe(expected);
    }
  });
  expect(Math.min(seen.stalled, seen.fine)).toBeGreaterThan(100);
});

test('the time that this process stood still is no silence of the engine, and no gap', () => {
  const progress = new Progress();
  progress.opened(0);
  progress.moved(100);
  progress.moved(110);
  progress.paused(6_000, 6_200);
  expect(progress.silentSince).toBe(6_110);
  progress.moved(6_210);
  expect(progress.usualGapMs).toBe(10);
});

test('a pause before anything was asked changes nothing, and none ends later than now', () => {
  const progress = new Progress();
  progress.paused(1_000, 1_000);
  expect(progress.silentSince).toBeUndefined();
  progress.opened(5_000);
  progress.paused(1_000, 5_100);
  expect(progress.silentSince).toBe(5_100);
});

/** What each was told last of its counters. */
const read = new WeakMap<Progress, number>();

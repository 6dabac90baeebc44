/**
 * Pauses of a process, by the times at which its timer fires.
 */
import { expect, test } from 'bun:test';
import { Pauses } from '../../../src/request/pauses.ts';

function start(beganAt = 1_000): Pauses {
  const pauses = new Pauses(100);
  pauses.begin(beganAt);
  return pauses;
}

test('a timer that is in time, or late as a busy moment makes it, has lost nothing', () => {
  const pauses = start();
  expect([1_100, 1_200, 1_499, 1_600].map((now) => pauses.beat(now))).toEqual([0, 0, 0, 0]);
  expect(pauses.lostSince(0)).toBe(0);
});

test('a late timer has lost what it is late', () => {
  const pauses = start();
  expect(pauses.beat(7_100)).toBe(6_000);
  expect(pauses.beat(7_200)).toBe(0);
});

test('what was lost counts for all that began before it was noticed', () => {
  const pauses = start();
  pauses.beat(2_100);
  pauses.beat(4_200);
  expect([1_000, 2_000, 2_100, 3_000, 4_200].map((since) => pauses.lostSince(since))).toEqual([
    3_000, 3_000, 2_000, 2_000, 0,
  ]);
});

test('a timer that begins again knows nothing of before', () => {
  const pauses = start();
  pauses.beat(5_000);
  pauses.begin(90_000);
  expect(pauses.beat(90_100)).toBe(0);
  expect(pauses.lostSince(0)).toBe(0);
});

test('nothing may be judged at the first late beat, and everything at the next one, late or not', () => {
  const pauses = start();
  const judged = [1_100, 2_000, 3_000, 4_000, 4_100, 9_000].map((now) => {
    pauses.beat(now);
    return pauses.mayJudge;
  });
  expect(judged).toEqual([true, false, true, true, true, false]);
});

test('a machine that is always late costs no memory: the latest hundred pauses are known', () => {
  const pauses = start(0);
  for (let beat = 1; beat <= 1_000; beat++) pauses.beat(beat * 600);
  expect(pauses.lostSince(0)).toBe(50_000);
});

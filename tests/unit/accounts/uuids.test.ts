/** The ids of rows: UUIDs that rise, whatever the clock does. */
import { expect, test } from 'bun:test';
import { Uuids } from '../../../src/accounts/uuids.ts';

const now = Date.UTC(2026, 10, 5, 13, 30);
const form = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** Takes so many. */
function take(uuids: Uuids, count: number): string[] {
  return Array.from({ length: count }, () => uuids.next());
}

/** Returns the time in a UUIDv7, in epoch milliseconds. */
function msOf(uuid: string): number {
  return Number.parseInt(uuid.replaceAll('-', '').slice(0, 12), 16);
}

test('they begin with the time', () => {
  const uuid = new Uuids(() => now + 0.7).next();
  expect(uuid).toMatch(form);
  expect(msOf(uuid)).toBe(now);
});

test('thousands within a millisecond rise', () => {
  const all = take(new Uuids(() => now), 20_000);
  expect(all).toEqual(all.toSorted());
  expect(new Set(all).size).toBe(20_000);
  for (const uuid of all) expect(uuid).toMatch(form);
});

test('they rise when the clock is set back, also before a start', () => {
  let ms = now;
  const before = new Uuids(() => ms);
  const first = take(before, 3);
  ms -= 60_000;
  const second = take(before, 3);
  const latest = second.at(-1);
  ms -= 60_000;
  const third = take(new Uuids(() => ms, latest), 3);
  const all = [...first, ...second, ...third];
  expect(all).toEqual(all.toSorted());
  expect(new Set(all).size).toBe(9);
});

test('a latest one of the past changes nothing', () => {
  const old = new Uuids(() => now - 60_000).next();
  expect(msOf(new Uuids(() => now, old).next())).toBe(now);
});

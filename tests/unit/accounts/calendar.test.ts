/**
 * Days and months of a time zone: where they begin and end, also where the clocks change.
 */
import { describe, expect, test } from 'bun:test';
import { Calendar, Tally } from '../../../src/accounts/calendar.ts';
import { forSeeds } from '../../support/random.ts';
import type { PeriodName } from '../../../src/request/caller.ts';

function spanOf(timeZone: string | undefined, name: PeriodName, at: string): [string, string] {
  const { start, end } = new Calendar(timeZone).periodOf(name, Date.parse(at));
  return [new Date(start).toISOString(), new Date(end).toISOString()];
}

describe('a day', () => {
  test('is of UTC unless a zone is given', () => {
    const day = ['2026-11-24T00:00:00.000Z', '2026-11-25T00:00:00.000Z'];
    expect(spanOf(undefined, 'day', '2026-11-24T00:00:00.000Z')).toEqual(day as [string, string]);
    expect(spanOf(undefined, 'day', '2026-11-24T23:59:59.999Z')).toEqual(day as [string, string]);
    expect(spanOf('Etc/UTC', 'day', '2026-11-24T12:00:00Z')).toEqual(day as [string, string]);
  });

  test('has 23 hours in Berlin when summer time begins', () => {
    const day: [string, string] = ['2026-03-28T23:00:00.000Z', '2026-03-29T22:00:00.000Z'];
    for (const at of ['2026-03-28T23:00:00Z', '2026-03-29T01:00:00Z', '2026-03-29T21:59:59.999Z']) {
      expect(spanOf('Europe/Berlin', 'day', at)).toEqual(day);
    }
  });

  test('has 25 hours in Berlin when it ends', () => {
    const day: [string, string] = ['2026-10-24T22:00:00.000Z', '2026-10-25T23:00:00.000Z'];
    for (const at of ['2026-10-24T22:00:00Z', '2026-10-25T01:00:00Z', '2026-10-25T22:59:59.999Z']) {
      expect(spanOf('Europe/Berlin', 'day', at)).toEqual(day);
    }
  });

  test('begins at one where the clocks change at midnight', () => {
    expect(spanOf('Africa/Cairo', 'day', '2024-04-26T12:00:00Z')).toEqual([
      '2024-04-25T22:00:00.000Z',
      '2024-04-26T21:00:00.000Z',
    ]);
  });

  test('of a zone with half an hour', () => {
    expect(spanOf('Asia/Kolkata', 'day', '2026-11-24T18:30:00Z')).toEqual([
      '2026-11-24T18:30:00.000Z',
      '2026-11-25T18:30:00.000Z',
    ]);
  });

  test('holds a moment between two milliseconds', () => {
    const { start, end } = new Calendar().periodOf('day', Date.parse('2026-11-24T00:00Z') + 0.5);
    expect([start, end]).toEqual([Date.parse('2026-11-24'), Date.parse('2026-11-25')]);
  });
});

describe('a month', () => {
  test('is as long as the calendar says', () => {
    expect(spanOf(undefined, 'month', '2028-02-29T23:59:59.999Z')).toEqual([
      '2028-02-01T00:00:00.000Z',
      '2028-03-01T00:00:00.000Z',
    ]);
    expect(spanOf(undefined, 'month', '2026-12-01T00:00:00Z')).toEqual([
      '2026-12-01T00:00:00.000Z',
      '2027-01-01T00:00:00.000Z',
    ]);
  });

  test('begins by the wall clock of the zone', () => {
    const march: [string, string] = ['2026-02-28T23:00:00.000Z', '2026-03-31T22:00:00.000Z'];
    expect(spanOf('Europe/Berlin', 'month', '2026-02-28T23:00:00Z')).toEqual(march);
    expect(spanOf('Europe/Berlin', 'month', '2026-03-31T21:59:59.999Z')).toEqual(march);
  });
});

test('a zone that does not exist is refused', () => {
  expect(() => new Calendar('Mars/Olympus')).toThrow(RangeError);
});

test('the calendar follows a clock that goes forth and back', () => {
  const calendar = new Calendar();
  const days = ['2026-01-01', '2026-01-02', '2026-01-01', '2025-06-30', '2026-01-02'];
  for (const day of days) {
    expect(calendar.periodOf('day', Date.parse(day)).start).toBe(Date.parse(day));
  }
});

test('the boundaries of a period are looked up once, at its very beginning too', () => {
  const calendar = new Calendar('Europe/Berlin');
  for (const name of ['day', 'month'] as const) {
    const period = calendar.periodOf(name, Date.parse('2026-11-24T12:00:00Z'));
    expect(calendar.periodOf(name, period.start)).toBe(period);
    expect(calendar.periodOf(name, period.end - 1)).toBe(period);
  }
});

test('every moment is in its period, and the next one begins where it ends', async () => {
  await forSeeds(60, (random) => {
    const zone = random.pick(['UTC', 'Europe/Berlin', 'America/Havana', 'Australia/Lord_Howe']);
    const name = random.pick<PeriodName>(['day', 'month']);
    const at = Date.parse('2020-01-01') + random.below(10 * 365 * 24) * 3_600_000 + 1;
    const calendar = new Calendar(zone);
    const period = calendar.periodOf(name, at);
    expect(period.start).toBeLessThanOrEqual(at);
    expect(period.end).toBeGreaterThan(at);
    expect(calendar.periodOf(name, period.end).start).toBe(period.end);
    expect(calendar.periodOf(name, period.start - 1).end).toBe(period.start);
  });
});

test('a tally counts for the two periods in which it was set last, and for no other', () => {
  const first = { start: 10, end: 20 };
  const second = { start: 20, end: 30 };
  const third = { start: 30, end: 40 };
  const tally = new Tally();
  expect(tally.in(first)).toBe(0);
  tally.set(first, 5);
  expect([tally.in(first), tally.in(second)]).toEqual([5, 0]);
  tally.set(second, 7);
  expect([tally.in(first), tally.in(second)]).toEqual([5, 7]);
  // The clock steps back, and passes the boundary again.
  tally.set(first, 6);
  expect([tally.in(first), tally.in(second)]).toEqual([6, 7]);
  tally.set(second, 8);
  tally.set(third, 9);
  expect([tally.in(first), tally.in(second), tally.in(third)]).toEqual([0, 8, 9]);
  expect([tally.isEmptySince(30), tally.isEmptySince(29)]).toEqual([true, false]);
  tally.set(third, 0);
  expect([tally.isEmptySince(20), tally.isEmptySince(19)]).toEqual([true, false]);
});

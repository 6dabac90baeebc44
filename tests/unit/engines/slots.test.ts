/** What fits into a station. */
import { describe, expect, test } from 'bun:test';
import { canRun, shortage, Station } from '../../../src/engines/slots.ts';

function stationOf(capacity: number, used = 0, isOpen = true): Station {
  const station = new Station('a', capacity, isOpen);
  station.used = used;
  return station;
}

describe('a station', () => {
  test('takes what fits beside what runs', () => {
    expect(canRun(stationOf(4, 2), 2)).toBe(true);
    expect(canRun(stationOf(4, 2), 3)).toBe(false);
    expect(canRun(stationOf(Number.POSITIVE_INFINITY, 1_000), 1_000)).toBe(true);
  });

  test('takes one that is larger than itself when nothing runs', () => {
    expect(canRun(stationOf(2), 9)).toBe(true);
    expect(canRun(stationOf(2, 1), 9)).toBe(false);
  });

  test('without slots takes only what needs none', () => {
    expect(canRun(stationOf(0), 1)).toBe(false);
    expect(canRun(stationOf(0), 0)).toBe(true);
  });

  test('that is closed takes nothing', () => {
    expect(canRun(stationOf(2, 0, false), 1)).toBe(false);
    expect(canRun(stationOf(2, 0, false), 0)).toBe(false);
  });

  test('that has shrunk has no free units, and not less than none', () => {
    expect(stationOf(1, 3).free).toBe(0);
  });

  test('says how many units must come back, of one that is too large all', () => {
    expect(shortage(stationOf(4, 3), 2)).toBe(1);
    expect(shortage(stationOf(4, 3), 9)).toBe(3);
  });
});

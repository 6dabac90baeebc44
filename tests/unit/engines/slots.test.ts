/** What fits into slots. */
import { describe, expect, test } from 'bun:test';
import { canRun, shortage, SlotSet } from '../../../src/engines/slots.ts';

/** Says whether so many units fit into that many slots, all of which are held here. */
function fits(capacity: number, used: number, units: number, isOpen = true): boolean {
  return canRun(slotsOf(capacity, used, isOpen), units, capacity);
}

function slotsOf(capacity: number, used = 0, isOpen = true): SlotSet {
  const slots = new SlotSet('a', capacity, isOpen);
  slots.used = used;
  return slots;
}

describe('slots', () => {
  test('take what fits beside what runs', () => {
    expect(fits(4, 2, 2)).toBe(true);
    expect(fits(4, 2, 3)).toBe(false);
    expect(fits(Number.POSITIVE_INFINITY, 1_000, 1_000)).toBe(true);
  });

  test('take one that is larger than all of them when nothing runs', () => {
    expect(fits(2, 0, 9)).toBe(true);
    expect(fits(2, 1, 9)).toBe(false);
  });

  test('that are none take only what needs none', () => {
    expect(fits(0, 0, 1)).toBe(false);
    expect(fits(0, 0, 0)).toBe(true);
  });

  test('that are closed take nothing', () => {
    expect(fits(2, 0, 1, false)).toBe(false);
    expect(fits(2, 0, 0, false)).toBe(false);
  });

  test('that are not held here take nothing, however many the engine has', () => {
    expect(canRun(slotsOf(4), 1, 0)).toBe(false);
    expect(canRun(slotsOf(4), 2, 1)).toBe(true);
    expect(canRun(slotsOf(4, 1), 1, 1)).toBe(false);
  });

  test('that have shrunk have no room, and not less than none', () => {
    expect(shortage(slotsOf(1, 3), 1, 1)).toBe(1);
  });

  test('say how many units must come back, for one that is too large all', () => {
    expect(shortage(slotsOf(4, 3), 2, 4)).toBe(1);
    expect(shortage(slotsOf(4, 3), 9, 4)).toBe(3);
    expect(shortage(slotsOf(4, 3), 1, 3)).toBe(1);
    expect(shortage(slotsOf(4, 1), 1, 4)).toBe(-2);
  });
});

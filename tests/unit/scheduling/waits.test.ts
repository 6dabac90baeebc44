/** Why a job waits, what its client is told, and that an estimate which was told is not set back without need. */
import { describe, expect, test } from 'bun:test';
import { Countdown, heldBy, ownReason, type Report } from '../../../src/scheduling/waits.ts';
import { MemoryShares } from '../../../src/stores/memory/shares.ts';
import { SlotSet } from '../../../src/engines/slots.ts';
import { groupOf, waiterOf, type Wanted } from '../../support/schedulingworld.ts';

function waiting(wanted: Partial<Wanted>, ...slotSets: [SlotSet, ...SlotSet[]]) {
  const waiter = waiterOf('a', groupOf(...slotSets), wanted);
  const { domain } = slotSets[0];
  waiter.share = new MemoryShares().open(domain, 'interactive', 'a', 1);
  return waiter;
}

function slotsOf(capacity: number, used: number, isOpen = true): SlotSet {
  return Object.assign(new SlotSet('a', capacity, isOpen), { used });
}

describe('a waiter is held', () => {
  test('by its turn where all slots are in use', () => {
    expect(heldBy(waiting({}, slotsOf(2, 2)))).toBe('turn');
    expect(heldBy(waiting({ units: 2 }, slotsOf(2, 2)))).toBe('turn');
    expect(heldBy(waiting({}, slotsOf(2, 1)))).toBe('turn');
  });

  test('by the cap of its caller', () => {
    const waiter = waiting({ maxUnits: 2 }, slotsOf(4, 2));
    waiter.share.holder.running = 2;
    expect(heldBy(waiter)).toBe('cap');
    waiter.share.holder.running = 1;
    expect(heldBy(waiter)).toBe('turn');
  });

  test('by its size where some slots are free, and not enough', () => {
    expect(heldBy(waiting({ units: 2 }, slotsOf(2, 1)))).toBe('size');
    expect(heldBy(waiting({ units: 2 }, slotsOf(2, 2), slotsOf(2, 1)))).toBe('size');
    expect(heldBy(waiting({ units: 2 }, slotsOf(2, 2), slotsOf(2, 1, false)))).toBe('turn');
  });

  test('by its servers where none takes requests', () => {
    expect(heldBy(waiting({}, slotsOf(2, 0, false)))).toBe('away');
    expect(heldBy(waiting({}, slotsOf(2, 0, false), slotsOf(2, 2)))).toBe('turn');
  });
});

test('a client is told what of its own holds its request', () => {
  const report: Report = {
    place: 3,
    waitSeconds: 12,
    held: 'turn',
    units: 3,
    maxUnits: 2,
    running: 2,
  };
  expect(ownReason(report)).toBe('');
  expect(ownReason({ ...report, held: 'cap' })).toBe(
    ', this caller uses 2 of the 2 slots that it may have at once',
  );
  expect(ownReason({ ...report, held: 'size' })).toBe(', it needs 3 slots at once');
  expect(ownReason({ ...report, held: 'away' })).toBe(', no server for it takes requests now');
});

describe('the clock of a client', () => {
  test('runs down by itself while the estimate is hardly longer', () => {
    const countdown = new Countdown();
    expect(countdown.next(20, 0)).toBe(20);
    expect(countdown.next(21, 2_000)).toBe(18);
    expect(countdown.next(12, 10_000)).toBe(10);
    expect(countdown.next(1, 25_000)).toBe(0);
  });

  test('goes on at once, and back where it must', () => {
    const countdown = new Countdown();
    expect(countdown.next(20, 0)).toBe(20);
    expect(countdown.next(5, 1_000)).toBe(5);
    expect(countdown.next(5.9, 2_000)).toBe(4);
    expect(countdown.next(6.1, 2_000)).toBe(6.1);
    expect(countdown.next(7, 2_000)).toBe(6.1);
  });
});

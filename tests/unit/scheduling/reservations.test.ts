/** Slots that are kept for requests that were passed over. */
import { describe, expect, test } from 'bun:test';
import { Lanes } from '../../../src/scheduling/lanes.ts';
import { Reservations } from '../../../src/scheduling/reservations.ts';
import type { SlotBroker } from '../../../src/scheduling/slotbroker.ts';
import { Waiter, domainOf } from '../../../src/scheduling/waiter.ts';
import { SlotSet } from '../../../src/engines/slots.ts';
import { MemoryShares } from '../../../src/stores/memory/shares.ts';
import { LocalSlots } from '../../../src/stores/memory/slots.ts';
import { waiterOf } from '../../support/schedulingworld.ts';

function stage(broker: SlotBroker = new LocalSlots()) {
  const slotSets = [new SlotSet('a', 4, true), new SlotSet('b', 4, true)];
  const [a, b] = slotSets as [SlotSet, SlotSet];
  const group = { slotSets };
  const lanes = new Lanes();
  const shares = new MemoryShares();
  const reserved = new Reservations(broker);
  let order = 0;
  function enter(principal: string, units = 4): Waiter {
    const waiter = waiterOf(principal, group, { units });
    waiter.share = shares.open(domainOf(waiter), waiter.job.priority, principal, 1);
    waiter.order = order++;
    waiter.passed = 8;
    lanes.insert(waiter);
    return waiter;
  }
  return { a, b, lanes, reserved, enter };
}

describe('a slot set', () => {
  test('is kept where room is free soonest, and for no other waiter', () => {
    const { a, b, reserved, enter } = stage();
    a.used = 3;
    b.used = 1;
    const large = enter('large');
    reserved.keep(large);
    expect([...reserved]).toEqual([[b, large]]);
    expect([reserved.allows(a, undefined), reserved.allows(b, undefined)]).toEqual([true, false]);
    expect(reserved.allows(b, large)).toBe(true);
  });

  test('is kept once for each, on another slots for the next', () => {
    const { a, b, reserved, enter } = stage();
    const [one, two, three] = [enter('one'), enter('two'), enter('three')];
    for (const waiter of [one, one, two, three]) reserved.keep(waiter);
    expect([...reserved]).toEqual([
      [a, one],
      [b, two],
    ]);
  });

  test('is not kept that is closed or has no slots', () => {
    const { a, b, reserved, enter } = stage();
    a.isOpen = false;
    b.capacity = 0;
    reserved.keep(enter('large'));
    expect(reserved.size).toBe(0);
  });

  test('is kept where this gateway holds room, whatever the engines have', () => {
    class Held extends LocalSlots {
      override held({ id }: SlotSet): number {
        return { a: 0, b: 2 }[id] ?? 0;
      }
    }
    const { b, reserved, enter } = stage(new Held());
    const [one, two] = [enter('one'), enter('two')];
    reserved.keep(one);
    reserved.keep(two);
    expect([...reserved]).toEqual([[b, one]]);
  });

  test('is given up when it is closed, and when its owner has left', () => {
    const { a, lanes, reserved, enter } = stage();
    const one = enter('one');
    reserved.keep(one);
    a.isOpen = false;
    expect([...reserved]).toEqual([]);
    expect(reserved.size).toBe(0);
    a.isOpen = true;
    reserved.keep(one);
    reserved.forget(one);
    expect(reserved.size).toBe(0);
    reserved.keep(one);
    lanes.extract(one);
    expect([...reserved]).toEqual([]);
  });

  test('is given up when another of the same line has come before its owner', () => {
    const { a, reserved, lanes, enter } = stage();
    const one = enter('one');
    reserved.keep(one);
    const returned = new Waiter(one.job, one.choice, one.group, one.maxUnits);
    Object.assign(returned, { share: one.share, order: -1 });
    lanes.insert(returned);
    expect([...reserved]).toEqual([]);
    expect(reserved.allows(a, undefined)).toBe(true);
  });
});

/** Stations that are kept for what was passed over. */
import { describe, expect, test } from 'bun:test';
import { Lanes, type Entry, type Line, type Waiter } from '../../../src/scheduling/lanes.ts';
import { Reservations } from '../../../src/scheduling/reservations.ts';
import { Shares } from '../../../src/scheduling/shares.ts';
import { Station } from '../../../src/engines/slots.ts';
import { waiterOf } from '../../support/schedulingworld.ts';

function stage() {
  const stations = [new Station('a', 4, true), new Station('b', 4, true)];
  const [a, b] = stations as [Station, Station];
  const group = { key: 'a b', stations };
  const lanes = new Lanes<Waiter>();
  const shares = new Shares<Line<Waiter>>();
  const reserved = new Reservations<Waiter>();
  let order = 0;
  function enter(principal: string, units = 4): Entry<Waiter> {
    const waiter = waiterOf(principal, group, units);
    const account = shares.open(principal, 1);
    const entry = { waiter, account, order: order++, passed: 8, line: undefined };
    lanes.insert(entry);
    return entry;
  }
  return { a, b, lanes, reserved, enter };
}

describe('a station', () => {
  test('is kept where there is room soonest, and for nobody else', () => {
    const { a, b, reserved, enter } = stage();
    a.used = 3;
    b.used = 1;
    const large = enter('large');
    reserved.keep(large);
    expect([...reserved]).toEqual([[b, large]]);
    expect([reserved.allows(a, undefined), reserved.allows(b, undefined)]).toEqual([true, false]);
    expect(reserved.allows(b, large)).toBe(true);
  });

  test('is kept once for each, on another station for the next', () => {
    const { a, b, reserved, enter } = stage();
    const [one, two, three] = [enter('one'), enter('two'), enter('three')];
    for (const entry of [one, one, two, three]) reserved.keep(entry);
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
    const returned = { ...one, order: -1, line: undefined, waiter: { ...one.waiter } };
    lanes.insert(returned);
    expect([...reserved]).toEqual([]);
    expect(reserved.allows(a, undefined)).toBe(true);
  });
});

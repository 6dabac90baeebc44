/** Lines and lanes: the order in them, what a cap keeps waiting, and that nothing stays of what has left. */
import { describe, expect, test } from 'bun:test';
import { Lanes, placeOf } from '../../../src/scheduling/lanes.ts';
import { headOf, type Waiter } from '../../../src/scheduling/waiter.ts';
import { SlotSet } from '../../../src/engines/slots.ts';
import { LocalShares } from '../../../src/stores/memory/shares.ts';
import { waiterOf, type Wanted } from '../../support/schedulingworld.ts';

function stage() {
  const lanes = new Lanes();
  const shares = new LocalShares();
  const group = { slotSets: [new SlotSet('a', 1, true)] };
  let order = 0;
  function enter(principal: string, wanted: Partial<Wanted> = {}): Waiter {
    const waiter = waiterOf(principal, group, wanted);
    waiter.share = shares.open(principal, 1);
    waiter.order = order++;
    lanes.insert(waiter);
    return waiter;
  }
  const eligible = () => {
    return [...crowds()].flatMap(({ lanes: all }) => {
      return [...all.values()].flatMap((lane) => [...lane.eligible].map(headOf));
    });
  };
  const crowds = () => ({ [Symbol.iterator]: () => lanes[Symbol.iterator]() });
  return { lanes, shares, group, enter, eligible, crowds };
}

describe('a line', () => {
  test('has what its caller wants of one size and class, the oldest first', () => {
    const { lanes, enter, eligible } = stage();
    const first = enter('a');
    const second = enter('a');
    expect(second.line).toBe(first.line as never);
    expect(eligible()).toEqual([first]);
    lanes.extract(first);
    expect([first.line, eligible()]).toEqual([undefined, [second]]);
  });

  test('whose head a cap keeps waiting keeps what is behind it waiting too', () => {
    const { lanes, enter, eligible } = stage();
    const small = enter('a', { maxUnits: 2 });
    const large = enter('a', { maxUnits: 2, units: 2 });
    const last = enter('a', { maxUnits: 2, units: 3 });
    expect(eligible()).toEqual([small, large, last]);
    small.share.running = 1;
    lanes.rank(small.share);
    expect(eligible()).toEqual([small]);
    small.share.running = 0;
    lanes.rank(small.share);
    expect(eligible()).toEqual([small, large, last]);
  });

  test("whose head was passed over too often keeps its caller's other lines waiting", () => {
    const { lanes, enter, eligible } = stage();
    const large = enter('a', { units: 2 });
    enter('a');
    large.passed = 8;
    lanes.rank(large.share);
    expect(eligible()).toEqual([large]);
  });
});

describe('a crowd', () => {
  test('is forgotten with the last of it', () => {
    const { lanes, enter, crowds } = stage();
    const [one, none] = [enter('a'), enter('a', { units: 0 })];
    for (const waiter of [one, none]) {
      lanes.extract(waiter);
      lanes.prune(waiter);
    }
    expect([...crowds()]).toEqual([]);
    expect(one.share.lines.size).toBe(0);
  });

  test('counts interactive grants only while a batch could run', () => {
    const { lanes, group, enter, crowds } = stage();
    const [slots] = group.slotSets as [SlotSet];
    const quick = enter('a');
    lanes.countClasses(quick, slots);
    const batch = enter('b', { priority: 'batch' });
    lanes.countClasses(quick, slots);
    lanes.countClasses(quick, new SlotSet('other', 1, true));
    expect([...crowds()].map(({ interactiveInARow }) => interactiveInARow)).toEqual([1]);
    lanes.countClasses(batch, slots);
    expect([...crowds()].map(({ interactiveInARow }) => interactiveInARow)).toEqual([0]);
  });

  test('has the lowest counter of those that may run on open slots', () => {
    const { lanes, group, enter } = stage();
    expect(lanes.leastCounter()).toBe(Number.POSITIVE_INFINITY);
    enter('a').share.counter = 5;
    enter('b').share.counter = 3;
    for (const name of ['a', 'b']) enter(name);
    expect(lanes.leastCounter()).toBe(3);
    for (const slots of group.slotSets) slots.isOpen = false;
    expect(lanes.leastCounter()).toBe(Number.POSITIVE_INFINITY);
  });

  test('can be another one, in the same order', () => {
    const { lanes, enter, eligible, crowds } = stage();
    const waiters = [enter('a'), enter('a')];
    const other = { slotSets: [new SlotSet('b', 1, true)] };
    lanes.regroup(waiters, () => other);
    expect([...crowds()].map(({ group }) => group)).toEqual([other]);
    expect(eligible()).toEqual(waiters.slice(0, 1));
  });
});

test('a place counts the own that are older and the turns of others', () => {
  const { enter } = stage();
  const first = enter('a');
  for (let i = 0; i < 3; i++) enter('b');
  const second = enter('a');
  const at = (waiter: Waiter) => waiter.line && placeOf(waiter, waiter.line);
  expect([at(first), at(second)]).toEqual([1, 3]);
});

/** Lines and lanes: the order in them, what a cap keeps waiting, and that nothing stays of what has left. */
import { describe, expect, test } from 'bun:test';
import {
  headOf,
  Lanes,
  placeOf,
  type Entry,
  type Line,
  type Waiter,
} from '../../../src/scheduling/lanes.ts';
import { Shares } from '../../../src/scheduling/shares.ts';
import { Station } from '../../../src/engines/slots.ts';

function stage() {
  const lanes = new Lanes<Waiter>();
  const shares = new Shares<Line<Waiter>>();
  const group = { key: 'a', stations: [new Station('a', 1, true)] };
  let order = 0;
  function enter(principal: string, more: Partial<Waiter> = {}): Entry<Waiter> {
    const waiter: Waiter = {
      principal,
      weight: 1,
      maxUnits: Number.POSITIVE_INFINITY,
      priority: 'interactive',
      units: 1,
      bytes: 0,
      group,
      enteredAt: 0,
      ...more,
    };
    const account = shares.open(principal, 1);
    const entry = { waiter, account, order: order++, passed: 0, line: undefined };
    lanes.insert(entry);
    return entry;
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
    small.account.running = 1;
    lanes.rank(small.account);
    expect(eligible()).toEqual([small]);
    small.account.running = 0;
    lanes.rank(small.account);
    expect(eligible()).toEqual([small, large, last]);
  });

  test("whose head was passed over too often keeps its caller's other lines waiting", () => {
    const { lanes, enter, eligible } = stage();
    const large = enter('a', { units: 2 });
    enter('a');
    large.passed = 8;
    lanes.rank(large.account);
    expect(eligible()).toEqual([large]);
  });
});

describe('a crowd', () => {
  test('is forgotten with the last of it', () => {
    const { lanes, enter, crowds } = stage();
    const [one, none] = [enter('a'), enter('a', { units: 0 })];
    for (const entry of [one, none]) {
      lanes.extract(entry);
      lanes.prune(entry.waiter);
    }
    expect([...crowds()]).toEqual([]);
    expect(one.account.lines.size).toBe(0);
  });

  test('counts interactive grants only while a batch could run', () => {
    const { lanes, group, enter, crowds } = stage();
    const [station] = group.stations as [Station];
    const quick = enter('a');
    lanes.countClasses(quick.waiter, station);
    const batch = enter('b', { priority: 'batch' });
    lanes.countClasses(quick.waiter, station);
    lanes.countClasses(quick.waiter, new Station('other', 1, true));
    expect([...crowds()].map(({ interactiveInARow }) => interactiveInARow)).toEqual([1]);
    lanes.countClasses(batch.waiter, station);
    expect([...crowds()].map(({ interactiveInARow }) => interactiveInARow)).toEqual([0]);
  });

  test('has the lowest counter of those that may run on an open station', () => {
    const { lanes, group, enter } = stage();
    expect(lanes.leastCounter()).toBe(Number.POSITIVE_INFINITY);
    enter('a').account.counter = 5;
    enter('b').account.counter = 3;
    for (const name of ['a', 'b']) enter(name);
    expect(lanes.leastCounter()).toBe(3);
    for (const station of group.stations) station.isOpen = false;
    expect(lanes.leastCounter()).toBe(Number.POSITIVE_INFINITY);
  });

  test('can be another one, in the same order', () => {
    const { lanes, enter, eligible, crowds } = stage();
    const entries = [enter('a'), enter('a')];
    const other = { key: 'b', stations: [new Station('b', 1, true)] };
    lanes.regroup(entries, () => other);
    expect([...crowds()].map(({ group }) => group)).toEqual([other]);
    expect(eligible()).toEqual(entries.slice(0, 1));
  });
});

test('a place counts the own that are older and the turns of others', () => {
  const { enter } = stage();
  const first = enter('a');
  for (let i = 0; i < 3; i++) enter('b');
  const second = enter('a');
  const at = (entry: Entry<Waiter>) => entry.line && placeOf(entry, entry.line);
  expect([at(first), at(second)]).toEqual([1, 3]);
});

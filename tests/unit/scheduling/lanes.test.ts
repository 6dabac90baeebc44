/**
 * Lines and lanes: the order in them, which waiters a cap holds back, and that waiters that left leave nothing behind.
 */
import { describe, expect, test } from 'bun:test';
import { byClassAndFairness, Lanes, placeOf } from '../../../src/scheduling/lanes.ts';
import { headOf, type Waiter } from '../../../src/scheduling/waiter.ts';
import { SlotSet } from '../../../src/engines/slots.ts';
import { MemoryShares } from '../../../src/stores/memory/shares.ts';
import { waiterOf, type Wanted } from '../../support/schedulingworld.ts';

function stage() {
  const lanes = new Lanes();
  const shares = new MemoryShares();
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

describe('the order of lines', () => {
  function eligibleOrder(stagedOf: ReturnType<typeof stage>): string[] {
    const lines = [...stagedOf.crowds()].flatMap(({ lanes: all }) => {
      return [...all.values()].flatMap((lane) => [...lane.eligible]);
    });
    return lines.sort(byClassAndFairness).map(({ share }) => share.principal);
  }

  test('is by counter, then by units in use, then by age', () => {
    const staged = stage();
    const { lanes, enter } = staged;
    const waiters = ['old', 'busy', 'served', 'young'].map((name) => enter(name));
    const [, busy, served] = waiters as [Waiter, Waiter, Waiter];
    busy.share.running = 1;
    served.share.counter = 1;
    for (const { share } of waiters) lanes.rank(share);
    expect(eligibleOrder(staged)).toEqual(['old', 'young', 'busy', 'served']);
  });

  test('is interactive jobs first, until it is the turn of a batch', () => {
    const staged = stage();
    const { lanes, group, enter } = staged;
    const [slots] = group.slotSets as [SlotSet];
    enter('batch', { priority: 'batch' });
    const quick = enter('quick');
    quick.share.counter = 100;
    for (let i = 0; i < 8; i++) lanes.countClasses(quick, slots);
    expect(eligibleOrder(staged)).toEqual(['quick', 'batch']);
    lanes.countClasses(quick, slots);
    expect(eligibleOrder(staged)).toEqual(['batch', 'quick']);
  });

  test('of one caller is by class and age: what is first there, is first at its cap', () => {
    const { lanes, enter, eligible } = stage();
    const large = enter('a', { units: 3, maxUnits: 3, priority: 'batch' });
    const small = enter('a', { units: 1, maxUnits: 3 });
    const other = enter('a', { units: 2, maxUnits: 3, priority: 'batch' });
    expect(eligible()).toEqual([large, small, other]);
    small.share.running = 1;
    lanes.rank(small.share);
    // The older batch needs more than is left, and the younger one that would fit waits behind it.
    expect(eligible()).toEqual([small]);
  });
});

describe('what has left', () => {
  test('takes its lane with it, and the crowd only when nothing waits there', () => {
    const { lanes, enter, crowds } = stage();
    const [small, large, none] = [enter('a'), enter('b', { units: 2 }), enter('c', { units: 0 })];
    const lanesIn = () => [...crowds()].map(({ lanes: all }) => [...all.keys()]);
    const leave = (waiter: Waiter) => {
      lanes.extract(waiter);
      lanes.prune(waiter);
    };
    leave(small);
    expect(lanesIn()).toEqual([['interactive 2']]);
    leave(large);
    expect(lanesIn()).toEqual([[]]);
    leave(none);
    expect(lanesIn()).toEqual([]);
  });

  test('takes the turn of batches with it when it was the last of them, and only then', () => {
    const { lanes, group, enter, crowds } = stage();
    const [slots] = group.slotSets as [SlotSet];
    const inARow = () => [...crowds()].map(({ interactiveInARow }) => interactiveInARow);
    const leave = (waiter: Waiter) => {
      lanes.extract(waiter);
      lanes.prune(waiter);
    };
    const [quick, second, batch, last] = [
      enter('a'),
      enter('a'),
      enter('b', { priority: 'batch' }),
      enter('b', { priority: 'batch', units: 2 }),
    ];
    lanes.countClasses(quick, slots);
    leave(second);
    leave(batch);
    expect(inARow()).toEqual([1]);
    leave(last);
    expect(inARow()).toEqual([0]);
  });
});

test('a batch that was granted counts for its own group alone', () => {
  const { lanes, group, enter, crowds } = stage();
  const [slots] = group.slotSets as [SlotSet];
  const elsewhere = waiterOf('x', { slotSets: [slots] }, { priority: 'batch' });
  enter('b', { priority: 'batch' });
  lanes.countClasses(enter('a'), slots);
  lanes.countClasses(elsewhere, slots);
  expect([...crowds()].map(({ interactiveInARow }) => interactiveInARow)).toEqual([1]);
});

test('one open engine of several is enough for a counter to count', () => {
  const { lanes, group, enter } = stage();
  group.slotSets.push(new SlotSet('b', 1, false));
  enter('a').share.counter = 5;
  expect(lanes.leastCounter()).toBe(5);
});

test('a caller at its cap does not count for the least counter', () => {
  const { lanes, enter } = stage();
  const { share } = enter('a', { maxUnits: 1 });
  share.running = 1;
  lanes.rank(share);
  expect(lanes.leastCounter()).toBe(Number.POSITIVE_INFINITY);
});

describe('a place', () => {
  const at = (waiter: Waiter) => waiter.line && placeOf(waiter, waiter.line);

  test('grows with the weight of others and shrinks with the own', () => {
    for (const [weight, place] of [
      [1, 1 + 2 + 3],
      [2, 1 + 2 + 2],
      [4, 1 + 2 + 2],
    ] as const) {
      const { enter } = stage();
      const own = Array.from({ length: 3 }, () => enter('a'));
      for (let i = 0; i < 9; i++) enter('b');
      const mine = own[2] as Waiter;
      mine.share.weight = weight;
      mine.share.counter = 1;
      // One turn of the other comes first, and one for each of the own that are older, by weight.
      expect([weight, at(mine)]).toEqual([weight, place]);
    }
    const { enter } = stage();
    const [, mine] = [enter('a'), enter('a')];
    for (let i = 0; i < 9; i++) enter('b').share.weight = 3;
    expect(at(mine as Waiter)).toBe(1 + 1 + 3);
  });

  test('of a batch comes after the interactive ones, nine of them for each batch before it', () => {
    const { enter } = stage();
    const batches = Array.from({ length: 2 }, () => enter('b', { priority: 'batch' }));
    expect(batches.map(at)).toEqual([1, 2]);
    const quick = Array.from({ length: 12 }, () => enter('a'));
    expect(batches.map(at)).toEqual([1 + 9, 2 + 12]);
    expect(at(quick[3] as Waiter)).toBe(4);
  });

  test('does not count callers at their caps', () => {
    const { lanes, enter } = stage();
    const capped = enter('b', { maxUnits: 1 });
    capped.share.running = 1;
    lanes.rank(capped.share);
    const mine = enter('a');
    mine.share.counter = 5;
    expect(at(mine)).toBe(1);
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

describe('a waiter', () => {
  test('is behind the older ones, in whatever order they come to a new group', () => {
    const { lanes, enter, eligible } = stage();
    const [a, b, second, third] = [enter('a'), enter('b'), enter('a'), enter('a')];
    const other = { slotSets: [new SlotSet('b', 1, true)] };
    lanes.regroup([third, second, b, a], () => other);
    expect(eligible()).toEqual([a, b]);
    expect([a.share.lines.size, b.share.lines.size]).toEqual([1, 1]);
    lanes.extract(a);
    expect(eligible()).toContain(second);
    expect(eligible()).not.toContain(third);
  });

  test('that leaves takes its line with it, and the lines behind it may run', () => {
    const { lanes, enter, eligible } = stage();
    const other = enter('b');
    const large = enter('a', { units: 3, maxUnits: 3 });
    const small = enter('a', { maxUnits: 3 });
    large.share.running = 1;
    lanes.rank(large.share);
    expect(eligible()).toEqual([other]);
    lanes.extract(large);
    expect(eligible()).toEqual([other, small]);
    lanes.extract(small);
    expect(eligible()).toEqual([other]);
    expect(small.share.lines.size).toBe(0);
  });

  test('may be taken out of a group of which nothing is left', () => {
    const { lanes, enter, crowds } = stage();
    const waiter = enter('a', { units: 0 });
    for (let i = 0; i < 2; i++) {
      lanes.extract(waiter);
      lanes.prune(waiter);
      expect([...crowds()]).toEqual([]);
    }
  });

  test('that was passed over too often keeps the batches of its caller waiting, whichever came first', () => {
    for (const priorities of [
      ['interactive', 'batch'],
      ['batch', 'interactive'],
    ] as const) {
      const { lanes, enter, eligible } = stage();
      const waiters = priorities.map((priority) => enter('a', { priority }));
      const quick = waiters.find(({ job }) => job.priority === 'interactive') as Waiter;
      quick.passed = 8;
      lanes.rank(quick.share);
      expect(eligible()).toEqual([quick]);
    }
  });
});

test('a batch that the cap of its caller keeps waiting loses no turn to interactive jobs', () => {
  const { lanes, group, enter, crowds } = stage();
  const [slots] = group.slotSets as [SlotSet];
  const [quick, batch] = [enter('a'), enter('b', { priority: 'batch', maxUnits: 1 })];
  batch.share.running = 1;
  lanes.rank(batch.share);
  lanes.countClasses(quick, slots);
  expect([...crowds()].map(({ interactiveInARow }) => interactiveInARow)).toEqual([0]);
});

/**
 * Lines and lanes: the order in them, which waiters a cap holds back, and that waiters that left leave nothing behind.
 */
import { describe, expect, test } from 'bun:test';
import { byClassAndFairness, Lanes } from '../../../src/scheduling/lanes.ts';
import { domainOf, headOf, type Waiter } from '../../../src/scheduling/waiter.ts';
import { SlotSet, type SlotGroup } from '../../../src/engines/slots.ts';
import { MemoryShares } from '../../../src/stores/memory/shares.ts';
import { waiterOf, type Wanted } from '../../support/schedulingworld.ts';

function stage() {
  const lanes = new Lanes();
  const shares = new MemoryShares();
  const slots = new SlotSet('a', 1, true);
  const { domain } = slots;
  const group = { slotSets: [slots] };
  let order = 0;
  function enter(principal: string, wanted: Partial<Wanted> = {}, at: SlotGroup = group): Waiter {
    const waiter = waiterOf(principal, at, wanted);
    waiter.share = shares.open(domainOf(waiter), waiter.job.priority, principal, 1);
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
  /** Serves interactive jobs there for so long that it is the turn of a batch which could run there. */
  function serve(at = slots): void {
    for (let job = 0; job < 20; job++) {
      lanes.granted(at);
      lanes.served(at, 'interactive', 10);
    }
  }
  return { lanes, shares, group, domain, enter, eligible, crowds, serve };
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
    small.share.holder.running = 1;
    lanes.rank(small.share.holder);
    expect(eligible()).toEqual([small]);
    small.share.holder.running = 0;
    lanes.rank(small.share.holder);
    expect(eligible()).toEqual([small, large, last]);
  });

  test("whose head was passed over too often keeps its caller's other lines waiting", () => {
    const { lanes, enter, eligible } = stage();
    const large = enter('a', { units: 2 });
    enter('a');
    large.passed = 8;
    lanes.rank(large.share.holder);
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

  test('knows when it is the turn of a batch: only what could run on the same slots counts', () => {
    const { lanes, group, enter, crowds, serve } = stage();
    const [slots] = group.slotSets as [SlotSet];
    const isDue = () => [...crowds()].map(({ contest }) => contest.isBatchDue);
    serve();
    enter('a');
    serve();
    expect(isDue()).toEqual([false]);
    enter('b', { priority: 'batch' });
    serve(new SlotSet('other', 1, true, slots.domain));
    serve(new SlotSet('elsewhere', 1, true));
    expect(isDue()).toEqual([false]);
    serve();
    expect(isDue()).toEqual([true]);
    lanes.served(slots, 'batch', 20);
    expect(isDue()).toEqual([false]);
  });

  test('has the lowest counter of those that may run on open slots', () => {
    const { lanes, group, domain, enter } = stage();
    expect(lanes.leastCounter(domain, 'interactive')).toBe(Number.POSITIVE_INFINITY);
    enter('a').share.counter = 5;
    enter('b').share.counter = 3;
    for (const name of ['a', 'b']) enter(name);
    expect(lanes.leastCounter(domain, 'interactive')).toBe(3);
    for (const slots of group.slotSets) slots.isOpen = false;
    expect(lanes.leastCounter(domain, 'interactive')).toBe(Number.POSITIVE_INFINITY);
  });

  test('is gone with all others, and with it what is counted of domains that are gone', () => {
    for (const isKept of [true, false]) {
      const { lanes, domain, enter, crowds, serve } = stage();
      const waiters = [enter('a'), enter('b', { priority: 'batch' })];
      serve();
      lanes.clear(waiters, new Set(isKept ? [domain] : []));
      expect([...crowds()]).toEqual([]);
      expect(waiters.map(({ line }) => line)).toEqual([undefined, undefined]);
      for (const waiter of waiters) lanes.insert(waiter);
      expect([...crowds()].map(({ contest }) => contest.isBatchDue)).toEqual([isKept]);
    }
  });
});

describe('the order of lines', () => {
  function eligibleOrder(stagedOf: ReturnType<typeof stage>): string[] {
    const lines = [...stagedOf.crowds()].flatMap(({ lanes: all }) => {
      return [...all.values()].flatMap((lane) => [...lane.eligible]);
    });
    return lines.sort(byClassAndFairness).map(({ share }) => share.holder.principal);
  }

  test('is by counter, then by the latest grant, then by age', () => {
    const staged = stage();
    const { lanes, enter } = staged;
    const waiters = ['old', 'granted', 'served', 'young'].map((name) => enter(name));
    const [, granted, served] = waiters as [Waiter, Waiter, Waiter];
    granted.share.grantedAt = 1;
    served.share.counter = 1;
    for (const { share } of waiters) lanes.rank(share.holder);
    expect(eligibleOrder(staged)).toEqual(['old', 'young', 'granted', 'served']);
  });

  test('is interactive jobs first, until it is the turn of a batch', () => {
    const staged = stage();
    const { enter, serve } = staged;
    enter('batch', { priority: 'batch' });
    const quick = enter('quick');
    quick.share.counter = 100;
    expect(eligibleOrder(staged)).toEqual(['quick', 'batch']);
    serve();
    expect(eligibleOrder(staged)).toEqual(['batch', 'quick']);
  });

  test('of one caller is by class and age: what is first there, is first at its cap', () => {
    const { lanes, enter, eligible } = stage();
    const large = enter('a', { units: 3, maxUnits: 3, priority: 'batch' });
    const small = enter('a', { units: 1, maxUnits: 3 });
    const other = enter('a', { units: 2, maxUnits: 3, priority: 'batch' });
    expect(eligible()).toEqual([large, small, other]);
    small.share.holder.running = 1;
    lanes.rank(small.share.holder);
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
});

test('one open engine of several is enough for a counter to count', () => {
  const { lanes, group, domain, enter } = stage();
  group.slotSets.push(new SlotSet('b', 1, false));
  enter('a').share.counter = 5;
  expect(lanes.leastCounter(domain, 'interactive')).toBe(5);
});

test('a caller at its cap does not count for the least counter', () => {
  const { lanes, domain, enter } = stage();
  const { share } = enter('a', { maxUnits: 1 });
  share.holder.running = 1;
  lanes.rank(share.holder);
  expect(lanes.leastCounter(domain, 'interactive')).toBe(Number.POSITIVE_INFINITY);
});

describe('a waiter', () => {
  test('is behind the older ones, in whatever order they come', () => {
    const { lanes, domain, enter, eligible } = stage();
    const [a, b, second, third] = [enter('a'), enter('b'), enter('a'), enter('a')];
    lanes.clear([a, b, second, third], new Set([domain]));
    for (const waiter of [third, second, b, a]) lanes.insert(waiter);
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
    large.share.holder.running = 1;
    lanes.rank(large.share.holder);
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
      lanes.rank(quick.share.holder);
      expect(eligible()).toEqual([quick]);
    }
  });
});

test('a batch that the cap of its caller keeps waiting earns no turn', () => {
  const { lanes, enter, crowds, serve } = stage();
  const [, batch] = [enter('a'), enter('b', { priority: 'batch', maxUnits: 1 })];
  batch.share.holder.running = 1;
  lanes.rank(batch.share.holder);
  serve();
  expect([...crowds()].map(({ contest }) => contest.isBatchDue)).toEqual([false]);
});

describe('in another domain', () => {
  function elsewhere() {
    const staged = stage();
    const other = { slotSets: [new SlotSet('b', 1, true)] };
    return { ...staged, other };
  }

  test('a head that was passed over too often keeps nothing waiting', () => {
    const { lanes, enter, other, eligible } = elsewhere();
    const large = enter('a', { units: 2 });
    enter('a');
    const free = enter('a', { units: 1 }, other);
    large.passed = 8;
    lanes.rank(large.share.holder);
    expect(eligible()).toEqual([large, free]);
  });

  test('a cap counts all the same', () => {
    const { lanes, enter, other, eligible } = elsewhere();
    const waiter = enter('a', { maxUnits: 1 });
    enter('a', { maxUnits: 1 }, other);
    waiter.share.holder.running = 1;
    lanes.rank(waiter.share.holder);
    expect(eligible()).toEqual([]);
  });

  test('and in another class counters do not count', () => {
    const { lanes, domain, enter, other } = elsewhere();
    enter('a').share.counter = 5;
    enter('b', {}, other).share.counter = 3;
    enter('c', { priority: 'batch' }).share.counter = 1;
    expect(lanes.leastCounter(domain, 'interactive')).toBe(5);
    expect(lanes.leastCounter(domain, 'batch')).toBe(1);
  });

  test('it is not the turn of a batch', () => {
    const { group, enter, other, crowds, serve } = elsewhere();
    for (const at of [group, other]) {
      enter('a', {}, at);
      enter('b', { priority: 'batch' }, at);
    }
    serve();
    expect([...crowds()].map(({ contest }) => contest.isBatchDue)).toEqual([true, false]);
  });
});

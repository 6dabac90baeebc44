/** Places in the queue: who comes before, by counters, weights, classes and caps, and how rarely that is worked out. */
import { describe, expect, test } from 'bun:test';
import { Lanes } from '../../../src/scheduling/lanes.ts';
import { Places } from '../../../src/scheduling/places.ts';
import { domainOf, type Crowd, type Waiter } from '../../../src/scheduling/waiter.ts';
import { SlotSet, type SlotGroup } from '../../../src/engines/slots.ts';
import { MemoryShares } from '../../../src/stores/memory/shares.ts';
import { groupOf, waiterOf, type Wanted } from '../../support/schedulingworld.ts';

function stage() {
  const lanes = new Lanes();
  const shares = new MemoryShares();
  const slots = new SlotSet('a', 1, true);
  const group = groupOf(slots);
  let looks = 0;
  const crowds: Iterable<Crowd> = {
    [Symbol.iterator]() {
      looks++;
      return lanes[Symbol.iterator]();
    },
  };
  const places = new Places(crowds);
  let order = 0;
  let now = 0;
  function enter(principal: string, wanted: Partial<Wanted> = {}, at: SlotGroup = group): Waiter {
    const waiter = waiterOf(principal, at, wanted);
    const { priority } = waiter.job;
    waiter.share = shares.open(domainOf(waiter), priority, principal, wanted.weight ?? 1);
    waiter.order = order++;
    lanes.insert(waiter);
    return waiter;
  }
  const enterMany = (count: number, principal: string, wanted: Partial<Wanted> = {}) =>
    Array.from({ length: count }, () => enter(principal, wanted));
  /** Returns the place as it is now. */
  const at = (waiter: Waiter) => places.of(waiter, (now += 1_000));
  return { lanes, places, slots, group, enter, enterMany, at, looks: () => looks };
}

describe('a place', () => {
  test('counts the own that are older, and the turns that others have before', () => {
    const { enter, enterMany, at } = stage();
    const first = enter('a');
    enterMany(3, 'b');
    const second = enter('a');
    expect([at(first), at(second)]).toEqual([1, 3]);
  });

  test('grows with the weight of others and shrinks with the own', () => {
    // Two of its own come before the last; the other gets one turn for each, by weight, and is next at equal counters
    // that it is older at.
    for (const [own, other, place] of [
      [1, 1, 3 + 2],
      [2, 1, 3 + 1],
      [1, 3, 3 + 6],
    ] as const) {
      const { enterMany, at } = stage();
      const mine = enterMany(3, 'a', { weight: own });
      enterMany(9, 'b', { weight: other });
      expect(at(mine[2] as Waiter)).toBe(place);
    }
  });

  test('goes by how far the counters are apart, in jobs of the size that they have had', () => {
    const { lanes, slots, enter, enterMany, at } = stage();
    enterMany(9, 'b');
    const mine = enter('a');
    lanes.granted(slots);
    lanes.served(slots, 'interactive', 100);
    mine.share.counter = 350;
    expect(at(mine)).toBe(5);
  });

  test('of a batch comes after the interactive ones, nine of them for each batch before it', () => {
    const { enterMany, at } = stage();
    const batches = enterMany(2, 'b', { priority: 'batch' });
    expect(batches.map(at)).toEqual([1, 2]);
    const quick = enterMany(12, 'a');
    expect(batches.map(at)).toEqual([1 + 9, 2 + 12]);
    expect([3, 8, 9].map((i) => at(quick[i] as Waiter))).toEqual([4, 9, 11]);
  });

  test('of a batch whose turn it is is the first', () => {
    const { lanes, slots, enter, at } = stage();
    const [batch, quick] = [enter('b', { priority: 'batch' }), enter('a')];
    lanes.granted(slots);
    lanes.served(slots, 'interactive', 9);
    for (let i = 0; i < 200; i++) lanes.granted(slots);
    expect([at(batch), at(quick)]).toEqual([1, 2]);
  });

  test('does not count callers at their caps, whose own places are behind', () => {
    const { lanes, enter, at } = stage();
    const capped = [1, 2].map(() => enter('b', { maxUnits: 1 }));
    const [{ share }] = capped as [Waiter, Waiter];
    share.holder.running = 1;
    lanes.rank(share.holder);
    const mine = enter('a');
    mine.share.counter = 5;
    expect(at(mine)).toBe(1);
    expect(capped.map(at)).toEqual([1, 2]);
  });
});

describe('those who compete', () => {
  test('are all that wait for the same slots, whatever their model, and no others', () => {
    const { slots, group, enter, enterMany, at, places } = stage();
    const other = new SlotSet('b', 1, true);
    enterMany(3, 'b');
    const elsewhere = enter('c', {}, groupOf(other));
    const sameEngine = enter('a', {}, { slotSets: [slots] });
    sameEngine.share.counter = 5;
    expect([at(sameEngine), at(elsewhere)]).toEqual([4, 1]);
    expect(places.competing(group.slotSets, 1e9)).toBe(4);
    expect(places.competing([other], 1e9)).toBe(1);
    expect([...places.contested([other])]).toEqual([other]);
    expect(places.competing([new SlotSet('c', 1, true)], 1e9)).toBe(0);
  });

  test('are connected by those that may run on either', () => {
    const { slots, group, enter, places } = stage();
    const other = new SlotSet('b', 1, true);
    enter('a');
    enter('b', {}, groupOf(slots, other));
    enter('c', {}, { slotSets: [other] });
    expect(places.competing([other], 1e9)).toBe(3);
    expect(new Set(places.contested(group.slotSets))).toEqual(new Set([slots, other]));
  });
});

describe('the ranks', () => {
  test('are worked out once for all, and again when they are old', () => {
    const { places, enterMany, looks } = stage();
    const waiters = enterMany(100, 'a');
    for (const waiter of waiters) places.of(waiter, 1_000);
    expect(looks()).toBe(1);
    places.of(waiters[0] as Waiter, 1_499);
    expect(looks()).toBe(1);
    places.of(waiters[0] as Waiter, 1_500);
    expect(looks()).toBe(2);
  });

  test('are worked out sooner for one that has come since, but not for each that comes', () => {
    const { places, enter, enterMany, looks } = stage();
    const [first] = enterMany(5, 'a') as [Waiter];
    places.of(first, 1_000);
    const late = Array.from({ length: 50 }, () => enter('b'));
    // Until then it is thought to be the last.
    expect(late.map((waiter) => places.of(waiter, 1_099))).toEqual(Array(50).fill(6));
    expect(looks()).toBe(1);
    expect(places.of(late[0] as Waiter, 1_100)).toBe(2);
    expect(looks()).toBe(2);
  });
});

describe('those that come before', () => {
  const names = (waiters: readonly Waiter[]) => waiters.map(({ job }) => job.caller.principal);

  test('are the first of the callers that are next, at most three, and not the caller itself', () => {
    const { places, enter, at } = stage();
    const waiters = ['a', 'b', 'b', 'c', 'd', 'e', 'a'].map((name) => enter(name));
    for (const waiter of waiters) at(waiter);
    const [first, second] = waiters as [Waiter, Waiter];
    const last = waiters.at(-1) as Waiter;
    expect(places.before(first)).toEqual([]);
    expect(places.before(second)).toEqual([first]);
    expect(names(places.before(last))).toEqual(['b', 'c', 'd']);
    expect(names(places.before(waiters[5] as Waiter))).toEqual(['a', 'b', 'c']);
  });

  test('are none at their cap, and none that wait elsewhere', () => {
    const { lanes, places, enter, at } = stage();
    const capped = enter('capped', { maxUnits: 1 });
    capped.share.holder.running = 1;
    lanes.rank(capped.share.holder);
    enter('elsewhere', {}, groupOf(new SlotSet('b', 1, true)));
    enter('a');
    const mine = enter('b');
    at(mine);
    expect(names(places.before(mine))).toEqual(['a']);
  });

  test('are nobody where nothing was ranked', () => {
    const { places, enter } = stage();
    expect(places.before(enter('a'))).toEqual([]);
    expect([...places.contested([])]).toEqual([]);
  });
});

test('the jobs of a caller are in one order, whatever their size', () => {
  const { enter, at } = stage();
  const own = [1, 2, 1, 3].map((units) => enter('a', { units }));
  enter('b');
  expect(own.map(at)).toEqual([1, 3, 4, 5]);
});

test('a caller that was granted longer ago is before others with the same counter', () => {
  const { enter, at } = stage();
  const [lately, long, never] = ['lately', 'long', 'never'].map((name) => enter(name)) as [
    Waiter,
    Waiter,
    Waiter,
  ];
  lately.share.grantedAt = 9;
  long.share.grantedAt = 2;
  expect([lately, long, never].map(at)).toEqual([3, 2, 1]);
});

test('two engines are connected through a third one', () => {
  const { slots, enter, places } = stage();
  const [second, third] = ['b', 'c'].map((id) => new SlotSet(id, 1, true)) as [SlotSet, SlotSet];
  enter('a', {}, groupOf(slots, second));
  enter('b', {}, groupOf(third));
  enter('c', {}, groupOf(second, third));
  expect(places.competing([slots], 1e9)).toBe(3);
  expect(new Set(places.contested([third]))).toEqual(new Set([slots, second, third]));
});

/**
 * The admission queue, one behaviour a test: limits, order between callers and within one, caps, classes, large
 * requests, requests that need no slot, and what is held for a busy slots.
 */
import { describe, expect, test } from 'bun:test';
import type { QueueLimits } from '../../../src/scheduling/queue.ts';
import { Waiter } from '../../../src/scheduling/waiter.ts';
import { shortage, SlotSet, type SlotGroup } from '../../../src/engines/slots.ts';
import type { Priority } from '../../../src/request/caller.ts';
import {
  groupOf,
  partsOf,
  principalOf,
  queueOf,
  succeeding,
  type Wanted,
} from '../../support/schedulingworld.ts';

class Named extends Waiter {
  constructor(
    readonly name: string,
    ...parts: ConstructorParameters<typeof Waiter>
  ) {
    super(...parts);
  }
}

type Asked = Partial<Wanted & { group: SlotGroup; name: string }>;

function nameOf(waiter: Waiter): string {
  return (waiter as Named).name; // All of this file have one.
}

const unlimited: QueueLimits = { maxWaiters: 1e9, maxWaitersPerCaller: 1e9, maxBytes: 1e9 };

/** That many open slots, the queue before it, and short ways to use both. */
function stage(capacity = 1, limits: Partial<QueueLimits> = {}) {
  const slots = new SlotSet('a', capacity, true);
  const group = groupOf(slots);
  const held = new Set<string>();
  const asked: string[] = [];
  const queue = queueOf({
    limits: () => ({ ...unlimited, ...limits }),
    choose: (waiter, free) => {
      asked.push(nameOf(waiter));
      return held.has(nameOf(waiter)) ? undefined : free[0];
    },
  });
  let count = 0;
  function waiter(principal: string, { group: wanted = group, name, ...more }: Asked = {}): Named {
    const counted = `${principal}${++count}`;
    return new Named(name ?? counted, ...partsOf(principal, wanted, more));
  }
  function enter(principal: string, more: Asked = {}): Named {
    const entering = waiter(principal, more);
    expect(queue.enter(entering)).toBe(true);
    return entering;
  }
  function enterMany(count: number, principal: string, more: Asked = {}): Named[] {
    return Array.from({ length: count }, () => enter(principal, more));
  }
  const dispatch = () => queue.dispatch(0).map((grant) => nameOf(grant.waiter));
  /** Returns the names of the waiters in the order in which they run, each charged and ended at once. */
  function order(turns: number, tokens = 10): string[] {
    return Array.from({ length: turns }, () => {
      const [grant] = queue.dispatch(0);
      if (grant === undefined) return '';
      const { waiter, units } = grant;
      queue.charge(grant.slots, principalOf(waiter), waiter.job.priority, tokens);
      queue.release(grant.slots, principalOf(waiter), units);
      return principalOf(waiter);
    });
  }
  const charge = (principal: string, tokens: number, priority: Priority = 'interactive') =>
    queue.charge(slots, principal, priority, tokens);
  let asks = 0;
  /** Returns the place of a waiter, of which nothing is remembered. */
  const place = (waiting: Waiter) => queue.place(waiting, ++asks * 1_000);
  const more = { dispatch, order, charge, place };
  return { slots, group, held, asked, queue, waiter, enter, enterMany, ...more };
}

describe('slots', () => {
  test('are granted until none is free, and again when they come back', () => {
    const { queue, slots, enterMany, dispatch } = stage(2);
    enterMany(5, 'a');
    expect(dispatch()).toEqual(['a1', 'a2']);
    expect(dispatch()).toEqual([]);
    expect(slots.used).toBe(2);
    queue.release(slots, 'a', 1);
    expect(dispatch()).toEqual(['a3']);
    expect(queue.size).toBe(2);
  });

  test('without a bound are there for all', () => {
    const { slots, enterMany, dispatch } = stage(Number.POSITIVE_INFINITY);
    enterMany(50, 'a');
    enterMany(1, 'a', { units: 1_000 });
    expect(dispatch()).toHaveLength(51);
    expect(slots.used).toBe(1_050);
  });

  test('of a closed slots are not given out', () => {
    const { slots, enter, dispatch } = stage();
    slots.isOpen = false;
    enter('a');
    expect(dispatch()).toEqual([]);
    slots.isOpen = true;
    expect(dispatch()).toEqual(['a1']);
  });

  test('of an engine that has shrunk are not given out until enough have come back', () => {
    const { queue, slots, enterMany, dispatch } = stage(3);
    enterMany(4, 'a');
    dispatch();
    slots.capacity = 1;
    expect(shortage(slots, 1, slots.capacity)).toBe(1);
    queue.release(slots, 'a', 1);
    queue.release(slots, 'a', 1);
    expect(dispatch()).toEqual([]);
    queue.release(slots, 'a', 1);
    expect(dispatch()).toEqual(['a4']);
  });

  test('that do not exist are not given out', () => {
    const { enter, dispatch } = stage(0);
    enter('a');
    enter('a', { units: 5 });
    expect(dispatch()).toEqual([]);
  });

  test('are taken where the waiter may run, and nobody waits behind one that runs elsewhere', () => {
    const { queue, slots, enter } = stage();
    const other = new SlotSet('b', 1, true);
    enter('a');
    enter('a');
    const elsewhere = enter('b', { group: groupOf(other) });
    expect(queue.dispatch(0).map(({ slots: { id } }) => id)).toEqual(['a', 'b']);
    expect([slots.used, other.used]).toEqual([1, 1]);
    expect(queue.leave(elsewhere)).toBe(false);
  });

  test('are not taken where choose names slots that is not free', () => {
    const full = new SlotSet('full', 1, true);
    full.used = 1;
    const open = new SlotSet('open', 1, true);
    const { waiter } = stage();
    const queue = queueOf({ limits: () => unlimited, choose: () => full });
    queue.enter(waiter('a', { group: groupOf(full, open) }));
    expect(queue.dispatch(0)).toEqual([]);
    expect(full.used).toBe(1);
  });
});

describe('where nobody waits', () => {
  test('a request is admitted without a waiter, as long as there are slots', () => {
    const { queue, slots, waiter } = stage(2);
    const taken = Array.from({ length: 3 }, () => queue.admit(waiter('a'), slots));
    expect(taken).toEqual([1, 1, undefined]);
    expect([queue.size, slots.used]).toEqual([0, 2]);
    queue.release(slots, 'a', 1);
    expect(queue.admit(waiter('a', { units: 5 }), slots)).toBeUndefined();
    queue.release(slots, 'a', 1);
    expect(queue.admit(waiter('a', { units: 5 }), slots)).toBe(2);
  });

  test('one that needs no slot is admitted wherever it is open', () => {
    const { queue, slots, waiter } = stage(0);
    expect(queue.admit(waiter('a', { units: 0 }), slots)).toBe(0);
    slots.isOpen = false;
    expect(queue.admit(waiter('a', { units: 0 }), slots)).toBeUndefined();
  });

  test("one that its caller's cap keeps waiting is not", () => {
    const { queue, slots, waiter } = stage(4);
    expect(queue.admit(waiter('a', { maxUnits: 1 }), slots)).toBe(1);
    expect(queue.admit(waiter('a', { maxUnits: 1 }), slots)).toBeUndefined();
    expect(queue.admit(waiter('b', { maxUnits: 1 }), slots)).toBe(1);
  });

  test('and only then: a waiter is not overtaken', () => {
    const { queue, waiter, enter, group } = stage(1);
    const other = new SlotSet('b', 1, true);
    enter('a', { group: { ...group, slotSets: [new SlotSet('c', 0, true)] } });
    expect(queue.admit(waiter('b'), other)).toBeUndefined();
  });

  test('what was admitted counts as if it had waited', () => {
    const { queue, slots, waiter, enter, order, charge } = stage();
    queue.admit(waiter('a'), slots);
    charge('a', 100);
    enter('a');
    enter('b');
    queue.release(slots, 'a', 1);
    charge('b', 150);
    expect(order(2, 0)).toEqual(['a', 'b']);
  });
});

describe('a full queue', () => {
  test('refuses by number, by caller and by bytes', () => {
    for (const limits of [{ maxWaiters: 2 }, { maxWaitersPerCaller: 2 }, { maxBytes: 250 }]) {
      const { queue, waiter, enterMany } = stage(0, limits);
      enterMany(2, 'a');
      expect(queue.enter(waiter('a'))).toBe(false);
      expect([queue.size, queue.bytes, queue.waiting('a')]).toEqual([2, 200, 2]);
    }
  });

  test('refuses only the caller that has too many', () => {
    const { queue, waiter, enterMany } = stage(0, { maxWaitersPerCaller: 2 });
    enterMany(2, 'a');
    expect(queue.enter(waiter('a'))).toBe(false);
    expect(queue.enter(waiter('b'))).toBe(true);
    expect([queue.waiting('a'), queue.waiting('b'), queue.waiting('c')]).toEqual([2, 1, 0]);
  });

  test('takes another when one has left or started', () => {
    const { queue, slots, waiter, enter, dispatch } = stage(0, { maxWaiters: 1 });
    const first = enter('a');
    expect(queue.leave(first)).toBe(true);
    enter('a');
    slots.capacity = 1;
    dispatch();
    expect(queue.enter(waiter('a'))).toBe(true);
    expect(queue.enter(waiter('a'))).toBe(false);
  });

  test('of length 0 starts requests that can start at once, and lets none wait', () => {
    const { queue, waiter, enter, dispatch } = stage(1, { maxWaiters: 0 });
    enter('a');
    // The first has not started yet: a second would wait.
    expect(queue.enter(waiter('b'))).toBe(false);
    expect(dispatch()).toEqual(['a1']);
    expect(queue.enter(waiter('b'))).toBe(false);
    expect(queue.enter(waiter('b', { units: 0 }))).toBe(true);
    expect(dispatch()).toHaveLength(1);
  });

  test('of no places does not hold for a busy slots', () => {
    const { held, enter, dispatch } = stage(1, { maxBytes: 0 });
    held.add('a1');
    enter('a');
    expect(dispatch()).toEqual(['a1']);
  });

  test('of no places refuses a caller at its cap', () => {
    const { queue, waiter, enter, dispatch } = stage(4, { maxWaiters: 0 });
    enter('a', { maxUnits: 1 });
    dispatch();
    expect(queue.enter(waiter('a', { maxUnits: 1 }))).toBe(false);
    expect(queue.enter(waiter('b', { maxUnits: 1 }))).toBe(true);
  });

  test('never refuses one that was granted before', () => {
    const { queue, waiter, enter } = stage(0, { maxWaiters: 1 });
    enter('a');
    expect(queue.enter(waiter('a'), true)).toBe(true);
    expect(queue.size).toBe(2);
  });
});

describe('within a caller', () => {
  test('the oldest is first', () => {
    const { queue, slots, enterMany, dispatch } = stage(1);
    const [, second] = enterMany(4, 'a');
    expect(dispatch()).toEqual(['a1']);
    queue.leave(second as Named);
    const rest = [3, 4].map(() => {
      queue.release(slots, 'a', 1);
      return dispatch();
    });
    expect(rest).toEqual([['a3'], ['a4']]);
  });

  test('those that were granted before and did not run go first, in the order of their return', () => {
    const { queue, waiter, enterMany, dispatch } = stage(5);
    enterMany(2, 'a');
    queue.enter(waiter('a', { name: 'again' }), true);
    queue.enter(waiter('a', { name: 'again too' }), true);
    expect(dispatch()).toEqual(['again', 'again too', 'a1', 'a2']);
  });
});

describe('between callers', () => {
  test('one that arrives in a flood is next', () => {
    const { queue, slots, enterMany, enter, order, dispatch, charge } = stage(2);
    enterMany(50, 'flood');
    order(10);
    dispatch();
    enter('light');
    charge('flood', 10);
    queue.release(slots, 'flood', 1);
    expect(dispatch()).toEqual(['light51']);
  });

  test('those that flood take turns', () => {
    const { enterMany, order } = stage();
    enterMany(10, 'a');
    enterMany(10, 'b');
    expect(order(6)).toEqual(['a', 'b', 'a', 'b', 'a', 'b']);
  });

  test('tokens count, not requests', () => {
    const { queue, slots, enterMany, charge } = stage();
    enterMany(100, 'long');
    enterMany(100, 'short');
    const counts = { long: 0, short: 0 };
    for (let i = 0; i < 50; i++) {
      const [grant] = queue.dispatch(0);
      if (grant === undefined) throw new Error('nothing was granted');
      const principal = principalOf(grant.waiter) as 'long' | 'short';
      counts[principal]++;
      charge(principal, principal === 'long' ? 40 : 10);
      queue.release(slots, principal, 1);
    }
    expect(counts).toEqual({ long: 10, short: 40 });
  });

  test('a caller is served in proportion to its weight', () => {
    const { enterMany, order } = stage();
    enterMany(100, 'a');
    enterMany(100, 'b', { weight: 3 });
    const names = order(40);
    expect(names.filter((name) => name === 'b')).toHaveLength(30);
  });

  test('a correction takes back what was charged too much', () => {
    const { enterMany, order, charge } = stage();
    enterMany(10, 'a');
    enterMany(10, 'b');
    charge('a', 1_000);
    expect(order(2)).toEqual(['b', 'b']);
    charge('a', -1_000);
    expect(order(2)).toEqual(['a', 'a']);
  });

  test('a figure that is no number changes nothing', () => {
    const { enterMany, order, charge } = stage();
    enterMany(3, 'a');
    enterMany(3, 'b');
    charge('a', Number.NaN);
    charge('b', Number.POSITIVE_INFINITY);
    expect(order(4)).toEqual(['a', 'b', 'a', 'b']);
  });

  test('equal counters: the caller with fewer running is next, then the one that waits longest', () => {
    const { enterMany, dispatch } = stage(4);
    enterMany(3, 'a');
    enterMany(3, 'b');
    expect(dispatch()).toEqual(['a1', 'b4', 'a2', 'b5']);
  });

  test('what is charged for a grant counts for the next of the same dispatch', () => {
    const { queue, enterMany, charge } = stage(3);
    enterMany(3, 'a');
    enterMany(3, 'b');
    charge('b', 5);
    const names: string[] = [];
    queue.dispatch(0, ({ waiter }) => {
      const principal = principalOf(waiter);
      names.push(principal);
      charge(principal, 10);
    });
    expect(names).toEqual(['a', 'b', 'a']);
  });

  test('slots that is closed at a grant gets no second one in the same dispatch', () => {
    const { queue, slots, enterMany } = stage(3);
    enterMany(3, 'a');
    const grants = queue.dispatch(0, () => {
      slots.isOpen = false;
    });
    expect(grants).toHaveLength(1);
  });
});

describe('idling', () => {
  test('banks nothing', () => {
    const { enterMany, order } = stage();
    enterMany(1, 'idle');
    enterMany(200, 'busy');
    order(100);
    enterMany(100, 'idle');
    const names = order(20);
    expect(names.filter((name) => name === 'idle')).toHaveLength(10);
  });

  test('banks nothing when nobody waits at the return', () => {
    const { enterMany, order } = stage();
    enterMany(1, 'idle');
    enterMany(100, 'busy');
    expect(order(102)[101]).toBe('');
    enterMany(100, 'idle');
    enterMany(100, 'busy');
    expect(order(20).filter((name) => name === 'idle')).toHaveLength(10);
  });

  test('does not wipe out overuse', () => {
    const { enterMany, order, charge } = stage();
    enterMany(1, 'a');
    enterMany(20, 'b');
    order(1);
    charge('a', 50);
    order(4);
    enterMany(20, 'a');
    // It stands at 60, b at 40; of equal ones the one is next that was granted longer ago.
    expect(order(5)).toEqual(['b', 'b', 'a', 'b', 'a']);
  });

  test('is not measured by one who waits for slots that is closed', () => {
    const { enterMany, order } = stage();
    const closed = groupOf(new SlotSet('closed', 1, false));
    enterMany(1, 'stranded', { group: closed });
    enterMany(100, 'busy');
    order(50);
    enterMany(50, 'new');
    expect(order(20).filter((name) => name === 'new')).toHaveLength(10);
  });

  test('is forgotten when very many others came after', () => {
    const { queue, slots, enter, enterMany, dispatch, order, charge } = stage();
    enter('old');
    dispatch();
    enterMany(4, 'steady');
    charge('old', 1_000);
    queue.release(slots, 'old', 1);
    for (let i = 0; i < 10_000; i++) queue.leave(enter(`other-${i}-`));
    enterMany(4, 'old');
    expect(order(4)).toEqual(['steady', 'old', 'steady', 'old']);
  });

  test('of others does not drop a caller that waits or runs', () => {
    const { queue, enter, enterMany, dispatch } = stage(3);
    for (const name of ['waits', 'runs']) queue.leave(enter(name));
    enter('runs', { maxUnits: 1 });
    dispatch();
    enterMany(2, 'waits', { maxUnits: 1 });
    dispatch();
    for (let i = 0; i < 10_010; i++) queue.leave(enter(`other-${i}-`));
    expect(queue.waiting('waits')).toBe(1);
    enter('runs', { maxUnits: 1 });
    expect(dispatch()).toEqual([]);
  });

  test('keeps no weight that was changed meanwhile', () => {
    const { enterMany, order } = stage();
    enterMany(1, 'a');
    order(1);
    enterMany(40, 'a', { weight: 3 });
    enterMany(40, 'b');
    expect(order(20).filter((name) => name === 'a')).toHaveLength(15);
  });
});

describe('a caller at its cap', () => {
  test('waits while others go past', () => {
    const { queue, slots, enterMany, dispatch } = stage(4);
    enterMany(4, 'a', { maxUnits: 2 });
    enterMany(1, 'b', { maxUnits: 2 });
    expect(dispatch()).toEqual(['a1', 'b5', 'a2']);
    queue.release(slots, 'a', 1);
    expect(dispatch()).toEqual(['a3']);
  });

  test('has its cap over all slot sets', () => {
    const { enterMany, dispatch } = stage(4);
    enterMany(2, 'a', { maxUnits: 2 });
    enterMany(2, 'a', { maxUnits: 2, group: groupOf(new SlotSet('b', 4, true)) });
    expect(dispatch()).toHaveLength(2);
  });

  test('runs a request larger than the cap when nothing else of it runs, and not behind its own small ones', () => {
    const { queue, slots, enter, enterMany, dispatch } = stage(8);
    enterMany(2, 'a', { maxUnits: 2 });
    enter('a', { maxUnits: 2, units: 6, name: 'large' });
    enterMany(2, 'a', { maxUnits: 2 });
    expect(dispatch()).toEqual(['a1', 'a2']);
    queue.release(slots, 'a', 1);
    expect(dispatch()).toEqual([]);
    queue.release(slots, 'a', 1);
    expect(dispatch()).toEqual(['large']);
  });
});

describe('classes', () => {
  test('interactive goes before batch, whatever was served', () => {
    const { enterMany, order, charge } = stage();
    enterMany(3, 'chat');
    charge('chat', 1_000);
    enterMany(3, 'batch', { priority: 'batch' });
    expect(order(6, 0)).toEqual(['chat', 'chat', 'chat', 'batch', 'batch', 'batch']);
  });

  test('a batch gets a token for nine of interactive requests', () => {
    const { enterMany, order } = stage();
    enterMany(3, 'batch', { priority: 'batch' });
    enterMany(40, 'chat');
    const names = order(30);
    expect(names.flatMap((name, i) => (name === 'batch' ? [i] : []))).toEqual([9, 19, 29]);
  });

  test('a long batch keeps the next one waiting for longer, however many there are', () => {
    const { enterMany, order, charge } = stage();
    enterMany(9, 'batch', { priority: 'batch' });
    enterMany(200, 'chat');
    expect(order(10)[9]).toBe('batch');
    // Its ten tokens are paid for; it had fifty more.
    charge('batch', 50, 'batch');
    expect(order(80).indexOf('batch')).toBeGreaterThanOrEqual(50);
  });

  test('tokens before a batch waited do not count, and those that a batch had too much do', () => {
    const { queue, enter, enterMany, order, charge } = stage();
    enterMany(160, 'chat');
    order(12);
    const gone = enter('gone', { priority: 'batch' });
    expect(order(8)).not.toContain('gone');
    queue.leave(gone);
    order(12);
    enter('batch', { priority: 'batch' });
    expect(order(12).indexOf('batch')).toBe(9);
    charge('batch', 20, 'batch');
    enter('next', { priority: 'batch' });
    expect(order(60).indexOf('next')).toBeGreaterThan(18);
  });

  test('what a batch had while nothing else waited costs it nothing', () => {
    const { enterMany, order, charge } = stage();
    enterMany(2, 'batch', { priority: 'batch' });
    order(1);
    charge('batch', 10, 'batch');
    enterMany(40, 'chat');
    expect(order(12)).toContain('batch');
  });

  test('a batch is not starved by interactive requests for another group on its slots', () => {
    const { slots, enter, enterMany, order } = stage();
    enter('batch', { priority: 'batch' });
    enterMany(40, 'chat', { group: groupOf(slots, new SlotSet('down', 1, false)) });
    expect(order(12).indexOf('batch')).toBe(9);
  });

  test('a large batch gets its slots too', () => {
    const { queue, slots, enter, enterMany, charge } = stage(2);
    enter('batch', { priority: 'batch', units: 2 });
    enterMany(100, 'chat');
    const running: string[] = [];
    const names: string[] = [];
    for (let i = 0; i < 40; i++) {
      for (const { waiter } of queue.dispatch(0)) {
        running.push(principalOf(waiter));
        names.push(principalOf(waiter));
      }
      const ended = running.shift() as string;
      charge(ended, 10, ended === 'batch' ? 'batch' : 'interactive');
      queue.release(slots, ended, ended === 'batch' ? 2 : 1);
    }
    // Nine before its turn, eight past it, and the two that ran already.
    expect(names.indexOf('batch')).toBeGreaterThan(0);
    expect(names.indexOf('batch')).toBeLessThanOrEqual(19);
  });
});

describe('a large request', () => {
  test('takes as much as it needs', () => {
    const { queue, slots, enter } = stage(4);
    enter('a', { units: 3 });
    expect(queue.dispatch(0).map(({ units }) => units)).toEqual([3]);
    expect(slots.used).toBe(3);
  });

  test('takes the whole slots when it is larger, and waits until it is empty', () => {
    const { queue, slots, enter, dispatch } = stage(2);
    enter('a');
    dispatch();
    enter('b', { units: 7 });
    expect(dispatch()).toEqual([]);
    queue.release(slots, 'a', 1);
    expect(queue.dispatch(0).map(({ units }) => units)).toEqual([2]);
  });

  test('is passed by eight small ones, and then gets its room', () => {
    const { queue, slots, enter, enterMany, charge } = stage(2);
    enterMany(2, 'small');
    queue.dispatch(0);
    enter('large', { units: 2 });
    enterMany(30, 'small');
    const names: string[] = [];
    let running = 2;
    while (!names.includes('large')) {
      charge('small', 10);
      queue.release(slots, 'small', 1);
      running--;
      const grants = queue.dispatch(0);
      names.push(...grants.map(({ waiter }) => principalOf(waiter)));
      running += grants.length;
    }
    expect(names).toEqual([...Array(8).fill('small'), 'large']);
    expect(running).toBe(1);
  });

  test('that leaves frees the slots that were kept for it', () => {
    const { queue, slots, enter, enterMany, dispatch, charge } = stage(2);
    enterMany(2, 'small');
    dispatch();
    const large = enter('large', { units: 2 });
    enterMany(30, 'small');
    for (let i = 0; i < 8; i++) {
      charge('small', 10);
      queue.release(slots, 'small', 1);
      expect(dispatch()).toHaveLength(1);
    }
    queue.release(slots, 'small', 1);
    expect(dispatch()).toEqual([]);
    queue.leave(large);
    expect(dispatch()).toHaveLength(1);
  });

  describe('that was passed over too often', () => {
    /** Two full slot sets, and a large request that eight small ones have passed: slots a is kept for it. */
    function passed(more: Asked = {}) {
      const staged = stage(2);
      const { queue, slots, enter, enterMany, charge } = staged;
      const other = new SlotSet('b', 2, true);
      const group = groupOf(slots, other);
      enterMany(4, 'small', { group });
      queue.dispatch(0);
      const large = enter('large', { units: 2, group, name: 'large', ...more });
      enterMany(100, 'small', { group });
      /** Ends a small request there; returns the names of those that start. */
      function end(at: SlotSet): string[] {
        charge('small', 10);
        queue.release(at, 'small', 1);
        return queue.dispatch(0).map(({ waiter }) => principalOf(waiter));
      }
      for (let i = 0; i < 8; i++) expect(end(other)).toEqual(['small']);
      return { ...staged, other, group, large, end };
    }

    test('has one slot set kept for it, and the other goes on', () => {
      const { slots, other, end } = passed();
      for (let i = 0; i < 20; i++) expect(end(other)).toEqual(['small']);
      expect(end(slots)).toEqual([]);
      for (let i = 0; i < 20; i++) expect(end(other)).toEqual(['small']);
      expect(end(slots)).toEqual(['large']);
    });

    test('gets another when that one closes', () => {
      const { slots, other, end } = passed();
      slots.isOpen = false;
      expect(end(other)).toEqual(['small']);
      expect(end(other)).toEqual([]);
      expect(end(other)).toEqual(['large']);
    });

    test('gets another when that one is not of its group any more', () => {
      const { queue, slots, other, end } = passed();
      const group = groupOf(other);
      queue.regroup(succeeding([group]), () => group);
      expect(end(other)).toEqual(['small']);
      expect(end(other)).toEqual([]);
      expect(slots.used).toBe(2);
      expect(end(other)).toEqual(['large']);
    });

    test('frees it while its caller is at its cap', () => {
      const { queue, slots, other, group, waiter, end } = passed({ maxUnits: 2 });
      queue.enter(waiter('large', { group, maxUnits: 2, name: 'older' }), true);
      expect(end(other)).toEqual(['large']);
      expect(end(slots)).toEqual(['small']);
    });

    test('goes behind one of its caller that comes back', () => {
      const { queue, slots, group, waiter, end } = passed();
      expect(end(slots)).toEqual([]);
      queue.enter(waiter('large', { units: 2, group, name: 'older' }), true);
      queue.release(slots, 'small', 1);
      expect(queue.dispatch(0).map(({ waiter }) => nameOf(waiter))).toEqual(['older']);
    });

    test('frees it when it is held for another slot set', () => {
      const { held, slots, end } = passed();
      expect(end(slots)).toEqual([]);
      held.add('large');
      expect(end(slots)).toEqual(['small', 'small']);
    });

    test('frees it when it leaves, also for a request that finds the queue full', () => {
      const limits = { ...unlimited };
      const { waiter, charge } = stage();
      const slots = new SlotSet('a', 2, true);
      const group = groupOf(slots);
      const queue = queueOf({ limits: () => limits, choose: (_, free) => free[0] });
      const enter = (name: string, units = 1) => {
        const entering = waiter(name, { group, units });
        return { entering, isIn: queue.enter(entering) };
      };
      enter('small');
      enter('small');
      queue.dispatch(0);
      const { entering: large } = enter('large', 2);
      for (let i = 0; i < 8; i++) {
        enter('small');
        charge('small', 10);
        queue.release(slots, 'small', 1);
        expect(queue.dispatch(0)).toHaveLength(1);
      }
      queue.release(slots, 'small', 1);
      limits.maxWaiters = 0;
      expect(enter('small').isIn).toBe(false);
      queue.leave(large);
      expect(enter('small').isIn).toBe(true);
    });

    test('loses it to no other large one', () => {
      const { slots, other, group, enter, end, charge } = passed();
      charge('large', 1e6);
      enter('second', { units: 2, group });
      expect(end(slots)).toEqual([]);
      // Lifted to the counter of the small ones, it is next when they are charged.
      for (let i = 0; i < 8; i++) expect(end(other)).toEqual(['small']);
      expect(end(other)).toEqual([]);
      expect(end(slots)).toEqual(['large']);
      expect(end(other)).toEqual(['second']);
    });

    test('keeps its own small ones waiting, for they would fill its cap', () => {
      const { queue, slots, enter, enterMany } = stage(2);
      const other = new SlotSet('b', 2, true);
      const group = groupOf(slots, other);
      slots.used = 1;
      other.used = 1;
      enter('a', { units: 2, maxUnits: 2, group, name: 'large' });
      enterMany(20, 'a', { maxUnits: 2, group });
      for (let i = 0; i < 8; i++) {
        const [grant, ...more] = queue.dispatch(0);
        expect(more).toEqual([]);
        expect(grant && nameOf(grant.waiter)).not.toBe('large');
        queue.release(grant?.slots as SlotSet, 'a', 1);
      }
      expect(queue.dispatch(0)).toEqual([]);
      slots.used = 0;
      expect(queue.dispatch(0).map(({ waiter }) => nameOf(waiter))).toEqual(['large']);
    });

    test('keeps its own small ones waiting from the very grant on that was one too many', () => {
      const { queue, slots, enter, enterMany } = stage(2);
      const other = new SlotSet('b', 2, false);
      const group = groupOf(slots, other);
      slots.used = 1;
      other.used = 1;
      enter('a', { units: 2, group });
      enterMany(20, 'a', { group });
      const counts = [false, true, true, true, true, true].map((isOpen) => {
        other.isOpen = isOpen;
        const grants = queue.dispatch(0);
        for (const grant of grants) queue.release(grant.slots, 'a', 1);
        return grants.length;
      });
      expect(counts).toEqual([1, 2, 2, 2, 1, 0]);
    });

    test('gets the slots that needs the fewest units to come back', () => {
      const { queue, enter, enterMany, charge } = stage();
      const [wide, narrow] = [new SlotSet('wide', 5, true), new SlotSet('narrow', 2, true)];
      const group = groupOf(wide, narrow);
      enterMany(7, 'small', { group });
      queue.dispatch(0);
      enter('large', { units: 3, group });
      enterMany(50, 'small', { group });
      for (let i = 0; i < 8; i++) {
        charge('small', 10);
        queue.release(wide, 'small', 1);
        expect(queue.dispatch(0)).toHaveLength(1);
      }
      queue.release(narrow, 'small', 1);
      expect(queue.dispatch(0)).toEqual([]);
      queue.release(narrow, 'small', 1);
      expect(queue.dispatch(0).map(({ units }) => units)).toEqual([2]);
    });
  });

  test('is passed by any number while it is not its turn', () => {
    const { queue, slots, enter, enterMany, dispatch, charge } = stage(2);
    enterMany(60, 'small');
    dispatch();
    enter('large', { units: 2 });
    charge('large', 1e6);
    for (let i = 0; i < 50; i++) {
      charge('small', 10);
      queue.release(slots, 'small', 1);
      expect(dispatch()).toHaveLength(1);
    }
  });

  test('of a caller is not starved by its own small ones', () => {
    const { queue, slots, enter, enterMany } = stage(2);
    enterMany(2, 'a', { maxUnits: 2 });
    queue.dispatch(0);
    enter('a', { units: 2, maxUnits: 2, name: 'large' });
    enterMany(40, 'a', { maxUnits: 2 });
    const names: string[] = [];
    for (let i = 0; i < 20; i++) {
      if (slots.used > 0) queue.release(slots, 'a', 1);
      names.push(...queue.dispatch(0).map(({ waiter }) => nameOf(waiter)));
      if (names.includes('large')) break;
    }
    expect(names).toContain('large');
  });
});

describe('what needs no slot', () => {
  test('runs on slots that is full, before all others and past its caller', () => {
    const { slots, enter, enterMany, dispatch } = stage(1);
    enterMany(3, 'a', { maxUnits: 1 });
    dispatch();
    enter('a', { units: 0, maxUnits: 1 });
    enter('b', { units: 0 });
    expect(dispatch()).toEqual(['a4', 'b5']);
    expect(slots.used).toBe(1);
  });

  test('waits for an open slots only', () => {
    const { queue, slots, enter, dispatch } = stage(1);
    slots.isOpen = false;
    enter('a', { units: 0 });
    const left = enter('a', { units: 0 });
    expect(dispatch()).toEqual([]);
    queue.leave(left);
    slots.isOpen = true;
    expect(dispatch()).toEqual(['a1']);
    expect(queue.size).toBe(0);
  });

  test('is never held', () => {
    const { held, enter, dispatch } = stage();
    held.add('a1');
    enter('a', { units: 0 });
    expect(dispatch()).toEqual(['a1']);
  });

  test('changes no order between callers', () => {
    const { enterMany, dispatch } = stage(3);
    enterMany(2, 'a');
    enterMany(5, 'b', { units: 0 });
    enterMany(2, 'b');
    expect(dispatch().slice(5)).toEqual(['a1', 'b8', 'a2']);
  });
});

describe('what a caller used in one domain', () => {
  /** Two engines that no model connects: `slots` with its group, and `far`. */
  function apart(capacity = 1) {
    const staged = stage(capacity);
    const far = new SlotSet('far', capacity, true);
    return { ...staged, far, there: groupOf(far) };
  }

  test('costs it nothing in another', () => {
    const { queue, far, there, enterMany, order } = apart();
    enterMany(1, 'a', { group: there });
    queue.dispatch(0);
    queue.charge(far, 'a', 'interactive', 1e6);
    enterMany(3, 'b');
    enterMany(3, 'a');
    expect(order(4)).toEqual(['b', 'a', 'b', 'a']);
  });

  test('keeps none of its requests waiting in another, however often one was passed over', () => {
    const { queue, far, there, slots, enter, enterMany } = apart(2);
    enterMany(2, 'small', { group: there });
    queue.dispatch(0);
    enter('a', { group: there, units: 2 });
    enterMany(20, 'small', { group: there });
    for (let i = 0; i < 8; i++) {
      queue.charge(far, 'small', 'interactive', 10);
      queue.release(far, 'small', 1);
      expect(queue.dispatch(0)).toHaveLength(1);
    }
    enterMany(2, 'a');
    expect(queue.dispatch(0).map((grant) => [principalOf(grant.waiter), grant.slots])).toEqual([
      ['a', slots],
      ['a', slots],
    ]);
  });

  test('does not lift others there', () => {
    const { queue, there, enter, enterMany, order, charge } = apart();
    enterMany(2, 'far', { group: there });
    queue.dispatch(0);
    enterMany(9, 'busy');
    charge('busy', 500);
    order(1);
    // The one that waits far away has a counter of 0; here those that wait have 500.
    enterMany(9, 'idle');
    expect(order(4).filter((name) => name === 'idle')).toHaveLength(2);
    expect(enter('new', { group: there }).share.counter).toBe(0);
  });

  test('is one counter for all models of an engine: two names do not double a share', () => {
    const { slots, enterMany, order } = stage();
    enterMany(20, 'two names');
    enterMany(20, 'two names', { group: { slotSets: [slots] } });
    enterMany(40, 'one name');
    expect(order(20).filter((name) => name === 'one name')).toHaveLength(10);
  });

  test('gives batches a tenth there, however many models they are for', () => {
    const { slots, group, enterMany, order } = stage();
    const groups = [group, ...[1, 2, 3].map(() => ({ slotSets: [slots] }))];
    for (const each of groups) enterMany(60, 'batch', { group: each, priority: 'batch' });
    enterMany(300, 'chat');
    expect(order(200).filter((name) => name === 'batch')).toHaveLength(20);
  });

  test('stays under one cap over all', () => {
    const { queue, far, there, enterMany, dispatch } = apart(2);
    enterMany(2, 'a', { group: there, maxUnits: 2 });
    expect(dispatch()).toHaveLength(2);
    enterMany(2, 'a', { maxUnits: 2 });
    expect(dispatch()).toEqual([]);
    queue.release(far, 'a', 1);
    expect(dispatch()).toHaveLength(1);
  });
});

describe('interactive requests', () => {
  test('of a caller whose batch waits are lifted like those of any other', () => {
    const { enter, enterMany, order } = stage();
    enter('both', { priority: 'batch' });
    enterMany(200, 'busy');
    order(100);
    enterMany(20, 'both');
    expect(order(20).filter((name) => name === 'both').length).toBeLessThanOrEqual(12);
  });
});

describe('a waiter that is held', () => {
  test('lets the next of its caller go, then other callers', () => {
    const { held, enterMany, dispatch } = stage(2);
    enterMany(2, 'a');
    enterMany(2, 'b');
    held.add('a1');
    held.add('b3');
    expect(dispatch()).toEqual(['a2', 'b4']);
  });

  test('keeps its place', () => {
    const { queue, slots, held, enterMany, dispatch } = stage();
    enterMany(3, 'a');
    held.add('a1');
    expect(dispatch()).toEqual(['a2']);
    held.clear();
    queue.release(slots, 'a', 1);
    expect(dispatch()).toEqual(['a1']);
    expect(queue.size).toBe(1);
  });

  test('can leave', () => {
    const { queue, held, enter, dispatch } = stage();
    const waiter = enter('a');
    held.add('a1');
    expect(dispatch()).toEqual([]);
    expect(queue.leave(waiter)).toBe(true);
    expect([queue.size, queue.bytes, queue.waiting('a')]).toEqual([0, 0, 0]);
  });

  test('costs a dispatch sixteen looks at most, and does not stand in the way of another group', () => {
    const { held, asked, enterMany, enter, dispatch } = stage();
    for (const { name } of enterMany(40, 'a')) held.add(name);
    const other = enter('b', { group: groupOf(new SlotSet('b', 1, true)) });
    expect(dispatch()).toEqual([other.name]);
    expect(asked.filter((name) => name !== other.name)).toHaveLength(16);
  });
});

describe('place', () => {
  test('is the number in the own line where nobody else waits', () => {
    const { enterMany, place } = stage(0);
    const waiters = enterMany(4, 'a');
    expect(waiters.map((each) => place(each))).toEqual([1, 2, 3, 4]);
  });

  test('is 0 for one that does not wait', () => {
    const { waiter, place } = stage();
    expect(place(waiter('a'))).toBe(0);
  });

  test('of a light caller in a flood is near the front', () => {
    const { enterMany, enter, order, place } = stage();
    const flood = enterMany(50, 'flood');
    order(5);
    const light = enter('light');
    expect(place(light)).toBeLessThanOrEqual(2);
    expect(place(flood[49] as Named)).toBe(46);
  });

  test('counts by weight, those at their cap not, and what waits elsewhere not', () => {
    const { enterMany, enter, dispatch, place } = stage(1);
    enterMany(4, 'capped', { maxUnits: 1 });
    dispatch();
    enterMany(30, 'elsewhere', { group: groupOf(new SlotSet('b', 0, true)) });
    enterMany(30, 'heavy', { weight: 2 });
    const mine = enterMany(6, 'a');
    // Five of its own and two of the other for each, and who came first goes first.
    expect(place(mine[5] as Named)).toBe(1 + 5 + 11);
    expect(place(enter('a', { units: 0 }))).toBe(1);
  });

  test('of a batch is behind the interactive ones that go first', () => {
    const { enterMany, enter, place } = stage(0);
    enterMany(4, 'chat');
    const batch = enter('batch', { priority: 'batch' });
    expect(place(batch)).toBe(5);
    enterMany(20, 'chat');
    expect(place(batch)).toBe(10);
  });

  test('of those in turn is the order in which they run', () => {
    const { enterMany, order, place } = stage();
    const all = [...enterMany(5, 'a'), ...enterMany(5, 'b')];
    const places = all.map((each) => place(each));
    expect(places).toEqual([1, 3, 5, 7, 9, 2, 4, 6, 8, 10]);
    expect(order(4)).toEqual(['a', 'b', 'a', 'b']);
  });
});

describe('regroup', () => {
  test('adds up what callers were ahead in domains that merge', () => {
    const { queue, slots, enterMany, order, charge } = stage();
    const other = new SlotSet('b', 1, true);
    enterMany(9, 'a');
    enterMany(9, 'b');
    enterMany(9, 'b', { group: groupOf(other) });
    enterMany(9, 'c', { group: { slotSets: [other] } });
    charge('a', 5);
    queue.charge(other, 'b', 'interactive', 25);
    queue.charge(other, 'c', 'interactive', 1);
    const before = [slots.domain, other.domain];
    const merged = groupOf(new SlotSet('a b', 1, true));
    queue.regroup(succeeding([merged], ...before), () => merged);
    // At first a stands at 5, b at 0 and 24, c at 0.
    expect(order(6)).toEqual(['c', 'a', 'c', 'a', 'c', 'b']);
  });

  test('lifts a caller whose requests go to engines that they had nothing to do with', () => {
    const { queue, slots, enterMany, order, charge } = stage();
    const other = new SlotSet('b', 1, true);
    const there = groupOf(other);
    const strangers = enterMany(9, 'stranger', { group: there });
    enterMany(9, 'a');
    charge('a', 500);
    const stays = groupOf(slots);
    const domains = succeeding([stays]);
    queue.regroup(domains, () => stays);
    expect(strangers[0]?.share.counter).toBe(500);
    expect(order(4)).toEqual(['stranger', 'a', 'stranger', 'a']);
  });

  test('moves those that wait, in their order', () => {
    const { queue, slots, enterMany, enter, dispatch } = stage();
    enterMany(3, 'a');
    enter('a', { units: 0 });
    slots.isOpen = false;
    const fresh = new SlotSet('b', 2, true);
    const group = groupOf(fresh);
    queue.regroup(succeeding([group], slots.domain), () => group);
    expect(dispatch()).toEqual(['a4', 'a1', 'a2']);
    expect([slots.used, fresh.used]).toEqual([0, 2]);
  });

  test('leaves counters as they are', () => {
    const { queue, slots, enterMany, order, charge } = stage();
    enterMany(9, 'a');
    enterMany(9, 'b');
    charge('a', 35);
    const group = groupOf(new SlotSet('b', 1, true));
    queue.regroup(succeeding([group], slots.domain), () => group);
    expect(order(5)).toEqual(['b', 'b', 'b', 'b', 'a']);
  });

  test('takes back a slot of an engine that was removed', () => {
    const { queue, slots, enterMany, dispatch } = stage();
    enterMany(2, 'a', { maxUnits: 1 });
    dispatch();
    const group = groupOf(new SlotSet('b', 1, true));
    queue.regroup(succeeding([group], slots.domain), () => group);
    expect(dispatch()).toEqual([]);
    queue.release(slots, 'a', 1);
    expect(slots.used).toBe(0);
    expect(dispatch()).toEqual(['a2']);
  });
});

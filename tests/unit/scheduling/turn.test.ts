/** Which waiter is next, and which one is passed over by it. */
import { describe, expect, test } from 'bun:test';
import { Lanes } from '../../../src/scheduling/lanes.ts';
import { nextTurn, passedOverBy } from '../../../src/scheduling/turn.ts';
import { domainOf, type Waiter } from '../../../src/scheduling/waiter.ts';
import { canRun, SlotSet, type SlotGroup } from '../../../src/engines/slots.ts';
import { MemoryShares } from '../../../src/stores/memory/shares.ts';
import { waiterOf } from '../../support/schedulingworld.ts';

const nobody = () => false;

function stage() {
  const lanes = new Lanes();
  const shares = new MemoryShares();
  let order = 0;
  function enter(
    principal: string,
    group: SlotGroup,
    counter: number,
    units = 1,
    maxUnits = Number.POSITIVE_INFINITY,
  ): Waiter {
    const waiter = waiterOf(principal, group, { units, maxUnits });
    waiter.share = shares.open(domainOf(waiter), waiter.job.priority, principal, 1);
    waiter.share.counter = counter;
    waiter.order = order++;
    lanes.insert(waiter);
    return waiter;
  }
  const freeFor = ({ group, job }: Waiter) => {
    return group.slotSets.filter((slots) => canRun(slots, job.units, slots.capacity));
  };
  return { lanes, enter, freeFor };
}

describe('the turn', () => {
  test('is that of the lowest counter that can start, over all groups', () => {
    const { lanes, enter, freeFor } = stage();
    const [free, full] = [new SlotSet('free', 1, true), new SlotSet('full', 0, true)];
    const first = enter('first', { slotSets: [full] }, 1);
    const third = enter('third', { slotSets: [free] }, 3);
    const both = { slotSets: [full, free] };
    const second = enter('second', both, 2);
    const turn = nextTurn(lanes, nobody, freeFor);
    expect(turn?.line).toBe(second.line as never);
    expect(turn?.free).toEqual([free]);
    expect(turn?.stuck).toEqual([first.line as never]);
    const rest = nextTurn(lanes, (group) => group === both, freeFor);
    expect(rest?.line).toBe(third.line as never);
  });

  test('is that of the fairest, in whichever order they came', () => {
    const { lanes, enter, freeFor } = stage();
    const counters = [3, 1, 2];
    const lines = counters.map((counter) => {
      const group = { slotSets: [new SlotSet(`${counter}`, 1, true)] };
      return enter(`caller-${counter}`, group, counter).line;
    });
    expect(nextTurn(lanes, nobody, freeFor)?.line).toBe(lines[1] as never);
  });

  test('is not that of a caller at its cap', () => {
    const { lanes, enter, freeFor } = stage();
    const group = { slotSets: [new SlotSet('a', 4, true)] };
    const capped = enter('capped', group, 1, 1, 1);
    capped.share.holder.running = 1;
    lanes.rank(capped.share.holder);
    expect(nextTurn(lanes, nobody, freeFor)).toBeUndefined();
    const other = enter('other', group, 2, 2);
    expect(nextTurn(lanes, nobody, freeFor)?.line).toBe(other.line as never);
  });

  test("is nobody's where nobody can start", () => {
    const { lanes, enter, freeFor } = stage();
    expect(nextTurn(lanes, nobody, freeFor)).toBeUndefined();
    enter('a', { slotSets: [new SlotSet('full', 0, true)] }, 1);
    expect(nextTurn(lanes, nobody, freeFor)).toBeUndefined();
  });
});

describe('passed over', () => {
  test('is the fairest that comes before, does not fit, and could run on that slots', () => {
    const { lanes, enter, freeFor } = stage();
    const slots = new SlotSet('a', 3, true);
    slots.used = 2;
    const group = { slotSets: [slots] };
    enter('behind', group, 9, 3);
    const large = enter('large', group, 1, 2);
    enter('elsewhere', { slotSets: [new SlotSet('b', 0, true)] }, 0);
    enter('small', group, 5);
    const turn = nextTurn(lanes, nobody, freeFor);
    expect(turn?.line.share.holder.principal).toBe('small');
    expect(turn && passedOverBy(turn, slots)).toBe(large.line as never);
  });

  test('is the first of several, in whichever order they came', () => {
    const { lanes, enter, freeFor } = stage();
    const slots = new SlotSet('a', 3, true);
    slots.used = 2;
    const group = { slotSets: [slots] };
    const [, first] = [4, 1, 3].map((counter, i) => {
      return enter(`large-${counter}`, group, counter, 2 + i);
    });
    enter('small', group, 5);
    const turn = nextTurn(lanes, nobody, freeFor);
    expect(turn?.stuck).toHaveLength(3);
    expect(turn && passedOverBy(turn, slots)).toBe(first?.line as never);
  });

  test('is nobody where all that come before run elsewhere', () => {
    const { lanes, enter, freeFor } = stage();
    const slots = new SlotSet('a', 1, true);
    enter('elsewhere', { slotSets: [new SlotSet('b', 0, true)] }, 0);
    enter('small', { slotSets: [slots] }, 5);
    const turn = nextTurn(lanes, nobody, freeFor);
    expect(turn && passedOverBy(turn, slots)).toBeUndefined();
  });
});

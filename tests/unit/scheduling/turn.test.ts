/** Whose turn it is, and who is passed over by it. */
import { describe, expect, test } from 'bun:test';
import { Lanes, type Entry, type Line, type Waiter } from '../../../src/scheduling/lanes.ts';
import { Shares } from '../../../src/scheduling/shares.ts';
import { canRun, Station, type Group } from '../../../src/engines/slots.ts';
import { nextTurn, passedOverBy } from '../../../src/scheduling/turn.ts';
import { waiterOf } from '../../support/schedulingworld.ts';

const nobody = () => false;

function stage() {
  const lanes = new Lanes<Waiter>();
  const shares = new Shares<Line<Waiter>>();
  let order = 0;
  function enter(principal: string, group: Group, counter: number, units = 1): Entry<Waiter> {
    const waiter = waiterOf(principal, group, units);
    const account = shares.open(principal, 1);
    account.counter = counter;
    const entry = { waiter, account, order: order++, passed: 0, line: undefined };
    lanes.insert(entry);
    return entry;
  }
  const freeFor = ({ group, units }: Waiter) => group.stations.filter((s) => canRun(s, units));
  return { lanes, enter, freeFor };
}

describe('the turn', () => {
  test('is that of the lowest counter that can start, over all groups', () => {
    const { lanes, enter, freeFor } = stage();
    const [free, full] = [new Station('free', 1, true), new Station('full', 0, true)];
    const first = enter('first', { key: 'full', stations: [full] }, 1);
    const third = enter('third', { key: 'free', stations: [free] }, 3);
    const both = { key: 'both', stations: [full, free] };
    const second = enter('second', both, 2);
    const turn = nextTurn(lanes, nobody, freeFor);
    expect(turn?.line).toBe(second.line as never);
    expect(turn?.free).toEqual([free]);
    expect(turn?.stuck).toEqual([first.line as never]);
    const rest = nextTurn(lanes, (group) => group === both, freeFor);
    expect(rest?.line).toBe(third.line as never);
  });

  test("is nobody's where nobody can start", () => {
    const { lanes, enter, freeFor } = stage();
    expect(nextTurn(lanes, nobody, freeFor)).toBeUndefined();
    enter('a', { key: 'full', stations: [new Station('full', 0, true)] }, 1);
    expect(nextTurn(lanes, nobody, freeFor)).toBeUndefined();
  });
});

describe('passed over', () => {
  test('is the fairest that comes before, does not fit, and could run on that station', () => {
    const { lanes, enter, freeFor } = stage();
    const station = new Station('a', 3, true);
    station.used = 2;
    const group = { key: 'a', stations: [station] };
    enter('behind', group, 9, 3);
    const large = enter('large', group, 1, 2);
    enter('elsewhere', { key: 'b', stations: [new Station('b', 0, true)] }, 0);
    enter('small', group, 5);
    const turn = nextTurn(lanes, nobody, freeFor);
    expect(turn?.line.account.principal).toBe('small');
    expect(turn && passedOverBy(turn, station)).toBe(large.line as never);
  });

  test('is nobody where all that come before run elsewhere', () => {
    const { lanes, enter, freeFor } = stage();
    const station = new Station('a', 1, true);
    enter('elsewhere', { key: 'b', stations: [new Station('b', 0, true)] }, 0);
    enter('small', { key: 'a', stations: [station] }, 5);
    const turn = nextTurn(lanes, nobody, freeFor);
    expect(turn && passedOverBy(turn, station)).toBeUndefined();
  });
});

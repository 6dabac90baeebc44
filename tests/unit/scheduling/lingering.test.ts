/** Slots of ended requests come back by the engine's report or by time, and never twice. */
import { describe, expect, test } from 'bun:test';
import { Lingering } from '../../../src/scheduling/lingering.ts';

function stage() {
  const upstream = { isHopeful: true };
  const released: string[] = [];
  const asked: number[] = [];
  const settings = { timeoutMs: 5_000, answers: true };
  let now = 0;
  const lingering = new Lingering<{ name: string; upstream: typeof upstream; units: number }>({
    timeoutMs: () => settings.timeoutMs,
    askLoad() {
      if (settings.answers) asked.push(now);
      return settings.answers;
    },
    release: ({ name }) => released.push(name),
  });
  const add = (name: string, { units = 1, hasBegun = true, of = upstream } = {}) => {
    lingering.add({ name, upstream: of, units }, hasBegun, now);
  };
  function lookUntil(end: number): void {
    for (; now < end; now += 20) lingering.look(now);
  }
  return { upstream, released, asked, settings, lingering, add, lookUntil };
}

describe('a slot whose request has ended', () => {
  test('comes back when the engine is idle', () => {
    const { upstream, released, lingering, add } = stage();
    add('a');
    lingering.loaded(upstream, 1, 10);
    expect(released).toEqual([]);
    lingering.loaded(upstream, 0, 20);
    expect([released, lingering.size]).toEqual([['a'], 0]);
  });

  test('comes back when its time is over, once', () => {
    const { upstream, released, lingering, add, lookUntil } = stage();
    add('a');
    lookUntil(5_000);
    expect(released).toEqual([]);
    lookUntil(5_100);
    lingering.loaded(upstream, 0, 5_100);
    expect(released).toEqual(['a']);
  });

  test('comes back at once when its engine is away', () => {
    const { upstream, released, add, lookUntil } = stage();
    add('a');
    upstream.isHopeful = false;
    lookUntil(20);
    expect(released).toEqual(['a']);
  });

  test('does not come back by an answer to a question that was asked before it ended', () => {
    const { upstream, released, lingering, add, lookUntil } = stage();
    lookUntil(100);
    add('a');
    lingering.loaded(upstream, 0, 50);
    expect(released).toEqual([]);
    lingering.loaded(upstream, 0, 100);
    expect(released).toEqual(['a']);
  });

  test('does not come back by the report of another engine', () => {
    const { released, lingering, add } = stage();
    add('a');
    lingering.loaded({ isHopeful: true }, 0, 10);
    expect(released).toEqual([]);
  });
});

test('of several, those that ended last are taken to be worked for', () => {
  const { upstream, released, lingering, add } = stage();
  add('a');
  add('b', { units: 2 });
  add('c');
  lingering.loaded(upstream, 2, 0);
  expect(released).toEqual(['a']);
});

describe('an engine', () => {
  test('that had begun to answer is asked soon, and then less and less often', () => {
    const { asked, add, lookUntil } = stage();
    add('a');
    lookUntil(1_000);
    expect(asked).toEqual([20, 40, 80, 160, 320, 640]);
  });

  test('that had not is asked soon, and then after it has had time to notice', () => {
    const { asked, add, lookUntil } = stage();
    add('a', { hasBegun: false });
    lookUntil(4_000);
    expect(asked).toEqual([20, 1_520, 3_020]);
  });

  test('that is being asked is asked again at the next look', () => {
    const { asked, settings, add, lookUntil } = stage();
    settings.answers = false;
    add('a');
    lookUntil(100);
    settings.answers = true;
    lookUntil(120);
    expect(asked).toEqual([100]);
  });
});

test('the time that the process stood still counts for no timeout', () => {
  const { lingering, released, settings, add } = stage();
  settings.timeoutMs = 100;
  add('a');
  lingering.paused(5_000, 5_050);
  lingering.look(5_099);
  expect(released).toEqual([]);
  lingering.look(5_150);
  expect(released).toEqual(['a']);
});

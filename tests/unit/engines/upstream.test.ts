/** What is known of one upstream: its state, its slots, its models, and how connections to it are made. */
import { describe, expect, test } from 'bun:test';
import { Upstream, type UpstreamState } from '../../../src/engines/upstream.ts';
import { see, settingsOf } from '../../support/schedulingworld.ts';
import { listOf } from '../../../src/wire/modellist.ts';

function upstreamOf(...[settings]: [Parameters<typeof settingsOf>[1]?]): Upstream {
  return new Upstream(settingsOf('a', settings), () => 0);
}

function seen(...[settings]: [Parameters<typeof settingsOf>[1]?]): Upstream {
  const upstream = upstreamOf(settings);
  see(upstream);
  return upstream;
}

describe('the state', () => {
  test.each<[string, UpstreamState, boolean, (upstream: Upstream) => void]>([
    ['was seen and has answered', 'up', true, () => {}],
    ['loads its model', 'loading', true, (each) => each.loads(true)],
    ['stands still', 'stalled', true, (each) => each.stalled(true)],
    ['cannot be reached', 'away', false, (each) => each.breaker.unreachable(0)],
    ['is configured no more', 'drained', false, (each) => each.remove()],
    ['may be another one', 'unknown', true, (each) => each.sighted(false)],
  ])('of one that %s is %s', (_, state, isHopeful, happens) => {
    const upstream = seen();
    happens(upstream);
    expect([upstream.state, upstream.isHopeful]).toEqual([state, isHopeful]);
    // What a breaker says is not for it to judge.
    expect(upstream.isWilling).toBe(state === 'up' || state === 'away');
  });

  test('of one that was asked and has not answered is not known', () => {
    const upstream = upstreamOf();
    upstream.sighted(true);
    expect([upstream.state, upstream.isWilling]).toEqual(['unknown', true]);
    upstream.proven(5);
    expect([upstream.state, upstream.provenAt]).toEqual(['up', 5]);
  });

  test('of one that is drained is that, whatever else is true', () => {
    const upstream = seen({ drain: true });
    upstream.breaker.unreachable(0);
    expect([upstream.state, upstream.isWilling]).toEqual(['drained', false]);
  });
});

test('one that is back has nothing left of before', () => {
  const upstream = seen();
  upstream.refuses(true);
  upstream.stalled(true);
  upstream.index.hold(Uint32Array.from([1, 2]));
  upstream.returned();
  const { refusesQuickly, isStalled, index } = upstream;
  expect([refusesQuickly, isStalled, index.size]).toEqual([false, false, 0]);
});

describe('what it says of itself', () => {
  test('is taken whole: what is not said any more is not known any more', () => {
    const upstream = upstreamOf({ kind: 'auto' });
    expect(upstream.kind).toBe('unknown');
    upstream.saw({ kind: 'llama.cpp', slots: 4, contextTokens: 100, isLoading: true });
    const { kind, reportedSlots, contextTokens, isLoading } = upstream;
    expect([kind, reportedSlots, contextTokens, isLoading]).toEqual(['llama.cpp', 4, 100, true]);
    upstream.saw({ kind: 'llama.cpp' });
    expect([upstream.reportedSlots, upstream.contextTokens]).toEqual([undefined, undefined]);
    expect(upstream.isLoading).toBe(false);
  });

  test('of its models counts where the configuration says nothing', () => {
    const [asked, told] = [upstreamOf(), upstreamOf({ models: ['x'] })];
    for (const each of [asked, told]) each.listed(listOf(['y']), ['y']);
    expect([asked.models, told.models]).toEqual([['y'], ['x']]);
    expect(asked.list).toEqual(listOf(['y']));
  });

  test('of requests that wait inside it closes it, where its slots are not configured', () => {
    for (const [slots, isFull] of [
      ['auto', true],
      [2, false],
    ] as const) {
      const upstream = seen({ kind: 'vllm', slots });
      upstream.loaded({ waiting: 1 });
      upstream.refresh(true);
      expect([upstream.isFull, upstream.reportsWaiting]).toEqual([isFull, isFull]);
      expect(upstream.slotsFor(undefined).isOpen).toBe(!isFull);
      upstream.loaded({ running: 3 });
      expect(upstream.isFull).toBe(false);
    }
  });
});

describe('its slots', () => {
  test('are one set for all models, with as many as are configured, or as it says', () => {
    const upstream = seen({ slots: 'auto' });
    const slots = upstream.slotsFor('x');
    expect(upstream.slotsFor('y')).toBe(slots);
    expect([slots.id, slots.capacity, slots.isOpen]).toEqual(['a', Infinity, false]);
    upstream.saw({ kind: 'llama.cpp', slots: 3 });
    upstream.refresh(true);
    expect([slots.capacity, slots.isOpen]).toEqual([3, true]);
    upstream.reconfigure(settingsOf('a', { slots: 7 }));
    upstream.refresh(true);
    expect(slots.capacity).toBe(7);
    upstream.remove();
    expect(slots.isOpen).toBe(false);
  });

  test('are not bounded where that is configured, whatever it says', () => {
    const upstream = seen({ slots: 'unbounded' });
    upstream.saw({ kind: 'llama.cpp', slots: 3 });
    expect(upstream.slotsFor('x').capacity).toBe(Infinity);
  });

  test('are one set a model where they are given so', () => {
    const upstream = seen({ slots: { x: 2, y: 1 } });
    const [x, y] = ['x', 'y'].map((model) => upstream.slotsFor(model));
    expect([x?.id, x?.capacity, y?.id, y?.capacity]).toEqual(['a/x', 2, 'a/y', 1]);
    if (x) x.used = 2;
    expect(upstream.occupancy).toEqual({ used: 2, capacity: 3 });
  });

  test('are counted as it says before any request came', () => {
    const upstream = seen({ slots: 'auto' });
    expect(upstream.occupancy).toEqual({ used: 0, capacity: undefined });
    upstream.saw({ kind: 'llama.cpp', slots: 3 });
    expect(upstream.occupancy).toEqual({ used: 0, capacity: 3 });
  });
});

test('its progress is judged from the first open request to the last', () => {
  const upstream = seen();
  expect(upstream.progress.silentSince).toBeUndefined();
  upstream.opened(10);
  upstream.opened(20);
  expect([upstream.open, upstream.progress.silentSince]).toEqual([2, 10]);
  upstream.closed();
  upstream.closed();
  expect(upstream.open).toBe(0);
  upstream.opened(50);
  expect(upstream.progress.silentSince).toBe(50);
});

test('connections are kept for kinds that bear it', () => {
  expect(seen().connect(0).init).toEqual({ keepalive: false });
  const { init, release } = seen({ kind: 'vllm' }).connect(0);
  expect(Object.keys(init)).toEqual(['session']);
  release();
});

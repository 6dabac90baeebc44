/** What is heard of upstreams: states, lines of the log, and when an engine that stood still may be used again. */
import { describe, expect, test } from 'bun:test';
import type { EngineLoad } from '../../../src/engines/load.ts';
import { Health } from '../../../src/engines/health.ts';
import type { Log } from '../../../src/log/log.ts';
import type { Upstream } from '../../../src/engines/upstream.ts';
import type { WatchOptions } from '../../../src/engines/watch.ts';
import { callerOf, jobOf, fleetOf, settingsOf } from '../../support/schedulingworld.ts';

const floorMs = 1_000;

function times(n: number, body: (i: number) => void): void {
  for (let i = 0; i < n; i++) body(i);
}

function stage(ids: readonly string[] = ['a']) {
  const fleet = fleetOf(ids.map((id) => settingsOf(id)));
  const lines: string[] = [];
  const calls: string[] = [];
  const watched = new Map<string, WatchOptions>();
  let changes = 0;
  let now = 0;
  const log = {
    error: (_: object, message: string) => lines.push(`error: ${message}`),
    info: (_: object, message: string) => lines.push(message),
  } as unknown as Log; // Nothing else of it is used.
  const health = new Health({
    fleet,
    log,
    now: () => now,
    random: () => 0,
    watch(options) {
      const { id } = options.upstream;
      watched.set(id, options);
      const noted = (name: string) => () => void calls.push(`${name} ${id}`);
      return {
        start: noted('start'),
        close: noted('close'),
        hasten: noted('hasten'),
        lookAnew: noted('lookAnew'),
        proveByConnecting: noted('proveByConnecting'),
        proveByAsking: noted('proveByAsking'),
        askLoad: (pauseMs) => (calls.push(`askLoad ${id} ${pauseMs}`), true),
        post: async () => undefined,
        readListNow: async () => void calls.push(`readListNow ${id}`),
      };
    },
    changed: () => changes++,
    loaded: () => {},
  });
  for (const upstream of fleet.upstreams) health.add(upstream);
  const upstream = fleet.upstreams[0] as Upstream;
  const says = (load: EngineLoad) => watched.get('a')?.loaded(load, now);
  const judge = () => health.judgeProgress(upstream, false, floorMs);
  const at = (time: number) => (now = time);
  const report = (id = 'a') => watched.get(id) as WatchOptions;
  const counted = () => changes;
  return { fleet, health, upstream, lines, calls, says, judge, at, report, counted };
}

test('the lists of all upstreams are read at once when they are asked for', async () => {
  const { health, calls } = stage(['a', 'b']);
  await health.readLists();
  expect(calls).toEqual(['readListNow a', 'readListNow b']);
});

test('an upstream that answers is up once it has been asked what it is, and not sooner', () => {
  const { upstream, report } = stage();
  upstream.sighted(false);
  report().answered();
  expect(upstream.state).toBe('unknown');
  upstream.sighted(true);
  expect(upstream.state).toBe('up');
});

describe('an upstream that nobody reaches', () => {
  test('is away, whoever found that out first, and logged once', () => {
    for (const isByWatch of [true, false]) {
      const { health, upstream, lines, counted, report } = stage();
      const miss = () => (isByWatch ? report().unreachable() : health.missed(upstream, true));
      miss();
      miss();
      expect(upstream.state).toBe('away');
      expect(upstream.refusesQuickly).toBe(true);
      expect(lines).toEqual(['error: upstream cannot be reached']);
      expect(counted()).toBe(1);
    }
  });

  test("is looked after soon when a request has missed it, and at the watch's own pace else", () => {
    const { health, upstream, calls, report } = stage();
    report().unreachable();
    expect(calls).toEqual([]);
    health.missed(upstream, false);
    expect(calls).toEqual(['hasten a']);
    expect(upstream.refusesQuickly).toBe(false);
  });

  test('is back by a connection or an answer, and may be another engine', () => {
    for (const isByWatch of [true, false]) {
      const { health, upstream, lines, calls, report } = stage();
      upstream.index.hold(Uint32Array.from([1, 2, 3]));
      report().unreachable();
      if (isByWatch) report().reached();
      else health.answered(upstream, 200, jobOf('k'));
      expect(upstream.state).toBe('up');
      expect(lines.at(-1)).toBe('upstream is back');
      expect(calls).toEqual(['lookAnew a']);
      expect(upstream.index.size).toBe(0);
      expect(upstream.refusesQuickly).toBe(false);
    }
  });
});

test('a connection proves an upstream and says nothing new of one that is up', () => {
  const { upstream, lines, counted, at, report } = stage();
  at(70);
  report().reached();
  expect([upstream.provenAt, upstream.state]).toEqual([70, 'up']);
  expect([lines, counted()]).toEqual([[], 0]);
});

test('one that only fails is set aside while another serves the same', () => {
  const { health, upstream, lines } = stage(['a', 'b']);
  for (let i = 0; i < 10; i++) health.answered(upstream, 500, jobOf(`caller-${i}`));
  expect(upstream.state).toBe('away');
  expect(lines).toEqual(['error: upstream is set aside']);
});

test('one that fails inside its answers is set aside as for a 500, whatever their status was', () => {
  const { health, upstream } = stage(['a', 'b']);
  for (let i = 0; i < 10; i++) {
    health.answered(upstream, 200, jobOf(`caller-${i}`));
    health.judged(upstream, 'failing', jobOf(`caller-${i}`));
  }
  expect(upstream.state).toBe('away');
  health.judged(upstream, 'well', jobOf('k', { units: 0 }));
  expect(upstream.state).toBe('away');
  health.judged(upstream, 'well', jobOf('k'));
  expect(upstream.state).toBe('up');
});

test('an answer that ended well begins the count anew, one that only began well does not', () => {
  const { health, upstream } = stage(['a', 'b']);
  for (let i = 0; i < 4; i++) health.answered(upstream, 500, jobOf(`caller-${i}`));
  health.judged(upstream, 'well', jobOf('k'));
  for (let i = 0; i < 4; i++) health.answered(upstream, 500, jobOf(`caller-${i}`));
  health.answered(upstream, 200, jobOf('k'));
  expect(upstream.state).toBe('up');
  health.answered(upstream, 500, jobOf('k'));
  expect(upstream.state).toBe('away');
});

test('the users of one key are one caller', () => {
  const { health, upstream } = stage(['a', 'b']);
  const user = (i: number) => jobOf('', { caller: callerOf(`user-${i}`, { keyId: 'app' }) });
  for (let i = 0; i < 20; i++) health.answered(upstream, 500, user(i));
  for (let i = 0; i < 20; i++) health.wasReset(upstream, user(i));
  for (let i = 0; i < 20; i++) health.judged(upstream, 'failing', user(i));
  expect(upstream.state).toBe('up');
  health.answered(upstream, 500, jobOf('another'));
  expect(upstream.state).toBe('away');
});

test('the last one is not, whatever it answers', () => {
  const { health, upstream, lines } = stage();
  for (let i = 0; i < 10; i++) health.answered(upstream, 500, jobOf(`caller-${i}`));
  expect([upstream.state, lines]).toEqual(['up', []]);
});

test('tokenizing is no proof that an engine generates', () => {
  const { health, upstream } = stage(['a', 'b']);
  for (let i = 0; i < 10; i++) health.answered(upstream, 500, jobOf(`caller-${i}`));
  health.answered(upstream, 200, jobOf('k', { units: 0 }));
  expect(upstream.state).toBe('away');
});

describe('one that breaks connections', () => {
  const resets = ({ health, upstream }: ReturnType<typeof stage>, count: number, callers: number) =>
    times(count, (i) => health.wasReset(upstream, jobOf(`caller-${i % callers}`)));

  test('of several callers is set aside while another serves the same', () => {
    const all = stage(['a', 'b']);
    resets(all, 5, 2);
    expect([all.upstream.state, all.lines]).toEqual(['away', ['error: upstream is set aside']]);
  });

  test('is not when it is the last, and is not even asked', () => {
    for (const callers of [1, 3]) {
      const all = stage();
      resets(all, 50, callers);
      all.report().broke();
      expect([all.upstream.state, all.lines, all.calls]).toEqual(['up', [], []]);
    }
  });

  test('of one caller is asked from the tenth on, and set aside when it breaks that connection too', () => {
    const all = stage(['a', 'b']);
    const { upstream, lines, calls, report } = all;
    resets(all, 9, 1);
    expect(calls).toEqual([]);
    resets(all, 1, 1);
    expect([upstream.state, calls]).toEqual(['up', ['proveByAsking a']]);
    report().answered();
    expect(upstream.state).toBe('up');
    report().broke();
    expect([upstream.state, lines]).toEqual(['away', ['error: upstream is set aside']]);
    expect(calls.at(-1)).toBe('hasten a');
    report().answered();
    expect([upstream.state, lines.at(-1)]).toEqual(['up', 'upstream is back']);
  });

  test('costs a caller alone no second engine', () => {
    const all = stage(['a', 'b']);
    const { fleet, health, report } = all;
    resets(all, 10, 1);
    report().broke();
    const [, b] = fleet.upstreams;
    times(50, () => b && health.wasReset(b, jobOf('caller-0')));
    report('b').broke();
    expect(fleet.upstreams.map(({ state }) => state)).toEqual(['away', 'up']);
  });
});

test('that loads its model changes once', () => {
  const { health, upstream, counted, calls } = stage();
  health.noteLoading(upstream);
  health.noteLoading(upstream);
  expect([upstream.state, counted()]).toEqual(['loading', 1]);
  expect(calls).toEqual(['hasten a', 'hasten a']);
});

describe('an engine with counters that stands still', () => {
  function stalled() {
    const all = stage();
    const { upstream, says, judge, at, counted } = all;
    upstream.opened(0);
    says({ progress: 5, busySlots: 1 });
    judge();
    expect(upstream.isStalled).toBe(false);
    at(100_000);
    const before = counted();
    judge();
    expect(upstream.state).toBe('stalled');
    // Another may have to be taken back now.
    expect(counted()).toBe(before + 1);
    return all;
  }

  test('is stalled, is asked, and is not when its counters move', () => {
    const { upstream, lines, calls, says, judge } = stalled();
    expect(calls).toContain('askLoad a 1500');
    says({ progress: 6, busySlots: 1 });
    judge();
    expect(upstream.isStalled).toBe(false);
    expect(lines).toEqual(['error: upstream makes no progress', 'upstream makes progress again']);
  });

  test('stays stalled when its requests have ended, until it says that it is idle', () => {
    const { upstream, says, judge } = stalled();
    upstream.closed();
    judge();
    says({ progress: 5, busySlots: 1 });
    judge();
    expect(upstream.isStalled).toBe(true);
    says({ progress: 5, busySlots: 0 });
    judge();
    expect(upstream.isStalled).toBe(false);
  });

  test('is not when it works for somebody else', () => {
    const { upstream, says, judge } = stalled();
    upstream.closed();
    says({ progress: 9, busySlots: 1 });
    judge();
    expect(upstream.isStalled).toBe(false);
  });

  test('is not when it has been away and is back', () => {
    const { upstream, report } = stalled();
    upstream.closed();
    report().unreachable();
    report().reached();
    expect(upstream.state).toBe('up');
  });
});

test('one without counters is tried again when its requests have ended: it cannot show anything', () => {
  const { health, upstream, judge, at } = stage();
  upstream.opened(0);
  at(100_000);
  health.judgeProgress(upstream, true, floorMs);
  expect(upstream.isStalled).toBe(true);
  upstream.closed();
  judge();
  expect(upstream.isStalled).toBe(false);
});

test('one that says that requests wait inside it is full, until it says otherwise', () => {
  const { fleet, upstream, says } = stage();
  fleet.replace({
    upstreams: [settingsOf('a', { slots: 'auto' })],
    defaultModel: undefined,
    anyModelName: 'on',
  });
  says({ waiting: 2 });
  expect(upstream.isFull).toBe(true);
  says({ waiting: 0 });
  expect(upstream.isFull).toBe(false);
});

test('one that is gone is not looked after', () => {
  const { health, upstream, calls } = stage();
  health.drop(upstream);
  expect(calls).toEqual(['close a']);
  expect(health.askLoad(upstream, 0)).toBe(false);
  health.start();
  health.close();
  expect(calls).toEqual(['close a']);
});

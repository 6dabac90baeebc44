/** The parts of the scheduler work together: after a probe, after a reload, and at the end. */
import { afterEach, expect, test } from 'bun:test';
import type { Log } from '../../../src/log/log.ts';
import { Scheduler, type SchedulerSettings } from '../../../src/scheduling/scheduler.ts';
import { MemoryShares } from '../../../src/stores/memory/shares.ts';
import { LocalSlots } from '../../../src/stores/memory/slots.ts';
import { HandClock, settled } from '../../support/handclock.ts';
import { jobOf, schedulerSettings, see, settingsOf } from '../../support/schedulingworld.ts';

const open: Scheduler[] = [];

afterEach(async () => {
  for (const scheduler of open.splice(0)) await scheduler.close();
});

/** Makes a scheduler whose engines answer, or refuse connections, as a test says. */
function stage(ids: readonly string[], more: Partial<SchedulerSettings> = {}) {
  const clock = new HandClock();
  const away = new Set<string>();
  const asked: string[] = [];
  const settings = { ...schedulerSettings(ids.map((id) => settingsOf(id))), ...more };
  const nothing = () => {};
  const scheduler = new Scheduler({
    settings,
    log: { info: nothing, error: nothing } as unknown as Log, // Nothing else of it is used.
    broker: new LocalSlots(),
    shares: new MemoryShares(),
    now: clock.now,
    random: () => 0,
    repeat: clock.repeat,
    watch: {
      setTimer: clock.setTimer,
      async fetch(url) {
        const { hostname, pathname } = new URL(url);
        asked.push(`${hostname}${pathname}`);
        if (away.has(hostname)) throw Object.assign(new Error(), { code: 'ConnectionRefused' });
        if (pathname === '/v1/models') return Response.json({ data: [{ id: 'qwen' }] });
        return Response.json({ total_slots: 1 });
      },
    },
  });
  open.push(scheduler);
  const lease = () => scheduler.pool.lease(jobOf('k'), new AbortController().signal, false);
  return { scheduler, ...scheduler, settings, clock, away, asked, lease };
}

test('no engine is asked before the start, and none gets a request before it was asked', async () => {
  const { scheduler, clock, asked, pool, lease } = stage(['a']);
  const waits = lease();
  await settled();
  expect([asked, pool.queued]).toEqual([[], 1]);
  scheduler.start();
  await clock.pass(0);
  expect(asked).toContain('a.invalid/props');
  expect((await waits).upstream.id).toBe('a');
});

test('requests that wait for an engine that is away run elsewhere, and there again when it is back', async () => {
  const { scheduler, clock, away, fleet, lease } = stage(['a', 'b']);
  away.add('a.invalid');
  scheduler.start();
  await clock.pass(0);
  expect(fleet.upstreams.map(({ state }) => state)).toEqual(['away', 'up']);
  expect((await lease()).upstream.id).toBe('b');
  const waits = lease();
  expect(waits).toBeInstanceOf(Promise);
  away.clear();
  await clock.pass(10_000);
  expect(fleet.upstreams.map(({ state }) => state)).toEqual(['up', 'up']);
  expect((await waits).upstream.id).toBe('a');
});

test('a reload moves waiting requests to the new upstreams, and watches those', async () => {
  const { scheduler, settings, clock, asked, fleet, lease } = stage(['a']);
  scheduler.start();
  await clock.pass(0);
  await lease();
  const waits = lease();
  expect(waits).toBeInstanceOf(Promise);
  scheduler.reconfigure({ ...settings, upstreams: [settingsOf('a'), settingsOf('b')] });
  await clock.pass(0);
  expect(asked).toContain('b.invalid/props');
  expect((await waits).upstream.id).toBe('b');
  scheduler.reconfigure({ ...settings, upstreams: [settingsOf('a')] });
  expect(fleet.upstreams.map(({ id }) => id)).toEqual(['a']);
  asked.length = 0;
  await clock.pass(30_000);
  expect(asked.some((url) => url.startsWith('a.'))).toBe(true);
  expect(asked.some((url) => url.startsWith('b.'))).toBe(false);
});

test('a reload changes policies at once', () => {
  const { scheduler, settings, fleet, retries, contextCheck } = stage(['a', 'b']);
  fleet.upstreams.forEach(see);
  const [upstream] = fleet.upstreams;
  const mayRetry = () => upstream && retries.mayRetry(upstream, 'reset', jobOf('k'));
  expect([mayRetry(), contextCheck.isOn]).toEqual([false, false]);
  scheduler.reconfigure({ ...settings, retryPolicy: 'resets', contextPreflight: 'on' });
  expect([mayRetry(), contextCheck.isOn]).toEqual([true, true]);
});

test('nothing is asked and no timer runs after the end', async () => {
  const { scheduler, clock, asked, lease } = stage(['a']);
  scheduler.start();
  await clock.pass(0);
  await lease();
  await scheduler.close();
  asked.length = 0;
  await clock.pass(60_000);
  expect([asked, clock.due]).toEqual([[], []]);
});

/** Leases: where they go, what is charged for them, and when their slots come back, by a clock that the tests move. */
import { afterEach, describe, expect, test } from 'bun:test';
import type { Log } from '../../../src/log/log.ts';
import type { Lease, LeaseEnd } from '../../../src/scheduling/lease.ts';
import { Scheduler, type SchedulerSettings } from '../../../src/scheduling/scheduler.ts';
import type { SlotBroker } from '../../../src/scheduling/slotbroker.ts';
import { MemoryShares } from '../../../src/stores/memory/shares.ts';
import { LocalSlots } from '../../../src/stores/memory/slots.ts';
import type { Job } from '../../../src/request/job.ts';
import { HandClock } from '../../support/handclock.ts';
import {
  callerOf,
  jobOf,
  schedulerSettings,
  see,
  settingsOf,
} from '../../support/schedulingworld.ts';

const engines = ['a', 'b', 'c', 'd'];
const done: LeaseEnd = { outcome: 'done', tokens: {}, firstByteMs: 500 };
const aborted: LeaseEnd = { ...done, outcome: 'aborted' };

const schedulers: Scheduler[] = [];

afterEach(async () => {
  for (const scheduler of schedulers.splice(0)) await scheduler.close();
});

/** Makes a scheduler whose upstreams have been seen. Nothing is sent anywhere but what `asked` notes. */
function stage(more: Partial<SchedulerSettings> = {}, broker: SlotBroker = new LocalSlots()) {
  const clock = new HandClock();
  const settings = {
    ...schedulerSettings(engines.map((id) => settingsOf(id, { slots: 2 }))),
    ...more,
  };
  const asked: string[] = [];
  const load = { busySlots: 0 };
  const lines: string[] = [];
  const log = {
    error: (_: object, line: string) => lines.push(line),
    info: (_: object, line: string) => lines.push(line),
  } as unknown as Log; // Nothing else of it is used.
  const scheduler = new Scheduler({
    settings,
    log,
    broker,
    shares: new MemoryShares(),
    now: clock.now,
    random: () => 0,
    repeat: clock.repeat,
    watch: {
      setTimer: clock.setTimer,
      async fetch(url) {
        asked.push(`${clock.now()} ${new URL(url).pathname}`);
        return Response.json(
          Array.from({ length: 2 }, (_, i) => ({ is_processing: i < load.busySlots })),
        );
      },
    },
  });
  schedulers.push(scheduler);
  const { fleet, pool } = scheduler;
  for (const upstream of fleet.upstreams) see(upstream);
  pool.changed();
  const lease = (job: Job = jobOf('k'), isAgain = false, signal = new AbortController().signal) =>
    pool.lease(job, signal, isAgain);
  return { ...scheduler, scheduler, clock, asked, load, lines, lease };
}

const one = { upstreams: [settingsOf('a', { slots: 2 })] };

function idOf(lease: Lease | Promise<Lease>): string {
  return lease instanceof Promise ? 'waits' : lease.upstream.id;
}

describe('one prompt of many', () => {
  const chain = Uint32Array.from({ length: 400 }, (_, i) => i + 1);

  test('at once takes every slot of every engine', () => {
    const { pool, lease } = stage();
    const ids = Array.from({ length: 8 }, () => idOf(lease(jobOf('k', { chain }))));
    expect(ids.sort()).toEqual([...engines, ...engines].sort());
    expect(pool.queued).toBe(0);
  });

  test('that has run is sought where it ran, and one that was refused there is not', () => {
    for (const outcome of ['done', 'aborted', 'failed', 'unserved'] as const) {
      const { lease } = stage();
      const job = jobOf('k', { chain });
      const first = lease(job) as Lease;
      first.release({ ...done, outcome });
      const ids = Array.from({ length: 4 }, () => {
        const next = lease(job) as Lease;
        next.release({ ...done, outcome: 'unserved' });
        return next.upstream.id;
      });
      const isSought = ids.every((id) => id === first.upstream.id);
      expect([outcome, isSought]).toEqual([outcome, outcome !== 'unserved']);
    }
  });
});

describe('a conversation', () => {
  const chain = Uint32Array.from({ length: 400 }, (_, i) => i + 1);
  const upstreams = [settingsOf('a'), settingsOf('b')];

  test('is held for its home, and has all its patience again when it has run there', async () => {
    const { clock, lease } = stage({ upstreams });
    const [busy, held] = [jobOf('k', { chain }), jobOf('k', { chain })];
    (lease(busy) as Lease).release(done);
    for (let i = 0; i < 2; i++) {
      const running = lease(busy) as Lease;
      const waits = lease(held);
      expect(idOf(waits)).toBe('waits');
      running.release(done);
      expect((await waits).upstream).toBe(running.upstream);
      (await waits).release(done);
      await clock.pass(1_000_000);
    }
  });
});

describe('a lease', () => {
  test('counts at its upstream until it is released, once', () => {
    const { fleet, lease } = stage(one);
    const [upstream] = fleet.upstreams;
    const leases = [lease(), lease()] as Lease[];
    expect([upstream?.open, upstream?.occupancy.used]).toEqual([2, 2]);
    for (const each of [leases[0], leases[0]]) each?.release(done);
    expect([upstream?.open, upstream?.occupancy.used]).toEqual([1, 1]);
  });

  test('goes to a waiting request as soon as it is released', async () => {
    const { pool, lease } = stage(one);
    const [first] = [lease(), lease()] as Lease[];
    const third = lease();
    expect([idOf(third), pool.queued]).toEqual(['waits', 1]);
    first?.release(done);
    expect([(await third).upstream.id, pool.queued]).toEqual(['a', 0]);
  });

  test('is not given to one that has left', () => {
    const { lease, pool } = stage(one);
    const reason = new Error('left');
    expect(() => lease(jobOf('k'), false, AbortSignal.abort(reason))).toThrow(reason);
    expect(pool.queued).toBe(0);
  });

  test('says which model it is for, and what of the body must change', () => {
    const upstreams = [settingsOf('a', { models: ['qwen'], aliases: { fast: 'qwen' } })];
    const { lease } = stage({ upstreams });
    const { model, edits } = lease(jobOf('k', { model: 'fast' })) as Lease;
    expect([model, edits]).toEqual(['qwen', { model: 'qwen' }]);
  });

  test('of a key with its own models has the model that was asked for set, so that a body cannot name two', () => {
    const upstreams = [settingsOf('a', { models: ['qwen', 'other'], slots: 2 })];
    const { lease } = stage({ upstreams });
    const caller = callerOf('k', { models: ['qwen'] });
    const edits = (job: Job) => (lease(job) as Lease).edits;
    expect(edits(jobOf('k', { caller, model: 'qwen' }))).toEqual({ model: 'qwen' });
    expect(edits(jobOf('k', { model: 'qwen' }))).toBeUndefined();
  });

  test('of llama.cpp has its prompt kept apart if that is set and the route generates', () => {
    const { lease } = stage({ ...one, isolatePromptCache: 'on' });
    expect((lease() as Lease).edits).toEqual({ cache_prompt: false });
    expect((lease(jobOf('k', { units: 0 })) as Lease).edits).toBeUndefined();
    const vllm = {
      upstreams: [settingsOf('a', { kind: 'vllm' })],
      isolatePromptCache: 'on',
    } as const;
    expect((stage(vllm).lease() as Lease).edits).toBeUndefined();
  });
});

test('requests fill the budget of retries, and a request that is sent again does not', () => {
  const { retries, fleet, lease } = stage({ retryPolicy: 'resets' });
  const [upstream] = fleet.upstreams;
  if (upstream === undefined) throw new Error('there is no upstream');
  const mayRetry = () => retries.mayRetry(upstream, 'reset', jobOf('k'));
  for (let i = 0; i < 10; i++) expect(mayRetry()).toBe(true);
  const leaseOften = (isAgain: boolean) => {
    for (let i = 0; i < 10; i++) (lease(jobOf('k'), isAgain) as Lease).release(done);
  };
  leaseOften(true);
  expect(mayRetry()).toBe(false);
  leaseOften(false);
  expect([mayRetry(), mayRetry()]).toEqual([true, false]);
});

describe('slots of requests that were aborted', () => {
  const streaming = () => jobOf('k', { served: () => 1 });

  test('come back when the engine says that it is idle, which it is asked soon', async () => {
    const { clock, asked, load, lease, fleet } = stage(one);
    const [upstream] = fleet.upstreams;
    load.busySlots = 1;
    (lease(streaming()) as Lease).release(aborted);
    expect(upstream?.occupancy.used).toBe(1);
    await clock.pass(100);
    expect(upstream?.occupancy.used).toBe(1);
    expect(asked[0]).toBe('20 /slots');
    load.busySlots = 0;
    await clock.pass(100);
    expect(upstream?.occupancy.used).toBe(0);
    expect(clock.due).not.toContain(clock.now() + 20);
  });

  test('come back when the engine has not reported them as idle in time', async () => {
    const { clock, load, lease, fleet } = stage(one);
    load.busySlots = 1;
    (lease(streaming()) as Lease).release(aborted);
    await clock.pass(980);
    expect(fleet.upstreams[0]?.occupancy.used).toBe(1);
    await clock.pass(40);
    expect(fleet.upstreams[0]?.occupancy.used).toBe(0);
  });

  test('are not taken for idle while others use them, here or elsewhere', async () => {
    class Shared extends LocalSlots {
      override usedElsewhere(): number {
        return 1;
      }
    }
    const { clock, load, lease, fleet } = stage(one, new Shared());
    const upstream = fleet.upstreams[0];
    // One of the two busy slots belongs to another gateway, so the aborted request holds none any more.
    load.busySlots = 1;
    (lease(streaming()) as Lease).release(aborted);
    await clock.pass(40);
    expect(upstream?.occupancy.used).toBe(0);
    load.busySlots = 2;
    (lease(streaming()) as Lease).release(aborted);
    await clock.pass(200);
    expect(upstream?.occupancy.used).toBe(1);
  });

  test('come back at once if no report can come: of an engine that is away, or without a number of slots', () => {
    const gone = stage(one);
    const lease = gone.lease() as Lease;
    gone.fleet.upstreams[0]?.breaker.unreachable(0);
    lease.release(aborted);
    expect(gone.fleet.upstreams[0]?.occupancy.used).toBe(0);
    const unbounded = stage({ upstreams: [settingsOf('a', { slots: 'unbounded' })] });
    (unbounded.lease() as Lease).release(aborted);
    expect(unbounded.fleet.upstreams[0]?.occupancy.used).toBe(0);
  });

  test('come back at once if the request has ended by itself, or the engine ends them', () => {
    for (const [kind, end] of [
      ['llama.cpp', done],
      ['llama.cpp', { ...done, outcome: 'unserved' }],
      ['vllm', aborted],
    ] as const) {
      const { lease, fleet } = stage({ upstreams: [settingsOf('a', { kind })] });
      (lease() as Lease).release(end);
      expect(fleet.upstreams[0]?.occupancy.used).toBe(0);
    }
  });
});

describe('while requests are open', () => {
  test('callers are charged for what streams: the lighter one is next', async () => {
    const { clock, lease, pool } = stage({ upstreams: [settingsOf('a', { slots: 2 })] });
    const running = lease(jobOf('heavy', { served: () => 1_000 })) as Lease;
    const other = lease(jobOf('light', { served: () => 1 })) as Lease;
    const order: string[] = [];
    for (const principal of ['heavy', 'light']) {
      void Promise.resolve(lease(jobOf(principal))).then(() => order.push(principal));
    }
    await clock.pass(100);
    expect([order, pool.queued]).toEqual([[], 2]);
    running.release(done);
    await clock.pass(0);
    other.release(done);
    await clock.pass(0);
    expect(order).toEqual(['light', 'heavy']);
  });

  test('an engine whose stream stands still gets no more of them', async () => {
    const { clock, lease, fleet, lines } = stage({ ...one, stallTimeoutMs: 1_000 });
    lease(jobOf('k', { served: () => 1 }));
    await clock.pass(900);
    expect(fleet.upstreams[0]?.state).toBe('up');
    await clock.pass(5_000);
    expect([fleet.upstreams[0]?.state, lines]).toEqual(['stalled', ['upstream makes no progress']]);
    expect(idOf(lease())).toBe('waits');
  });

  test('time is kept, and no longer', async () => {
    const { clock, lease } = stage(one);
    expect(clock.due).toEqual([]);
    const held = lease() as Lease;
    await clock.pass(250);
    expect(clock.due).toEqual([300]);
    held.release(done);
    await clock.pass(100);
    expect(clock.due).toEqual([]);
  });
});

describe('an upstream that is set aside', () => {
  test('is tried by one request at a time when its time has come', async () => {
    const { clock, lease, pool, fleet } = stage(one);
    fleet.upstreams[0]?.breaker.unreachable(0);
    fleet.refresh(0);
    await expect(Promise.resolve(lease())).rejects.toMatchObject({ code: 'no_healthy_upstream' });
    await clock.pass(1_000);
    const first = lease() as Lease;
    expect(idOf(first)).toBe('a');
    const [second, third] = [lease(), lease()];
    expect([second, third].map(idOf)).toEqual(['waits', 'waits']);
    first.release({ ...done, outcome: 'unserved' });
    expect((await second).upstream.id).toBe('a');
    expect(pool.queued).toBe(1);
    (await second).release({ ...done, outcome: 'unserved' });
    expect((await third).upstream.id).toBe('a');
  });

  test('is used again when no other upstream can serve', () => {
    const { fleet, pool } = stage({ upstreams: [settingsOf('a'), settingsOf('b')] });
    const [a, b] = fleet.upstreams;
    for (let i = 0; i < 10; i++) a?.breaker.failed5xx(`caller-${i}`, 0, true);
    pool.changed();
    expect(a?.state).toBe('away');
    b?.loads(true);
    pool.changed();
    expect(a?.state).toBe('up');
  });
});

/** A broker of a gateway that shares the engines with others. */
class Handed implements SlotBroker {
  units = 0;
  isClosed = false;
  changed = () => {};

  held(): number {
    return this.units;
  }

  usedElsewhere(): number {
    return 0;
  }

  onChange(changed: () => void): void {
    this.changed = changed;
  }

  close(): void {
    this.isClosed = true;
  }
}

describe('of engines that others use too', () => {
  test('no more slots are used than are held, and a waiting request starts when more are held', async () => {
    const broker = new Handed();
    const { lease, pool, fleet } = stage(one, broker);
    broker.units = 1;
    expect(idOf(lease())).toBe('a');
    const waits = lease();
    expect([idOf(waits), pool.queued]).toEqual(['waits', 1]);
    broker.units = 2;
    expect(pool.queued).toBe(1);
    broker.changed();
    expect(idOf(await waits)).toBe('a');
    expect(fleet.upstreams[0]?.occupancy.used).toBe(2);
  });

  test('a large request takes what is held', () => {
    const broker = new Handed();
    broker.units = 1;
    const { lease } = stage(one, broker);
    expect((lease(jobOf('k', { units: 5 })) as Lease).units).toBe(1);
  });

  test('held slots are handed back at the end', async () => {
    const broker = new Handed();
    const { scheduler } = stage(one, broker);
    await scheduler.close();
    expect(broker.isClosed).toBe(true);
  });
});

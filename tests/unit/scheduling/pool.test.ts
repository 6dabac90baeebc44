/** What the parts make together: where leases of prompts go that others begin with too. */
import { afterEach, expect, test } from 'bun:test';
import type { Log } from '../../../src/log/log.ts';
import {
  Pool,
  type Lease,
  type LeaseEnd,
  type PoolSettings,
} from '../../../src/scheduling/pool.ts';
import { jobOf, see, settingsOf } from '../../support/schedulingworld.ts';

const engines = ['a', 'b', 'c', 'd'];
const settings: PoolSettings = {
  upstreams: engines.map((id) => settingsOf(id, { slots: 2 })),
  defaultModel: undefined,
  anyModelName: 'on',
  maxSlotsPerCaller: 0,
  maxQueuedRequests: 100,
  maxQueuedPerCaller: 100,
  maxQueuedBytes: 1e6,
  retryPolicy: 'unsent',
  slotReleaseTimeoutMs: 1_000,
  stallTimeoutMs: 0,
  isolatePromptCache: 'off',
  contextPreflight: 'off',
};
const done: LeaseEnd = { outcome: 'done', tokens: {}, firstByteMs: 500 };

const pools: Pool[] = [];

afterEach(() => {
  for (const pool of pools.splice(0)) pool.close();
});

/** Makes a pool whose upstreams have been seen. Nothing is sent anywhere. */
function stage() {
  const pool = new Pool({ settings, log: {} as Log, now: () => 0 }); // No state changes that it would log.
  pools.push(pool);
  for (const upstream of pool.upstreams) see(upstream);
  pool.reconfigure(settings);
  const job = jobOf('k', { chain: Uint32Array.from({ length: 400 }, (_, i) => i + 1) });
  const lease = () => pool.lease(job, new AbortController().signal, false);
  return { pool, lease };
}

function idOf(lease: Lease | Promise<Lease>): string {
  return lease instanceof Promise ? 'waits' : lease.upstream.id;
}

test('one prompt of many at once takes every slot of every engine', () => {
  const { pool, lease } = stage();
  const ids = Array.from({ length: 8 }, () => idOf(lease()));
  expect(ids.sort()).toEqual([...engines, ...engines].sort());
  expect(pool.queued).toBe(0);
});

test('one that has run is sought where it ran, and one that was refused there is not', () => {
  for (const outcome of ['done', 'aborted', 'failed', 'unserved'] as const) {
    const { lease } = stage();
    const first = lease() as Lease;
    first.release({ ...done, outcome });
    const ids = Array.from({ length: 4 }, () => {
      const next = lease() as Lease;
      next.release({ ...done, outcome: 'unserved' });
      return next.upstream.id;
    });
    const isSought = ids.every((id) => id === first.upstream.id);
    expect([outcome, isSought]).toEqual([outcome, outcome !== 'unserved']);
  }
});

/**
 * The state that Prometheus reads when it asks: of the requests, the queue, the upstreams, the store and the process.
 */
import { describe, expect, test } from 'bun:test';
import { processFamilies, stateFamilies } from '../../../src/observe/gauges.ts';
import type { Phase } from '../../../src/request/live.ts';
import type { Family } from '../../../src/observe/series.ts';
import type { Upstream } from '../../../src/engines/upstream.ts';
import { upstream } from '../../support/samples.ts';

/** Returns every sample under its name and labels, as they will be written, without the prefix. */
function samplesOf(families: readonly Family[]): [string, number][] {
  return families.flatMap(({ name, read }) =>
    Array.from(read(), ({ labels, value }): [string, number] => {
      const pairs = Object.entries(labels).map(([label, of]) => `${label}="${of}"`);
      const suffix = pairs.length > 0 ? `{${pairs.join(',')}}` : '';
      return [name.replace('llm_gateway_', '') + suffix, value];
    }),
  );
}

function stage(ledger?: { lagMs: number; waiting: number; isFailing?: boolean }) {
  const live: { phase: Phase }[] = [];
  const fleet = { upstreams: [upstream('engine')] };
  const pool = { queued: 0 };
  const families = stateFamilies({
    live,
    fleet,
    pool,
    version: '1.2.3',
    ...(ledger && { ledger }),
  });
  /** Returns the samples whose names begin like that, as they are now. */
  const samplesLike = (start: string) =>
    Object.fromEntries(samplesOf(families).filter(([name]) => name.startsWith(start)));
  return { live, fleet, pool, samplesLike };
}

describe('the present state', () => {
  test('is read at each scrape', () => {
    const { samplesLike, live, pool } = stage();
    expect(samplesLike('requests_in_flight')['requests_in_flight{phase="queued"}']).toBe(0);
    live.push({ phase: 'queued' }, { phase: 'queued' }, { phase: 'decode' });
    pool.queued = 2;
    expect(samplesLike('requests_in_flight')).toEqual({
      'requests_in_flight{phase="body"}': 0,
      'requests_in_flight{phase="queued"}': 2,
      'requests_in_flight{phase="prefill"}': 0,
      'requests_in_flight{phase="decode"}': 1,
    });
    expect(samplesLike('queue_length')).toEqual({ queue_length: 2 });
  });

  test('of an upstream is 1 in exactly one of its states', () => {
    const { samplesLike, fleet } = stage();
    const [engine] = fleet.upstreams as [Upstream];
    engine.sighted(true);
    engine.proven(1);
    expect(samplesLike('upstream_state')['upstream_state{upstream="engine",state="up"}']).toBe(1);
    engine.breaker.unreachable(1);
    const found = samplesLike('upstream_state');
    expect(Object.keys(found)).toHaveLength(6);
    expect(Object.entries(found).filter(([, value]) => value === 1)).toEqual([
      ['upstream_state{upstream="engine",state="away"}', 1],
    ]);
    expect(samplesLike('upstream_breaker_open')).toEqual({
      'upstream_breaker_open{upstream="engine"}': 1,
    });
  });

  test('has the slots of an upstream if they are bounded, and those in use', () => {
    const { samplesLike, fleet } = stage();
    fleet.upstreams.push(upstream('free', { slots: 'unbounded' }));
    for (const each of fleet.upstreams) each.slotsFor('qwen').used = 3;
    expect(samplesLike('upstream_slots')).toEqual({
      'upstream_slots{upstream="engine"}': 4,
      'upstream_slots_used{upstream="engine"}': 3,
      'upstream_slots_used{upstream="free"}': 3,
    });
  });

  test('includes the store if there is one', () => {
    const ledger = { lagMs: 1_500, waiting: 7, isFailing: true };
    expect(stage(ledger).samplesLike('store')).toEqual({
      store_lag_seconds: 1.5,
      store_rows_waiting: 7,
      store_failing: 1,
    });
    expect(stage({ lagMs: 0, waiting: 0 }).samplesLike('store_failing')).toEqual({
      store_failing: 0,
    });
    expect(stage().samplesLike('store')).toEqual({});
  });

  test('has the version of the gateway', () => {
    expect(stage().samplesLike('build')).toEqual({ 'build_info{version="1.2.3"}': 1 });
  });

  test('has a hundred upstreams at most', () => {
    const { samplesLike, fleet } = stage();
    fleet.upstreams = Array.from({ length: 150 }, (_, i) => upstream(`engine-${i}`));
    expect(Object.keys(samplesLike('upstream_slots_used'))).toHaveLength(100);
  });
});

test('the process is told under the names that all clients use', () => {
  const samples = Object.fromEntries(samplesOf(processFamilies()));
  expect(Object.keys(samples)).toEqual([
    'process_cpu_seconds_total',
    'process_resident_memory_bytes',
    'process_start_time_seconds',
  ]);
  expect(samples['process_resident_memory_bytes']).toBeGreaterThan(1_000_000);
  expect(samples['process_cpu_seconds_total']).toBeGreaterThan(0);
  expect(samples['process_start_time_seconds']).toBeGreaterThan(1_700_000_000);
});

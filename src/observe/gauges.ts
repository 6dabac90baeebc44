/**
 * The state of things as Prometheus reads it when it asks: requests in flight, the queue, upstreams, the store and the
 * process. Nothing is kept from one scrape to the next.
 */
import type { Phase } from '../request/live.ts';
import type { Fleet } from '../engines/fleet.ts';
import type { Pool } from '../scheduling/pool.ts';
import { gauge, maxLabelValues, single, type Family, type Sample } from './series.ts';
import type { Upstream, UpstreamState } from '../engines/upstream.ts';

const phases: readonly Phase[] = ['body', 'queued', 'prefill', 'decode'];
const states: readonly UpstreamState[] = ['unknown', 'up', 'away', 'loading', 'stalled', 'drained'];

/** What the state is read of. */
export interface Observed {
  live: Iterable<{ readonly phase: Phase }>;
  fleet: Pick<Fleet, 'upstreams'>;
  pool: Pick<Pool, 'queued'>;
  /** How far the store is behind, in milliseconds and in rows; absent where nothing is stored. */
  ledger?: { readonly lagMs: number; readonly waiting: number; readonly isFailing?: boolean };
  /** Takes keys out of a text. */
  mask?: (text: string) => string;
  version: string;
}

/** Returns the families of the gateway's state. */
export function stateFamilies({ live, fleet, pool, ledger, version }: Observed): Family[] {
  function* inFlight(): Iterable<Sample> {
    const counts = new Map(phases.map((phase) => [phase, 0]));
    for (const { phase } of live) counts.set(phase, (counts.get(phase) ?? 0) + 1);
    for (const [phase, value] of counts) yield { labels: { phase }, value };
  }

  function* upstreamStates(): Iterable<Sample> {
    for (const { id: upstream, state: present } of fleet.upstreams.slice(0, maxLabelValues)) {
      for (const state of states) {
        yield { labels: { upstream, state }, value: Number(state === present) };
      }
    }
  }

  function perUpstream(name: string, help: string, valueOf: (of: Upstream) => number | undefined) {
    return gauge(name, help, ['upstream'], function* read() {
      for (const upstream of fleet.upstreams.slice(0, maxLabelValues)) {
        const value = valueOf(upstream);
        if (value !== undefined) yield { labels: { upstream: upstream.id }, value };
      }
    });
  }

  const families = [
    gauge('requests_in_flight', 'Requests that are open, by what they do.', ['phase'], inFlight),
    single('queue_length', 'Requests that wait for a slot.', () => pool.queued),
    gauge(
      'upstream_state',
      'Whether an upstream is in that state.',
      ['upstream', 'state'],
      upstreamStates,
    ),
    perUpstream(
      'upstream_slots',
      'Requests that an upstream runs at once; absent where it is not bounded.',
      ({ occupancy }) => occupancy.capacity,
    ),
    perUpstream(
      'upstream_slots_used',
      'Slots of an upstream in use.',
      ({ occupancy }) => occupancy.used,
    ),
    perUpstream(
      'upstream_breaker_open',
      'Whether an upstream is set aside, or gets one request that tries it.',
      ({ breaker }) => Number(breaker.state !== 'closed'),
    ),
    gauge('build_info', 'Which gateway this is.', ['version'], () => [
      { labels: { version }, value: 1 },
    ]),
  ];
  if (ledger === undefined) return families;
  return [
    ...families,
    single('store_lag_seconds', 'How long the oldest record that is not stored has waited.', () => {
      return ledger.lagMs / 1000;
    }),
    single('store_rows_waiting', 'Records that wait to be stored.', () => ledger.waiting),
    single('store_failing', 'Whether the store takes no records.', () => {
      return Number(ledger.isFailing ?? false);
    }),
  ];
}

/** Returns what every Prometheus client tells of its process, under the names that all of them use. */
export function processFamilies(): Family[] {
  const startedAt = Date.now() / 1000 - process.uptime();

  function family(type: Family['type'], name: string, help: string, read: () => number): Family {
    const readOne = () => [{ labels: {}, value: read() }];
    return { type, name: `process_${name}`, help, labelNames: [], read: readOne };
  }

  function cpuSeconds(): number {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  }

  return [
    family('counter', 'cpu_seconds_total', 'Processor time that was used.', cpuSeconds),
    family('gauge', 'resident_memory_bytes', 'Resident memory.', () => process.memoryUsage.rss()),
    family('gauge', 'start_time_seconds', 'When it began, in seconds since 1970.', () => startedAt),
  ];
}

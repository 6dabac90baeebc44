/**
 * Writes series in Prometheus' text format, by prom-client with a registry of its own, and watches the event loop for
 * them. Nothing of that is loaded or runs before the first scrape.
 */
import type { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Registry } from 'prom-client';
import { single, type Family } from './series.ts';

/** At 20 ms it would cost 0.4 % of a processor, at this 0.1 %; whatever stands still for longer shows all the same. */
const lagResolutionMs = 100;

type Prometheus = typeof import('prom-client');
type Lag = ReturnType<typeof monitorEventLoopDelay>;

function lagFamilies(lag: Lag): Family[] {
  const help = 'How late the event loop was since the last scrape';
  // The mean of no sample is NaN.
  const seconds = (nanoseconds: number) => (lag.count === 0 ? 0 : nanoseconds / 1e9);
  return [
    single('event_loop_lag_mean_seconds', `${help}, on average.`, () => seconds(lag.mean)),
    single('event_loop_lag_max_seconds', `${help}, at worst.`, () => seconds(lag.max)),
  ];
}

/** What the first scrape brings into being: prom-client with a registry of its own, and the watch on the event loop. */
export interface Exporter {
  registry: Registry;
  lag: Lag;
}

/** Brings it into being for these families. */
export async function loadExporter(families: readonly Family[]): Promise<Exporter> {
  // They cost 50 ms, which a start has no time for.
  const [prometheus, { monitorEventLoopDelay }] = await Promise.all([
    import('prom-client'),
    import('node:perf_hooks'),
  ]);
  const registry = new prometheus.Registry();
  const lag = monitorEventLoopDelay({ resolution: lagResolutionMs });
  lag.enable();
  for (const family of [...families, ...lagFamilies(lag)]) register(family, registry, prometheus);
  return { registry, lag };
}

/** Makes prom-client's object of a family, whose values it gets when it is asked for them. */
function register(
  family: Family,
  registry: Registry,
  { Counter, Gauge, Histogram }: Prometheus,
): void {
  const { type, name, help, labelNames } = family;
  const options = { name, help, labelNames, registers: [registry] };
  if (type === 'histogram') {
    // It takes observations one by one only: in place of its own, always empty, values it gives those that are kept.
    const getForPromString = async () => ({ name, help, type, values: [...family.read()] });
    Object.assign(new Histogram(options), { get: getForPromString, getForPromString });
    return;
  }
  const own: InstanceType<typeof Counter> | InstanceType<typeof Gauge> =
    type === 'counter' ? new Counter({ ...options, collect }) : new Gauge({ ...options, collect });
  function collect(): void {
    // What is not there any more, such as an upstream, must not stay.
    own.reset();
    for (const { labels, value } of family.read()) own.inc(labels, value);
  }
}

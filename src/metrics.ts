/**
 * What Prometheus may know of the gateway: counts of the requests that have ended, the state of things when it asks,
 * GET /metrics and a loopback port for it. Label values are bounded in number; principals are never among them, and
 * nothing is answered without leave. Until the first scrape only numbers are added up; nothing else is loaded or runs.
 */
import { Elysia } from 'elysia';
import type { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Registry } from 'prom-client';
import { GatewayError } from './errors.ts';
import { presentedKey } from './headers.ts';
import type { Phase, RequestObserver, Settlement } from './live.ts';
import type { Pool } from './pool.ts';
import { routes } from './routes.ts';
import type { Upstream, UpstreamState } from './upstream.ts';

type Labels = Readonly<Record<string, string>>;

/** One line of the exposition; `metricName` where it is not that of the family. */
interface Sample {
  labels: Labels;
  value: number;
  metricName?: string;
}

/** One name of the exposition, and what is read of it at a scrape. */
interface Family {
  type: 'counter' | 'gauge' | 'histogram';
  name: string;
  help: string;
  labelNames: readonly string[];
  read: () => Iterable<Sample>;
}

const prefix = 'llm_gateway_';
const phases: readonly Phase[] = ['body', 'queued', 'waiting', 'streaming'];
const states: readonly UpstreamState[] = ['unknown', 'up', 'away', 'loading', 'stalled', 'drained'];
const generating = new Set(routes.filter(({ generates }) => generates).map(({ path }) => path));

/** Seconds. Between neighbours a quantile is a guess, so they are closest where the decisions are. */
const buckets = {
  wait: [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600],
  firstToken: [0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 30, 60, 120, 300],
  outputToken: [
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5,
    1, 2.5,
  ],
  duration: [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600],
  overhead: [
    0.0001, 0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1, 5, 30,
  ],
};

/** The clients or the operator may name any number of things; a label has this many values. */
const maxLabelValues = 100;
const maxLabelLength = 200;
const other = 'other';

/** The values that a label has: the first hundred that came, and `other` for all that came later. */
class LabelValues {
  readonly #seen = new Set<string>();

  has(value: string): boolean {
    return this.#seen.has(value);
  }

  of(value: string): string {
    if (this.#seen.has(value)) return value;
    // Lone surrogates would leave as the same three bytes, and two series under one name spoil a scrape.
    const text = value.slice(0, maxLabelLength).toWellFormed();
    if (!this.#seen.has(text) && this.#seen.size >= maxLabelValues) return other;
    this.#seen.add(text);
    return text;
  }
}

/** One step down a tree of label values; the last one has the numbers. */
class Branch<Cell> {
  readonly branches = new Map<string, Branch<Cell>>();
  cell: Cell | undefined;
}

/**
 * Numbers by the values of labels. prom-client would join all names and values anew each time that one is added up,
 * which takes several times as long as these look-ups.
 */
class Cells<Cell> implements Iterable<[Labels, Cell]> {
  readonly #root = new Branch<Cell>();
  readonly #rows: [Labels, Cell][] = [];

  constructor(
    readonly labelNames: readonly string[],
    readonly fresh: () => Cell,
  ) {
    if (labelNames.length === 0) this.of([]);
  }

  of(values: readonly string[]): Cell {
    let branch = this.#root;
    for (const value of values) {
      let next = branch.branches.get(value);
      if (next === undefined) branch.branches.set(value, (next = new Branch()));
      branch = next;
    }
    branch.cell ??= this.#add(values);
    return branch.cell;
  }

  #add(values: readonly string[]): Cell {
    const cell = this.fresh();
    const labels = Object.fromEntries(this.labelNames.map((name, i) => [name, values[i] ?? '']));
    this.#rows.push([labels, cell]);
    return cell;
  }

  [Symbol.iterator](): Iterator<[Labels, Cell]> {
    return this.#rows[Symbol.iterator]();
  }
}

/** A counter. */
class Count implements Family {
  readonly type = 'counter';
  readonly name: string;
  readonly #cells: Cells<{ value: number }>;

  constructor(
    name: string,
    readonly help: string,
    readonly labelNames: readonly string[],
  ) {
    this.name = prefix + name;
    this.#cells = new Cells(labelNames, () => ({ value: 0 }));
  }

  /** A 0 shows that it is counted; what is below adds nothing, nor does `NaN`, which would stay for ever. */
  add(value: number | undefined, ...labels: readonly string[]): void {
    if (value !== undefined && value >= 0) this.#cells.of(labels).value += value;
  }

  *read(): Iterable<Sample> {
    for (const [labels, { value }] of this.#cells) yield { labels, value };
  }
}

/** A histogram of seconds. */
class Distribution implements Family {
  readonly type = 'histogram';
  readonly name: string;
  readonly #cells: Cells<{ counts: number[]; sum: number }>;

  constructor(
    name: string,
    readonly help: string,
    readonly bounds: readonly number[],
    readonly labelNames: readonly string[],
  ) {
    this.name = prefix + name;
    // One more than there are bounds: for what is above all of them.
    const fresh = () => ({ counts: Array<number>(bounds.length + 1).fill(0), sum: 0 });
    this.#cells = new Cells(labelNames, fresh);
  }

  observe(milliseconds: number, ...labels: readonly string[]): void {
    const { bounds } = this;
    const seconds = milliseconds / 1000;
    let bucket = 0;
    while (bucket < bounds.length && seconds > (bounds[bucket] as number)) bucket++;
    const cell = this.#cells.of(labels);
    cell.counts[bucket] = (cell.counts[bucket] ?? 0) + 1;
    cell.sum += seconds;
  }

  *read(): Iterable<Sample> {
    const { name, bounds } = this;
    for (const [labels, { counts, sum }] of this.#cells) {
      let value = 0;
      for (const [i, count] of counts.entries()) {
        value += count;
        const le = i < bounds.length ? `${bounds[i]}` : '+Inf';
        yield { metricName: `${name}_bucket`, labels: { ...labels, le }, value };
      }
      yield { metricName: `${name}_sum`, labels, value: sum };
      yield { metricName: `${name}_count`, labels, value };
    }
  }
}

/** What is added up of requests. */
function requestFamilies() {
  return {
    requests: new Count(
      'requests_total',
      'Requests that have ended. code is that of an error of the gateway, none where it made none.',
      ['route', 'status', 'code', 'outcome'],
    ),
    duration: new Distribution(
      'request_duration_seconds',
      'From the arrival of a request to its end.',
      buckets.duration,
      ['route'],
    ),
    rateLimited: new Count('rate_limited_total', 'Requests that a limit of their key refused.', [
      'code',
      'key',
    ]),
    cacheHits: new Count('cache_hits_total', 'Requests that the response cache answered.', []),
    queueWait: new Distribution(
      'queue_wait_seconds',
      'Wait of a generating request for a slot.',
      buckets.wait,
      [],
    ),
    firstToken: new Distribution(
      'time_to_first_token_seconds',
      'From the engine having a request to the first byte of its stream; the queue comes before.',
      buckets.firstToken,
      ['model'],
    ),
    outputToken: new Distribution(
      'time_per_output_token_seconds',
      'Mean time between two tokens of a stream, the first not counted.',
      buckets.outputToken,
      ['model'],
    ),
    overhead: new Distribution(
      'overhead_seconds',
      'Time of a request outside the queue and the engine: its body being read, and the gateway.',
      buckets.overhead,
      [],
    ),
    engineSeconds: new Count(
      'engine_seconds_total',
      'Time for which engines had requests, each request for itself.',
      ['model', 'upstream', 'key'],
    ),
    promptTokens: new Count('prompt_tokens_total', 'Tokens of prompts, cached ones included.', [
      'model',
      'key',
    ]),
    cachedTokens: new Count(
      'cached_tokens_total',
      'Tokens of prompts that an engine had in its cache.',
      ['model', 'key'],
    ),
    completionTokens: new Count(
      'completion_tokens_total',
      'Tokens of answers; estimated where the engine did not say.',
      ['model', 'key'],
    ),
  };
}

export interface MetricsOptions {
  live: Iterable<{ readonly phase: Phase }>;
  pool: Pick<Pool, 'upstreams' | 'queued'>;
  /** How far the store is behind, in milliseconds and in rows; absent where nothing is stored. */
  ledger?: { readonly lagMs: number; readonly waiting: number; readonly isFailing?: boolean };
  version: string;
}

/** Adds up what has ended, and writes it and the present state in Prometheus' text format. */
export class Metrics implements RequestObserver {
  readonly #options: MetricsOptions;
  readonly #models = new LabelValues();
  readonly #upstreams = new LabelValues();
  readonly #keys = new LabelValues();
  readonly #sums = requestFamilies();
  #exporter: Promise<Exporter> | undefined;

  constructor(options: MetricsOptions) {
    this.#options = options;
  }

  started(): void {}

  isLong(): void {}

  settled(record: Settlement): void {
    const { route, status, code, queuedMs, engineMs, upstream } = record;
    const sums = this.#sums;
    const key = this.#keys.of(record.caller.name);
    sums.requests.add(1, route, `${status}`, code ?? 'none', record.outcome);
    sums.duration.observe(record.totalMs, route);
    // An engine's own 429 has no code.
    if (status === 429 && code !== undefined) sums.rateLimited.add(1, code, key);
    if (record.isCacheHit) {
      sums.cacheHits.add(1);
      return;
    }
    // Who gave up while waiting has waited, too.
    if (generating.has(route) && (upstream !== undefined || queuedMs > 0)) {
      sums.queueWait.observe(queuedMs);
    }
    if (upstream === undefined) return;
    const model = this.#modelOf(record.model, upstream);
    sums.overhead.observe(Math.max(0, record.totalMs - record.bodyMs - queuedMs - engineMs));
    sums.engineSeconds.add(engineMs / 1000, model, this.#upstreams.of(upstream), key);
    sums.promptTokens.add(record.promptTokens, model, key);
    sums.cachedTokens.add(record.cachedTokens, model, key);
    sums.completionTokens.add(record.completionTokens, model, key);
    this.#streamed(record, model);
  }

  #streamed(record: Settlement, model: string): void {
    const { firstByteMs, completionTokens = 0 } = record;
    if (!record.stream || record.status >= 400 || firstByteMs === undefined) return;
    this.#sums.firstToken.observe(firstByteMs, model);
    if (record.outcome !== 'done' || completionTokens < 2) return;
    const perToken = (record.engineMs - firstByteMs) / (completionTokens - 1);
    this.#sums.outputToken.observe(perToken, model);
  }

  /** Gives the label of a model. Clients may call a single model what they like: only what an engine has gets a name. */
  #modelOf(model: string | undefined, id: string): string {
    if (model !== undefined && this.#models.has(model)) return model;
    const upstream = this.#options.pool.upstreams.find((known) => known.id === id);
    const names = upstream?.models;
    const isOurs =
      names === undefined ||
      names.includes(model ?? '') ||
      Object.hasOwn(upstream?.settings.aliases ?? {}, model ?? '');
    if (model !== undefined && isOurs) return this.#models.of(model);
    const [only, ...others] = names ?? [];
    return only === undefined || others.length > 0 ? other : this.#models.of(only);
  }

  /** Answers a scrape. */
  async answer(): Promise<Response> {
    this.#exporter ??= loadExporter([
      ...Object.values(this.#sums),
      ...stateFamilies(this.#options),
      ...processFamilies(),
    ]);
    const { registry, lag } = await this.#exporter;
    const text = await registry.metrics();
    lag.reset();
    return new Response(text, {
      headers: { 'content-type': registry.contentType, 'cache-control': 'no-store' },
    });
  }
}

function gauge(
  name: string,
  help: string,
  labelNames: readonly string[],
  read: () => Iterable<Sample>,
): Family {
  return { type: 'gauge', name: prefix + name, help, labelNames, read };
}

function single(name: string, help: string, read: () => number): Family {
  return gauge(name, help, [], () => [{ labels: {}, value: read() }]);
}

/** What is read off the parts when it is asked for. */
function stateFamilies({ live, pool, ledger, version }: MetricsOptions): Family[] {
  function* inFlight(): Iterable<Sample> {
    const counts = new Map(phases.map((phase) => [phase, 0]));
    for (const { phase } of live) counts.set(phase, (counts.get(phase) ?? 0) + 1);
    for (const [phase, value] of counts) yield { labels: { phase }, value };
  }

  function* upstreamStates(): Iterable<Sample> {
    for (const { id: upstream, state: present } of pool.upstreams.slice(0, maxLabelValues)) {
      for (const state of states) {
        yield { labels: { upstream, state }, value: Number(state === present) };
      }
    }
  }

  function perUpstream(name: string, help: string, valueOf: (of: Upstream) => number | undefined) {
    return gauge(name, help, ['upstream'], function* read() {
      for (const upstream of pool.upstreams.slice(0, maxLabelValues)) {
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
      ({ usage }) => usage.capacity,
    ),
    perUpstream('upstream_slots_used', 'Slots of an upstream in use.', ({ usage }) => usage.used),
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

/** What every Prometheus client tells of its process, under the names that all of them use. */
function processFamilies(): Family[] {
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
interface Exporter {
  registry: Registry;
  lag: Lag;
}

async function loadExporter(families: readonly Family[]): Promise<Exporter> {
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

/**
 * The plugin with `GET /metrics`; it throws `missing_api_key` or `invalid_api_key`.
 * @param options.isAllowed whether a request shows a key that may read it
 */
export function metrics(options: { metrics: Metrics; isAllowed: (request: Request) => boolean }) {
  return new Elysia({ name: 'metrics' }).get('/metrics', function scrape({ request }) {
    if (options.isAllowed(request)) return options.metrics.answer();
    const isMissing = presentedKey(request.headers) === undefined;
    throw new GatewayError(isMissing ? 'missing_api_key' : 'invalid_api_key', {
      message: '/metrics takes METRICS_TOKEN or ADMIN_API_KEY as "Authorization: Bearer <token>".',
    });
  });
}

/** How long a scrape that is under way may take when the server stops. */
const stopWithinMs = 500;
const loopback = '127.0.0.1';

export interface MetricsServer {
  url: string;
  /** Resolves when it has ended; a scrape that is under way gets its answer. */
  stop(): Promise<void>;
}

/** Serves `/metrics` on a port of 127.0.0.1 to whoever is on this machine; throws when it cannot listen there. */
export function metricsServer(options: { metrics: Metrics; port: number }): MetricsServer {
  const server = Bun.serve({
    hostname: loopback,
    port: options.port,
    reusePort: false,
    fetch(request) {
      const { method } = request;
      const url = URL.parse(request.url);
      // A web page can make its own name mean this machine, but it cannot send another name than its own.
      const isOurs = url?.hostname === loopback || url?.hostname === 'localhost';
      if (!isOurs) return new Response(null, { status: 421 });
      if (url.pathname !== '/metrics') return new Response(null, { status: 404 });
      if (method === 'GET' || method === 'HEAD') return options.metrics.answer();
      return new Response(null, { status: 405, headers: { allow: 'GET, HEAD' } });
    },
  });
  return {
    url: `http://${loopback}:${server.port}`,
    async stop() {
      await Promise.race([server.stop(), Bun.sleep(stopWithinMs)]);
      await server.stop(true);
    },
  };
}

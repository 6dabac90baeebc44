/**
 * What Prometheus may know of the gateway: counts of the requests that have ended, the state at the time of a scrape,
 * and a loopback port for it. Label values are bounded in number, and principals are never among them. Until the first
 * scrape only numbers are added up; nothing else is loaded or runs.
 */
import { EventLoopLag } from './eventloop.ts';
import { processFamilies, stateFamilies, type Observed } from './gauges.ts';
import { textFormat, textOf } from './prometheus.ts';
import { routes } from '../wire/routes.ts';
import { Count, Distribution, LabelValues, other, type Family } from './series.ts';
import type { Settlement } from '../request/settlement.ts';
import type { RequestObserver } from '../request/observer.ts';

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

/** Adds up what has ended, and writes it and the present state in Prometheus' text format. */
export class Metrics implements RequestObserver {
  readonly #observed: Observed;
  readonly #models = new LabelValues();
  readonly #upstreams = new LabelValues();
  readonly #keys = new LabelValues();
  readonly #sums = requestFamilies();
  /** Called before a scrape is answered. */
  onScrape: (() => void) | undefined;
  /** What else is read at a scrape; made at the first one. */
  #state: readonly Family[] | undefined;
  #lag: Promise<EventLoopLag> | undefined;

  constructor(observed: Observed) {
    this.#observed = observed;
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
    // What came may have been nothing but the failure.
    if (record.code === 'upstream_failed') return;
    this.#sums.firstToken.observe(firstByteMs, model);
    if (record.outcome !== 'done' || completionTokens < 2) return;
    const perToken = (record.engineMs - firstByteMs) / (completionTokens - 1);
    this.#sums.outputToken.observe(perToken, model);
  }

  /** Returns the label of a model. Clients may call a single model what they like: only what an engine has gets a name. */
  #modelOf(model: string | undefined, id: string): string {
    if (model !== undefined && this.#models.has(model)) return model;
    const upstream = this.#observed.fleet.upstreams.find((known) => known.id === id);
    const names = upstream?.models;
    // Any name, since nobody knows what the engine has.
    if (model !== undefined && names === undefined) {
      return this.#models.of(this.#observed.mask?.(model) ?? model);
    }
    const isOurs =
      names?.includes(model ?? '') || Object.hasOwn(upstream?.settings.aliases ?? {}, model ?? '');
    if (model !== undefined && isOurs) return this.#models.of(model);
    const [only, ...others] = names ?? [];
    return only === undefined || others.length > 0 ? other : this.#models.of(only);
  }

  /** Answers a scrape. */
  async answer(): Promise<Response> {
    this.#lag ??= EventLoopLag.watch();
    const lag = await this.#lag;
    this.#state ??= [...stateFamilies(this.#observed), ...processFamilies(), ...lag.families];
    this.onScrape?.();
    const text = textOf([...Object.values(this.#sums), ...this.#state]);
    lag.reset();
    return new Response(text, {
      headers: { 'content-type': textFormat, 'cache-control': 'no-store' },
    });
  }
}

/** How long a scrape that is under way may take when the server stops. */
const stopWithinMs = 500;
const loopback = '127.0.0.1';

export interface MetricsServer {
  url: string;
  /** Resolves when it has ended; a scrape that is under way gets its answer. */
  stop(): Promise<void>;
}

/** Serves `/metrics` on a port of 127.0.0.1 to everybody on this machine. Throws when it cannot listen there. */
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

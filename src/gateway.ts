/**
 * The parts of a gateway, made from a configuration and wired to each other. Nothing listens, and nothing has a timer
 * that matters, before they are started.
 */
import { accessLog } from './observe/accesslog.ts';
import { Accounts } from './accounts/sync.ts';
import type { AppOptions } from './http/app.ts';
import { ResponseCache } from './cache/cache.ts';
import { type Config } from './config/load.ts';
import { corsHeaders } from './wire/cors.ts';
import { Ledger } from './accounts/ledger.ts';
import { Limiter } from './stores/memory/limits.ts';
import { LiveRequests } from './request/inflight.ts';
import { LiveFeed, liveView } from './observe/liveview.ts';
import type { Log } from './log/log.ts';
import { Metrics } from './observe/metrics.ts';
import { Pool } from './scheduling/pool.ts';
import { tracingHeaders, type Secrets } from './config/secrets.ts';
import { Store } from './stores/sqlite/store.ts';
import type { Tracing } from './observe/tracing.ts';
import { maskKey } from './log/masking.ts';
import { observedBy } from './request/observer.ts';
import { KeyRing, type KeyOptions } from './accounts/keyring.ts';

export interface Making {
  config: Config;
  version: string;
  log: Log;
  secrets: Secrets;
  isDraining: () => boolean;
}

/** What the app is made of, and what has to be ended beside it. */
export interface Parts extends AppOptions {
  pool: Pool;
  cache: ResponseCache | undefined;
  tracing: Tracing | undefined;
}

/** Gives what a ring must know of a configuration's keys. */
export function keyOptions(config: Config): KeyOptions {
  const { trustedUserKeys: trusted, batchApiKeys: batch, trustedUserHeader: userHeader } = config;
  return { trusted, batch, userHeader, hintOf: maskKey };
}

/** Makes the parts. Throws an Error that names the file of the store where that cannot be opened. */
export async function makeParts({
  config,
  version,
  log,
  secrets,
  isDraining,
}: Making): Promise<Parts> {
  const now = () => performance.now();
  const epochNow = Date.now;
  const startedAt = now();
  const store = Store.open(config.dataDir === 'none' ? undefined : config.dataDir);
  const live = new LiveRequests();
  const pool = new Pool({ settings: config, log, now });
  const limits = new Limiter(config.budgetTimeZone);
  const keys = new KeyRing(config.allowedApiKeys, keyOptions(config));
  const { responseCacheBytes: maxBytes, responseCacheTtlMs: ttlMs } = config;
  const { usageRetentionDays: retentionDays } = config;
  const mask = secrets.maskKeys;
  const ledger = new Ledger({ store, log, epochNow, mask, retentionDays });
  const metrics = new Metrics({ live, pool, ledger, version });
  const tracing = await startTracing(config, version, pool, log);
  return {
    version,
    log,
    live,
    pool,
    now,
    epochNow,
    keys,
    limits,
    store,
    mask,
    metrics,
    tracing,
    cache: config.responseCache === 'on' ? new ResponseCache({ maxBytes, ttlMs, now }) : undefined,
    isCacheShared: config.responseCacheShared === 'on',
    feedback: { isAlways: config.queueFeedback === 'on', afterMs: config.queueFeedbackAfterMs },
    injectUsage: config.injectUsage === 'on',
    deadlines: config,
    maxBodyBytes: config.maxBodyBytes,
    allowedOrigins: config.corsAllowedOrigins,
    corsHeaders: corsHeaders(config.corsAllowedOrigins),
    observer: observedBy(
      ...(tracing ? [tracing] : []),
      accessLog(log, (name) => pool.hasName(name)),
      ledger,
      metrics,
    ),
    accounts: new Accounts({ store, keys, limits, ledger, live, log, now, epochNow }),
    feed: new LiveFeed(() => {
      return { at: new Date(epochNow()).toISOString(), ...liveView(live, pool, now()) };
    }),
    adminKey: config.adminApiKey,
    metricsToken: config.metricsToken,
    isDraining,
    uptimeSeconds: () => (now() - startedAt) / 1000,
  };
}

/** Begins to trace, where there is a collector; the SDK is loaded only then. */
async function startTracing(config: Config, version: string, pool: Pool, log: Log) {
  const endpoint = config.otelExporterOtlpEndpoint;
  if (endpoint === undefined) return undefined;
  const { Tracing } = await import('./observe/tracing.ts');
  return new Tracing({
    endpoint,
    headers: Object.fromEntries(tracingHeaders(config)),
    serviceName: config.otelServiceName,
    version,
    sampler: config.otelTracesSampler,
    sampleRatio: config.otelTracesSamplerArg,
    kindOf: (id) => pool.upstreams.find((upstream) => upstream.id === id)?.kind,
    log,
    epochOf: (monotonicMs) => Date.now() - performance.now() + monotonicMs,
  });
}

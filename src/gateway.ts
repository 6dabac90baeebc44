/**
 * The parts of a gateway, made from a configuration and wired to each other. Nothing listens, and nothing has a timer
 * that matters, before they are started.
 */
import { totalmem } from 'node:os';
import { accessLog } from './observe/accesslog.ts';
import { AccountSync } from './accounts/sync.ts';
import { Calendar } from './accounts/calendar.ts';
import type { AppOptions } from './http/app.ts';
import { ResponseCache } from './cache/cache.ts';
import { type Config } from './config/load.ts';
import { corsHeaders, namedOrigins } from './wire/cors.ts';
import { Ledger } from './accounts/ledger.ts';
import { bodyBounds, BodyMemory } from './request/bodymemory.ts';
import { LiveRequests } from './request/inflight.ts';
import { LiveFeed, liveView } from './observe/liveview.ts';
import type { Log } from './log/log.ts';
import { Metrics } from './observe/metrics.ts';
import { Scheduler } from './scheduling/scheduler.ts';
import { tracingHeaders, type Secrets } from './config/secrets.ts';
import { openStores, type Stores } from './stores/open.ts';
import type { Tracing } from './observe/tracing.ts';
import { maskKey } from './log/masking.ts';
import { BatchedObserver } from './request/batched.ts';
import { observedBy } from './request/observer.ts';
import { KeyRing, type KeyOptions } from './accounts/keyring.ts';
import { setQuietTimer, setRepeatingTimer } from './request/timer.ts';

export interface Making {
  config: Config;
  version: string;
  log: Log;
  secrets: Secrets;
  isDraining: () => boolean;
  /** Opens where keys, usage and limits are kept. */
  open?: typeof openStores | undefined;
}

/** What the app is made of, and what has to be ended as well. */
export interface Parts extends AppOptions {
  scheduler: Scheduler;
  cache: ResponseCache | undefined;
  tracing: Tracing | undefined;
  stores: Stores;
}

/** Returns what a key ring must know of a configuration's keys. */
export function keyOptions(config: Config): KeyOptions {
  const { trustedUserKeys: trusted, batchApiKeys: batch, trustedUserHeader: userHeader } = config;
  return { trusted, batch, userHeader, hintOf: maskKey };
}

/** Returns the memory of the machine, or of the container where that has less, in bytes. */
function memoryBytes(): number {
  const constrained = process.constrainedMemory();
  return constrained > 0 ? Math.min(constrained, totalmem()) : totalmem();
}

/** Makes the parts. Throws an Error that names the file of the store if that cannot be opened. */
export async function makeParts({
  config,
  version,
  log,
  secrets,
  isDraining,
  open = openStores,
}: Making): Promise<Parts> {
  const now = () => performance.now();
  const epochNow = Date.now;
  const startedAt = now();
  const calendar = new Calendar(config.budgetTimeZone);
  const stores = await open(config.dataDir === 'none' ? undefined : config.dataDir, calendar);
  const { accounts: accountStore, usage, limits } = stores;
  const live = new LiveRequests();
  const scheduler = new Scheduler({
    settings: config,
    log,
    broker: stores.slots,
    shares: stores.shares,
    now,
    random: Math.random,
    repeat: setRepeatingTimer,
    watch: { setTimer: setQuietTimer, fetch },
  });
  const { fleet, health, pool, retries, contextCheck, relisting } = scheduler;
  const keys = new KeyRing(config.allowedApiKeys, keyOptions(config));
  const { responseCacheBytes: maxBytes, responseCacheTtlMs: ttlMs } = config;
  const { usageRetentionDays: retentionDays } = config;
  const mask = secrets.maskKeys;
  const latestUuid = await usage.latestUuid();
  const isServed = (model: string, id: string | undefined) => fleet.mayHaveName(model, id);
  const ledger = new Ledger({
    store: usage,
    log,
    epochNow,
    mask,
    isServed,
    latestUuid,
    retentionDays,
  });
  const metrics = new Metrics({ live, fleet, pool, ledger, mask, version });
  const batched = new BatchedObserver(
    accessLog(log, (name) => fleet.hasName(name)),
    ledger,
    metrics,
  );
  metrics.onScrape = () => batched.flush();
  const accountSync = new AccountSync({
    accounts: accountStore,
    usage,
    limits,
    keys,
    ledger,
    batched,
    live,
    log,
    calendar,
    now,
    epochNow,
  });
  const tracing = await startTracing(config, version, { fleet, mask, log });
  return {
    version,
    log,
    live,
    scheduler,
    fleet,
    health,
    pool,
    retries,
    contextCheck,
    relisting,
    now,
    epochNow,
    keys,
    invalidKeyStatus: config.invalidKeyStatus === 401 ? 401 : 403,
    limits,
    stores,
    accountStore,
    usage,
    mask,
    metrics,
    tracing,
    cache: config.responseCache === 'on' ? new ResponseCache({ maxBytes, ttlMs, now }) : undefined,
    isCacheShared: config.responseCacheShared === 'on',
    feedback: {
      isAlways: config.queueFeedback === 'on',
      afterMs: config.queueFeedbackAfterMs,
      everyMs: config.queueFeedbackEveryMs,
    },
    injectUsage: config.injectUsage === 'on',
    mayLoadOllama: config.ollamaLoading === 'on',
    deadlines: config,
    maxBodyBytes: config.maxBodyBytes,
    idleSeconds: Math.ceil(config.keepAliveTimeoutMs / 1_000),
    bodyMemory: new BodyMemory(
      bodyBounds(config.maxBodyBytesTotal, config.maxBodyBytes, memoryBytes()),
    ),
    allowedOrigins: config.corsAllowedOrigins,
    corsHeaders: corsHeaders(config.corsAllowedOrigins),
    operatorCorsHeaders: corsHeaders(namedOrigins(config.corsAllowedOrigins)),
    observer: observedBy(...(tracing ? [tracing] : []), accountSync, batched),
    accountSync,
    feed: new LiveFeed(() => {
      return {
        at: new Date(epochNow()).toISOString(),
        ...liveView([...live], { upstreams: fleet.upstreams, waits: pool.waits(), mask }, now()),
      };
    }),
    adminKey: config.adminApiKey,
    metricsToken: config.metricsToken,
    isDraining,
    uptimeSeconds: () => (now() - startedAt) / 1000,
  };
}

/** Begins to trace, where there is a collector; the SDK is loaded only then. */
async function startTracing(
  config: Config,
  version: string,
  { fleet, mask, log }: Pick<Parts, 'fleet' | 'mask' | 'log'>,
) {
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
    kindOf: (id) => fleet.upstreams.find((upstream) => upstream.id === id)?.kind,
    mask,
    isServed: (name) => fleet.hasName(name),
    log,
    epochOf: (monotonicMs) => Date.now() - performance.now() + monotonicMs,
  });
}

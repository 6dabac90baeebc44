/**
 * Wires the parts from a configuration, listens, and ends cleanly on a signal: unready first, streams may end until the
 * grace is over, then the rest is ended truthfully.
 */
import { unwatchFile, watchFile } from 'node:fs';
import { isIP } from 'node:net';
import { accessLog } from './accesslog.ts';
import { Accounts } from './accounts.ts';
import { createApp } from './app.ts';
import { ResponseCache } from './cache.ts';
import { ConfigError, maskKey, type Config } from './config.ts';
import { corsHeaders } from './cors.ts';
import { KeyRing, type KeyOptions } from './keys.ts';
import { Limiter } from './limiter.ts';
import { LiveRequests, observedBy } from './live.ts';
import { LiveFeed, liveView } from './liveview.ts';
import { createLog, LineSink, secretMasker, type Log } from './log.ts';
import { Metrics, metricsServer, type MetricsServer } from './metrics.ts';
import { Pool } from './pool.ts';
import { Store } from './store.ts';
import { Ledger } from './ledger.ts';

export interface Running {
  /** Where it listens; `undefined` when it could not, and the log says why. */
  url: string | undefined;
  /** The exit code, once it has ended and the log is written. */
  ended: Promise<0 | 1>;
}

/** How long the last frames get to leave, and the log to be written. */
const lastWordsMs = 500;

/** The same signal within this time is an echo of the first. */
const echoMs = 250;

/** How the configuration is read again. */
export interface Reloading {
  /** The file that is watched for changes. */
  file: string | undefined;
  /** Throws a ConfigError when it is wrong. */
  load: () => Config;
}

const fileLookMs = 1_000;

/** What a reload changes; the rest needs a restart. */
const reloadable = new Set([
  'upstreams',
  'llmServerUrl',
  'llmServerApiKey',
  'llmServerKind',
  'upstreamSlots',
  'defaultModel',
  'anyModelName',
  'allowedApiKeys',
  'trustedUserKeys',
  'trustedUserHeader',
  'batchApiKeys',
  'maxSlotsPerCaller',
  'maxQueuedRequests',
  'maxQueuedPerCaller',
  'maxQueuedBytes',
  'retryPolicy',
  'slotReleaseTimeoutMs',
  'stallTimeoutMs',
  'isolatePromptCache',
  'contextPreflight',
]);

function keyOptions(config: Config): KeyOptions {
  const { trustedUserKeys: trusted, batchApiKeys: batch, trustedUserHeader: userHeader } = config;
  return { trusted, batch, userHeader, hintOf: maskKey };
}

/** Gives the keys that clients and the operator have. */
function keysOf({ allowedApiKeys, adminApiKey, metricsToken }: Config): string[] {
  const others = [adminApiKey, metricsToken];
  return [...allowedApiKeys, ...others.filter((secret) => secret !== undefined)];
}

function secretsOf(config: Config): string[] {
  const tracing = tracingHeaders(config).map(([, value]) => value);
  return [...keysOf(config), ...tracing, ...config.upstreams.flatMap(({ apiKey }) => apiKey ?? [])];
}

/** Gives the names and values of the collector's headers, which stand percent-encoded in the setting. */
function tracingHeaders({ otelExporterOtlpHeaders }: Config): [name: string, value: string][] {
  return otelExporterOtlpHeaders.map((header) => {
    const at = header.indexOf('=');
    const value = header.slice(at + 1).trim();
    try {
      return [header.slice(0, at).trim(), decodeURIComponent(value)];
    } catch {
      return [header.slice(0, at).trim(), value]; // A stray percent sign: it stands for itself.
    }
  });
}

const documentedKeys = /^sk-test-key-/;

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Begins to trace, where there is a collector; the SDK is loaded only then. */
async function startTracing(config: Config, version: string, pool: Pool, log: Log) {
  const endpoint = config.otelExporterOtlpEndpoint;
  if (endpoint === undefined) return undefined;
  const { Tracing } = await import('./tracing.ts');
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

/**
 * Starts the gateway; resolves when it listens or has failed to.
 * @param certificate PEM texts, to serve HTTPS
 * @param reloading how the configuration is read again, on SIGHUP or when its file has changed
 */
export async function serve(
  config: Config,
  version: string,
  certificate: { cert: string; key: string } | undefined,
  reloading?: Reloading,
): Promise<Running> {
  const { allowedApiKeys, host: hostname, port } = config;
  let mask = secretMasker(secretsOf(config));
  let maskKeys = secretMasker(keysOf(config));
  const masked = (text: string) => mask(text);
  const sink = new LineSink(process.stdout.fd, masked);
  const isPretty =
    config.logFormat === 'auto' ? process.stdout.isTTY : config.logFormat === 'pretty';
  const log = await createLog({ level: config.logLevel, isPretty, sink });
  const ended = Promise.withResolvers<0 | 1>();

  async function end(code: 0 | 1): Promise<void> {
    await sink.close(lastWordsMs);
    ended.resolve(code);
  }

  const now = () => performance.now();
  const startedAt = now();
  const live = new LiveRequests();
  const pool = new Pool({ settings: config, log, now });
  const epochNow = Date.now;
  const limits = new Limiter(config.budgetTimeZone);
  const keys = new KeyRing(allowedApiKeys, keyOptions(config));
  const { responseCacheBytes: maxBytes, responseCacheTtlMs: ttlMs } = config;
  const cache =
    config.responseCache === 'on' ? new ResponseCache({ maxBytes, ttlMs, now }) : undefined;
  let store: Store;
  try {
    store = Store.open(config.dataDir === 'none' ? undefined : config.dataDir);
  } catch (error) {
    log.error({ reason: String(error) }, 'the store cannot be opened (DATA_DIR)');
    await end(1);
    return { url: undefined, ended: ended.promise };
  }
  const { usageRetentionDays: retentionDays } = config;
  // Without the keys of engines: those can be words that stand in the names of models.
  const keyMask = (text: string) => maskKeys(text);
  const ledger = new Ledger({ store, log, epochNow, mask: keyMask, retentionDays });
  const accounts = new Accounts({ store, keys, limits, ledger, live, log, now, epochNow });
  const feed = new LiveFeed(() => {
    return { at: new Date(epochNow()).toISOString(), ...liveView(live, pool, now()) };
  });
  const metrics = new Metrics({ live, pool, ledger, version });
  const tracing = await startTracing(config, version, pool, log);
  let drained: { signal: NodeJS.Signals; since: number } | undefined;
  const app = createApp({
    version,
    log,
    live,
    pool,
    now,
    keys,
    limits,
    cache,
    isCacheShared: config.responseCacheShared === 'on',
    feedback: { isAlways: config.queueFeedback === 'on', afterMs: config.queueFeedbackAfterMs },
    epochNow,
    injectUsage: config.injectUsage === 'on',
    deadlines: config,
    maxBodyBytes: config.maxBodyBytes,
    allowedOrigins: config.corsAllowedOrigins,
    corsHeaders: corsHeaders(config.corsAllowedOrigins),
    observer: observedBy(...(tracing ? [tracing] : []), accessLog(log), ledger, metrics),
    store,
    mask: keyMask,
    accounts,
    feed,
    metrics,
    adminKey: config.adminApiKey,
    metricsToken: config.metricsToken,
    isDraining: () => drained !== undefined,
    uptimeSeconds: () => (now() - startedAt) / 1000,
  });

  let scrapes: MetricsServer | undefined;
  try {
    if (config.metricsPort > 0) scrapes = metricsServer({ metrics, port: config.metricsPort });
    app.listen({
      hostname,
      port,
      reusePort: false,
      // Bun's own refusal has no envelope: the gateway counts, and never reads more than its bound.
      maxRequestBodySize: 2 ** 50,
      ...(certificate && { tls: certificate }),
    });
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    const reason = code === 'EADDRINUSE' ? 'another program listens there' : String(error);
    const isScrapes = config.metricsPort > 0 && scrapes === undefined;
    const place = isScrapes ? `127.0.0.1:${config.metricsPort}` : `${hostname}:${port}`;
    log.error({ hostname, port, code }, `cannot listen on ${place}: ${reason}`);
    await scrapes?.stop();
    await accounts.close();
    await end(1);
    return { url: undefined, ended: ended.promise };
  }

  let current = config;
  /** Takes the configuration as it is now; a wrong one changes nothing. */
  function reload(): void {
    if (reloading === undefined || drained !== undefined) return;
    try {
      const next = reloading.load();
      const restart = Object.keys(next).filter((name) => {
        const [before, after] = [current, next].map((each) => Reflect.get(each, name));
        return !reloadable.has(name) && !Bun.deepEquals(before, after);
      });
      mask = secretMasker([...secretsOf(current), ...secretsOf(next)]);
      maskKeys = secretMasker([...keysOf(current), ...keysOf(next)]);
      keys.replace(next.allowedApiKeys, keyOptions(next));
      pool.reconfigure(next);
      // Other engines, or other models behind the same names.
      cache?.clear();
      current = next;
      log.info({ upstreams: next.upstreams.map(({ id }) => id) }, 'configuration reloaded');
      if (restart.length > 0) log.warn({ settings: restart }, 'these need a restart');
    } catch (error) {
      const problems = error instanceof ConfigError ? error.problems : [String(error)];
      log.error({ problems }, 'the new configuration is wrong; the old one stays');
    }
  }
  process.on('SIGHUP', reload);
  const file = reloading?.file;
  if (file !== undefined) watchFile(file, { interval: fileLookMs }, reload);

  async function drain(signal: NodeJS.Signals): Promise<void> {
    if (drained !== undefined) {
      // `bun run` passes a terminal's Ctrl-C on to a program that has had it already.
      if (signal === drained.signal && now() - drained.since < echoMs) return;
      log.warn({ signal }, 'ending at once');
      return await end(1);
    }
    drained = { signal, since: now() };
    log.info({ signal, inFlight: live.size }, 'draining');
    feed.close();
    await Promise.race([live.empty(), Bun.sleep(config.shutdownGraceMs)]);
    if (live.size > 0) log.warn({ inFlight: live.size }, 'ending what is still open');
    live.abortAll('shutting_down');
    await Promise.race([app.server?.stop(), Bun.sleep(lastWordsMs)]);
    await app.server?.stop(true);
    pool.close();
    await scrapes?.stop();
    await accounts.close();
    await tracing?.close();
    if (file !== undefined) unwatchFile(file, reload);
    log.info('stopped');
    return await end(0);
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void drain(signal));

  accounts.start();
  const url = String(app.server?.url ?? '').replace(/\/$/, '');
  const upstreams = config.upstreams.map((upstream) => upstream.url);
  log.info({ url, version, upstreams }, 'listening');
  if (!isLoopback(hostname) && allowedApiKeys.some((key) => documentedKeys.test(key))) {
    log.warn('a key from the documentation is in use and other machines can reach this gateway');
  }
  pool.start();
  return { url, ended: ended.promise };
}

/**
 * Starts a gateway from a configuration, listens, and shuts down on a signal: /ready fails at once, open requests may
 * finish within the grace period, and the rest are then ended with an error.
 */
import { isIP } from 'node:net';
import { createApp } from './http/app.ts';
import type { Config } from './config/load.ts';
import { createLog, LineSink } from './log/log.ts';
import { makeParts } from './gateway.ts';
import { assertFree, explainPlace, Listener, placesOf, type Certificate } from './listen.ts';
import { watchConfig, type Reloading } from './reload.ts';
import type { openStores } from './stores/open.ts';
import { Secrets } from './config/secrets.ts';

export interface Running {
  /** The URL it listens on; `undefined` if it could not start, and the log says why. */
  url: string | undefined;
  /** Resolves to the exit code when it has ended and the log is written. */
  ended: Promise<0 | 1>;
}

/** How long to wait for the log to be written. */
const lastWordsMs = 500;

/** The same signal within this time is a duplicate of the first. */
const echoMs = 250;

const documentedKeys = /^sk-test-key-/;

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/**
 * Starts the gateway. Resolves when it listens or has failed to start.
 * @param certificate PEM texts for HTTPS; `undefined` for HTTP
 * @param reloading how to read the configuration again, on SIGHUP or when its file has changed
 * @param open opens where keys, usage and limits are kept, in place of what stores/open.ts does
 */
export async function serve(
  config: Config,
  version: string,
  certificate: Certificate | undefined,
  reloading?: Reloading,
  open?: typeof openStores,
): Promise<Running> {
  const secrets = new Secrets(config);
  const sink = new LineSink(process.stdout.fd, secrets.mask);
  const isPretty =
    config.logFormat === 'auto' ? process.stdout.isTTY : config.logFormat === 'pretty';
  const log = await createLog({ level: config.logLevel, isPretty, sink });
  const ended = Promise.withResolvers<0 | 1>();
  let drained: { signal: NodeJS.Signals; since: number; isHurried: boolean } | undefined;
  const hurry = Promise.withResolvers<void>();
  let unwatch: (() => void) | undefined;

  async function end(code: 0 | 1): Promise<void> {
    await sink.close(lastWordsMs);
    // Not before: a SIGHUP that nobody takes would end the process with what it still has to say.
    unwatch?.();
    ended.resolve(code);
  }

  const places = placesOf(config);
  for (const place of places) {
    try {
      assertFree(place);
    } catch (error) {
      explainPlace(error, place, log);
      await end(1);
      return { url: undefined, ended: ended.promise };
    }
  }

  const isDraining = () => drained !== undefined;
  const making = { config, version, log, secrets, isDraining, open };
  const parts = await makeParts(making).catch(async (error: unknown) => {
    log.error({ reason: String(error) }, 'the store cannot be opened (DATA_DIR)');
    await end(1);
    return undefined;
  });
  if (parts === undefined) return { url: undefined, ended: ended.promise };
  const { live, scheduler, now, feed, accountSync, stores, tracing } = parts;
  // Before it listens: no key is refused because it is not read yet.
  await accountSync.start();

  const app = createApp(parts);
  const listener = new Listener(app, config, parts, certificate);

  /** Ends what listens, and then the parts. */
  async function close(): Promise<void> {
    await listener.stop();
    await scheduler.close();
    await listener.stopScrapes();
    await accountSync.close();
    await stores.close();
    await tracing?.close();
  }

  try {
    listener.open();
  } catch (error) {
    const place = places[app.server === null ? 0 : 1];
    if (place) explainPlace(error, place, log);
    await close();
    await end(1);
    return { url: undefined, ended: ended.promise };
  }
  const reloaded = { secrets, renew: (renewed: Certificate) => listener.renew(renewed) };
  unwatch = reloading && watchConfig(config, reloading, parts, reloaded);

  async function drain(signal: NodeJS.Signals): Promise<void> {
    if (drained !== undefined) {
      // `bun run` forwards a terminal's Ctrl-C to a program that has already received it.
      if (signal === drained.signal && now() - drained.since < echoMs) return;
      log.warn({ signal }, 'another signal: ending at once');
      // The second signal still settles the open requests; a third one does not wait for them.
      if (drained.isHurried) return await end(1);
      drained.isHurried = true;
      return hurry.resolve();
    }
    const state = { signal, since: now(), isHurried: false };
    drained = state;
    log.info({ signal, inFlight: live.size }, 'draining');
    feed.close();
    await Promise.race([live.empty(), Bun.sleep(config.shutdownGraceMs), hurry.promise]);
    if (live.size > 0) log.warn({ inFlight: live.size }, 'ending the open requests');
    live.abortAll('shutting_down');
    await close();
    log.info('stopped');
    return await end(state.isHurried ? 1 : 0);
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void drain(signal));

  const url = String(app.server?.url ?? '').replace(/\/$/, '');
  const upstreams = config.upstreams.map((upstream) => upstream.url);
  log.info({ url, version, upstreams }, 'listening');
  const isDocumented = config.allowedApiKeys.some((key) => documentedKeys.test(key));
  if (!isLoopback(config.host) && isDocumented) {
    log.warn(
      'a key from the documentation is in use and other machines can reach this gateway: replace it',
    );
  }
  scheduler.start();
  return { url, ended: ended.promise };
}

/**
 * Takes a new configuration into the running gateway, on SIGHUP or when its file or the certificate has changed. It is as
 * strict as a start: one that could not start a gateway changes nothing. Settings that cannot change while the gateway runs
 * are logged; their rows in config/settings.ts say which.
 */
import type { Config } from './config/load.ts';
import { InputError } from './config/problems.ts';
import { needRestart } from './config/settings.ts';
import { WatchedFiles } from './config/watchedfiles.ts';
import { keyOptions, type Parts } from './gateway.ts';
import type { Certificate } from './listen.ts';
import type { Secrets } from './config/secrets.ts';

/** How the configuration is read again. */
export interface Reloading {
  /** The file that is watched for changes, if there is one. */
  file: string | undefined;
  /**
   * Throws an InputError if it is wrong.
   * @param countIssuedKeys returns how many keys the store has
   */
  load: (countIssuedKeys: () => number) => Config;
  /** Returns the certificate that a configuration names, `undefined` without one; throws if it cannot be read. */
  readCertificate: (config: Config) => Certificate | undefined;
}

/** What a reload changes in addition to the parts. */
export interface Reloaded {
  secrets: Secrets;
  /** Uses that certificate for new connections; does nothing if it is the one in use. */
  renew: (certificate: Certificate) => void;
}

/** Starts to watch; returns what stops that. */
export function watchConfig(
  config: Config,
  { file, load, readCertificate }: Reloading,
  parts: Parts,
  { secrets, renew }: Reloaded,
): () => void {
  const { log, keys, scheduler, cache, isDraining } = parts;
  const { tlsCertFile, tlsKeyFile } = config;
  let current = config;

  function reload(): void {
    if (isDraining()) return;
    try {
      const next = load(() => keys.issuedCount);
      const isSamePlace = next.tlsCertFile === tlsCertFile && next.tlsKeyFile === tlsKeyFile;
      const certificate = isSamePlace ? readCertificate(next) : undefined;
      if (certificate !== undefined) renew(certificate);
      const restart = needRestart(current, next);
      secrets.replace(next);
      keys.replace(next.allowedApiKeys, keyOptions(next));
      scheduler.reconfigure(next);
      // Engines may be others now, or have other models behind the same names.
      cache?.clear();
      current = next;
      log.info({ upstreams: next.upstreams.map(({ id }) => id) }, 'configuration reloaded');
      if (restart.length > 0) log.warn({ settings: restart }, 'these need a restart');
    } catch (error) {
      const problems = error instanceof InputError ? error.problems : [String(error)];
      log.error({ problems }, 'the new configuration is wrong; the old one stays');
    }
  }

  const paths = [file, tlsCertFile, tlsKeyFile].filter((path) => path !== undefined);
  const files = new WatchedFiles(paths, reload);
  void files.start();
  process.on('SIGHUP', () => void files.ask());
  return () => files.stop();
}

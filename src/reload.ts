/**
 * Takes a new configuration into the running gateway, on SIGHUP or when one of its files has changed: the YAML file, those
 * that `*_FILE` names, and the certificate. It is as strict as a start: one that could not start a gateway changes nothing,
 * and no file counts before it stands still. Settings that cannot change while the gateway runs are logged; their rows in
 * config/settings.ts say which.
 */
import type { Config } from './config/load.ts';
import { InputError } from './config/problems.ts';
import { needRestart } from './config/settings.ts';
import type { ReadFile } from './config/sources.ts';
import { notedReads, WatchedFiles } from './config/watchedfiles.ts';
import { keyOptions, type Parts } from './gateway.ts';
import type { Certificate } from './listen.ts';
import type { Secrets } from './config/secrets.ts';

/** How the configuration is read again. */
export interface Reloading {
  /** The files that were read at the start, which are watched for changes. */
  files: Iterable<string>;
  /**
   * Throws an InputError if it is wrong, or the error of reading its file.
   * @param countIssuedKeys returns how many keys the store has
   * @param readFile reads every file that it needs
   */
  load: (countIssuedKeys: () => number, readFile: ReadFile) => Config;
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
  { files, load, readCertificate }: Reloading,
  parts: Parts,
  { secrets, renew }: Reloaded,
): () => void {
  const { log, keys, scheduler, cache, isDraining } = parts;
  const { tlsCertFile, tlsKeyFile } = config;

  function reload(): void {
    if (isDraining()) return;
    const { files: read, readFile } = notedReads();
    try {
      const next = load(() => keys.issuedCount, readFile);
      if (watched.replace(read)) return;
      const isSamePlace = next.tlsCertFile === tlsCertFile && next.tlsKeyFile === tlsKeyFile;
      const certificate = isSamePlace ? readCertificate(next) : undefined;
      if (certificate !== undefined) renew(certificate);
      // What the process runs on, not what was read last: a value that is put back needs no restart.
      const restart = needRestart(config, next);
      secrets.replace(next);
      keys.replace(next.allowedApiKeys, keyOptions(next));
      scheduler.reconfigure(next);
      // Engines may be others now, or have other models behind the same names.
      cache?.clear();
      log.info({ upstreams: next.upstreams.map(({ id }) => id) }, 'configuration reloaded');
      if (restart.length > 0) log.warn({ settings: restart }, 'these need a restart');
    } catch (error) {
      // What a half of a new file made of it is no mistake yet.
      if (watched.add(read)) return;
      const problems = error instanceof InputError ? error.problems : [String(error)];
      log.error({ problems }, 'the new configuration is wrong; the old one stays');
    }
  }

  const watched = new WatchedFiles(new Set(files), reload);
  void watched.start();
  const ask = () => void watched.ask();
  process.on('SIGHUP', ask);
  return () => {
    process.off('SIGHUP', ask);
    watched.stop();
  };
}

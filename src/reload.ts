/**
 * Takes a new configuration into the running gateway, on SIGHUP or when its file has changed. A wrong one changes
 * nothing. Settings that cannot change while the gateway runs are logged; their rows in config/settings.ts say which.
 */
import { unwatchFile, watchFile } from 'node:fs';
import type { Config } from './config/load.ts';
import { InputError } from './config/problems.ts';
import { needRestart } from './config/settings.ts';
import { keyOptions, type Parts } from './gateway.ts';
import type { Secrets } from './config/secrets.ts';

/** How the configuration is read again. */
export interface Reloading {
  /** The file that is watched for changes, if there is one. */
  file: string | undefined;
  /** Throws an InputError if it is wrong. */
  load: () => Config;
}

const fileLookMs = 1_000;

/** Starts to watch; returns what stops that. */
export function watchConfig(
  config: Config,
  { file, load }: Reloading,
  parts: Parts,
  secrets: Secrets,
): () => void {
  const { log, keys, scheduler, cache, isDraining } = parts;
  let current = config;

  function reload(): void {
    if (isDraining()) return;
    try {
      const next = load();
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

  process.on('SIGHUP', reload);
  if (file !== undefined) watchFile(file, { interval: fileLookMs }, reload);
  return () => {
    if (file !== undefined) unwatchFile(file, reload);
  };
}

/**
 * Takes a new configuration into the running gateway, on SIGHUP or when its file has changed. A wrong one changes
 * nothing, and what cannot change while it runs is said in the log.
 */
import { unwatchFile, watchFile } from 'node:fs';
import { ConfigError, type Config } from './config/load.ts';
import { keyOptions, type Parts } from './gateway.ts';
import type { Secrets } from './config/secrets.ts';

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

/** Gives the settings that differ and need a restart. */
function needRestart(before: Config, after: Config): string[] {
  return Object.keys(after).filter((name) => {
    const values = [before, after].map((each): unknown => Reflect.get(each, name));
    return !reloadable.has(name) && !Bun.deepEquals(values[0], values[1]);
  });
}

/** Begins to watch; gives what ends that. */
export function watchConfig(
  config: Config,
  { file, load }: Reloading,
  parts: Parts,
  secrets: Secrets,
): () => void {
  const { log, keys, pool, cache, isDraining } = parts;
  let current = config;

  function reload(): void {
    if (isDraining()) return;
    try {
      const next = load();
      const restart = needRestart(current, next);
      secrets.replace(next);
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
  if (file !== undefined) watchFile(file, { interval: fileLookMs }, reload);
  return () => {
    if (file !== undefined) unwatchFile(file, reload);
  };
}

/**
 * The secrets of a configuration, and the masks that take them out of texts. After a reload the secrets of the previous
 * configuration are still masked, since a text may be older.
 */
import type { Config } from './load.ts';
import { secretMasker } from '../log/masking.ts';

/** Returns the keys that clients, the operator and the reader of metrics have. */
function keysOf({ allowedApiKeys, adminApiKey, metricsToken }: Config): string[] {
  const others = [adminApiKey, metricsToken];
  return [...allowedApiKeys, ...others.filter((secret) => secret !== undefined)];
}

function secretsOf(config: Config): string[] {
  const tracing = tracingHeaders(config).map(([, value]) => value);
  return [...keysOf(config), ...tracing, ...config.upstreams.flatMap(({ apiKey }) => apiKey ?? [])];
}

/** Returns the names and decoded values of the collector's headers, whose values are percent-encoded in the setting. */
export function tracingHeaders({
  otelExporterOtlpHeaders,
}: Config): [name: string, value: string][] {
  return otelExporterOtlpHeaders.map((header) => {
    const at = header.indexOf('=');
    const value = header.slice(at + 1).trim();
    try {
      return [header.slice(0, at).trim(), decodeURIComponent(value)];
    } catch {
      return [header.slice(0, at).trim(), value]; // A stray percent sign stands for itself.
    }
  });
}

export class Secrets {
  #current: Config;
  #maskAll: (text: string) => string;
  #maskKeys: (text: string) => string;

  constructor(config: Config) {
    this.#current = config;
    this.#maskAll = secretMasker(secretsOf(config));
    this.#maskKeys = secretMasker(keysOf(config));
  }

  /** Returns a text with every secret masked. */
  readonly mask = (text: string): string => this.#maskAll(text);

  /** The same without the keys of engines: such a key can be a word that is in the name of a model. */
  readonly maskKeys = (text: string): string => this.#maskKeys(text);

  /** From now on masks the secrets of this configuration and of the one before. */
  replace(next: Config): void {
    this.#maskAll = secretMasker([...secretsOf(this.#current), ...secretsOf(next)]);
    this.#maskKeys = secretMasker([...keysOf(this.#current), ...keysOf(next)]);
    this.#current = next;
  }
}

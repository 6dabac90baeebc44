/**
 * What must not be read anywhere: the secrets of a configuration, and the masks that take them out of texts. It keeps
 * those of the configuration before, too, since a text may be older than a reload.
 */
import type { Config } from './load.ts';
import { secretMasker } from '../log/masking.ts';

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
export function tracingHeaders({
  otelExporterOtlpHeaders,
}: Config): [name: string, value: string][] {
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

export class Secrets {
  #current: Config;
  #maskAll: (text: string) => string;
  #maskKeys: (text: string) => string;

  constructor(config: Config) {
    this.#current = config;
    this.#maskAll = secretMasker(secretsOf(config));
    this.#maskKeys = secretMasker(keysOf(config));
  }

  /** Takes every secret out of a text. */
  readonly mask = (text: string): string => this.#maskAll(text);

  /** The same without the keys of engines: those can be words that stand in the names of models. */
  readonly maskKeys = (text: string): string => this.#maskKeys(text);

  /** Takes out those of this configuration as well, from now on. */
  replace(next: Config): void {
    this.#maskAll = secretMasker([...secretsOf(this.#current), ...secretsOf(next)]);
    this.#maskKeys = secretMasker([...keysOf(this.#current), ...keysOf(next)]);
    this.#current = next;
  }
}

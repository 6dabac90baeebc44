/** The parts of a gateway as a configuration makes them, with nothing that listens, and what they have logged. */
import pino from 'pino';
import { loadConfig, type Config } from '../../src/config/load.ts';
import { Secrets } from '../../src/config/secrets.ts';
import { makeParts, type Parts } from '../../src/gateway.ts';
import { key } from './gatewayprocess.ts';

export interface MadeParts extends Disposable {
  config: Config;
  parts: Parts;
  secrets: Secrets;
  /** Every line of the log, parsed. */
  lines: Record<string, unknown>[];
}

/** Returns the configuration that these settings make, for one key and an engine that is never asked. */
export function configOf(env: Record<string, string> = {}): Config {
  const all = {
    ALLOWED_API_KEYS: key,
    LLM_SERVER_URL: 'http://127.0.0.1:1',
    DATA_DIR: 'none',
    ...env,
  };
  return loadConfig({ env: all, readFile: () => '' });
}

/** Makes the parts of a gateway with these settings; disposing of it closes its store. */
export async function partsOf(env: Record<string, string> = {}): Promise<MadeParts> {
  const config = configOf(env);
  const secrets = new Secrets(config);
  const lines: Record<string, unknown>[] = [];
  const log = pino(
    { base: null, level: 'debug' },
    { write: (line: string) => lines.push(JSON.parse(line)) },
  );
  const parts = await makeParts({
    config,
    version: '1.2.3',
    log,
    secrets,
    isDraining: () => false,
  });
  return { config, parts, secrets, lines, [Symbol.dispose]: () => void parts.stores.close() };
}

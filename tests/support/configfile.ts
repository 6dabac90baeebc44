/** A configuration file in its own directory, which a test can change while a gateway runs. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startGateway, type Gateway } from './gatewayprocess.ts';

/** A configuration file; JSON is YAML. */
export interface ConfigFile {
  path: string;
  write(value: object): void;
  [Symbol.dispose](): void;
}

export function configFile(value: object): ConfigFile {
  const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
  const path = join(directory, 'gateway.yaml');
  const write = (next: object) => writeFileSync(path, JSON.stringify(next));
  write(value);
  return { path, write, [Symbol.dispose]: () => rmSync(directory, { recursive: true }) };
}

/** Starts a gateway with this configuration file. */
export function startWith(file: ConfigFile, env: Record<string, string> = {}): Promise<Gateway> {
  return startGateway(env, ['--config', file.path]);
}

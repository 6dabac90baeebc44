/**
 * A gateway in front of a demo engine, or of several, for tests of what happens between them. A configuration file
 * stands in a directory of its own and can be changed while the gateway runs.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDemoEngine, type DemoEngine, type DemoOptions } from '../../src/demo/engine.ts';
import { startGateway, type Gateway } from './process.ts';
import { until } from './wait.ts';

export interface UpstreamHealth {
  id: string;
  kind: string;
  state: string;
  slots?: number;
  usedSlots: number;
}

export interface Health {
  inFlight: number;
  queued: number;
  upstreams: UpstreamHealth[];
}

export async function healthOf(gateway: Gateway): Promise<Health> {
  return (await fetch(`${gateway.url}/health`)).json() as Promise<Health>;
}

/** Resolves when that holds of the upstream with this id. */
export async function untilUpstream(
  gateway: Gateway,
  id: string,
  expected: Partial<UpstreamHealth>,
): Promise<void> {
  await until(`${id} is ${JSON.stringify(expected)}`, async () => {
    const { upstreams } = await healthOf(gateway);
    const found = upstreams.find((upstream) => upstream.id === id);
    return found !== undefined && Bun.deepMatch(expected, found);
  });
}

/** Resolves when nothing is open or waits at the gateway, and every slot is free; also at the engine, where given. */
export async function untilIdle(gateway: Gateway, engine?: { busySlots(): number }): Promise<void> {
  await until('nothing runs', async () => {
    const { inFlight, queued, upstreams } = await healthOf(gateway);
    const isFree = upstreams.every(({ usedSlots }) => usedSlots === 0);
    return inFlight === 0 && queued === 0 && isFree && (engine?.busySlots() ?? 0) === 0;
  });
}

export interface Stage extends AsyncDisposable {
  engine: DemoEngine;
  gateway: Gateway;
}

/** Starts a demo engine and a gateway for it, and resolves when the gateway knows what it is and gives it requests. */
export async function startStage(
  env: Record<string, string> = {},
  options: DemoOptions = {},
): Promise<Stage> {
  const engine = startDemoEngine(options);
  const gateway = await startGateway({ LLM_SERVER_URL: engine.url, ...env });
  await untilUpstream(gateway, 'engine', { kind: 'llama.cpp', state: 'up' });
  return {
    engine,
    gateway,
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      await engine.stop();
    },
  };
}

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

/** A gateway in front of one engine, simulated or real, for tests of what happens between them. */
import { startDemoEngine, type DemoEngine, type DemoOptions } from '../../src/demo/engine.ts';
import { untilUpstream } from './gatewayhealth.ts';
import { startGateway, type Gateway } from './gatewayprocess.ts';

/** What a stage needs of an engine. */
interface AnyEngine {
  url: string;
  stop(): Promise<unknown>;
}

export interface Stage<Engine = DemoEngine> extends AsyncDisposable {
  engine: Engine;
  gateway: Gateway;
}

/**
 * Starts a gateway for an engine, and resolves when the gateway sends requests to it. The engine ends with the stage.
 */
export async function startStageFor<Engine extends AnyEngine>(
  engine: Engine,
  env: Record<string, string> = {},
): Promise<Stage<Engine>> {
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

/** Starts a simulated engine and a gateway for it, and resolves when the gateway sends requests to it. */
export function startStage(
  env: Record<string, string> = {},
  options: DemoOptions = {},
): Promise<Stage> {
  return startStageFor(startDemoEngine(options), env);
}

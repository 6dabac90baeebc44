/**
 * A gateway with RESPONSE_CACHE=on in front of the simulated engine, and helpers that show what it keeps.
 */
import type { Asked, RawClient } from './rawclient.ts';
import { key, type Gateway } from './gatewayprocess.ts';
import { healthOf } from './gatewayhealth.ts';
import { startStage, type Stage } from './stage.ts';
import { until } from './wait.ts';

export const otherKey = 'sk-test-key-2';
const on = { RESPONSE_CACHE: 'on', ALLOWED_API_KEYS: `${key},${otherKey}` };

/** A gateway that keeps answers, in front of an engine with two slots. */
export interface CachingStage extends Stage {
  /** How many requests that generate the engine has had. */
  runs(): number;
}

export async function startCaching(env: Record<string, string> = {}): Promise<CachingStage> {
  const stage = await startStage({ ...on, ...env }, { slots: 2 });
  const { requests } = stage.engine;
  return { ...stage, runs: () => requests.filter(({ method }) => method === 'POST').length };
}

/** Resolves when the gateway has so many requests open. */
export async function untilInFlight(gateway: Gateway, count: number): Promise<void> {
  await until(`${count} requests are open`, async () => {
    return (await healthOf(gateway)).inFlight === count;
  });
}

let count = 0;
/** Returns a prompt that no other test has. */
export const fresh = () => `the prompt of number ${++count}`;

/** Returns the cache header of each answer, in their order. */
export const marks = (exchanges: readonly RawClient[]) =>
  exchanges.map((exchange) => exchange.header('x-gateway-cache'));

/** Returns a request whose prompt no other has. */
export function completion(more: object = {}): Asked {
  return { body: { prompt: fresh(), max_tokens: 8, temperature: 0, ...more } };
}

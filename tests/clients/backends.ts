/**
 * The backends of the tests of official clients: the gateway in front of the simulated engine and in front of the real
 * one. Every client does the same on each.
 */
import { startDemoEngine } from '../../src/demo/engine.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { startStageFor } from '../support/stage.ts';
import { until } from '../support/wait.ts';
import { requireRealEngine, startRealEngine } from '../real/realengine.ts';

export interface Backend extends AsyncDisposable {
  /** The gateway, without `/v1`. */
  url: string;
  /** A gateway whose engine embeds; the real one does either that or generate. */
  embeddingUrl: string;
  /** A gateway whose engine is away. */
  lonelyUrl: string;
  model: string;
  /** Resolves when the engine works on something. */
  busy(): Promise<void>;
  /** Resolves when the engine is idle; rejects when it has answered an endless request instead. */
  freed(): Promise<void>;
}

/** Nothing listens there: the port is reserved, and only root could use it. */
const nowhere = 'http://127.0.0.1:1';

/**
 * Spread into a request, it makes the answer five tokens long, and always the same: llama.cpp leaves out the first
 * event of an Anthropic stream when its first token is a part of a character.
 */
export const brief = { max_tokens: 5, temperature: 0 };

/** Spread into a request, it makes the answer last longer than any test waits. */
export const endless = { max_tokens: 3_500, temperature: 0, ignore_eos: true };

async function startSimulated(): Promise<Backend> {
  const stack = new AsyncDisposableStack();
  const stage = stack.use(await startStageFor(startDemoEngine({ tokensPerSecond: 100 })));
  const lonely = stack.use(await startGateway({ LLM_SERVER_URL: nowhere }));
  return {
    url: stage.gateway.url,
    embeddingUrl: stage.gateway.url,
    lonelyUrl: lonely.url,
    model: 'demo',
    busy: () => until('a slot is busy', () => stage.engine.busySlots() > 0),
    freed: () => until('every slot is idle', () => stage.engine.busySlots() === 0),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

async function startReal(): Promise<Backend> {
  const stack = new AsyncDisposableStack();
  const stage = stack.use(await startStageFor(await startRealEngine({ contextTokens: 8_192 })));
  const embedding = stack.use(await startStageFor(await startRealEngine({ embedding: true })));
  const lonely = stack.use(await startGateway({ LLM_SERVER_URL: nowhere }));
  const { engine } = stage;
  async function isBusy(): Promise<boolean> {
    return (await engine.slots()).some((slot) => slot.is_processing);
  }
  async function freed(): Promise<void> {
    await engine.idle();
    const { tokens_predicted_total: tokens = 0 } = await engine.counters();
    if (tokens >= endless.max_tokens) throw new Error(`the engine went on, for ${tokens} tokens`);
  }
  return {
    url: stage.gateway.url,
    embeddingUrl: embedding.gateway.url,
    lonelyUrl: lonely.url,
    model: 'smollm2',
    busy: () => until('a slot is busy', isBusy),
    freed,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** `hasFaults`: it fails as the header `x-demo-fault` asks. */
export const backends = [
  { name: 'the simulated engine', isThere: true, hasFaults: true, start: startSimulated },
  { name: 'the real engine', isThere: requireRealEngine(), hasFaults: false, start: startReal },
];

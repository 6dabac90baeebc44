/**
 * The work for a client that leaves is stopped: the slot of the real engine is idle again, long before the answer would
 * have been done.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { type RawClient, send } from '../support/rawclient.ts';
import { type Gateway, startGateway } from '../support/gatewayprocess.ts';
import { until } from '../support/wait.ts';
import { type RealEngine, requireRealEngine, startRealEngine } from './realengine.ts';

setDefaultTimeout(300_000);

const maxTokens = 7_900;
/** More tokens than the engine can generate while a test waits for its slot. */
const endless = { max_tokens: maxTokens, ignore_eos: true, temperature: 0 };
const prompt = { prompt: 'Once upon a time', ...endless };
const chat = { messages: [{ role: 'user', content: 'Count' }], ...endless, stream: true };

const longPrompt = Array.from({ length: 500 }, (_, i) => `item ${i},`).join(' ');
/** The long prompt has more. */
const longPromptTokens = 2_500;

const streams = {
  '/v1/completions': { ...prompt, stream: true },
  '/v1/chat/completions': chat,
  '/v1/messages': chat,
  '/v1/responses': { input: 'Count', ...endless, stream: true, max_output_tokens: maxTokens },
  '/completion': { ...prompt, stream: true, n_predict: maxTokens },
};

describe.skipIf(!requireRealEngine())('the slot is idle again after a client that leaves', () => {
  let engine: RealEngine;
  let gateway: Gateway;

  beforeAll(async () => {
    engine = await startRealEngine({ slots: 1, contextTokens: 8_192 });
    gateway = await startGateway({ LLM_SERVER_URL: engine.url });
  });

  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]();
    await engine?.stop();
  });

  async function isBusy(): Promise<boolean> {
    return (await engine.slots()).some((slot) => slot.is_processing);
  }

  const slotIsTaken = () => until('the slot is taken', isBusy);
  const answerHasBegun = (client: RawClient) => client.hasText('data: {');

  /** Sends a request, leaves at the given moment, waits until the slot is idle; returns the engine's counters then. */
  async function leaveOnce(
    isDue: (client: RawClient) => Promise<unknown>,
    asked: { path: string; body: object; headers?: Record<string, string> },
    leave: (client: RawClient) => void = (client) => client.leaveByReset(),
  ) {
    const requestId = crypto.randomUUID();
    const headers = { ...asked.headers, 'x-request-id': requestId };
    const client = await send(gateway.url, { ...asked, headers });
    await isDue(client);
    expect(await isBusy()).toBe(true);
    leave(client);
    await engine.idle();
    const ended = await gateway.logged(
      (line) => line['requestId'] === requestId && line['outcome'] !== undefined,
    );
    expect(ended).toMatchObject({ outcome: 'aborted', code: 'client_closed_request' });
    return engine.counters();
  }

  test('in a long prefill', async () => {
    const body = { ...prompt, prompt: longPrompt, stream: true };
    const counters = await leaveOnce(slotIsTaken, { path: '/v1/completions', body });
    expect(counters['n_tokens_max']).toBeLessThan(longPromptTokens);
    expect(counters['tokens_predicted_total']).toBe(0);
  });

  test('in a long prefill of a plain answer', async () => {
    const body = { ...prompt, prompt: longPrompt };
    const counters = await leaveOnce(slotIsTaken, { path: '/v1/completions', body });
    expect(counters['n_tokens_max']).toBeLessThan(longPromptTokens);
    expect(counters['tokens_predicted_total']).toBe(0);
  });

  test('while it waits for a plain answer', async () => {
    const counters = await leaveOnce(slotIsTaken, { path: '/v1/completions', body: prompt });
    expect(counters['tokens_predicted_total']).toBeLessThan(maxTokens);
  });

  for (const [path, body] of Object.entries(streams)) {
    test(`mid-stream of ${path}`, async () => {
      const counters = await leaveOnce(answerHasBegun, { path, body });
      expect(counters['tokens_predicted_total']).toBeLessThan(maxTokens);
    });
  }

  test('mid-stream, in order and not by a reset', async () => {
    const asked = { path: '/v1/chat/completions', body: chat };
    const counters = await leaveOnce(answerHasBegun, asked, (client) => client.leaveByFin());
    expect(counters['tokens_predicted_total']).toBeLessThan(maxTokens);
  });

  test('mid-stream, when it has named its conversation, for which llama.cpp would go on', async () => {
    const headers = { 'x-conversation-id': 'conversation-1' };
    const asked = { path: '/v1/chat/completions', body: chat, headers };
    const counters = await leaveOnce(answerHasBegun, asked);
    expect(counters['tokens_predicted_total']).toBeLessThan(maxTokens);
  });
});

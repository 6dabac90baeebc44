/**
 * Requests that the real engine refuses: its answer reaches the client unchanged, status and body, and is not marked as
 * an error of the gateway.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { type Gateway, startGateway } from '../support/gatewayprocess.ts';
import { type Json, post } from './plainclient.ts';
import { type RealEngine, requireRealEngine, startRealEngine } from './realengine.ts';

setDefaultTimeout(300_000);

const tooLong = 'word '.repeat(600);
const chat = (content: string) => [{ role: 'user', content }];

const refused: [what: string, path: string, body: Json, status: number][] = [
  ['a prompt beyond the context', '/v1/completions', { prompt: tooLong }, 400],
  ['the same, streamed', '/v1/completions', { prompt: tooLong, stream: true }, 400],
  ['a conversation beyond the context', '/v1/chat/completions', { messages: chat(tooLong) }, 400],
  ['a message beyond the context', '/v1/messages', { messages: chat(tooLong) }, 400],
  ['an input beyond the context', '/v1/responses', { input: tooLong, stream: true }, 400],
  ['a sampler value of the wrong kind', '/v1/completions', { prompt: 'a', top_k: 'many' }, 400],
  ['a grammar that is none', '/v1/completions', { prompt: 'a', grammar: 'root ::= (' }, 400],
  ['a conversation without messages', '/v1/chat/completions', {}, 400],
  ['a message without a role', '/v1/chat/completions', { messages: [{ content: 'a' }] }, 500],
  ['embeddings, which it was not started for', '/v1/embeddings', { input: 'a' }, 501],
  ['a prompt that is an object', '/v1/completions', { prompt: { a: 1 } }, 400],
];

describe.skipIf(!requireRealEngine())('an error of the engine passes as it is', () => {
  let engine: RealEngine;
  let gateway: Gateway;

  beforeAll(async () => {
    engine = await startRealEngine({ slots: 1, contextTokens: 512 });
    gateway = await startGateway({ LLM_SERVER_URL: engine.url });
  });

  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]();
    await engine?.stop();
  });

  test.each(refused)('%s', async (_what, path, body, status) => {
    const direct = await post(engine.url + path, body);
    const relayed = await post(gateway.url + path, body);
    expect(await relayed.text()).toBe(await direct.text());
    expect(relayed.status).toBe(direct.status);
    expect(relayed.status).toBe(status);
    expect(relayed.headers.get('content-type')).toBe(direct.headers.get('content-type'));
    expect(relayed.headers.get('content-length')).toBe(direct.headers.get('content-length'));
    expect(relayed.headers.get('x-gateway-error')).toBeNull();
  });
});

/**
 * Every route of the allow-list, requested at the engine and through the gateway: the same bytes, the same headers.
 * Only what differs between any two answers of an engine is set equal first: ids, dates and measured times.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { isServedBy, routes } from '../../src/wire/routes.ts';
import { type Gateway, startGateway } from '../support/gatewayprocess.ts';
import { get, type Json, post } from './plainclient.ts';
import { type RealEngine, requireRealEngine, startRealEngine } from './realengine.ts';

setDefaultTimeout(300_000);

const hasEngine = requireRealEngine();

/** Greedy and from a fixed seed; llama.cpp takes these on each of its routes. */
const fixed = { seed: 7, temperature: 0 };
const messages = [{ role: 'user', content: 'Привет! Say hello in two languages 🙂' }];
const completion = { prompt: 'Привет! Как дела?', max_tokens: 12, ...fixed };
const native = { prompt: 'Once upon a time', n_predict: 12, ...fixed };
const chat = { messages, max_tokens: 12, ...fixed };
const responses = { input: 'Count to ten.', max_output_tokens: 12, ...fixed };
const message = { model: 'smollm2', messages, max_tokens: 12, ...fixed };
const infill = { input_prefix: 'def add(a, b):', input_suffix: 'return c', n_predict: 4, ...fixed };
const ranking = { query: 'cat', documents: ['a dog', 'a kitten'] };
const formType = { 'content-type': 'multipart/form-data; boundary=edge' };
const form =
  '--edge\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmollm2\r\n--edge--\r\n';

/** What each route is asked; those with a multipart body get the form. */
const asked: Record<string, Json> = {
  '/v1/completions': completion,
  '/v1/chat/completions': chat,
  '/v1/responses': responses,
  '/v1/messages': message,
  '/v1/messages/count_tokens': message,
  '/v1/embeddings': { input: ['Hello', 'Привет'] },
  '/v1/rerank': ranking,
  '/v1/reranking': ranking,
  '/v1/score': { text_1: 'a', text_2: 'b' },
  '/v1/audio/speech': { input: 'Hello', voice: 'none' },
  '/v1/chat/completions/input_tokens': chat,
  '/v1/responses/input_tokens': responses,
  '/completion': native,
  '/completions': native,
  '/chat/completions': chat,
  '/chat/completions/input_tokens': chat,
  '/responses': responses,
  '/responses/input_tokens': responses,
  '/embedding': { content: 'Hello' },
  '/embeddings': { content: 'Привет' },
  '/rerank': ranking,
  '/reranking': ranking,
  '/infill': infill,
  '/tokenize': { content: 'Привет, мир 🙂', with_pieces: true },
  '/detokenize': { tokens: [155, 249, 46879, 16464, 32547] },
  '/apply-template': { messages },
};
const streaming = new Set<unknown>([completion, native, chat, responses, message]);
const needsEmbedding = /\/embeddings?$/;
/** Routes that this engine or its model does not support: its refusal passes unchanged. */
const isRefused = /rerank|score|audio|infill/;

/** Replaces the values that are new in every answer. All other bytes stay the same. */
function withoutVolatile(text: string): string {
  return text
    .replace(/"((?:item_)?id)":"(chatcmpl-|resp_|msg_)\w{32}"/g, '"$1":"$2"')
    .replace(/"(created|created_at|completed_at)":\d+/g, '"$1":0')
    .replace(/"(\w+_ms|\w+_per_second)":[\d.]+/g, '"$1":0');
}

/** What speaks of one connection, the length that follows from the volatile values, and the engine's CORS headers. */
const notCompared =
  /^(connection|keep-alive|transfer-encoding|content-length|access-control-.*|date)$/;

async function comparable(response: Response) {
  const { status, headers } = response;
  const compared = [...headers].filter(([name]) => !notCompared.test(name));
  return {
    status,
    headers: Object.fromEntries(compared),
    text: withoutVolatile(await response.text()),
  };
}

async function expectSameAnswer(ask: (base: string) => Promise<Response>, stage: Stage) {
  const direct = await comparable(await ask(stage.engine.url));
  const relayed = await comparable(await ask(stage.gateway.url));
  expect(relayed.text).toBe(direct.text);
  expect(relayed.status).toBe(direct.status);
  expect(relayed.headers).toMatchObject(direct.headers);
  return direct;
}

interface Stage {
  engine: RealEngine;
  gateway: Gateway;
}

describe.skipIf(!hasEngine)('each route answers as the engine itself', () => {
  let generating: Stage;
  let embedding: Stage;

  async function startStage(isEmbedding: boolean): Promise<Stage> {
    // Without the prompt cache and with one slot, the same question is computed in the same way each time.
    const engine = await startRealEngine({ slots: 1, cachePrompt: false, embedding: isEmbedding });
    return { engine, gateway: await startGateway({ LLM_SERVER_URL: engine.url }) };
  }

  beforeAll(async () => {
    [generating, embedding] = await Promise.all([startStage(false), startStage(true)]);
  });

  afterAll(async () => {
    for (const { engine, gateway } of [generating, embedding]) {
      await gateway[Symbol.asyncDispose]();
      await engine.stop();
    }
  });

  for (const route of routes) {
    const { method, path, body: kind } = route;
    if (method === 'GET' || !isServedBy(route, 'llama.cpp')) continue;
    const body = asked[path];
    test(`POST ${path}, plain`, async () => {
      const ask = (base: string) =>
        kind === 'multipart' ? post(base + path, form, formType) : post(base + path, body ?? '');
      const stage = needsEmbedding.test(path) ? embedding : generating;
      const { status } = await expectSameAnswer(ask, stage);
      expect(isRefused.test(path) ? [404, 501] : [200]).toContain(status);
    });

    if (body === undefined || !streaming.has(body) || path.endsWith('_tokens')) continue;
    test(`POST ${path}, streamed`, async () => {
      const ask = (base: string) => post(base + path, { ...body, stream: true });
      const { text, headers } = await expectSameAnswer(ask, generating);
      expect(headers['content-type']).toBe('text/event-stream');
      expect(text.split('\n\n').length).toBeGreaterThan(5);
    });
  }

  for (const path of ['/v1/models', '/models']) {
    test(`GET ${path}`, async () => {
      const { text } = await expectSameAnswer((base) => get(base + path), generating);
      expect(text).toContain('"id":"smollm2"');
    });
  }

  test('GET /v1/models/{id} returns the entry of the engine’s list', async () => {
    const list = await (await get(`${generating.engine.url}/v1/models`)).text();
    const model = await (await get(`${generating.gateway.url}/v1/models/smollm2`)).text();
    expect(model).toStartWith('{"id":"smollm2"');
    expect(withoutVolatile(list)).toContain(`"data":[${withoutVolatile(model)}]`);
  });
});

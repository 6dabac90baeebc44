/**
 * Ollama's own routes: bytes pass unchanged, streams are lines of JSON with a true ending, nobody loads or unloads models
 * under the others, a key sees its own models alone, limits and usage count what Ollama counts.
 */
import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from 'bun:test';
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import { configFile, startWith, type ConfigFile } from '../support/configfile.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { adminKey, bearer, issueKey } from '../support/operator.ts';
import { ask, send } from '../support/rawclient.ts';
import { chunk, headOf, lastChunk, startUpstream } from '../support/rawengine.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const kind = 'ollama';
const model = 'demo';
const messages = [{ role: 'user', content: 'one two three' }];
const chat = { model, messages, options: { num_predict: 3 } };

let engine: DemoEngine;
let other: DemoEngine;
let llama: DemoEngine;
let file: ConfigFile;
let gateway: Gateway;

/** Two of Ollama, of which the second has a model of its own and an alias for it, and one llama.cpp. */
beforeAll(async () => {
  engine = startDemoEngine({ kind, slots: 1 });
  other = startDemoEngine({ kind, models: ['other:7b', 'hidden:7b'] });
  llama = startDemoEngine({ models: ['native'] });
  file = configFile({
    upstreams: [
      { id: 'engine', url: engine.url, kind, slots: 1 },
      { id: 'other', url: other.url, kind, models: ['other:7b'], aliases: { fast: 'other:7b' } },
      { id: 'llama', url: llama.url },
    ],
  });
  gateway = await startWith(file, { ADMIN_API_KEY: adminKey });
  await untilUpstream(gateway, 'engine', { kind, state: 'up' });
  await untilUpstream(gateway, 'other', { kind, state: 'up' });
  await untilUpstream(gateway, 'llama', { kind: 'llama.cpp', state: 'up' });
  await until('the models are known', async () => {
    const { text } = await ask(gateway.url, { path: '/v1/models' });
    return ['demo:latest', 'fast', 'native'].every((name) => text.includes(name));
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  file[Symbol.dispose]();
  await Promise.all([engine, other, llama].map((each) => each.stop()));
});

beforeEach(() => {
  for (const each of [engine, other, llama]) each.requests.length = 0;
});

function sentTo(to: DemoEngine): string {
  return Buffer.from(to.requests.at(-1)?.body ?? []).toString();
}

function lines(text: string): Record<string, unknown>[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

/** Returns the line of the log about a request that has ended. */
function ended(requestId: string) {
  return gateway.logged(
    (line) => line['requestId'] === requestId && line['msg'] === 'request ended',
  );
}

describe('an answer', () => {
  test.each([
    ['/api/chat', { ...chat, stream: false }],
    ['/api/chat', chat],
    ['/api/generate', { model, prompt: 'one two', stream: false }],
    ['/api/generate', { model, prompt: 'one two', stream: null }],
    ['/api/chat', { ...chat, tools: [{ function: { name: 'look' } }] }],
    ['/api/embed', { model, input: ['a', 'b'] }],
    ['/api/embeddings', { model, prompt: 'a' }],
    ['/api/show', { model }],
    ['/api/chat', { ...chat, messages: 7 }],
  ])(
    'of %s %j is what the engine says, byte for byte, and so is the request',
    async (path, body) => {
      const text = JSON.stringify(body).replace('"model":', '  "x": 1.0, "model" : ');
      const direct = await ask(engine.url, { path, body: text });
      const answer = await ask(gateway.url, { path, body: text });
      expect([answer.status, answer.text]).toEqual([direct.status, direct.text]);
      expect(answer.header('content-type')).toBe(direct.header('content-type') as string);
      expect(sentTo(engine)).toBe(text);
    },
  );

  test('is a stream unless that is refused, which usage and the log count by Ollama’s numbers', async () => {
    for (const stream of [undefined, false]) {
      const id = crypto.randomUUID();
      const headers = { 'x-request-id': id };
      const answer = await ask(gateway.url, {
        path: '/api/chat',
        body: { ...chat, stream },
        headers,
      });
      const last = lines(answer.text).at(-1) ?? {};
      expect(last).toMatchObject({ done: true, eval_count: 3 });
      expect(await ended(id)).toMatchObject({
        outcome: 'done',
        stream: stream === undefined,
        promptTokens: last['prompt_eval_count'],
        completionTokens: 3,
      });
    }
  });

  test('has no comments, whatever is asked for', async () => {
    const headers = { 'x-queue-feedback': '1' };
    const answer = await ask(gateway.url, { path: '/api/chat', body: chat, headers });
    expect(lines(answer.text)).toHaveLength(4);
  });
});

describe('models in memory', () => {
  test('are not the client’s business: what loads, pins and unloads them becomes spaces', async () => {
    const options = '"options":{"num_predict":1,"num_ctx":99,"seed":1.0}';
    const body = `{"model":"demo","keep_alive":0,"prompt":"a",${options},"Keep_Alive":-1}`;
    await ask(gateway.url, { path: '/api/generate', body });
    expect(sentTo(engine)).toHaveLength(body.length);
    expect(sentTo(engine).replaceAll(/ +/g, ' ')).toBe(
      '{"model":"demo" ,"prompt":"a","options":{"num_predict":1 ,"seed":1.0} }',
    );
  });

  test('are loaded, and not unloaded, by a request without a prompt', async () => {
    const body = { model, keep_alive: 0 };
    const answer = await ask(gateway.url, { path: '/api/generate', body });
    expect(JSON.parse(answer.text)).toMatchObject({ done_reason: 'load' });
  });

  test('are the client’s where the operator says so', async () => {
    const env = { LLM_SERVER_URL: engine.url, LLM_SERVER_KIND: kind, OLLAMA_LOADING: 'on' };
    await using allowing = await startGateway(env);
    await untilUpstream(allowing, 'engine', { kind, state: 'up' });
    const body = JSON.stringify({ model, keep_alive: 0, options: { num_ctx: 9 } });
    const answer = await ask(allowing.url, { path: '/api/generate', body });
    expect(JSON.parse(answer.text)).toMatchObject({ done_reason: 'unload' });
    expect(sentTo(engine)).toBe(body);
  });
});

describe('the lists', () => {
  async function names(path: string, key?: string): Promise<string[]> {
    const answer = await ask(gateway.url, {
      path,
      ...(key !== undefined && { headers: bearer(key) }),
    });
    const { models } = JSON.parse(answer.text) as { models: { name: string }[] };
    return models.map(({ name }) => name);
  }

  test('have the models of every Ollama that the operator offers, and aliases', async () => {
    for (const path of ['/api/tags', '/api/ps']) {
      expect(await names(path)).toEqual(['demo:latest', 'other:7b', 'fast']);
    }
    const version = await ask(gateway.url, { path: '/api/version' });
    expect(JSON.parse(version.text)).toEqual({ version: '0.0.0-simulated' });
    const head = await fetch(`${gateway.url}/api/tags`, {
      method: 'HEAD',
      headers: bearer('sk-test-key-1') as never,
    });
    expect([head.status, await head.text()]).toEqual([200, '']);
  });

  test('have only what the key may use, which is all that it gets', async () => {
    const { key } = await issueKey(gateway, { name: 'limited', models: ['demo'] });
    for (const path of ['/api/tags', '/api/ps'])
      expect(await names(path, key)).toEqual(['demo:latest']);
    const status = async (path: string, body: object) =>
      (await ask(gateway.url, { path, body, headers: bearer(key) })).status;
    expect(await status('/api/show', { model: 'Demo:latest' })).toBe(200);
    expect(await status('/api/show', { model: 'fast' })).toBe(403);
    expect(await status('/api/show', { name: 'other:7b' })).toBe(400);
    expect(await status('/api/show', { model: 'demo', Name: 'other:7b' })).toBe(400);
    expect(await status('/api/chat', { ...chat, model: 'other:7b' })).toBe(403);
    expect(await status('/api/chat', chat)).toBe(200);
    expect(other.requests).toEqual([]);
  });

  test('and a description name an alias’s own model to the engine', async () => {
    for (const body of [{ model: 'fast' }, { name: 'fast' }]) {
      const answer = await ask(gateway.url, { path: '/api/show', body });
      expect(answer.status).toBe(200);
      expect(JSON.parse(sentTo(other))).toMatchObject({ model: 'other:7b' });
    }
  });
});

describe('an error', () => {
  test.each([
    ['/api/chat', { ...chat, model: 'native' }, 404, 'it is a route of ollama'],
    ['/api/chat', { ...chat, model: 'nothing' }, 404, 'No upstream serves that model.'],
    ['/api/show', {}, 400, 'The body needs "model" or "name".'],
    ['/api/chat', '{', 400, 'The body is not valid JSON.'],
    ['/api/pull', { model }, 404, 'Unknown route.'],
  ])('of %s %j is a text', async (path, body, status, text) => {
    const answer = await ask(gateway.url, { path, body });
    expect(answer.status).toBe(status);
    expect(JSON.parse(answer.text)).toEqual({ error: expect.stringContaining(text) });
  });

  test('without a key is one, too', async () => {
    const answer = await ask(gateway.url, { path: '/api/tags', headers: bearer(undefined) });
    expect([answer.status, Object.keys(JSON.parse(answer.text))]).toEqual([401, ['error']]);
  });
});

test('num_predict is what is reserved of a limit, and no field of other families', async () => {
  const { key } = await issueKey(gateway, { name: 'tokens', limits: { tokensPerMinute: 100 } });
  const reserving = async (more: object) => {
    const body = { ...chat, ...more };
    return (await ask(gateway.url, { path: '/api/chat', body, headers: bearer(key) })).status;
  };
  // What is left whole lets one request through, however much it wants.
  expect(await reserving({ options: { num_predict: 1 } })).toBe(200);
  expect(await reserving({ options: { num_predict: 5_000 }, max_tokens: 1 })).toBe(429);
  expect(await reserving({ options: { num_predict: 1 }, max_tokens: 5_000 })).toBe(200);
});

test('a client that leaves frees the slot', async () => {
  const headers = { 'x-demo-fault': 'stall=1' };
  const leaving = await send(gateway.url, { path: '/api/chat', body: chat, headers });
  await until('it runs', () => engine.busySlots() === 1);
  leaving.leave();
  await until('the slot is free', () => engine.busySlots() === 0);
  expect((await ask(gateway.url, { path: '/api/chat', body: chat })).status).toBe(200);
});

describe('an ending', () => {
  const head = headOf({ 'Content-Type': 'application/x-ndjson', 'Transfer-Encoding': 'chunked' });
  const open = headOf({ 'Content-Type': 'application/x-ndjson', Connection: 'close' });
  const token = '{"message":{"content":"a"},"done":false}\n';
  const last = '{"done":true,"prompt_eval_count":7,"eval_count":2}\n';
  const told = '{"error":"llama runner process has terminated"}\n';
  const reset = /^\{"error":"The inference server closed the connection[^\n]*"\}\n$/;

  /** Answers with the pieces, and then ends as told. */
  async function answered(how: 'whole' | 'reset' | 'fin', ...pieces: string[]) {
    const arrived = Promise.withResolvers<void>();
    await using upstream = await startUpstream(async (_, wire) => {
      const text = pieces.join('');
      wire.write(how === 'fin' ? open : head);
      wire.write(how === 'fin' ? text : chunk(text));
      await arrived.promise;
      if (how === 'whole') wire.write(lastChunk);
      else if (how === 'fin') wire.end();
      else wire.reset();
    });
    const env = { LLM_SERVER_URL: upstream.url, LLM_SERVER_KIND: kind };
    await using alone = await startGateway(env);
    const answer = await send(alone.url, { path: '/api/chat', body: { messages } });
    await answer.until('it has come', () => answer.text === pieces.join(''));
    arrived.resolve();
    await answer.ended();
    const log = await alone.logged(({ msg }) => msg === 'request ended');
    return { answer, log };
  }

  test('that is whole is whole, also where a reset follows the last line', async () => {
    for (const how of ['whole', 'fin', 'reset'] as const) {
      const { answer, log } = await answered(how, token, last);
      expect([answer.text, answer.ending]).toEqual([token + last, 'whole']);
      expect(log).toMatchObject({ outcome: 'done', promptTokens: 7, completionTokens: 2 });
    }
  });

  test('with an error of the engine is passed on and is a failure', async () => {
    for (const how of ['whole', 'fin', 'reset'] as const) {
      const { answer, log } = await answered(how, token, told);
      expect([answer.text, answer.ending]).toEqual([token + told, 'whole']);
      expect(log).toMatchObject({ outcome: 'failed', code: 'upstream_failed' });
    }
  });

  test('that is cut between lines gets one line that says so', async () => {
    for (const how of ['fin', 'reset'] as const) {
      const { answer, log } = await answered(how, token);
      expect(answer.text.slice(0, token.length)).toBe(token);
      expect(answer.text.slice(token.length)).toMatch(reset);
      expect(log).toMatchObject({ outcome: 'failed', code: 'upstream_reset' });
    }
  });

  test('that is cut within a line is a reset', async () => {
    for (const how of ['fin', 'reset'] as const) {
      const { answer, log } = await answered(how, token, last.slice(0, 9));
      expect(answer.ending).not.toBe('whole');
      expect(log).toMatchObject({ outcome: 'failed', code: 'upstream_reset' });
    }
  });
});

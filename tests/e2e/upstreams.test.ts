/**
 * Several upstreams behind one gateway: a request goes to one that serves its model, under the name that this upstream
 * uses; the lists of models are joined; a model that no upstream serves is refused with the names that exist.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import { ask, type Asked } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { configFile, startWith, type ConfigFile } from '../support/configfile.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const prompt = { prompt: 'Hello', max_tokens: 2 };

function bodies(engine: DemoEngine): string[] {
  const posts = engine.requests.filter(({ method }) => method === 'POST');
  return posts.map(({ body }) => Buffer.from(body).toString());
}

let small: DemoEngine;
let large: DemoEngine;
let file: ConfigFile;
let gateway: Gateway;

beforeAll(async () => {
  small = startDemoEngine({ models: ['small'] });
  large = startDemoEngine({ models: ['large', 'vision'] });
  file = configFile({
    upstreams: [
      { id: 'a', url: small.url, aliases: { fast: 'small' } },
      { id: 'b', url: `${large.url}/v1`, weight: 2 },
    ],
  });
  gateway = await startWith(file);
  await untilUpstream(gateway, 'a', { kind: 'llama.cpp', state: 'up' });
  await untilUpstream(gateway, 'b', { kind: 'llama.cpp', state: 'up' });
  await until('the models are known', async () => (await models()).length === 4);
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  file[Symbol.dispose]();
  await Promise.all([small.stop(), large.stop()]);
});

async function models(): Promise<string[]> {
  const answer = await ask(gateway.url, { path: '/v1/models' });
  return JSON.parse(answer.text).data.map(({ id }: { id: string }) => id);
}

function complete(body: object, more: Asked = {}) {
  return ask(gateway.url, { body: { ...prompt, ...body }, ...more });
}

test('lists the models of all, each as its engine describes it, and the aliases', async () => {
  expect((await models()).sort()).toEqual(['fast', 'large', 'small', 'vision']);
  const one = JSON.parse((await ask(gateway.url, { path: '/v1/models/large' })).text);
  expect(one).toMatchObject({ id: 'large', owned_by: 'llamacpp' });
  const alias = await ask(gateway.url, { path: '/v1/models/fast' });
  expect(JSON.parse(alias.text)).toMatchObject({ id: 'fast' });
  expect((await ask(gateway.url, { path: '/v1/models/none' })).status).toBe(404);
});

test('a request goes to an upstream that serves its model', async () => {
  const before = [bodies(small).length, bodies(large).length];
  expect((await complete({ model: 'small' })).status).toBe(200);
  expect((await complete({ model: 'vision' })).status).toBe(200);
  expect(bodies(small).length - (before[0] ?? 0)).toBe(1);
  expect(bodies(large).length - (before[1] ?? 0)).toBe(1);
});

test('an alias becomes the name that the engine knows, and no other byte changes', async () => {
  const body =
    '{ "prompt":"Привет" ,"max_tokens": 2, "temperature":1.0, "model":"fast", "x":12345678901234567890 }';
  expect((await ask(gateway.url, { body })).status).toBe(200);
  expect(bodies(small).at(-1)).toBe(body.replace('"fast"', '"small"'));
});

test('an alias in a form is replaced in its part alone', async () => {
  const form = (model: string) =>
    `--B\r\nContent-Disposition: form-data; name="model"\r\n\r\n${model}\r\n--B\r\n` +
    `Content-Disposition: form-data; name="file"; filename="fast.wav"\r\n\r\n\x00fast\xff\r\n--B--\r\n`;
  const answer = await ask(gateway.url, {
    path: '/v1/audio/transcriptions',
    headers: { 'Content-Type': 'multipart/form-data; boundary=B' },
    body: Buffer.from(form('fast'), 'latin1'),
  });
  expect(answer.status).toBe(200);
  const sent = small.requests.at(-1);
  expect(Buffer.from(sent?.body ?? []).toString('latin1')).toBe(form('small'));
});

test('an unknown model is 404 and the answer names the models', async () => {
  const answer = await complete({ model: 'gpt-9' });
  expect(answer.status).toBe(404);
  const { error } = JSON.parse(answer.text);
  expect(error).toMatchObject({ code: 'model_not_found', param: 'model' });
  for (const name of ['small', 'large', 'vision', 'fast']) expect(error.message).toContain(name);
});

test('a request without a model is 400 if several are served and none is the default', async () => {
  const answer = await complete({});
  expect(answer.status).toBe(400);
  expect(answer.header('x-gateway-error')).toBe('model_required');
});

describe('a default model', () => {
  test('is put into a request that names none', async () => {
    await using other = await startGateway({
      LLM_SERVER_URL: `${small.url},${large.url}`,
      DEFAULT_MODEL: 'vision',
    });
    await until('the models are known', async () => {
      const list = await ask(other.url, { path: '/v1/models' });
      return JSON.parse(list.text).data.length === 3;
    });
    expect((await ask(other.url, { body: prompt })).status).toBe(200);
    expect(JSON.parse(bodies(large).at(-1) ?? '')).toEqual({ model: 'vision', ...prompt });
  });
});

describe('a single upstream with a single model', () => {
  async function withName(env: Record<string, string>): Promise<number> {
    await using single = await startGateway({ LLM_SERVER_URL: small.url, ...env });
    await untilUpstream(single, 'engine', { kind: 'llama.cpp', state: 'up' });
    return (await ask(single.url, { body: { ...prompt, model: 'whatever' } })).status;
  }
  test('takes any name, as llama-server does', async () => {
    expect(await withName({})).toBe(200);
  });
  test('takes only its own when ANY_MODEL_NAME is off', async () => {
    expect(await withName({ ANY_MODEL_NAME: 'off' })).toBe(404);
  });
});

test('several URLs in LLM_SERVER_URL share the load', async () => {
  const engines = [1, 2, 3].map(() => startDemoEngine({ slots: 1, tokensPerSecond: 100 }));
  await using other = await startGateway({
    LLM_SERVER_URL: engines.map(({ url }) => url).join(','),
  });
  for (const id of ['engine-1', 'engine-2', 'engine-3']) {
    await untilUpstream(other, id, { state: 'up', slots: 1 });
  }
  const body = { ...prompt, max_tokens: 50, ignore_eos: true };
  const sent = await Promise.all([1, 2, 3].map(() => ask(other.url, { body })));
  expect(sent.map(({ status }) => status)).toEqual([200, 200, 200]);
  expect(engines.map((engine) => bodies(engine).length)).toEqual([1, 1, 1]);
  await Promise.all(engines.map((engine) => engine.stop()));
});

test('a request that can run elsewhere does not wait behind one that cannot', async () => {
  const full = startDemoEngine({ models: ['full'], slots: 1, tokensPerSecond: 20 });
  const empty = startDemoEngine({ models: ['empty'], slots: 1 });
  using config = configFile({ upstreams: [{ url: full.url }, { url: empty.url }] });
  await using other = await startWith(config);
  for (const id of ['engine-1', 'engine-2'])
    await untilUpstream(other, id, { state: 'up', slots: 1 });
  const long = { ...prompt, model: 'full', max_tokens: 2000, ignore_eos: true };
  const waiting = [1, 2, 3].map(() => ask(other.url, { body: long }));
  await until('the engine is full', () => full.busySlots() === 1);
  expect((await ask(other.url, { body: { ...prompt, model: 'empty' } })).status).toBe(200);
  await full.stop();
  await Promise.all(waiting);
  await empty.stop();
});

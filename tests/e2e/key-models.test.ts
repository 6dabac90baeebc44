/**
 * A key that may use some models sees and uses these alone, before one engine and before two, however a request names
 * the model.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask, type Asked } from '../support/rawclient.ts';
import type { Gateway } from '../support/gatewayprocess.ts';
import { adminKey, bearer, issueKey } from '../support/operator.ts';
import { configFile, startWith } from '../support/configfile.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import { clientIdOf } from '../support/requestid.ts';

setDefaultTimeout(60_000);

const engine = startDemoEngine({ models: ['alpha', 'beta', 'gamma'] });
afterAll(() => engine.stop());

/** Returns the bodies that the engine has received with this request id. */
function received(id: string): string[] {
  const requests = engine.requests.filter(({ headers }) => clientIdOf(headers) === id);
  return requests.map(({ body }) => Buffer.from(body).toString());
}

/** One engine with three models, and two that share them, one with another name for one. */
const stages = [
  { name: 'one engine', config: { upstreams: [{ id: 'engine', url: engine.url }] } },
  {
    name: 'two engines',
    config: {
      upstreams: [
        { id: 'engine', url: engine.url, models: ['alpha', 'beta'], aliases: { fast: 'beta' } },
        { id: 'other', url: engine.url.replace('127.0.0.1', 'localhost'), models: ['gamma'] },
      ],
    },
  },
];

describe.each(stages)('a key that may use some models, before $name', ({ name, config }) => {
  const stack = new AsyncDisposableStack();
  let stage: Gateway;
  let one: string;
  let two: string;
  let count = 0;

  beforeAll(async () => {
    stage = stack.use(
      await startWith(stack.use(configFile({ ...config, default_model: 'beta' })), {
        ADMIN_API_KEY: adminKey,
      }),
    );
    await untilUpstream(stage, 'engine', { state: 'up', slots: 4 });
    one = (await issueKey(stage, { name: 'one', models: ['alpha'] })).key;
    two = (await issueKey(stage, { name: 'two', models: ['beta', 'alpha'] })).key;
  });

  afterAll(() => stack.disposeAsync());

  /** Sends a body, and returns how it went and which models the engine has read in it. */
  async function generate(key: string, asked: Asked) {
    const id = `${name.replace(' ', '-')}-${++count}`;
    const headers = { ...bearer(key), ...asked.headers, 'X-Request-Id': id };
    const answer = await ask(stage.url, { ...asked, headers });
    const code = answer.header('x-gateway-error');
    return { status: answer.status, code, received: received(id), text: answer.text };
  }

  test('sees these in /v1/models, and no other', async () => {
    for (const path of ['/v1/models', '/models']) {
      const answer = await ask(stage.url, { path, headers: bearer(one) });
      expect(answer.status).toBe(200);
      const { data } = JSON.parse(answer.text) as { data: { id: string }[] };
      expect(data.map(({ id }) => id)).toEqual(['alpha']);
    }
    const both = await ask(stage.url, { path: '/v1/models', headers: bearer(two) });
    const { data } = JSON.parse(both.text) as { data: { id: string }[] };
    expect(data.map(({ id }) => id).sort()).toEqual(['alpha', 'beta']);
  });

  test('finds these one by one, and no other', async () => {
    const look = async (id: string) => {
      const answer = await ask(stage.url, { path: `/v1/models/${id}`, headers: bearer(one) });
      return [answer.status, answer.header('x-gateway-error')];
    };
    expect(await look('alpha')).toEqual([200, undefined]);
    for (const id of ['beta', 'gamma', 'nobody']) {
      expect(await look(id)).toEqual([404, 'model_not_found']);
    }
  });

  test.each(['/v1/completions', '/v1/chat/completions', '/v1/messages', '/v1/embeddings'])(
    'uses these at %s, and gets 403 for another',
    async (path) => {
      const messages = [{ role: 'user', content: 'x' }];
      const body = { prompt: 'x', input: 'x', messages, max_tokens: 1 };
      const allowed = await generate(one, { path, body: { ...body, model: 'alpha' } });
      expect(allowed).toMatchObject({ status: 200, received: [expect.any(String)] });
      for (const model of ['beta', 'gamma']) {
        const refused = await generate(one, { path, body: { ...body, model } });
        expect(refused).toMatchObject({ status: 403, code: 'model_not_allowed', received: [] });
        expect(refused.text).toContain('alpha');
      }
    },
  );

  test('gets the usual error for a model that no upstream has', async () => {
    const { status, code } = await generate(one, {
      body: { model: 'nobody', prompt: 'x', max_tokens: 1 },
    });
    expect([status, code]).toEqual([404, 'model_not_found']);
  });

  test('gets the default model if it may use that', async () => {
    const { status, received: bodies } = await generate(two, { body: { prompt: 'x' } });
    expect(status).toBe(200);
    expect(JSON.parse(bodies[0] ?? '')).toMatchObject({ model: 'beta' });
    const refused = await generate(one, { body: { prompt: 'x' } });
    expect(refused).toMatchObject({ status: 403, code: 'model_not_allowed', received: [] });
  });

  // Parsers differ in which of two members wins: whatever the engine's takes, it must be one that is allowed.
  test.each([
    ['twice, the other first', '{"model":"gamma","prompt":"x","max_tokens":1,"model":"alpha"}'],
    ['twice, the other last', '{"model":"alpha","prompt":"x","max_tokens":1,"model":"gamma"}'],
    ['once with escapes', '{"model":"gamma","prompt":"x","max_tokens":1,"mod\\u0065l":"alpha"}'],
    [
      'with capitals, as Go reads it',
      '{"model":"alpha","prompt":"x","max_tokens":1,"Model":"gamma"}',
    ],
  ])('cannot have another by a body that names it %s', async (_how, body) => {
    const { received: bodies } = await generate(one, { body });
    expect(bodies.join()).not.toContain('gamma');
  });

  // The gateway reads JSON, whatever the body is called: so must the engine.
  test('cannot have another by a body that is called a form or compressed', async () => {
    const body = '{"model":"alpha","prompt":"&model=gamma&","max_tokens":1}';
    for (const type of ['application/x-www-form-urlencoded', 'application/json; charset=utf-7']) {
      const id = crypto.randomUUID();
      const headers = { ...bearer(one), 'Content-Type': type };
      await ask(stage.url, { body, headers: { ...headers, 'X-Request-Id': id } });
      const requests = engine.requests.filter((each) => clientIdOf(each.headers) === id);
      expect(requests).toMatchObject([{ headers: { 'content-type': 'application/json' } }]);
      expect(requests[0]?.headers).not.toHaveProperty('content-encoding');
    }
    // What is not coded as its header says reaches no engine.
    const id = crypto.randomUUID();
    const headers = { ...bearer(one), 'Content-Encoding': 'br', 'X-Request-Id': id };
    const refused = await ask(stage.url, { body, headers });
    expect(refused.status).toBe(400);
    expect(engine.requests.filter((each) => clientIdOf(each.headers) === id)).toEqual([]);
  });

  test.each([
    ['/v1/completions?model=gamma', { prompt: 'x' }],
    ['/v1/completions?x=1&%6dodel=gamma', { prompt: 'x' }],
    ['/tokenize?model=gamma', { content: 'x' }],
    ['/v1/completions', { prompt: 'x', models: ['gamma'] }],
    ['/v1/completions', { prompt: 'x', fallbacks: ['gamma'] }],
  ])('cannot have another by %s with %j', async (path, body) => {
    const all = { model: 'alpha', max_tokens: 1, ...body };
    const refused = await generate(one, { path, body: all });
    expect(refused).toMatchObject({ status: 400, code: 'invalid_field', received: [] });
  });

  test.each([
    ['/tokenize', { content: 'x' }],
    ['/detokenize', { tokens: [1] }],
    ['/apply-template', { messages: [] }],
    ['/v1/messages/count_tokens', { messages: [] }],
    ['/v1/chat/completions/input_tokens', { messages: [] }],
  ])('gets the default model at %s only where it may use it', async (path, body) => {
    const refused = await generate(one, { path, body });
    expect(refused).toMatchObject({ status: 403, code: 'model_not_allowed', received: [] });
    const allowed = await generate(two, { path, body });
    expect(JSON.parse(allowed.received[0] ?? '')).toMatchObject({ model: 'beta' });
  });

  function form(parts: readonly string[], lineBreak = '\r\n') {
    const part = (disposition: string, value: string) =>
      ['--edge', `Content-Disposition: form-data; ${disposition}`, '', value].join(lineBreak);
    const all = [
      ...parts.map((value) => part('name="model"', value)),
      part('name="file"; filename="a.wav"', 'RIFF'),
      '--edge--',
      '',
    ];
    return {
      path: '/v1/audio/transcriptions',
      headers: { 'Content-Type': 'multipart/form-data; boundary=edge' },
      body: all.join(lineBreak),
    };
  }

  /** A form with a model that is allowed, and a part with this disposition that names another. */
  function raw(disposition: string): Asked {
    const asked = form(['alpha']);
    const part = `--edge\r\nContent-Disposition: ${disposition}\r\n\r\ngamma\r\n`;
    return { ...asked, body: asked.body.replace('--edge--', `${part}--edge--`) };
  }

  test('uses these in a form, and gets 403 for another', async () => {
    const allowed = await generate(one, form(['alpha']));
    expect(allowed).toMatchObject({ status: 200 });
    const refused = await generate(one, form(['gamma']));
    expect(refused).toMatchObject({ status: 403, code: 'model_not_allowed', received: [] });
    const unnamed = await generate(one, form([]));
    expect(unnamed).toMatchObject({ status: 403, code: 'model_not_allowed', received: [] });
  });

  test.each([
    ['twice, the other first', form(['gamma', 'alpha'])],
    ['twice, the other last', form(['alpha', 'gamma'])],
    ['in lines that end like those of Unix', form(['gamma'], '\n')],
    ['beside a part that only Starlette reads', raw('attachment; name="model"')],
    ['by a parameter that is there twice', raw('form-data; name="x"; name="model"')],
    ['behind an empty parameter', raw('form-data; ; name="model"')],
    [
      'by a header that is there twice',
      raw('form-data; name="x"\r\nContent-Disposition: form-data; name="model"'),
    ],
  ])('cannot have another by a form that names it %s', async (_how, asked) => {
    for (const key of [one, two]) {
      const { received: bodies } = await generate(key, asked);
      expect(bodies.join()).not.toContain('gamma');
    }
  });
});

/**
 * The log: who asked what, how it went and how long it took; never a prompt, an answer or a key. Sentinels go in
 * wherever a client or an engine can put text, and no line may hold one.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { key, startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { startStage } from '../support/stage.ts';
import { holdPort } from '../support/heldport.ts';
import { RawClient } from '../support/rawclient.ts';

const engineKey = 'engine-key-5a5a5a5a';
const trustedKey = 'sk-trusted-key-00aa11bb';
/** A key without the usual form: only the configuration shows that it is one. */
const plainKey = 'plain/key+of=no.form';
const engine = startDemoEngine({ apiKey: engineKey });
const gone = holdPort();

const gateway = await startGateway({
  LLM_SERVER_URL: engine.url,
  LLM_SERVER_API_KEY: engineKey,
  LOG_LEVEL: 'dEbUg',
  ALLOWED_API_KEYS: [key, trustedKey, plainKey].join(','),
  TRUSTED_USER_HEADER: 'x-openwebui-user-id',
  TRUSTED_USER_KEYS: trustedKey,
  REQUEST_BODY_TIMEOUT_MS: '300',
  FIRST_BYTE_TIMEOUT_MS: '300',
});
const lonely = await startGateway({ LLM_SERVER_URL: gone.url, LLM_SERVER_KIND: 'openai' });

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await lonely[Symbol.asyncDispose]();
  await engine.stop();
});

type Line = Record<string, unknown>;
let count = 0;

interface Asked {
  gateway?: Gateway;
  method?: string;
  path?: string;
  headers?: Record<string, string>;
  body?: string;
  signal?: AbortSignal;
}

/** Sends a request under its own id; returns the id at once and the answer's text when it is here. */
function ask(asked: Asked) {
  const { path = '/v1/completions', method = 'POST', headers = {}, signal } = asked;
  const id = `log-${++count}`;
  const answered = fetch((asked.gateway ?? gateway).url + path, {
    method,
    headers: { authorization: `Bearer ${key}`, 'x-request-id': id, ...headers },
    ...(method === 'POST' ? { body: asked.body ?? '{"prompt":"a","max_tokens":3}' } : {}),
    ...(signal ? { signal } : {}),
  }).then((answer) => answer.text());
  return { id, answered };
}

/** Returns the line about a request that has this message. */
function lineOf(id: string, msg: string, from: Gateway = gateway): Promise<Line> {
  return from.logged((line) => line['requestId'] === id && line['msg'] === msg);
}

/** Sends a request and returns the line about its end, or about its refusal. */
async function lineAbout(asked: Asked): Promise<Line> {
  const { id, answered } = ask(asked);
  await answered.catch(() => undefined);
  return (asked.gateway ?? gateway).logged(
    ({ requestId, msg }) => requestId === id && (msg === 'request ended' || msg === 'refused'),
  );
}

describe('a request', () => {
  test('has one line at its end with everything known about it', async () => {
    const body = '{"model":"demo","prompt":"a b","max_tokens":3}';
    const line = await lineAbout({ body });
    expect(line).toEqual({
      level: 'INFO',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      requestId: `log-${count}`,
      uniqueId: expect.stringMatching(/^log-\d+-[0-9a-f]{8}$/),
      caller: expect.stringContaining('…'),
      principal: expect.stringMatching(/^[0-9a-f]{8}$/),
      route: '/v1/completions',
      model: 'demo',
      upstream: expect.any(String),
      status: 200,
      outcome: 'done',
      stream: false,
      bytesIn: body.length,
      bytesOut: expect.any(Number),
      queuedMs: expect.any(Number),
      firstByteMs: expect.any(Number),
      totalMs: expect.any(Number),
      promptTokens: 2,
      cachedTokens: 0,
      completionTokens: 3,
      tokensAre: 'exact',
      msg: 'request ended',
    });
    const ends = gateway.logs.filter(
      ({ requestId, msg }) => requestId === line['requestId'] && msg === 'request ended',
    );
    expect(ends).toHaveLength(1);
  });

  test('counts the bytes that went to the client', async () => {
    const { id, answered } = ask({});
    const text = await answered;
    const line = await lineOf(id, 'request ended');
    expect(line['bytesOut']).toBe(Buffer.byteLength(text));
  });

  test('that is streamed has tokens, estimated if the engine does not count them', async () => {
    const plain = '{"prompt":"a","max_tokens":3,"stream":true';
    const exact = await lineAbout({
      body: `${plain},"stream_options":{"include_usage":true}}`,
    });
    expect(exact).toMatchObject({ stream: true, completionTokens: 3, tokensAre: 'exact' });
    // The client leaves after two frames, before the engine has counted.
    const leaving = new AbortController();
    const headers = {
      authorization: `Bearer ${key}`,
      'x-request-id': 'left',
      'x-demo-fault': 'stall=2',
    };
    const { signal } = leaving;
    const url = `${gateway.url}/v1/completions`;
    const answer = await fetch(url, { method: 'POST', headers, body: `${plain}}`, signal });
    const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
    let text = '';
    while ((text.match(/\n\n/g)?.length ?? 0) < 2) {
      text += Buffer.from((await reader.read()).value ?? []).toString();
    }
    leaving.abort();
    const left = await lineOf('left', 'request ended');
    expect(left).toMatchObject({
      outcome: 'aborted',
      completionTokens: 2,
      tokensAre: 'estimated',
      bytesOut: Buffer.byteLength(text),
    });
  });

  test('has a line at its start at DEBUG', async () => {
    const { id, answered } = ask({ body: '{"model":"demo","prompt":"a","max_tokens":1}' });
    await answered;
    expect(await lineOf(id, 'request started')).toMatchObject({
      level: 'DEBUG',
      route: '/v1/completions',
      caller: expect.stringContaining('…'),
      principal: expect.any(String),
    });
  });

  test('has no line at its start at INFO', async () => {
    await lineAbout({ gateway: lonely });
    expect(lonely.logs.filter(({ level }) => level === 'DEBUG')).toEqual([]);
  });

  test('that stays open has a line at INFO, while it hangs', async () => {
    const leaving = new AbortController();
    const headers = { 'x-demo-fault': 'hang' };
    const body = '{"model":"demo","prompt":"a"}';
    const { id, answered } = ask({ headers, body, signal: leaving.signal });
    const line = await lineOf(id, 'request is still open');
    expect(line).toMatchObject({
      level: 'INFO',
      route: '/v1/completions',
      model: 'demo',
      phase: 'prefill',
      principal: expect.any(String),
    });
    expect(
      gateway.logs.some(({ requestId, msg }) => requestId === id && msg === 'request ended'),
    ).toBe(false);
    leaving.abort();
    await answered.catch(() => undefined);
    expect(await lineOf(id, 'request ended')).toMatchObject({
      level: 'INFO',
      status: 499,
      outcome: 'aborted',
      code: 'client_closed_request',
    });
    const lines = gateway.logs.filter(
      ({ requestId, msg }) => requestId === id && msg === 'request is still open',
    );
    expect(lines).toHaveLength(1);
  });
});

describe('a refusal', () => {
  const wrong = 'sk-of-another-service-9f3b';
  const cases: Record<string, [asked: Asked, expected: Line]> = {
    'a wrong key': [
      { headers: { authorization: `Bearer ${wrong}` } },
      { caller: 'sk-…9f3b', method: 'POST', route: '/v1/completions', status: 403 },
    ],
    'no key': [{ headers: { authorization: '' } }, { route: '/v1/completions', status: 401 }],
    'no such route': [
      { path: '/slots', method: 'GET' },
      { caller: `…${key.slice(-2)}`, method: 'GET', path: '/slots', status: 404 },
    ],
    'the wrong method': [
      { method: 'DELETE' },
      { method: 'DELETE', path: '/v1/completions', status: 405 },
    ],
  };
  test.each(Object.entries(cases))('has a line: %s', async (_what, [asked, expected]) => {
    const { id, answered } = ask(asked);
    const body = await answered;
    const line = await lineOf(id, 'refused');
    expect(line).toMatchObject({
      ...expected,
      outcome: 'failed',
      code: expect.any(String),
      bytesOut: Buffer.byteLength(body),
      totalMs: expect.any(Number),
    });
    expect('caller' in line).toBe('caller' in expected || asked.method === 'DELETE');
    expect(JSON.stringify(line)).not.toContain(wrong);
  });
});

test('a body that is too large counts as long as it says it is', async () => {
  const bytes = 33_554_433;
  using connection = await RawClient.open(gateway.url);
  await connection.ask(
    `POST /v1/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer ${key}\r\n` +
      `X-Request-Id: large\r\nContent-Length: ${bytes}\r\n\r\n`,
  );
  const line = await lineOf('large', 'request ended');
  expect(line).toMatchObject({ code: 'body_too_large', bytesIn: bytes });
});

describe('an error of the gateway', () => {
  const stream = '{"prompt":"a","max_tokens":3,"stream":true}';
  const cases: Record<string, Asked> = {
    'bad JSON': { body: '{' },
    'no engine': { gateway: lonely },
    'a reset': { headers: { 'x-demo-fault': 'reset' } },
    'a late first byte': { body: stream, headers: { 'x-demo-fault': 'hang' } },
    'no such model': { method: 'GET', path: '/v1/models/nobody' },
    'an error of Anthropic’s form': { path: '/v1/messages', body: '[]' },
  };
  test.each(Object.entries(cases))('counts the bytes of its answer: %s', async (_what, asked) => {
    const { id, answered } = ask(asked);
    const body = await answered;
    const line = await lineOf(id, 'request ended', asked.gateway);
    expect(line).toMatchObject({ outcome: 'failed', bytesOut: Buffer.byteLength(body) });
    expect(line).not.toHaveProperty('completionTokens');
  });
});

test('a request that waits for a slot and names no model is shown with the one that it gets', async () => {
  await using stage = await startStage({}, { slots: 1 });
  const one = stage.gateway;
  // No request is answered before the engine's models are known.
  await lineAbout({ gateway: one, body: '{"prompt":"a","max_tokens":1}' });
  const leaving = new AbortController();
  const { signal } = leaving;
  const headers = { 'x-demo-fault': 'hang' };
  const asked = { gateway: one, headers, body: '{"prompt":"a"}', signal };
  const both = [ask(asked), ask(asked)];
  const waiting = await one.logged(({ phase }) => phase === 'queued');
  expect(waiting).toMatchObject({ msg: 'request is still open', model: 'demo' });
  leaving.abort();
  await Promise.allSettled(both.map(({ answered }) => answered));
});

test('a served model is named in full, whatever its name is', async () => {
  const model = `модель ${'long '.repeat(20)}`;
  await using stage = await startStage({}, { models: [model] });
  const body = JSON.stringify({ model, prompt: 'a', max_tokens: 1 });
  const line = await lineAbout({ gateway: stage.gateway, body });
  expect(line).toMatchObject({ status: 200, model });
});

test('a text that was put in the place of the model is in no line', async () => {
  const model = 'Dear diary, this was meant to be the prompt.';
  const line = await lineAbout({ body: JSON.stringify({ model, prompt: 'a', max_tokens: 1 }) });
  expect(line['model']).toBe('unknown');
  expect(JSON.stringify(gateway.logs)).not.toContain('diary');
});

describe('the level', () => {
  const stream = '{"prompt":"a","max_tokens":3,"stream":true}';
  const cases: Record<string, [level: string, code: string | undefined, asked: Asked]> = {
    'an answer': ['INFO', undefined, {}],
    'bad JSON': ['INFO', 'invalid_json', { body: '{' }],
    'no such route': ['INFO', 'unknown_route', { path: '/slots' }],
    "the engine's own error": ['INFO', undefined, { headers: { 'x-demo-fault': 'error-500' } }],
    'no key': ['WARNING', 'missing_api_key', { headers: { authorization: '' } }],
    'a wrong key': ['WARNING', 'invalid_api_key', { headers: { authorization: 'Bearer wrong' } }],
    'a first byte that is late': [
      'WARNING',
      'first_byte_timeout',
      { body: stream, headers: { 'x-demo-fault': 'hang' } },
    ],
    'a connection refused': ['ERROR', 'upstream_unreachable', { gateway: lonely }],
    'a reset': ['ERROR', 'upstream_reset', { headers: { 'x-demo-fault': 'reset' } }],
    'a cut stream': [
      'ERROR',
      'upstream_reset',
      { body: stream, headers: { 'x-demo-fault': 'cut=1' } },
    ],
    'no HTTP': ['ERROR', 'upstream_malformed', { headers: { 'x-demo-fault': 'not-http' } }],
    'our key refused': [
      'ERROR',
      'upstream_auth_failed',
      { headers: { 'x-demo-fault': 'error-401' } },
    ],
  };
  test.each(Object.entries(cases))('of %s', async (_what, [level, code, asked]) => {
    const line = await lineAbout(asked);
    expect({ level: line['level'], code: line['code'] }).toEqual({ level, code });
  });

  test('of a body that stalls is WARNING', async () => {
    using connection = await RawClient.open(gateway.url);
    await connection.ask(
      `POST /v1/completions HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer ${key}\r\n` +
        `X-Request-Id: stalled\r\nContent-Length: 10\r\n\r\n{`,
    );
    const line = await lineOf('stalled', 'request ended');
    expect(line).toMatchObject({ level: 'WARNING', code: 'request_body_timeout', status: 408 });
  });

  test('of an engine that goes away is ERROR', async () => {
    const line = await lonely.logged(({ msg }) => msg === 'upstream cannot be reached');
    expect(line['level']).toBe('ERROR');
  });
});

describe('no line holds', () => {
  const secret = (place: string) => `SENTINEL-${place}`;
  const sentinels = new Set<string>();

  function mark(place: string): string {
    sentinels.add(secret(place));
    return secret(place);
  }

  const chat = (text: string, more = '') =>
    `{${more}"messages":[{"role":"user","content":${JSON.stringify(text)}}],"prompt":${JSON.stringify(text)},"max_tokens":5}`;

  const cases: Record<string, () => Asked> = {
    'a prompt': () => ({ body: chat(mark('prompt')) }),
    'a prompt of a stream': () => ({ body: chat(mark('stream'), '"stream":true,') }),
    'a prompt of a stream that is cut': () => ({
      body: chat(mark('cut'), '"stream":true,'),
      headers: { 'x-demo-fault': 'cut=2' },
    }),
    'a conversation': () => ({ path: '/v1/chat/completions', body: chat(mark('chat')) }),
    'a message': () => ({ path: '/v1/messages', body: chat(mark('message')) }),
    'a header': () => ({ headers: { 'x-of-the-client': mark('header') } }),
    'a user agent': () => ({ headers: { 'user-agent': mark('agent') } }),
    'a cookie': () => ({ headers: { cookie: mark('cookie') } }),
    'a query': () => ({ path: `/v1/completions?q=${mark('query')}` }),
    'a query of an unknown route': () => ({ path: `/slots?q=${mark('query-404')}` }),
    'a query of a refusal': () => ({
      path: `/v1/completions?q=${mark('query-401')}`,
      headers: { authorization: '' },
    }),
    'a name of a user that the key may not give': () => ({
      headers: { 'x-openwebui-user-id': mark('user') },
    }),
    'bad JSON': () => ({ body: `{"prompt":"a", ${mark('json')}` }),
    'JSON that is no object': () => ({ body: `["${mark('list')}"]` }),
    'a model of the wrong type': () => ({ body: `{"prompt":"a","model":{"${mark('model')}":1}}` }),
    'a body without a prompt': () => ({ body: `{"${mark('no-prompt')}":"a"}` }),
    "an engine's error that echoes": () => ({ headers: { 'x-demo-fault': mark('echo') } }),
    "an engine's refusal of our key": () => ({
      body: chat(mark('refused')),
      headers: { 'x-demo-fault': 'error-401' },
    }),
    'a body of a multipart form': () => ({
      path: '/v1/audio/transcriptions',
      headers: { 'content-type': `multipart/form-data; boundary=${mark('boundary')}` },
      body: `--${secret('boundary')}\r\n\r\n${mark('form')}\r\n--${secret('boundary')}--`,
    }),
    'the last word of a wrong key': () => ({
      headers: { authorization: `Bearer ${mark('wrong')}` },
    }),
    'a wrong x-api-key': () => ({ headers: { authorization: '', 'x-api-key': mark('x-api-key') } }),
    'another scheme': () => ({ headers: { authorization: `Basic ${mark('basic')}` } }),
  };
  test.each(Object.entries(cases))('%s', async (_what, asked) => {
    await lineAbout(asked());
    const lines = [...gateway.logs.map((line) => JSON.stringify(line)), ...gateway.output];
    for (const sentinel of sentinels) {
      expect(lines.filter((line) => line.includes(sentinel))).toEqual([]);
    }
  });

  const keys = { key, trustedKey, plainKey, engineKey };
  const places: Record<string, (given: string) => Asked> = {
    'as the credentials': (given) => ({ headers: { authorization: `Bearer ${given}` } }),
    'in the path': (given) => ({ method: 'GET', path: `/v1/models/${given}` }),
    'in the path of a refusal': (given) => ({ method: 'GET', path: `/keys/${given}` }),
    'as the model': (given) => ({ body: JSON.stringify({ model: given, prompt: 'a' }) }),
    'as the user of a trusted key': (given) => ({
      headers: { authorization: `Bearer ${trustedKey}`, 'x-openwebui-user-id': given },
    }),
  };
  const leaks = Object.entries(keys).flatMap(([name, value]) =>
    Object.entries(places).map(([place, asked]) => [name, place, value, asked] as const),
  );
  test.each(leaks)('%s, presented %s', async (_name, _place, value, asked) => {
    await lineAbout(asked(value));
    const lines = [...gateway.logs.map((line) => JSON.stringify(line)), ...gateway.output];
    expect(lines.filter((line) => line.includes(value))).toEqual([]);
  });

  test('a key as the id of a request', async () => {
    const { answered } = ask({ headers: { 'x-request-id': trustedKey } });
    await answered;
    await gateway.logged(({ requestId, msg }) => requestId === '***' && msg === 'request ended');
    expect(JSON.stringify(gateway.logs)).not.toContain(trustedKey);
  });

  test('a completion', async () => {
    const { id, answered } = ask({ body: '{"prompt":"a","max_tokens":60}' });
    const answer = JSON.parse(await answered) as { choices: { text: string }[] };
    const words = String(answer.choices[0]?.text).slice(0, 20);
    expect(words).toHaveLength(20);
    await lineOf(id, 'request ended');
    expect(JSON.stringify(gateway.logs)).not.toContain(words);
  });

  test('anything but JSON', () => {
    expect([...gateway.output, ...lonely.output]).toEqual([]);
  });
});

describe('the start', () => {
  const warning = 'a key from the documentation';

  test('warns of a key from the documentation where others can reach the gateway', async () => {
    await using open = await startGateway({ LLM_SERVER_URL: engine.url, HOST: '0.0.0.0' });
    const line = await open.logged(({ msg }) => String(msg).startsWith(warning));
    expect(line['level']).toBe('WARNING');
    expect(JSON.stringify(line)).not.toContain(key);
  });

  test('does not warn on loopback, nor of another key', async () => {
    await using other = await startGateway({
      LLM_SERVER_URL: engine.url,
      HOST: '0.0.0.0',
      ALLOWED_API_KEYS: trustedKey,
    });
    // The engine is probed after the lines of the start.
    await other.logged((line) => 'kind' in line || line['level'] === 'ERROR');
    await gateway.logged((line) => 'kind' in line || line['level'] === 'ERROR');
    const warnings = [...other.logs, ...gateway.logs].filter(({ msg }) =>
      String(msg).startsWith(warning),
    );
    expect(warnings).toEqual([]);
  });
});

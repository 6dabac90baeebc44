/**
 * Which keys are accepted, and which credentials the engine gets: none of the client's, and the gateway's own key
 * always.
 */
import { afterAll, beforeEach, describe, expect, test } from 'bun:test';
import { key, startGateway } from '../support/gatewayprocess.ts';
import { startStage } from '../support/stage.ts';

const engineKey = 'engine-key-9f8e7d6c';
const trustedKey = 'sk-trusted-key-00aa11bb';

const env = {
  LLM_SERVER_API_KEY: engineKey,
  ALLOWED_API_KEYS: `${key},${trustedKey}`,
  TRUSTED_USER_HEADER: 'x-openwebui-user-id',
  TRUSTED_USER_KEYS: trustedKey,
};
const stage = await startStage(env, { apiKey: engineKey });
const { engine, gateway } = stage;
afterAll(() => stage[Symbol.asyncDispose]());

beforeEach(() => {
  engine.requests.length = 0;
});

function complete(headers: Record<string, string>, path = '/v1/completions'): Promise<Response> {
  const messages = [{ role: 'user', content: 'a' }];
  const body = JSON.stringify({ prompt: 'a', messages, max_tokens: 1 });
  return fetch(gateway.url + path, { method: 'POST', headers, body });
}

describe('a client', () => {
  test('without a key gets 401 and is told the scheme', async () => {
    const answer = await complete({});
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toBe('Bearer');
    expect(answer.headers.get('x-gateway-error')).toBe('missing_api_key');
    expect(engine.requests).toEqual([]);
  });

  const none = {
    'the Basic scheme': { authorization: `Basic ${btoa(`user:${key}`)}` },
    'a bare key': { authorization: key },
    'an empty Bearer': { authorization: 'Bearer ' },
    'a Bearer of spaces': { authorization: 'Bearer    ' },
    'an empty x-api-key': { 'x-api-key': '' },
    'nothing but commas': { 'x-api-key': ' , ,' },
    'another header': { 'x-auth-token': key },
  };
  test.each(Object.entries(none))('with %s has no key: 401', async (_what, headers) => {
    const answer = await complete(headers as Record<string, string>);
    expect(answer.status).toBe(401);
    expect(answer.headers.get('x-gateway-error')).toBe('missing_api_key');
    expect(engine.requests).toEqual([]);
  });

  const wrong = {
    'a key of somebody else': { authorization: 'Bearer sk-test-key-2' },
    'half of a key': { authorization: `Bearer ${key.slice(0, -1)}` },
    'a key and more': { authorization: `Bearer ${key}x` },
    'a key in another case': { authorization: `Bearer ${key.toUpperCase()}` },
    'two wrong keys': { 'x-api-key': `sk-test-key-2, ${key.slice(0, -1)}` },
    'a wrong key in every place': {
      authorization: 'Bearer sk-wrong-1',
      'x-api-key': 'sk-wrong-2',
      'api-key': 'sk-wrong-3',
      'x-goog-api-key': 'sk-wrong-4',
    },
    'its key behind five others': { 'x-api-key': `a1,a2,a3,a4,a5,${key}` },
    'a wrong x-api-key': { 'x-api-key': 'sk-test-key-2' },
    "the engine's key": { authorization: `Bearer ${engineKey}` },
  };
  test.each(Object.entries(wrong))('with %s gets 403', async (_what, headers) => {
    const answer = await complete(headers as Record<string, string>);
    expect(answer.status).toBe(403);
    expect(answer.headers.has('www-authenticate')).toBe(false);
    expect(answer.headers.get('x-gateway-error')).toBe('invalid_api_key');
    expect(engine.requests).toEqual([]);
  });

  const right = {
    'Authorization: Bearer': { authorization: `Bearer ${key}` },
    'authorization: bearer': { authorization: `bearer ${key}` },
    'authorization: BEARER': { authorization: `BEARER ${key}` },
    'more than one space': { authorization: `Bearer   ${key}` },
    'x-api-key': { 'x-api-key': key },
    'x-api-key together with another scheme': { authorization: 'Basic YTpi', 'x-api-key': key },
    'api-key': { 'api-key': key },
    'x-goog-api-key': { 'x-goog-api-key': key },
    'Bearer twice': { authorization: `Bearer ${key}, Bearer ${key}` },
    'both keys at once': { authorization: `Bearer ${key},${trustedKey}` },
    'Bearer behind another scheme': { authorization: `Basic YTpi, Bearer ${key}` },
    'x-api-key twice': { 'x-api-key': `${key}, ${key}` },
    'the last of five': { 'x-api-key': `a1,a2,,a3, a4 ,${key}` },
    'Bearer before a wrong x-api-key': { authorization: `Bearer ${key}`, 'x-api-key': 'sk-wrong' },
    'x-api-key behind a stale Bearer': { authorization: 'Bearer sk-stale', 'x-api-key': key },
    'x-goog-api-key behind stale ones': { 'x-api-key': 'sk-stale', 'x-goog-api-key': key },
  };
  test.each(Object.entries(right))('may present its key as %s', async (_what, headers) => {
    expect((await complete(headers as Record<string, string>)).status).toBe(200);
    expect(engine.requests).toHaveLength(1);
  });

  test.each([`?key=${key}`, `?a=1&key=${key}`, `?%6Bey=${key}`, `?key=sk-stale&key=${key}`])(
    'may present its key in the query: %s',
    async (query) => {
      expect((await complete({}, `/v1/completions${query}`)).status).toBe(200);
      const usage = await fetch(`${gateway.url}/usage${query.replace('a=1&', '')}`);
      expect(usage.status).toBe(200);
    },
  );

  test('that presents two keys is the first of them that is accepted', async () => {
    const headers = {
      'x-openwebui-user-id': 'ann',
      'x-request-id': 'two-keys',
      'x-api-key': trustedKey,
      authorization: `Bearer ${key}`,
    };
    expect((await complete(headers)).status).toBe(200);
    const line = await gateway.logged(
      ({ requestId, msg }) => requestId === 'two-keys' && msg === 'request ended',
    );
    expect(line['principal']).not.toContain('ann');
  });
});

describe('the engine', () => {
  const clientHeaders = {
    cookie: 'session=1',
    origin: 'https://chat.example.org',
    'x-conversation-id': 'conversation-1',
    'proxy-authorization': 'Basic YTpi',
    'x-other': 'passes',
  };

  test.each([
    ['Bearer', { authorization: `Bearer ${key}` }],
    ['x-api-key', { 'x-api-key': key }],
    ['api-key', { 'api-key': key }],
    ['x-goog-api-key', { 'x-goog-api-key': key }],
    [
      'all of them',
      {
        authorization: `Bearer ${key}`,
        'x-api-key': key,
        'api-key': key,
        'x-goog-api-key': key,
        'x-request-id': `job-${key}`,
        referer: `https://chat.example.org/?key=${key}`,
        'x-auth-token': key,
      },
    ],
  ])('gets its own key and nothing of a client with %s', async (_scheme, credentials) => {
    const answer = await complete({ ...clientHeaders, ...(credentials as Record<string, string>) });
    expect(answer.status).toBe(200);
    const headers = engine.requests.at(-1)?.headers ?? {};
    expect(headers['authorization']).toBe(`Bearer ${engineKey}`);
    expect(headers['x-other']).toBe('passes');
    expect(headers).not.toContainAnyKeys([
      'x-api-key',
      'api-key',
      'x-goog-api-key',
      'cookie',
      'origin',
      'x-conversation-id',
      'proxy-authorization',
    ]);
    expect(JSON.stringify(headers)).not.toContain(key);
  });

  test.each([
    [`?key=${key}`, ''],
    [`?a=%41&key=${key}&b=+`, '?a=%41&b=+'],
    [`?%6B%65y=${key}&a`, '?a'],
    [`?KEY=${key}&a;key=${key}&key[]=${key}&user=${key}`, '?a'],
    ['?keys=1&monkey=2', '?keys=1&monkey=2'],
  ])('gets the query without the key: %s', async (query, rest) => {
    await complete({ authorization: `Bearer ${key}` }, `/v1/completions${query}`);
    expect(engine.requests.at(-1)?.path).toBe(`/v1/completions${rest}`);
  });

  test('gets no key that is in the query and in a header', async () => {
    const answer = await complete({ 'x-link': `a?key=${key}` }, `/v1/completions?key=${key}`);
    expect(answer.status).toBe(200);
    expect(JSON.stringify(engine.requests.at(-1))).not.toContain(key);
  });

  test('gets no second key from a client that names its own in a Connection header', async () => {
    await complete({ authorization: `Bearer ${key}`, connection: 'authorization, x-request-id' });
    expect(engine.requests.at(-1)?.headers).toMatchObject({
      authorization: `Bearer ${engineKey}`,
      'x-request-id': expect.any(String),
    });
  });

  test.each([
    ['401', 'error-401', '/v1/completions'],
    ['403', 'status=403', '/v1/completions'],
    ['401', 'error-401', '/v1/messages'],
  ])('that answers %s (%s, %s) has refused the gateway, not the client: 502', async (...row) => {
    const [status, fault, path] = row;
    const id = `refused-${status}-${path.slice(4)}`;
    const answer = await complete(
      { authorization: `Bearer ${key}`, 'x-demo-fault': fault, 'x-request-id': id },
      path,
    );
    expect(answer.status).toBe(502);
    expect(answer.headers.get('x-gateway-error')).toBe('upstream_auth_failed');
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect(answer.headers.has('www-authenticate')).toBe(false);
    expect(await answer.text()).toContain('LLM_SERVER_API_KEY');
    const line = await gateway.logged(
      ({ requestId, msg }) => requestId === id && msg === 'request ended',
    );
    expect(line).toMatchObject({ level: 'ERROR', code: 'upstream_auth_failed' });
  });

  test.each([400, 402, 404, 407, 451])('that answers %d is passed on', async (status) => {
    const answer = await complete({
      authorization: `Bearer ${key}`,
      'x-demo-fault': `status=${status}`,
    });
    expect(answer.status).toBe(status);
    expect(answer.headers.has('x-gateway-error')).toBe(false);
  });
});

describe('the user header', () => {
  let count = 0;

  async function principalOf(headers: Record<string, string>): Promise<unknown> {
    const id = `user-${++count}`;
    expect((await complete({ 'x-request-id': id, ...headers })).status).toBe(200);
    const isEnd = ({ requestId, msg }: Record<string, unknown>) =>
      requestId === id && msg === 'request ended';
    return (await gateway.logged(isEnd))['principal'];
  }

  test('names the principal for a trusted key', async () => {
    const authorization = `Bearer ${trustedKey}`;
    const alone = await principalOf({ authorization });
    const alice = await principalOf({ authorization, 'x-openwebui-user-id': 'alice' });
    const bob = await principalOf({ authorization, 'x-openwebui-user-id': 'bob' });
    expect([alice, bob]).toEqual([`${alone}/alice`, `${alone}/bob`]);
  });

  test('is ignored for every other key', async () => {
    const authorization = `Bearer ${key}`;
    const alone = await principalOf({ authorization });
    expect(await principalOf({ authorization, 'x-openwebui-user-id': 'alice' })).toBe(alone);
    expect(alone).not.toBe(await principalOf({ authorization: `Bearer ${trustedKey}` }));
  });
});

test('a wrong key is 401 where INVALID_KEY_STATUS says so', async () => {
  await using strict = await startGateway({
    LLM_SERVER_URL: 'http://127.0.0.1:1',
    INVALID_KEY_STATUS: '401',
  });
  for (const path of ['/v1/models', '/usage']) {
    const headers = { authorization: 'Bearer sk-not-a-key' };
    const answer = await fetch(strict.url + path, { headers });
    expect([answer.status, answer.headers.get('x-gateway-error')]).toEqual([
      401,
      'invalid_api_key',
    ]);
    expect(answer.headers.get('x-should-retry')).toBe('false');
    expect(await answer.json()).toMatchObject({ error: { type: 'authentication_error' } });
  }
});

/**
 * Errors say who failed: the gateway's own have the envelope of the family, a code and advice on retries; the
 * engine's pass unchanged.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { key, startGateway } from '../support/gatewayprocess.ts';
import { holdPort } from '../support/heldport.ts';

const engine = startDemoEngine();
const gateway = await startGateway({
  LLM_SERVER_URL: engine.url,
  MAX_BODY_BYTES: '1000',
});
const impatient = await startGateway({ LLM_SERVER_URL: engine.url, TOTAL_TIMEOUT_MS: '300' });
const lonely = await startGateway({ LLM_SERVER_URL: holdPort().url });
for (const each of [gateway, impatient]) await each.logged((line) => 'kind' in line);

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await impatient[Symbol.asyncDispose]();
  await lonely[Symbol.asyncDispose]();
  await engine.stop();
});

interface Asked {
  url?: string;
  method?: string;
  /** Default: the one of the family. */
  path?: string;
  headers?: Record<string, string>;
  body?: string;
}

const authorization = `Bearer ${key}`;
const body = JSON.stringify({
  prompt: 'a',
  input: 'a',
  messages: [{ role: 'user', content: 'a' }],
  max_tokens: 2,
});

function ask(asked: Asked, path: string): Promise<Response> {
  const { url = gateway.url, method = 'POST', headers = {} } = asked;
  const hasBody = method !== 'GET';
  return fetch(url + (asked.path ?? path), {
    method,
    headers: { authorization, ...headers },
    ...(hasBody ? { body: asked.body ?? body } : {}),
  });
}

interface Expected {
  status: number;
  code: string;
  openaiType: string;
  anthropicType: string;
  param?: string;
  /** Whether a client's SDK is told not to repeat it. */
  isFinal?: true;
}

const requestErrors = {
  openaiType: 'invalid_request_error',
  anthropicType: 'invalid_request_error',
};
const serverErrors = { openaiType: 'server_error', anthropicType: 'api_error' };
const fault = (name: string): Asked => ({ headers: { 'x-demo-fault': name } });

const table: Record<string, [Asked, Expected]> = {
  'bad JSON': [{ body: '{' }, { status: 400, code: 'invalid_json', ...requestErrors }],
  'a field of the wrong type': [
    { body: '{"prompt":"a","model":1}' },
    { status: 400, code: 'invalid_field', param: 'model', ...requestErrors },
  ],
  'no key': [
    { headers: { authorization: '' } },
    {
      status: 401,
      code: 'missing_api_key',
      openaiType: 'authentication_error',
      anthropicType: 'authentication_error',
    },
  ],
  'a wrong key': [
    { headers: { authorization: 'Bearer sk-wrong' } },
    {
      status: 403,
      code: 'invalid_api_key',
      isFinal: true,
      openaiType: 'permission_error',
      anthropicType: 'permission_error',
    },
  ],
  'the wrong method': [
    { method: 'DELETE' },
    { status: 405, code: 'method_not_allowed', ...requestErrors },
  ],
  'too large a body': [
    { body: 'x'.repeat(1001) },
    {
      status: 413,
      code: 'body_too_large',
      openaiType: 'invalid_request_error',
      anthropicType: 'invalid_request_error',
    },
  ],
  'an engine that is not there': [
    { url: lonely.url },
    { status: 502, code: 'upstream_unreachable', ...serverErrors },
  ],
  'an engine that resets the connection': [
    fault('reset'),
    { status: 502, code: 'upstream_reset', isFinal: true, ...serverErrors },
  ],
  'an engine that says nothing': [
    fault('empty-close'),
    { status: 502, code: 'upstream_reset', isFinal: true, ...serverErrors },
  ],
  'an engine that speaks no HTTP': [
    fault('not-http'),
    { status: 502, code: 'upstream_malformed', isFinal: true, ...serverErrors },
  ],
  'an engine that answers with a status beyond HTTP': [
    fault('status=600'),
    { status: 502, code: 'upstream_malformed', isFinal: true, ...serverErrors },
  ],
  'an engine that refuses our key': [
    fault('error-401'),
    { status: 502, code: 'upstream_auth_failed', isFinal: true, ...serverErrors },
  ],
  'an engine that hangs': [
    { url: impatient.url, ...fault('hang') },
    { status: 504, code: 'total_timeout', isFinal: true, ...serverErrors },
  ],
};

/** By family: a path of it, and what its body looks like. */
const families = {
  OpenAI: '/v1/completions',
  Responses: '/v1/responses',
  Anthropic: '/v1/messages',
  'llama.cpp': '/completion',
};

describe.each(Object.entries(families))('in the envelope of %s', (family, path) => {
  const isAnthropic = family === 'Anthropic';

  async function expectError(answer: Response, expected: Expected): Promise<void> {
    const { status, code, openaiType, anthropicType, param = null, isFinal } = expected;
    expect(answer.status).toBe(status);
    expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(answer.headers.get('x-gateway-error')).toBe(code);
    expect(answer.headers.get('x-should-retry')).toBe(isFinal ? 'false' : null);
    const id = answer.headers.get('x-request-id');
    expect(id).toMatch(/^[\w.-]+$/);
    expect(answer.headers.get('request-id')).toBe(isAnthropic ? id : null);
    const message = expect.stringMatching(/^["A-Z].{20,}[.)]$/);
    const text = await answer.text();
    // The client must not learn the engine's address.
    expect(text).not.toMatch(/127\.0\.0\.1|localhost/);
    expect(JSON.parse(text)).toEqual(
      isAnthropic
        ? { type: 'error', error: { type: anthropicType, message } }
        : { error: { message, type: openaiType, param, code } },
    );
  }

  test.each(Object.entries(table))('%s', async (_what, [asked, expected]) => {
    await expectError(await ask(asked, path), expected);
  });

  test.each(Object.entries(table).filter(([, [asked]]) => asked.body === undefined))(
    'to a client that wants a stream: %s',
    async (_what, [asked, expected]) => {
      const streamed = body.replace('{', '{"stream":true,');
      await expectError(await ask({ ...asked, body: streamed }, path), expected);
    },
  );

  test('no such route', async () => {
    const answer = await ask({}, `${path}/unknown`);
    await expectError(answer, {
      status: 404,
      code: 'unknown_route',
      openaiType: 'invalid_request_error',
      anthropicType: 'not_found_error',
    });
  });
});

describe("the engine's own errors", () => {
  const faults = [
    'error-500',
    'error-429',
    'status=400',
    'status=404',
    'status=408',
    'status=409',
    'status=413',
    'status=418',
    'status=422',
    'status=502',
    'status=504',
    'status=529',
    'status=599',
    'no-such-fault',
  ];
  const cases = faults.flatMap((name) =>
    Object.entries(families).map(([family, path]) => [name, family, path] as const),
  );

  test.each(cases)('pass untouched: %s, %s', async (name, family, path) => {
    const direct = await ask({ url: engine.url, ...fault(name) }, path);
    const answer = await ask(fault(name), path);
    expect(answer.status).toBe(direct.status);
    expect(await answer.text()).toBe(await direct.text());
    for (const header of ['content-type', 'retry-after', 'content-length', 'server']) {
      expect(answer.headers.get(header)).toBe(direct.headers.get(header));
    }
    expect(answer.headers.has('x-gateway-error')).toBe(false);
    expect(answer.headers.has('x-should-retry')).toBe(false);
    const id = answer.headers.get('x-request-id');
    expect(answer.headers.get('request-id')).toBe(family === 'Anthropic' ? id : null);
  });

  test('keep their Retry-After', async () => {
    const answer = await ask(fault('error-429'), '/v1/completions');
    expect(answer.status).toBe(429);
    expect(answer.headers.get('retry-after')).toBe('7');
  });

  test.each(cases.slice(0, 12))(
    'pass untouched to a client that wants a stream: %s, %s',
    async (...row) => {
      const [name, , path] = row;
      const streamed = { body: body.replace('{', '{"stream":true,'), ...fault(name) };
      const direct = await ask({ url: engine.url, ...streamed }, path);
      const answer = await ask(streamed, path);
      expect(answer.status).toBe(direct.status);
      expect(await answer.text()).toBe(await direct.text());
    },
  );

  test.each([204, 205, 304])('%d passes', async (status) => {
    const before = engine.requests.length;
    const answer = await fetch(`${gateway.url}/v1/completions`, {
      method: 'POST',
      headers: { authorization, ...fault(`status=${status}`).headers },
      body,
      redirect: 'manual',
    });
    expect(answer.status).toBe(status);
    expect(engine.requests.length).toBe(before + 1);
  });

  test.each([301, 302, 307])('%d is a 502 and is not followed', async (status) => {
    const before = engine.requests.length;
    const answer = await ask({ body, ...fault(`status=${status}`) }, '/v1/completions');
    expect(answer.status).toBe(502);
    expect(answer.headers.get('x-gateway-error')).toBe('upstream_redirected');
    expect(engine.requests.length).toBe(before + 1);
  });
});

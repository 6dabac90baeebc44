/**
 * CORS, as a browser asks for it: a preflight before every call, one `access-control-allow-origin` in every answer,
 * never credentials. Header lines are counted on a raw socket, where a library would join them.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { dirname } from 'node:path';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { routes } from '../../src/wire/routes.ts';
import { key, startGateway } from '../support/gatewayprocess.ts';
import { adminKey } from '../support/operator.ts';
import { RawClient, type RawAnswer } from '../support/rawclient.ts';

const page = 'https://chat.example.org';
const local = 'http://localhost:3000';
const engine = startDemoEngine();
/** An engine whose answers have their own Vary. */
const varying = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch: () => Response.json({}, { headers: { vary: 'Accept-Language' } }),
});
const open = await startGateway({
  LLM_SERVER_URL: engine.url,
  MAX_BODY_BYTES: '1000',
  LLM_SERVER_KIND: 'openai',
  ADMIN_API_KEY: adminKey,
});
const listed = await startGateway({
  LLM_SERVER_URL: varying.url.href,
  LLM_SERVER_KIND: 'openai',
  CORS_ALLOWED_ORIGINS: `${page}, ${local}`,
  ADMIN_API_KEY: adminKey,
});

afterAll(async () => {
  await open[Symbol.asyncDispose]();
  await listed[Symbol.asyncDispose]();
  await engine.stop();
  await varying.stop(true);
});

interface Asked {
  method?: string;
  path?: string;
  headers?: Record<string, string>;
  body?: string;
}

async function ask(url: string, asked: Asked): Promise<RawAnswer> {
  const { method = 'GET', path = '/v1/models', headers = {}, body = '' } = asked;
  using connection = await RawClient.open(url);
  const all = {
    Host: 'gateway',
    Authorization: `Bearer ${key}`,
    ...(body === '' ? {} : { 'Content-Length': String(body.length) }),
    ...headers,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`);
  return await connection.ask(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`, {
    hasBody: method !== 'OPTIONS',
  });
}

/** Returns the values of all lines of that name. */
function linesOf({ head }: RawAnswer, name: string): string[] {
  return head
    .split('\r\n')
    .filter((line) => line.toLowerCase().startsWith(`${name}:`))
    .map((line) => line.slice(name.length + 1).trim());
}

function expectNoCredentials(answer: RawAnswer): void {
  expect(linesOf(answer, 'access-control-allow-credentials')).toEqual([]);
}

async function preflight(url: string, origin: string, path = '/v1/completions', names = '') {
  const answer = await ask(url, {
    method: 'OPTIONS',
    path,
    headers: {
      // A browser sends no key with a preflight.
      Authorization: '',
      Origin: origin,
      'Access-Control-Request-Method': 'POST',
      'Access-Control-Request-Headers': names || 'authorization,content-type',
    },
  });
  expect(answer.status).toBe(204);
  expectNoCredentials(answer);
  return answer;
}

/** Returns the header names that a preflight's answer allows. */
function allowedNames(answer: RawAnswer): string[] {
  const [line = ''] = linesOf(answer, 'access-control-allow-headers');
  return line.split(',').map((name) => name.trim().toLowerCase());
}

describe('a preflight', () => {
  const paths = [...new Set(routes.map(({ path }) => path.replace('*', 'demo')))];

  test.each([...paths, '/', '/health', '/openapi.json', '/slots', '/nothing/here', '/v1/'])(
    'is answered before any key is asked for: %s',
    async (path) => {
      const answer = await preflight(open.url, page, path);
      expect(linesOf(answer, 'access-control-allow-origin')).toEqual(['*']);
      const [methods = ''] = linesOf(answer, 'access-control-allow-methods');
      expect(methods.split(/, */)).toEqual(expect.arrayContaining(['GET', 'POST']));
    },
  );

  test('lets every x-stainless-* name pass that the official SDKs know', async () => {
    const names = new Set<string>();
    for (const client of ['openai', '@anthropic-ai/sdk']) {
      const folder = dirname(Bun.resolveSync(`${client}/package.json`, import.meta.dir));
      for await (const file of new Bun.Glob('**/*.mjs').scan({ cwd: folder, absolute: true })) {
        const text = await Bun.file(file).text();
        for (const [name] of text.matchAll(/x-stainless-[a-z]+(?:-[a-z]+)*/gi)) {
          names.add(name.toLowerCase());
        }
      }
    }
    expect(names.size).toBeGreaterThan(8);
    const answer = await preflight(open.url, page, '/v1/completions', [...names].join(','));
    expect(allowedNames(answer)).toEqual(expect.arrayContaining([...names]));
  });

  test('lets the other names pass that clients send', async () => {
    const names = [
      'authorization',
      'content-type',
      'x-api-key',
      'x-request-id',
      'x-session-id',
      'x-priority',
      'x-queue-feedback',
      'anthropic-version',
      'anthropic-beta',
      'anthropic-dangerous-direct-browser-access',
      'openai-organization',
      'openai-project',
      'openai-beta',
    ];
    expect(allowedNames(await preflight(open.url, page))).toEqual(expect.arrayContaining(names));
  });

  test('has no access-control-expose-headers, not even an empty one', async () => {
    expect((await preflight(open.url, page)).head.toLowerCase()).not.toContain('expose-headers');
  });

  test('allows the headers that the page asks for, but not on the routes of the operator', async () => {
    const answer = await preflight(open.url, page, '/v1/completions', 'x-of-somebody-else');
    expect(allowedNames(answer)).toContain('x-of-somebody-else');
    expect(linesOf(answer, 'vary')).toEqual(['Access-Control-Request-Headers']);
    const operators = await preflight(listed.url, page, '/admin/keys', 'x-of-somebody-else');
    expect(operators.head).not.toContain('x-of-somebody-else');
  });

  test('reaches no engine', () => {
    const asked = engine.requests.filter(({ method }) => method === 'OPTIONS');
    expect(asked).toEqual([]);
  });
});

const completion = { method: 'POST', path: '/v1/completions' };
const prompt = '{"prompt":"a","max_tokens":2}';
const stream = '{"prompt":"a","max_tokens":2,"stream":true}';

describe('an answer', () => {
  const cases: Record<string, [status: number, asked: Asked]> = {
    'a completion': [200, { ...completion, body: prompt }],
    'a stream': [200, { ...completion, body: stream }],
    'the models': [200, {}],
    'one model': [200, { path: '/v1/models/demo' }],
    'the root': [200, { path: '/' }],
    health: [200, { path: '/health' }],
    readiness: [200, { path: '/ready' }],
    'the specification': [200, { path: '/openapi.json' }],
    'bad JSON': [400, { ...completion, body: '{' }],
    'no key': [401, { headers: { Authorization: '' } }],
    'a wrong key': [403, { headers: { Authorization: 'Bearer sk-wrong' } }],
    'no such route': [404, { path: '/slots' }],
    'no such model': [404, { path: '/v1/models/nobody' }],
    'the wrong method': [405, { path: '/v1/completions' }],
    'too large a body': [413, { ...completion, body: 'x'.repeat(1001) }],
    'an error of the engine': [
      500,
      { ...completion, body: prompt, headers: { 'x-demo-fault': 'error-500' } },
    ],
    'a failure of the engine': [
      502,
      { ...completion, body: prompt, headers: { 'x-demo-fault': 'empty-close' } },
    ],
  };
  test.each(Object.entries(cases))('carries the headers: %s', async (_what, [status, asked]) => {
    const answer = await ask(open.url, { ...asked, headers: { Origin: page, ...asked.headers } });
    expect(answer.status).toBe(status);
    expect(linesOf(answer, 'access-control-allow-origin')).toEqual(['*']);
    const [exposed = ''] = linesOf(answer, 'access-control-expose-headers');
    expect(exposed.split(', ')).toEqual(
      expect.arrayContaining(['x-request-id', 'x-gateway-error', 'retry-after', 'x-should-retry']),
    );
    expectNoCredentials(answer);
  });

  test('carries none for a client that is no page', async () => {
    for (const asked of [{}, { ...completion, body: stream }, { headers: { Authorization: '' } }]) {
      const { head } = await ask(open.url, asked);
      expect(head.toLowerCase()).not.toContain('access-control-');
    }
  });

  const answers: Record<string, Asked> = {
    'a plain one': { ...completion, body: prompt },
    'a stream': { ...completion, body: stream },
    'the models': {},
    'one model': { path: '/v1/models/demo' },
  };
  test.each(Object.entries(answers))(
    'has one access-control-allow-origin whatever the engine sends: %s',
    async (_what, asked) => {
      const headers = { Origin: page, 'x-demo-fault': 'cors' };
      const answer = await ask(open.url, { ...asked, headers });
      expect(answer.status).toBe(200);
      expect(linesOf(answer, 'access-control-allow-origin')).toEqual(['*']);
      expectNoCredentials(answer);
    },
  );
});

describe('the routes of the operator', () => {
  const operator = { Authorization: `Bearer ${adminKey}` };
  const asks: Record<string, [status: number, asked: Asked]> = {
    'an answer': [200, { path: '/admin/keys', headers: operator }],
    'a refusal': [403, { path: '/admin/keys' }],
    'no such route': [404, { path: '/admin/nothing' }],
    'an empty answer': [404, { method: 'DELETE', path: '/admin/requests/none', headers: operator }],
  };

  test.each(Object.entries(asks))(
    'let no page read %s where any may read the rest',
    async (...at) => {
      const [, [status, asked]] = at;
      const answer = await ask(open.url, { ...asked, headers: { ...asked.headers, Origin: page } });
      expect(answer.status).toBe(status);
      expect(linesOf(answer, 'access-control-allow-origin')).toEqual([]);
    },
  );

  test.each(Object.entries(asks))('let a page that is named read %s', async (_what, [, asked]) => {
    const answer = await ask(listed.url, { ...asked, headers: { ...asked.headers, Origin: page } });
    expect(linesOf(answer, 'access-control-allow-origin')).toEqual([page]);
  });

  test('allow no preflight of a page that is not named', async () => {
    for (const path of ['/admin', '/admin/keys', '/admin/live']) {
      const any = await preflight(open.url, page, path);
      expect(linesOf(any, 'access-control-allow-origin').filter(Boolean)).toEqual([]);
      const named = await preflight(listed.url, page, path);
      expect(linesOf(named, 'access-control-allow-origin')).toEqual([page]);
    }
  });
});

describe('with a list of origins', () => {
  test.each([page, local])('a preflight from %s gets just that', async (origin) => {
    const answer = await preflight(listed.url, origin);
    expect(linesOf(answer, 'access-control-allow-origin')).toEqual([origin]);
    expect(linesOf(answer, 'vary').join(', ')).toContain('Origin');
  });

  const strangers = [
    'https://evil.example',
    'https://chat.example.org.evil.example',
    'https://chat.example.org:8443',
    'http://chat.example.org',
    'https://sub.chat.example.org',
    'null',
  ];
  test.each(strangers)('a preflight from %s gets none', async (origin) => {
    const answer = await preflight(listed.url, origin);
    expect(linesOf(answer, 'access-control-allow-origin').filter(Boolean)).toEqual([]);
    expect(linesOf(answer, 'vary').join(', ')).toContain('Origin');
  });

  const asks: Record<string, Asked> = {
    'an answer': {},
    'an error': { headers: { Authorization: '' } },
    health: { path: '/health' },
  };
  test.each(Object.entries(asks))('%s names the origin that is listed', async (_what, asked) => {
    for (const origin of [page, local]) {
      const answer = await ask(listed.url, {
        ...asked,
        headers: { ...asked.headers, Origin: origin },
      });
      expect(linesOf(answer, 'access-control-allow-origin')).toEqual([origin]);
      expect(linesOf(answer, 'vary').join(', ')).toContain('Origin');
      expectNoCredentials(answer);
    }
  });

  test.each(Object.entries(asks))('%s names no other, and varies', async (_what, asked) => {
    for (const origin of [...strangers, undefined]) {
      const headers = { ...asked.headers, ...(origin === undefined ? {} : { Origin: origin }) };
      const answer = await ask(listed.url, { ...asked, headers });
      expect(linesOf(answer, 'access-control-allow-origin')).toEqual([]);
      expect(linesOf(answer, 'vary').join(', ')).toContain('Origin');
    }
  });

  test("an answer keeps the engine's own Vary", async () => {
    const answer = await ask(listed.url, { headers: { Origin: page } });
    const names = linesOf(answer, 'vary').join(', ').split(', ');
    expect(names.toSorted()).toEqual(['Accept-Language', 'Origin']);
  });
});

/**
 * The allow-list: each route of the table reaches its own path at the engine, and nothing else reaches the engine at
 * all, however it is spelled.
 */
import { afterAll, beforeEach, describe, expect, test } from 'bun:test';
import { isServedBy, pathAt, routes } from '../../src/wire/routes.ts';
import { key } from '../support/gatewayprocess.ts';
import { RawClient } from '../support/rawclient.ts';
import { startStage } from '../support/stage.ts';

const stage = await startStage();
const { engine, gateway } = stage;
afterAll(() => stage[Symbol.asyncDispose]());

beforeEach(() => {
  engine.requests.length = 0;
});

const withKey = { authorization: `Bearer ${key}` };
/** Enough input for every route of the engine. */
const everything = JSON.stringify({
  prompt: 'a',
  messages: [{ role: 'user', content: 'a' }],
  input: 'a',
  content: 'a',
  query: 'a',
  documents: ['a'],
  text_1: 'a',
  text_2: 'b',
  tokens: [1],
  input_prefix: 'a',
  input_suffix: 'b',
  max_tokens: 1,
});

function received(): string[] {
  return engine.requests.map(({ method, path }) => `${method} ${path}`);
}

/** Sends a target unchanged: no library normalizes it. */
async function ask(method: string, target: string, credentials = `Bearer ${key}`) {
  using connection = await RawClient.open(gateway.url);
  const authorization = credentials && `Authorization: ${credentials}\r\n`;
  const head = `${method} ${target} HTTP/1.1\r\nHost: gateway\r\n${authorization}`;
  const length = method === 'POST' ? `Content-Length: ${Buffer.byteLength(everything)}\r\n` : '';
  return await connection.ask(`${head}${length}\r\n${method === 'POST' ? everything : ''}`, {
    hasBody: method !== 'HEAD',
  });
}

/** Those that an engine of the demo's kind serves. */
const table = routes.filter(
  (route) => !route.path.endsWith('/*') && isServedBy(route, 'llama.cpp'),
);

describe('a route of the table', () => {
  test.each(table.map((route) => [route.method, route.path, route] as const))(
    'reaches the engine: %s %s',
    async (method, path, route) => {
      const form = new FormData();
      form.set('file', new Blob(['RIFF']), 'a.wav');
      const answer = await fetch(`${gateway.url}${path}?a=1&b=%20x&c=/../`, {
        method,
        headers: withKey,
        ...(method === 'GET' ? {} : { body: route.body === 'multipart' ? form : everything }),
      });
      await answer.bytes();
      expect(answer.status).toBe(200);
      const at = pathAt(route, 'llama.cpp');
      expect(received()).toEqual([`${method} ${at}?a=1&b=%20x&c=/../`]);
    },
  );
});

const administrative = [
  'GET /slots',
  'POST /slots/0?action=save',
  'POST /slots/0?action=restore',
  'POST /slots/0?action=erase',
  'GET /props',
  'POST /props',
  'GET /metrics',
  'GET /lora-adapters',
  'POST /lora-adapters',
  'POST /models/load',
  'POST /models/unload',
  'GET /v1/health',
  'GET /v1/stream',
  'GET /v1/stream/1',
  'POST /v1/stream/1',
  'DELETE /v1/stream/1',
  'POST /v1/chat/completions/control',
  'GET /tools',
  'POST /tools',
  'GET /cors-proxy?url=http://localhost/',
  'POST /cors-proxy',
  'GET /version',
  'GET /get_server_info',
  'POST /flush_cache',
  'POST /update_weights_from_disk',
  'POST /reset_prefix_cache',
  'POST /v1/load_lora_adapter',
  'POST /v1/unload_lora_adapter',
  'POST /sleep',
  'POST /wake_up',
  'GET /server_info',
  'POST /api/pull',
  'POST /api/push',
  'POST /api/create',
  'POST /api/copy',
  'DELETE /api/delete',
  'POST /api/delete',
  'POST /api/blobs/sha256:0',
  'POST /api/signout',
  'POST /api/me',
  'POST /v1/api/pull',
  'POST //api/pull/',
  'GET /v1/realtime',
  'GET /v1/files',
  'GET /v1/responses/resp_1',
  'DELETE /v1/responses/resp_1',
  'POST /v1/responses/resp_1/cancel',
  'GET /v1/messages/batches',
  'GET /favicon.ico',
  'GET /index.html',
  'GET /.env',
];

const tricks = [
  'GET //v1/../slots',
  'GET //slots',
  'POST /v1/v1/slots/0?action=erase',
  'GET /v1/v1/props',
  'GET //metrics/',
  'GET /v1/metrics',
  'GET //admin/keys',
  'GET /v1/admin/keys',
  'GET /openai/v1/admin/live',
  'GET //v1/stream/1',
  'POST /openai/deployments/demo/slots',
  'POST /openai/deployments/demo/../../slots',
  'POST /openai/deployments/..%2f..%2fslots',
  'POST /openai/deployments/v1/chat/completions',
  'POST /openai/deployments/',
  'POST /v1/chat%2fcompletions',
  'POST /v1/%63hat/completions',
  'GET /v1/../slots',
  'GET /v1/models/../../slots',
  'GET /v1/models/../../../slots',
  'GET /v1/models/%2e%2e/%2e%2e/slots',
  'GET /v1/models/.%2e/%2E./slots',
  'GET /v1/models/..%2f..%2fslots',
  'GET /v1/models/..%5c..%5cslots',
  'GET /v1/models/..\\..\\slots',
  'GET /v1/models/demo/../../../slots',
  'GET /v1/models/..;/..;/slots',
  'GET /v1%2fmodels',
  'GET /%2e/slots',
  'GET /v1/%6dodels',
  'GET /V1/models',
  'GET /v1/Models',
  'POST /v1/completions%20',
  'POST /v1/completions%00',
  'POST /v1/completions;a=b',
  'POST /v1/completions.json',
  'POST /v1/completions/../../slots/0?action=erase',
  'POST /v1/completions/..%2f..%2fslots%2f0?action=erase',
  'POST /v1/completions%3f/../../props',
  'GET /v1/models/*',
  'GET /*',
  'GET http://127.0.0.1/slots',
  'GET http://127.0.0.1/v1/models/../../slots',
];

function familyOf(target: string): 'anthropic' | 'ollama' | 'openai' {
  if (target.startsWith('/api/')) return 'ollama';
  return target.startsWith('/v1/messages') ? 'anthropic' : 'openai';
}

describe('everything else', () => {
  test.each([...administrative, ...tricks])('is 404, with a key: %s', async (line) => {
    const [method = '', target = ''] = line.split(' ');
    const answer = await ask(method, target);
    expect(answer.status).toBe(404);
    expect(answer.header('x-gateway-error')).toMatch(/^(unknown_route|model_not_found)$/);
    const body: unknown = JSON.parse(answer.body.toString());
    if (familyOf(target) === 'anthropic') {
      expect(body).toMatchObject({ type: 'error', error: { type: 'not_found_error' } });
      expect(answer.header('request-id')).toBeString();
    } else if (familyOf(target) === 'ollama') {
      expect(body).toEqual({ error: expect.stringContaining('Unknown route') });
    } else {
      expect(body).toMatchObject({ error: { type: 'invalid_request_error' } });
    }
    // A look-up of a model asks for the list, whatever the name.
    expect(received().filter((request) => request !== 'GET /v1/models')).toEqual([]);
  });

  // What follows /v1/models/ is a model's name, and looking it up needs a key.
  const unknown = [...administrative, ...tricks].filter(
    (line) =>
      !new URL(line.split(' ')[1] ?? '', 'http://gateway').pathname.startsWith('/v1/models/'),
  );
  test.each(unknown)('is 404, without a key: %s', async (line) => {
    const [method = '', target = ''] = line.split(' ');
    const answer = await ask(method, target, '');
    expect(answer.status).toBe(404);
    expect(answer.header('x-gateway-error')).toBe('unknown_route');
    expect(received()).toEqual([]);
  });
});

/** Returns the methods that an Allow header names; OPTIONS may be among them, since it answers everywhere. */
function allowed(header: string | undefined): string[] {
  const names = header?.split(',').map((name) => name.trim()) ?? [];
  return names.filter((name) => name !== 'OPTIONS').toSorted();
}

describe('the wrong method', () => {
  const paths = table.map(({ method, path }) => [method, path] as const);
  const pages = ['/', '/health', '/ready', '/docs', '/redoc', '/openapi.json'];
  const all = [
    ...paths,
    ['GET', '/v1/models/demo'] as const,
    ...pages.map((path) => ['GET', path] as const),
  ];
  test.each(all)('is 405, and Allow names the right ones: %s %s', async (method, path) => {
    const right = method === 'GET' ? ['GET', 'HEAD'] : ['POST'];
    const wrong = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'TRACE'].filter(
      (name) => !right.includes(name),
    );
    for (const name of wrong) {
      for (const credentials of [`Bearer ${key}`, '']) {
        const answer = await ask(name, path, credentials);
        expect([name, answer.status]).toEqual([name, 405]);
        expect(answer.header('x-gateway-error')).toBe('method_not_allowed');
        expect(allowed(answer.header('allow'))).toEqual(right);
      }
    }
    expect(received()).toEqual([]);
  });
});

describe('HEAD', () => {
  test.each([
    '/v1/models',
    '/models',
    '/v1/models/demo',
    '/',
    '/health',
    '/ready',
    '/openapi.json',
  ])('on %s is GET without the body, and the connection goes on', async (path) => {
    using connection = await RawClient.open(gateway.url);
    const lines = `${path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer ${key}\r\n\r\n`;
    const head = await connection.ask(`HEAD ${lines}`, { hasBody: false });
    const get = await connection.ask(`GET ${lines}`);
    expect([head.status, get.status]).toEqual([200, 200]);
    expect(head.header('content-length')).toBe(String(get.body.length));
    expect(head.header('content-type')).toBe(get.header('content-type'));
  });
});

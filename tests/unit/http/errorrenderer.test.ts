/**
 * The answer to a failed request, and its line in the log.
 */
import { describe, expect, test } from 'bun:test';
import pino from 'pino';
import { corsHeaders } from '../../../src/wire/cors.ts';
import { GatewayError } from '../../../src/wire/errors.ts';
import { errorRenderer } from '../../../src/http/errorrenderer.ts';

const routes = [{ method: 'POST', path: '/v1/completions' }];

interface Failing {
  path?: string;
  error?: unknown;
  code?: string;
  requestId?: string;
  init?: RequestInit;
}

/** Lets a request fail after 1.5 ms; returns the answer, its body, and the lines that were logged. */
async function fail({ path = '/v1/completions', error, code = 'x', requestId, init }: Failing) {
  const lines: Record<string, unknown>[] = [];
  let now = 10;
  const { arrived, renderError } = errorRenderer({
    log: pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line)) }),
    corsHeaders: corsHeaders(['*']),
    operatorCorsHeaders: corsHeaders([]),
    routes: () => routes,
    isEncrypted: () => false,
    now: () => now,
  });
  const request = new Request(`http://gateway${path}`, { method: 'POST', ...init });
  arrived(request);
  now += 1.5;
  const failed = { code, error, request, path, ...(requestId !== undefined && { requestId }) };
  const answer = renderError(failed);
  return { answer, text: await answer.text(), lines };
}

describe('an error of the gateway', () => {
  const error = new GatewayError('invalid_api_key');

  test('is answered with its status, its envelope and the id of the request', async () => {
    const headers = { 'x-request-id': 'mine', origin: 'https://page.example' };
    const { answer, text } = await fail({ error, init: { headers } });
    expect(answer.status).toBe(403);
    expect(JSON.parse(text)).toMatchObject({ error: { code: 'invalid_api_key' } });
    expect(answer.headers.get('x-gateway-error')).toBe('invalid_api_key');
    expect(answer.headers.get('x-request-id')).toBe('mine');
    expect(answer.headers.get('access-control-allow-origin')).toBe('*');
  });

  test('on a route of the operator has no CORS headers', async () => {
    const headers = { origin: 'https://page.example' };
    const { answer } = await fail({ error, path: '/admin/keys', init: { headers } });
    expect(answer.headers.has('access-control-allow-origin')).toBe(false);
  });

  test("about a list of models has Anthropic's shape for a client of that API alone", async () => {
    const init = { headers: { 'anthropic-version': '2023-06-01' } };
    for (const path of ['/v1/models', '/v1/models/x']) {
      const { text, answer } = await fail({ error, path, init });
      expect(JSON.parse(text)).toMatchObject({ type: 'error' });
      expect(answer.headers.get('request-id')).toBeString();
      expect(JSON.parse((await fail({ error, path })).text)).not.toHaveProperty('type');
    }
    const { text } = await fail({ error, path: '/v1/completions', init });
    expect(JSON.parse(text)).not.toHaveProperty('type');
  });

  test('has the shape of its family', async () => {
    const { answer, text } = await fail({ error, path: '/v1/messages' });
    expect(JSON.parse(text)).toMatchObject({ type: 'error', error: { type: 'permission_error' } });
    expect(answer.headers.get('request-id')).toBe(answer.headers.get('x-request-id'));
  });

  test('has a line with the key, the route, the bytes and the time', async () => {
    const headers = { authorization: 'Bearer sk-of-somebody-else-9f3b' };
    const { lines, text } = await fail({ error, init: { headers } });
    expect(lines).toEqual([
      expect.objectContaining({
        msg: 'refused',
        caller: 'sk-…9f3b',
        method: 'POST',
        route: '/v1/completions',
        status: 403,
        bytesOut: text.length,
        totalMs: 1.5,
      }),
    ]);
  });

  test('has no line once another part records the request', async () => {
    const { answer, lines } = await fail({ error, requestId: 'derived' });
    expect(lines).toEqual([]);
    expect(answer.headers.get('x-request-id')).toBe('derived');
  });
});

test.each([
  ['/slots', 404, 'unknown_route', null],
  ['/v1/completions', 405, 'method_not_allowed', 'POST'],
])('a path that the router does not find: %s', async (path, status, code, allow) => {
  const { answer, lines } = await fail({
    path,
    code: 'NOT_FOUND',
    error: new Error(),
    init: { method: 'HEAD' },
  });
  expect([answer.status, answer.headers.get('allow')]).toEqual([status, allow]);
  expect(lines).toEqual([expect.objectContaining({ code, path, bytesOut: 0 })]);
  expect(lines[0]).not.toHaveProperty('route');
});

test('any other error is an internal error, whose cause is only in the log', async () => {
  const { answer, text, lines } = await fail({
    error: new TypeError('of ours'),
    requestId: 'id-1',
  });
  expect([answer.status, answer.headers.get('x-gateway-error')]).toEqual([500, 'internal_error']);
  expect(text).not.toContain('of ours');
  expect(lines).toEqual([
    expect.objectContaining({
      level: 50,
      requestId: 'id-1',
      err: expect.objectContaining({ message: 'of ours' }),
    }),
  ]);
});

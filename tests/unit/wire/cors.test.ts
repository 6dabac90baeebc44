/**
 * CORS: which pages may read answers, what a preflight allows, and that credentials are never allowed.
 */
import { describe, expect, test } from 'bun:test';
import { answering, corsHeaders } from '../../../src/wire/cors.ts';
import { preflight } from '../../../src/http/cors.ts';

const page = 'https://chat.example.org';

describe('corsHeaders', () => {
  test('lets any page read when all origins are allowed', () => {
    const headers = corsHeaders(['*']);
    for (const origin of [page, 'null']) {
      expect(headers(origin)).toEqual({
        'access-control-allow-origin': '*',
        'access-control-expose-headers': expect.stringContaining('x-request-id'),
      });
    }
  });

  test('adds no header to an answer to a request without an origin', () => {
    expect(corsHeaders(['*'])(null)).toEqual({});
  });

  test('lets a listed page read, and tells caches that the answer varies by origin', () => {
    const headers = corsHeaders(['https://other.example.org', page]);
    expect(headers(page)).toEqual({
      'access-control-allow-origin': page,
      'access-control-expose-headers': expect.stringContaining('x-gateway-error'),
      vary: 'Origin',
    });
  });

  test.each([
    null,
    '',
    'null',
    'https://evil.example',
    `${page}.evil.example`,
    `${page}:8443`,
    'http://chat.example.org',
  ])('does not let %j read when other pages are listed', (origin) => {
    expect(corsHeaders([page])(origin)).toEqual({ vary: 'Origin' });
  });

  test('lets no page read when none is listed', () => {
    expect(corsHeaders([])(page)).toEqual({ vary: 'Origin' });
  });

  test.each([
    'retry-after',
    'retry-after-ms',
    'x-should-retry',
    'request-id',
    'x-gateway-queue-ms',
  ])('lets a page read %s', (name) => {
    const exposed = corsHeaders(['*'])(page)['access-control-expose-headers'];
    expect(exposed?.split(', ')).toContain(name);
  });
});

test('a JSON answer is not cached, and allowed pages may read it', async () => {
  const request = new Request('http://gateway/', { headers: { origin: page } });
  const answer = answering(corsHeaders([page]))(request, { a: 1 }, 201);
  expect([answer.status, await answer.json()]).toEqual([201, { a: 1 }]);
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(answer.headers.get('access-control-allow-origin')).toBe(page);
});

describe('preflight', () => {
  async function ask(
    allowedOrigins: string[],
    origin = page,
    requested = 'authorization, content-type',
  ) {
    const answer = await preflight(allowedOrigins).handle(
      new Request('http://gateway/v1/chat/completions', {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': requested,
        },
      }),
    );
    return { status: answer.status, headers: answer.headers };
  }

  test('allows any page when all origins are allowed', async () => {
    const { status, headers } = await ask(['*']);
    expect(status).toBe(204);
    expect(headers.get('access-control-allow-origin')).toBe('*');
    expect(headers.get('access-control-allow-methods')).toContain('POST');
    expect(Number(headers.get('access-control-max-age'))).toBeGreaterThan(0);
  });

  test('does not list exposed headers: the answer itself does', async () => {
    const { headers } = await ask(['*']);
    expect(headers.has('access-control-expose-headers')).toBe(false);
  });

  test('allows a listed page by name', async () => {
    const { status, headers } = await ask(['https://other.example.org', page]);
    expect(status).toBe(204);
    expect(headers.get('access-control-allow-origin')).toBe(page);
    expect(headers.get('vary')).toBe('Origin');
  });

  test.each(['https://evil.example', `${page}.evil.example`, 'null', 'chat.example.org'])(
    'does not allow %j when other pages are listed',
    async (origin) => {
      const { headers } = await ask([page], origin);
      expect(headers.get('access-control-allow-origin')).toBeNull();
    },
  );

  test.each([['*'], [page]])('never allows credentials: %j', async (allowed) => {
    const { headers } = await ask([allowed]);
    expect(headers.get('access-control-allow-credentials')).toBeNull();
  });

  test('allows what the official SDKs send, by name and without echoing', async () => {
    const { headers } = await ask(['*'], page, 'x-anything');
    const allowed = headers.get('access-control-allow-headers')?.split(', ') ?? [];
    for (const name of [
      'authorization',
      'x-api-key',
      'content-type',
      'anthropic-version',
      'anthropic-dangerous-direct-browser-access',
      'x-stainless-lang',
      'x-stainless-retry-count',
      'x-stainless-timeout',
    ]) {
      expect(allowed).toContain(name);
    }
    expect(allowed).not.toContain('x-anything');
    expect(allowed).not.toContain('*');
  });
});

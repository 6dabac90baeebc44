/**
 * What a preflight allows: which pages, which headers, and never credentials.
 */
import { describe, expect, test } from 'bun:test';
import { preflight } from '../../../src/http/cors.ts';

const page = 'https://chat.example.org';

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
    expect(headers.get('vary')).toBe('Origin, Access-Control-Request-Headers');
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

  test('allows what the official SDKs send, by name', async () => {
    const { headers } = await ask(['*'], page, '*');
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
    expect(allowed).not.toContain('*');
  });
  test.each([['*'], [page]])('allows what the page asks for: %j', async (allowed) => {
    const { headers } = await ask([allowed], page, 'Authorization,HTTP-Referer, x-title ,baggage');
    const names = headers.get('access-control-allow-headers')?.split(', ') ?? [];
    for (const name of ['http-referer', 'x-title', 'baggage']) expect(names).toContain(name);
    expect(names.filter((name) => name === 'authorization')).toHaveLength(1);
    expect(headers.get('vary')).toEndWith('Access-Control-Request-Headers');
  });

  test('repeats no text that is the name of no header', async () => {
    const { headers } = await ask(['*'], page, 'a b, x:y, "q", é, *, x-good');
    const names = headers.get('access-control-allow-headers')?.split(', ') ?? [];
    expect(names.at(-1)).toBe('x-good');
    for (const name of ['a b', 'x:y', '"q"', 'é', '*']) expect(names).not.toContain(name);
  });

  test('allows nothing more to other pages, nor on the routes of the operator', async () => {
    const other = await ask([page], 'https://evil.example', 'x-title');
    expect(other.headers.get('access-control-allow-headers') ?? '').not.toContain('x-title');
    const answer = await preflight([page]).handle(
      new Request('http://gateway/admin/keys', {
        method: 'OPTIONS',
        headers: { origin: page, 'access-control-request-headers': 'x-title' },
      }),
    );
    expect(answer.headers.get('access-control-allow-origin')).toBe(page);
    expect(answer.headers.get('access-control-allow-headers')).not.toContain('x-title');
  });
});

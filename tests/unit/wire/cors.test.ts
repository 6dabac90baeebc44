/**
 * Which pages may read answers, and which headers of them.
 */
import { describe, expect, test } from 'bun:test';
import { answering, corsHeaders, isOperatorPath, namedOrigins } from '../../../src/wire/cors.ts';

const page = 'https://chat.example.org';

describe('the routes of the operator', () => {
  test.each<[string, boolean]>([
    ['/admin', true],
    ['/admin/keys', true],
    ['/administer', false],
    ['/v1/admin/keys', false],
  ])('%s: %p', (path, isOne) => {
    expect(isOperatorPath(path)).toBe(isOne);
  });

  test('are read by the pages that are named, not by any', () => {
    expect(namedOrigins(['*'])).toEqual([]);
    expect(namedOrigins([page, '*'])).toEqual([page]);
  });
});

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

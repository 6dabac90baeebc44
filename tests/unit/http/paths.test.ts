/**
 * Which route a path belongs to, the error if there is none, and URLs as the router can read them.
 */
import { describe, expect, test } from 'bun:test';
import { originOf, refusalOf, routeOf, withReadableUrl } from '../../../src/http/paths.ts';

const routes = [
  { method: 'OPTIONS', path: '/*' },
  { method: 'POST', path: '/*' },
  { method: 'GET', path: '/' },
  { method: 'GET', path: '/health' },
  { method: 'POST', path: '/v1/completions' },
  { method: 'GET', path: '/v1/models' },
  { method: 'GET', path: '/v1/models/' },
  { method: 'GET', path: '/v1/models/*' },
  { method: 'GET', path: '/admin/keys/:id' },
  { method: 'DELETE', path: '/admin/keys/:id' },
  { method: 'POST', path: '/admin/keys/:id/rotate' },
];

describe('routeOf', () => {
  test.each([
    ['GET', '/', '/'],
    ['HEAD', '/health', '/health'],
    ['POST', '/v1/completions', '/v1/completions'],
    ['GET', '/v1/models', '/v1/models'],
    ['GET', '/v1/models/org/model', '/v1/models/*'],
    ['DELETE', '/admin/keys/4f2a', '/admin/keys/:id'],
    ['POST', '/admin/keys/4f2a/rotate', '/admin/keys/:id/rotate'],
    ['GET', '/v1/completions', undefined],
    ['GET', '/slots', undefined],
    ['OPTIONS', '/health', undefined],
  ])('%s %s is of %p', (method, path, expected) => {
    expect(routeOf({ method, path }, routes)).toBe(expected as never);
  });
});

describe('refusalOf', () => {
  test.each([
    ['/v1/completions', 'POST'],
    ['/v1/models/org/model', 'GET, HEAD'],
    ['/admin/keys/4f2a', 'GET, HEAD, DELETE'],
    ['/', 'GET, HEAD'],
  ])('names the methods of %s', (path, allow) => {
    const { code, headers } = refusalOf(path, routes);
    expect([code, headers]).toEqual(['method_not_allowed', { allow }]);
  });

  test.each(['/slots', '/health/', '/v1', '/v1/models/', '/admin/keys/', '/admin/keys/a/b', ''])(
    'knows no route for %j',
    (path) => {
      expect(refusalOf(path, routes).code).toBe('unknown_route');
    },
  );
});

describe('the text about an unknown route', () => {
  const text = (path: string, origin?: string) => refusalOf(path, routes, origin).message;

  test('names the nearest one', () => {
    expect(text('/v1/chat/completion')).toBe(
      'Unknown route. The nearest is /v1/chat/completions. GET / lists the routes of this gateway.',
    );
  });

  test('tells how the base URL should end', () => {
    expect(text('/v1/v1/files', 'https://llm.example:12000')).toContain(
      'Your base URL already ends in /v1: use https://llm.example:12000.',
    );
    expect(text('/v1/chat/completions/models', 'http://localhost:12000')).toContain(
      'already ends in /v1/chat/completions: use http://localhost:12000/v1.',
    );
    expect(text('/v1/v1/files')).toContain('use http://host:port.');
  });

  test('repeats nothing of the path', () => {
    expect(text('/sk-secret/v1/files')).toBe(
      'Unknown route. GET / lists the routes of this gateway.',
    );
    expect(text('/sk-secret/v1/messages')).not.toContain('secret');
  });
});

describe('originOf', () => {
  const of = (headers: Record<string, string>, isEncrypted = false) =>
    originOf(new Request('http://x', { headers }), isEncrypted);

  test('is where the client has sent its request', () => {
    expect(of({ host: 'localhost:12000' })).toBe('http://localhost:12000');
    expect(of({ host: '[::1]:12000' })).toBe('http://[::1]:12000');
    expect(of({ host: 'llm.example' }, true)).toBe('https://llm.example');
    expect(of({ host: 'llm.example', 'x-forwarded-proto': 'https' })).toBe('https://llm.example');
  });

  test.each(['a b', 'user@host', 'host/path', 'host:port', '<b>', ''])('is not %j', (host) => {
    expect(of({ host })).toBeUndefined();
  });
});

describe('withReadableUrl', () => {
  /** A request with a URL of Bun's server that `new Request` would not accept. */
  function request(url: string): Request {
    return Object.defineProperty(new Request('http://x/'), 'url', {
      value: url,
      configurable: true,
    });
  }

  test.each([
    ['http://host/a?b', 'http://host/a?b'],
    ['https://host/a?b=https://c', 'http://host/a?b=https://c'],
    ['/a?b', 'http://gateway/a?b'],
  ])('shows %s as %s', (url, expected) => {
    expect(withReadableUrl(request(url)).url).toBe(expected);
  });
});

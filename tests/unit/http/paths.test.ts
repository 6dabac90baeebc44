/**
 * Which route a path belongs to, the error if there is none, and URLs as the router can read them.
 */
import { describe, expect, test } from 'bun:test';
import { Elysia } from 'elysia';
import { noModel, refusalOf, routeOf, withReadableUrl } from '../../../src/http/paths.ts';
import { GatewayError } from '../../../src/wire/errors.ts';

const routes = [
  { method: 'OPTIONS', path: '/*' },
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

test('the path of no model at all is an unknown route, and no other path is refused', async () => {
  const codes: string[] = [];
  const app = new Elysia()
    .onError(({ code, error }) => {
      codes.push(error instanceof GatewayError ? error.code : String(code));
      return 'refused';
    })
    .use(noModel());
  for (const path of ['/v1/models/', '/v1/models/a']) {
    await app.handle(new Request(`http://gateway${path}`));
  }
  expect(codes).toEqual(['unknown_route', 'NOT_FOUND']);
});

/**
 * Every route needs a key unless it stands on the short public list. The routes are those that the table, GET / and the
 * specification name, so that a new route is tested without a change of this file.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { routes } from '../../src/wire/routes.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { RawClient } from '../support/rawclient.ts';

const engine = startDemoEngine();
const gateway = await startGateway({ LLM_SERVER_URL: engine.url, MAX_BODY_BYTES: '1000' });
await gateway.logged((line) => 'kind' in line);
engine.requests.length = 0;

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

const publicPages = ['/', '/health', '/ready', '/docs', '/redoc', '/openapi.json'];

/** Returns a path that the route answers. */
function example(path: string): string {
  return path.replace(/\*$|\{\w+\}$/, 'demo');
}

const listed = (await (await fetch(gateway.url)).json()) as {
  endpoints: { method: string; path: string }[];
};
const specification = (await (await fetch(`${gateway.url}/openapi.json`)).json()) as {
  security?: object[];
  paths: Record<string, Record<string, { security?: object[] }>>;
};
const specified = Object.entries(specification.paths).flatMap(([path, operations]) =>
  Object.entries(operations).map(([method, { security }]) => ({
    method: method.toUpperCase(),
    path,
    isPublic: (security ?? specification.security ?? []).length === 0,
  })),
);

test('GET / lists exactly the routes of the table', () => {
  const table = routes.map(({ method, path }) => `${method} ${path.replace('*', '{id}')}`);
  expect(listed.endpoints.map(({ method, path }) => `${method} ${path}`)).toEqual(table);
});

test('the specification names the routes of the table, /usage and the public pages, and no other', () => {
  const table = listed.endpoints.map(({ method, path }) => `${method} ${path}`);
  const named = specified.map(({ method, path }) => `${method} ${path}`);
  expect(named.toSorted()).toEqual(
    [...table, 'GET /usage', ...publicPages.map((path) => `GET ${path}`)].toSorted(),
  );
});

test('the specification says of exactly the public pages that they need no key', () => {
  const open = specified.filter(({ isPublic }) => isPublic).map(({ path }) => path);
  expect(open.toSorted()).toEqual(publicPages.toSorted());
});

describe('without a key', () => {
  test.each(publicPages)('GET %s answers', async (path) => {
    const answer = await fetch(gateway.url + path);
    expect(answer.status).toBe(200);
    expect((await answer.bytes()).length).toBeGreaterThan(0);
  });

  test.each(['/docs', '/redoc'])('everything that %s loads is there', async (page) => {
    const html = await (await fetch(gateway.url + page)).text();
    const loaded = [...html.matchAll(/(?:src|href)="(?!data:)([^"]+)"/g)].map(([, path]) => path);
    expect(loaded.length).toBeGreaterThan(1);
    for (const path of loaded) {
      const answer = await fetch(new URL(String(path), gateway.url));
      expect(answer.status).toBe(200);
      expect(answer.headers.get('content-type')).toMatch(/^text\/(css|javascript)/);
      await answer.bytes();
    }
  });

  const closed = routes.map(({ method, path }) => [method, example(path)] as const);

  test.each(closed)('%s %s is 401, before any look at the body', async (method, path) => {
    using connection = await RawClient.open(gateway.url);
    const head = `${method} ${path} HTTP/1.1\r\nHost: gateway\r\n`;
    // The body never comes, and it would be too large.
    const length = method === 'POST' ? 'Content-Length: 5000\r\n' : '';
    const answer = await connection.ask(`${head}${length}\r\n`);
    expect(answer.status).toBe(401);
    expect(answer.header('x-gateway-error')).toBe('missing_api_key');
  });

  test.each(closed)('%s %s is 401 for a body that is no JSON', async (method, path) => {
    const body = method === 'POST' ? { body: 'no JSON' } : {};
    const answer = await fetch(gateway.url + path, { method, ...body });
    expect(answer.status).toBe(401);
    expect(await answer.text()).not.toContain('JSON');
  });

  test.each(closed)('with a wrong key, %s %s is 403', async (method, path) => {
    const body = method === 'POST' ? { body: 'no JSON' } : {};
    const headers = { authorization: 'Bearer sk-wrong' };
    const answer = await fetch(gateway.url + path, { method, headers, ...body });
    expect(answer.status).toBe(403);
    expect(answer.headers.get('x-gateway-error')).toBe('invalid_api_key');
  });

  test.each([...new Set(closed.map(([, path]) => path)), ...publicPages, '/unknown'])(
    'OPTIONS %s answers',
    async (path) => {
      const answer = await fetch(gateway.url + path, { method: 'OPTIONS' });
      expect(answer.status).toBe(204);
    },
  );

  test.each(closed.filter(([method]) => method === 'GET'))(
    'HEAD %s%s is 401 as well',
    async (_method, path) => {
      expect((await fetch(gateway.url + path, { method: 'HEAD' })).status).toBe(401);
    },
  );

  test('none of these requests reached the engine', () => {
    expect(engine.requests).toEqual([]);
  });
});

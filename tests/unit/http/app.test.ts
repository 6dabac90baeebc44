/** The whole HTTP surface: in which order requests are checked, and which routes exist. */
import { describe, expect, test } from 'bun:test';
import { createApp } from '../../../src/http/app.ts';
import { routes } from '../../../src/wire/routes.ts';
import { partsOf } from '../../support/gatewayparts.ts';
import { key } from '../../support/gatewayprocess.ts';

const operated = { ADMIN_API_KEY: 'sk-admin-of-this-test' };

async function stage(env: Record<string, string> = {}) {
  const made = await partsOf(env);
  const app = createApp(made.parts);
  async function ask(asked: string, headers: Record<string, string> = {}) {
    const [method, path] = asked.split(' ') as [string, string];
    const answer = await app.handle(new Request(`http://gateway${path}`, { method, headers }));
    return { status: answer.status, code: answer.headers.get('x-gateway-error'), answer };
  }
  return { ...made, app, ask };
}

test('every route needs a key but the public pages', async () => {
  using made = await stage();
  const open: string[] = [];
  for (const { method, path } of made.app.routes) {
    // Those of every path serve none of their own.
    if (path === '/*') continue;
    const example = path
      .replace('deployments/*', 'deployments/x/responses')
      .replace(/\*$|:\w+/g, 'x');
    const { code } = await made.ask(`${method} ${example}`);
    if (code !== 'missing_api_key') open.push(path);
  }
  const pages = ['/', '/health', '/ready', '/openapi.json'];
  expect(open.filter((path) => !/^\/(re)?docs?\b/.test(path)).toSorted()).toEqual(pages.toSorted());
});

test('another spelling of a route needs its key, and one of the operator is none', async () => {
  using made = await stage({ ADMIN_API_KEY: 'sk-operator-of-tests' });
  const post = async (path: string) => (await made.ask(`POST ${path}`)).code;
  for (const path of ['//v1/messages', '/v1/v1/embeddings/', '/openai/v1/responses']) {
    expect([path, await post(path)]).toEqual([path, 'missing_api_key']);
  }
  const headers = { authorization: 'Bearer sk-operator-of-tests' };
  for (const path of [
    '//admin/keys',
    '/admin/keys/',
    '/v1/admin/keys',
    '//metrics',
    '/v1/metrics',
  ]) {
    expect([path, (await made.ask(`GET ${path}`, headers)).code]).toEqual([path, 'unknown_route']);
  }
});

test('a WebSocket is refused with 426 wherever it is asked for, and before any key', async () => {
  using made = await stage();
  for (const path of ['/v1/responses', '/v1/realtime', '/', '/v1/models']) {
    const { status, code, answer } = await made.ask(`GET ${path}`, { upgrade: 'websocket' });
    expect([status, code]).toEqual([426, 'websocket_unsupported']);
    expect(answer.headers.get('x-should-retry')).toBe('false');
  }
});

test('has every route of the table, and answers a preflight before it asks for a key', async () => {
  using made = await stage();
  const listed = made.app.routes.map(({ method, path }) => `${method} ${path}`);
  for (const { method, path } of routes) expect(listed).toContain(`${method} ${path}`);
  const { status } = await made.ask('OPTIONS /v1/completions', {
    origin: 'https://page.example.org',
    'access-control-request-method': 'POST',
  });
  expect(status).toBe(204);
});

test('a request that no route takes gets an error with its envelope and an id', async () => {
  using made = await stage();
  const { status, code, answer } = await made.ask('GET /nowhere');
  expect([status, code]).toEqual([404, 'unknown_route']);
  expect(answer.headers.get('x-request-id')).toBeString();
  expect(await answer.json()).toMatchObject({ error: { code: 'unknown_route' } });
  expect((await made.ask('GET /health/')).code).toBe('unknown_route');
  expect((await made.ask('GET /v1/completions')).code).toBe('method_not_allowed');
});

describe('for the operator', () => {
  const paths = ['GET /admin/keys', 'GET /dashboard', 'GET /metrics'];

  test('no route exists without an ADMIN_API_KEY', async () => {
    using made = await stage();
    for (const path of paths) {
      const { code } = await made.ask(path, { authorization: `Bearer ${key}` });
      expect([path, code]).toEqual([path, 'unknown_route']);
    }
  });

  test('every route opens with the key of the operator, and only the page without it', async () => {
    using made = await stage(operated);
    for (const path of paths) {
      const own = await made.ask(path, { authorization: `Bearer ${operated.ADMIN_API_KEY}` });
      expect([path, own.status]).toEqual([path, 200]);
      const { status } = await made.ask(path, { authorization: `Bearer ${key}` });
      expect([path, status]).toEqual([path, path === 'GET /dashboard' ? 200 : 403]);
    }
  });

  test('METRICS_TOKEN opens /metrics and nothing else', async () => {
    using made = await stage({ METRICS_TOKEN: 'metrics-token-of-this-test' });
    const headers = { authorization: 'Bearer metrics-token-of-this-test' };
    expect((await made.ask('GET /metrics', headers)).status).toBe(200);
    expect((await made.ask('GET /admin/keys', headers)).code).toBe('unknown_route');
    expect((await made.ask('GET /v1/models', headers)).status).toBe(403);
  });
});

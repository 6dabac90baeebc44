/**
 * The proxied routes: every one of the table, each of whose requests becomes a run that its client reads.
 */
import { expect, test } from 'bun:test';
import { proxy } from '../../../src/http/proxy.ts';
import { routes } from '../../../src/wire/routes.ts';
import { plain, type Wire } from '../../support/rawengine.ts';
import { startRuns, type RunStage } from '../../support/runstage.ts';
import { until } from '../../support/wait.ts';

const key = { authorization: 'Bearer sk-test-key-1' };

function pluginOf({ parts }: RunStage) {
  return proxy(parts, () => null);
}

function post(path: string, init: RequestInit = {}): Request {
  const headers = { ...key, 'content-type': 'application/json' };
  const body = '{"prompt":"Hi"}';
  return new Request(`http://gateway${path}`, { method: 'POST', headers, body, ...init });
}

test('has every route of the table, those of deployments, and no other', async () => {
  await using stage = await startRuns(() => {});
  const named = pluginOf(stage).routes.map(({ method, path }) => `${method} ${path}`);
  const table = routes.map(({ method, path }) => `${method} ${path}`);
  expect(named.sort()).toEqual([...table, 'POST /openai/deployments/*'].sort());
});

test('a request to a deployment becomes a run of its route, with its model', async () => {
  await using stage = await startRuns((_, wire) => wire.write(plain('{"ok":1}')));
  const path = '/openai/deployments/any/completions?api-version=2025-01-01';
  const answer = await pluginOf(stage).handle(post(path));
  expect(await answer.text()).toBe('{"ok":1}');
  const [request] = stage.engine.requests;
  expect(request?.path).toBe('/v1/completions?api-version=2025-01-01');
  expect(JSON.parse(String(request?.body))).toEqual({ model: 'any', prompt: 'Hi' });
});

test('a deployment without a route is refused before the key', async () => {
  await using stage = await startRuns(() => {});
  const plugin = pluginOf(stage);
  for (const path of ['any', 'any/slots', 'any/%2e%2e/keys']) {
    const answer = await plugin.handle(post(`/openai/deployments/${path}`, { headers: {} }));
    expect(await answer.text()).toStartWith('Unknown route.');
  }
});

test('a request becomes a run: method, path, query, headers and body reach the engine', async () => {
  await using stage = await startRuns((_, wire) => wire.write(plain('{"ok":1}')));
  const answer = await pluginOf(stage).handle(post('/v1/completions?x=1'));
  expect(await answer.text()).toBe('{"ok":1}');
  const [request] = stage.engine.requests;
  expect(request).toMatchObject({ method: 'POST', path: '/v1/completions?x=1' });
  expect(request?.body.toString()).toBe('{"prompt":"Hi"}');
  expect(request?.headers['x-request-id']).toBe(answer.headers.get('x-request-id') as string);
});

test('a request without a valid key does not become a run', async () => {
  await using stage = await startRuns(() => {});
  const plugin = pluginOf(stage);
  for (const headers of [{}, { authorization: 'Bearer sk-wrong' }]) {
    expect((await plugin.handle(post('/v1/completions', { headers }))).ok).toBe(false);
  }
  expect(stage.engine.requests).toEqual([]);
  expect(stage.parts.live.size).toBe(0);
});

test('its client reads it: when that leaves, the exchange with the engine ends', async () => {
  let wire: Wire | undefined;
  await using stage = await startRuns((_, opened) => void (wire = opened));
  const client = new AbortController();
  const answered = pluginOf(stage).handle(post('/v1/completions', { signal: client.signal }));
  await until('the engine has it', () => wire !== undefined);
  client.abort();
  await wire?.over;
  expect((await answered).ok).toBe(false);
  expect(stage.parts.live.size).toBe(0);
});

test('HEAD is sent to the engine as GET', async () => {
  await using stage = await startRuns((_, wire) => wire.write(plain('{"data":[]}')));
  const head = new Request('http://gateway/v1/models', { method: 'HEAD', headers: key });
  const answer = await pluginOf(stage).handle(head);
  expect([answer.status, await answer.text()]).toEqual([200, '']);
  expect(stage.engine.requests[0]).toMatchObject({ method: 'GET', path: '/v1/models' });
});

/**
 * The routes without a key: what this is, whether it is alive, whether it takes requests. The engine comes, goes and
 * comes back on one port.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { version } from '../../package.json';
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import { key, startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { holdPort } from '../support/heldport.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import { until } from '../support/wait.ts';

const { port, url } = holdPort();
let engine: DemoEngine;
let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway({ LLM_SERVER_URL: url });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

function get(path: string): Promise<Response> {
  return fetch(gateway.url + path);
}

/** Returns what /health says of the upstream. */
async function upstream(): Promise<unknown> {
  const { upstreams } = (await (await get('/health')).json()) as { upstreams: unknown[] };
  expect(upstreams).toHaveLength(1);
  return upstreams[0];
}

async function readiness(): Promise<number> {
  const answer = await get('/ready');
  await answer.bytes();
  return answer.status;
}

function complete(headers: Record<string, string> = {}, signal?: AbortSignal): Promise<Response> {
  return fetch(`${gateway.url}/v1/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, ...headers },
    body: '{"prompt":"a","max_tokens":1}',
    ...(signal ? { signal } : {}),
  });
}

describe('without an engine', () => {
  test('/health is fine and says that the engine is away', async () => {
    await gateway.logged((line) => line['msg'] === 'upstream cannot be reached');
    const answer = await get('/health');
    expect(answer.status).toBe(200);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(await answer.json()).toMatchObject({ status: 'ok', version, inFlight: 0 });
    expect(await upstream()).toMatchObject({ id: expect.any(String), state: 'away' });
  });

  test('/ready is 503 and says why', async () => {
    const answer = await get('/ready');
    expect(answer.status).toBe(503);
    expect(answer.headers.get('cache-control')).toBe('no-store');
    expect(await answer.json()).toEqual({ status: 'no_upstream' });
  });

  test('/ and the pages answer as usual', async () => {
    for (const path of ['/', '/docs', '/redoc', '/openapi.json']) {
      const answer = await get(path);
      expect(answer.status).toBe(200);
      await answer.bytes();
    }
  });

  test('the engine is found when it starts, without any request', async () => {
    engine = startDemoEngine({ port, slots: 3 });
    await untilUpstream(gateway, 'engine', { kind: 'llama.cpp', state: 'up', slots: 3 });
    const answer = await get('/ready');
    expect(answer.status).toBe(200);
    expect(await answer.json()).toEqual({ status: 'ready' });
  });
});

describe('with an engine', () => {
  test('/health counts what is in flight', async () => {
    const inFlight = async () =>
      ((await (await get('/health')).json()) as { inFlight: number }).inFlight;
    const leaving = new AbortController();
    const open = [1, 2].map(() => complete({ 'x-demo-fault': 'hang' }, leaving.signal));
    await until('both are in flight', async () => (await inFlight()) === 2);
    leaving.abort();
    await Promise.allSettled(open);
    await until('none is in flight', async () => (await inFlight()) === 0);
  });

  test('/health tells how long the gateway has been up, in whole seconds', async () => {
    const { uptimeSeconds } = (await (await get('/health')).json()) as { uptimeSeconds: unknown };
    expect(uptimeSeconds).toBeNumber();
    expect(Number.isInteger(uptimeSeconds)).toBe(true);
    await until('a second has passed', async () => {
      const later = (await (await get('/health')).json()) as { uptimeSeconds: number };
      return later.uptimeSeconds > Number(uptimeSeconds);
    });
  });

  test('/ready is 503 once a request has missed it, and 200 again when it is back', async () => {
    await engine.stop();
    expect((await complete()).status).toBe(502);
    expect(await readiness()).toBe(503);
    expect(await upstream()).toMatchObject({ state: 'away' });
    engine = startDemoEngine({ port, slots: 3 });
    await until('the gateway is ready again', async () => (await readiness()) === 200);
    expect((await complete()).status).toBe(200);
  });

  test.each(['error-500', 'reset', 'not-http'])(
    '/ready stays 200 when it only fails: %s',
    async (fault) => {
      await (await complete({ 'x-demo-fault': fault })).bytes();
      expect(await readiness()).toBe(200);
    },
  );
});

describe('GET /', () => {
  test('says what this is', async () => {
    expect(await (await get('/')).json()).toMatchObject({ name: 'LLM Gateway', version });
  });

  test('links only to what is there', async () => {
    const { links } = (await (await get('/')).json()) as { links: Record<string, string> };
    expect(Object.keys(links).toSorted()).toEqual(['docs', 'health', 'openapi', 'ready', 'redoc']);
    for (const path of Object.values(links)) {
      const answer = await get(path);
      expect(answer.status).toBe(200);
      await answer.bytes();
    }
  });
});

/**
 * The gateway finds out by itself what kind of engine it stands in front of, also when that starts late, loads for long
 * or is replaced; it asks cheap endpoints only, and never for a generation. `/health` shows what it knows.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { holdPort } from '../support/heldport.ts';
import { plain, startUpstream, type Upstream } from '../support/rawengine.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(45_000);

interface Known {
  kind: string;
  state: string;
  slots?: number;
}

async function known(gateway: Gateway): Promise<Known | undefined> {
  const health = await fetch(`${gateway.url}/health`);
  expect(health.status).toBe(200);
  return ((await health.json()) as { upstreams: Known[] }).upstreams[0];
}

async function untilKnown(gateway: Gateway, expected: Partial<Known>): Promise<void> {
  await until(`it is known as ${JSON.stringify(expected)}`, async () => {
    const now: Partial<Known> = (await known(gateway)) ?? {};
    return Object.entries(expected).every(([name, value]) => now[name as keyof Known] === value);
  });
}

describe.concurrent('auto finds', () => {
  const version = { version: '0.11.0' };
  const engines = [
    ['vllm', { '/version': version }],
    ['sglang', { '/get_server_info': { model_path: 'm' }, '/version': version }],
    ['ollama', { '/api/version': version }],
    ['unknown', {}],
  ] as const;
  for (const [kind, lookups] of engines) {
    test(kind, async () => {
      await using engine = await startUpstream(() => {}, { lookups });
      await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
      // The kind is unknown until the last answer.
      const last = kind === 'unknown' ? '/version' : '/props';
      await until('it is asked', () => engine.questions.includes(last));
      await untilKnown(gateway, { kind, state: 'up' });
      expect(engine.requests).toEqual([]);
    });
  }

  test('llama.cpp, and how many slots it has', async () => {
    const engine = startDemoEngine({ slots: 3 });
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
    await untilKnown(gateway, { kind: 'llama.cpp', state: 'up', slots: 3 });
    expect(engine.requests).toEqual([]);
    await engine.stop();
  });

  test('llama.cpp once it has loaded its model, whether it says who it is before or not', async () => {
    const asked: string[] = [];
    let isLoading = true;
    const loading = { error: { code: 503, message: 'Loading model', type: 'unavailable_error' } };
    const start = (headers: Record<string, string>) =>
      Bun.serve({
        port: 0,
        hostname: '127.0.0.1',
        fetch({ method, url }) {
          asked.push(`${method} ${new URL(url).pathname}`);
          if (isLoading) return Response.json(loading, { status: 503, headers });
          return Response.json({ total_slots: 2 }, { headers });
        },
      });
    const [named, nameless] = [start({ server: 'llama.cpp' }), start({})];
    await using first = await startGateway({ LLM_SERVER_URL: String(named.url) });
    await using second = await startGateway({ LLM_SERVER_URL: String(nameless.url) });
    await untilKnown(first, { kind: 'llama.cpp', state: 'loading' });
    await untilKnown(second, { kind: 'unknown', state: 'up' });
    expect((await known(first))?.slots).toBeUndefined();
    isLoading = false;
    const loaded = { kind: 'llama.cpp', state: 'up', slots: 2 };
    await Promise.all([untilKnown(first, loaded), untilKnown(second, loaded)]);
    expect(asked.filter((line) => !line.startsWith('GET '))).toEqual([]);
    await Promise.all([named.stop(true), nameless.stop(true)]);
  });

  test('an engine that starts later, and another kind that takes its place', async () => {
    using held = holdPort();
    await using gateway = await startGateway({ LLM_SERVER_URL: held.url });
    await untilKnown(gateway, { kind: 'unknown', state: 'away' });
    expect((await ask(gateway.url, { path: '/ready' })).status).toBe(503);
    const late = startDemoEngine({ port: held.port, slots: 2 });
    await untilKnown(gateway, { kind: 'llama.cpp', state: 'up', slots: 2 });
    expect((await ask(gateway.url, { path: '/ready' })).status).toBe(200);

    await late.stop();
    const refused = await ask(gateway.url, { body: { prompt: 'x' } });
    expect(refused.header('x-gateway-error')).toBe('upstream_unreachable');
    await untilKnown(gateway, { state: 'away' });
    const lookups = { '/version': { version: '0.11.0' } };
    await using other = await startUpstream(() => {}, { port: held.port, lookups });
    await untilKnown(gateway, { kind: 'vllm', state: 'up' });
    await until('the slots of the other are forgotten', async () => {
      return (await known(gateway))?.slots === undefined;
    });
    expect(other.requests).toEqual([]);
    expect(late.requests.filter(({ method }) => method !== 'GET')).toEqual([]);
  });
});

test('a kind that is set stays, whatever the engine is, and it is asked nothing that others tell', async () => {
  const engine = startDemoEngine({ slots: 2 });
  await using gateway = await startGateway({ LLM_SERVER_URL: engine.url, LLM_SERVER_KIND: 'vllm' });
  await untilKnown(gateway, { kind: 'vllm', state: 'up' });
  expect((await ask(gateway.url, { body: { prompt: 'x', max_tokens: 1 } })).status).toBe(200);
  const paths = new Set(engine.requests.map(({ path }) => path));
  expect([...paths].filter((path) => /props|version|server_info/.test(path))).toEqual([]);
  await engine.stop();
});

describe('LLM_SERVER_URL', () => {
  let engine: Upstream;
  beforeAll(async () => {
    engine = await startUpstream(({ method }, wire) => {
      wire.write(plain('{"ok":1}', {}, method === 'POST' ? 200 : 404));
    });
  });
  afterAll(() => engine.stop());

  for (const form of ['', '/v1/', '/v1/completions', '/llm/', '/a/b/v1/completions']) {
    test(JSON.stringify(form), async () => {
      await using gateway = await startGateway({ LLM_SERVER_URL: engine.url + form });
      const prefix = /^(\/llm|\/a\/b|)/.exec(form)?.[0];
      for (const path of ['/v1/completions', '/v1/messages?beta=true', '/tokenize']) {
        expect((await ask(gateway.url, { path, body: { prompt: 'x' } })).text).toBe('{"ok":1}');
        const posts = engine.requests.filter(({ method }) => method === 'POST');
        expect(posts.at(-1)?.path).toBe(prefix + path);
      }
    });
  }
});

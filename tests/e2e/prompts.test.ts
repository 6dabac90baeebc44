/**
 * What the gateway does with prompts: it sends a conversation to the engine that has its beginning cached, refuses, if
 * set, a prompt that cannot fit before it waits, and keeps the cached prompts of one key from the others.
 */
import { describe, expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import { ask } from '../support/rawclient.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';

setDefaultTimeout(60_000);

function posts(engine: DemoEngine): DemoEngine['requests'] {
  return engine.requests.filter(({ method }) => method === 'POST');
}

const turn = (role: string, seed: string) => ({ role, content: seed.repeat(600) });

describe('a conversation', () => {
  async function trio() {
    const engines = [1, 2, 3].map(() => startDemoEngine({ slots: 2, contextTokens: 65_536 }));
    const gateway = await startGateway({ LLM_SERVER_URL: engines.map(({ url }) => url).join(',') });
    for (const id of ['engine-1', 'engine-2', 'engine-3']) {
      await untilUpstream(gateway, id, { state: 'up', slots: 2 });
    }
    return {
      engines,
      gateway,
      async [Symbol.asyncDispose]() {
        await gateway[Symbol.asyncDispose]();
        await Promise.all(engines.map((engine) => engine.stop()));
      },
    };
  }

  test('goes on at the engine that has its beginning', async () => {
    await using stage = await trio();
    const messages = [turn('user', 'a ')];
    for (let i = 0; i < 6; i++) {
      const body = { messages, max_tokens: 2 };
      const answer = await ask(stage.gateway.url, { path: '/v1/chat/completions', body });
      expect(answer.status).toBe(200);
      messages.push(turn('assistant', `b${i} `), turn('user', `c${i} `));
    }
    expect(stage.engines.map((engine) => posts(engine).length).sort()).toEqual([0, 0, 6]);
  });

  test('that the client names with x-session-id stays at one engine, however short', async () => {
    await using stage = await trio();
    for (const session of ['one', 'two', 'one', 'one', 'two']) {
      await ask(stage.gateway.url, {
        body: { prompt: session, max_tokens: 1 },
        headers: { 'x-session-id': session },
      });
    }
    const prompts = stage.engines.map((engine) =>
      posts(engine).map(({ body }) => JSON.parse(Buffer.from(body).toString()).prompt),
    );
    for (const session of ['one', 'two']) {
      expect(prompts.filter((each) => each.includes(session))).toHaveLength(1);
    }
  });
});

describe('CONTEXT_PREFLIGHT', () => {
  const long = { prompt: 'word '.repeat(400), max_tokens: 1 };

  test('refuses what cannot fit before it reaches a slot', async () => {
    const engine = startDemoEngine({ contextTokens: 100 });
    await using gateway = await startGateway({
      LLM_SERVER_URL: engine.url,
      CONTEXT_PREFLIGHT: 'on',
    });
    await untilUpstream(gateway, 'engine', { kind: 'llama.cpp', state: 'up' });
    const refused = await ask(gateway.url, { body: long });
    expect(refused.status).toBe(400);
    expect(refused.header('x-gateway-error')).toBe('context_length_exceeded');
    expect(JSON.parse(refused.text).error.param).toBe('prompt');
    expect((await ask(gateway.url, { body: { prompt: 'short', max_tokens: 1 } })).status).toBe(200);
    expect(posts(engine).map(({ path }) => path)).toEqual(['/v1/completions']);
    await engine.stop();
  });

  test('is off by default: the engine judges', async () => {
    const engine = startDemoEngine({ contextTokens: 100 });
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
    await untilUpstream(gateway, 'engine', { kind: 'llama.cpp', state: 'up' });
    const answer = await ask(gateway.url, { body: long });
    expect(answer.status).toBe(400);
    expect(answer.header('x-gateway-error')).toBeUndefined();
    expect(posts(engine)).toHaveLength(1);
    await engine.stop();
  });
});

describe('ISOLATE_PROMPT_CACHE', () => {
  const body = '{"prompt": "x", "max_tokens":1, "temperature":1.0}';

  for (const [value, sent] of [
    ['on', body.replace('{', '{"cache_prompt":false,')],
    ['off', body],
  ] as const) {
    test(`${value}: what llama.cpp gets`, async () => {
      const engine = startDemoEngine();
      await using gateway = await startGateway({
        LLM_SERVER_URL: engine.url,
        ISOLATE_PROMPT_CACHE: value,
      });
      await untilUpstream(gateway, 'engine', { kind: 'llama.cpp', state: 'up' });
      expect((await ask(gateway.url, { body })).status).toBe(200);
      expect(Buffer.from(posts(engine)[0]?.body ?? []).toString()).toBe(sent);
      await engine.stop();
    });
  }

  test('on: a form stays as it is', async () => {
    const engine = startDemoEngine();
    await using gateway = await startGateway({
      LLM_SERVER_URL: engine.url,
      ISOLATE_PROMPT_CACHE: 'on',
    });
    await untilUpstream(gateway, 'engine', { kind: 'llama.cpp', state: 'up' });
    const form =
      '--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nx\r\n--B--\r\n';
    const answer = await ask(gateway.url, {
      path: '/v1/audio/transcriptions',
      headers: { 'Content-Type': 'multipart/form-data; boundary=B' },
      body: form,
    });
    expect(answer.status).toBe(200);
    expect(Buffer.from(posts(engine)[0]?.body ?? []).toString()).toBe(form);
    await engine.stop();
  });
});

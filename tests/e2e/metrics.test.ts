/**
 * GET /metrics is open only to the scraper and the operator, and counts what has happened at this gateway.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask, send } from '../support/rawclient.ts';
import { key, startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { holdPort } from '../support/heldport.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const token = 'a-token-for-the-scraper';
const adminKey = 'a-key-for-the-operator';
const secrets = { METRICS_TOKEN: token, ADMIN_API_KEY: adminKey };

function scrape(url: string, bearer?: string): Promise<Response> {
  const headers = bearer === undefined ? {} : { authorization: `Bearer ${bearer}` };
  return fetch(`${url}/metrics`, { headers, keepalive: false });
}

/** Returns the values of every series of that name, by its labels as they are written. */
async function seriesOf(gateway: Gateway, name: string): Promise<Record<string, number>> {
  const text = await (await scrape(gateway.url, token)).text();
  const lines = text.matchAll(new RegExp(`^llm_gateway_${name}(\\{.*\\})? (\\S+)$`, 'gm'));
  return Object.fromEntries(Array.from(lines, ([, labels = '', value]) => [labels, Number(value)]));
}

/** Returns the sum of every series of that name whose labels contain the text. */
async function sumOf(gateway: Gateway, name: string, text = ''): Promise<number> {
  const series = Object.entries(await seriesOf(gateway, name));
  return series
    .filter(([labels]) => labels.includes(text))
    .reduce((sum, [, value]) => sum + value, 0);
}

describe('who may read it', () => {
  const engine = startDemoEngine();
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ LLM_SERVER_URL: engine.url, ...secrets });
  });
  afterAll(async () => {
    await gateway[Symbol.asyncDispose]();
    await engine.stop();
  });

  test('the scraper and the operator', async () => {
    for (const bearer of [token, adminKey]) {
      const answer = await scrape(gateway.url, bearer);
      expect(answer.status).toBe(200);
      expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
      expect(await answer.text()).toContain('llm_gateway_build_info{version="');
    }
  });

  test.each([
    ['nobody', undefined, 401, 'missing_api_key'],
    ['a client', key, 403, 'invalid_api_key'],
    ['a token with more behind it', `${token}x`, 403, 'invalid_api_key'],
    ['a part of the token', token.slice(0, -1), 403, 'invalid_api_key'],
  ])('not %s', async (_, bearer, status, code) => {
    const answer = await scrape(gateway.url, bearer);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('x-gateway-error')).toBe(code);
    expect(await answer.text()).not.toContain('llm_gateway_');
  });

  test('nobody where neither a token nor an operator is set', async () => {
    await using bare = await startGateway({ LLM_SERVER_URL: engine.url });
    for (const bearer of [undefined, key, 'undefined', '']) {
      const answer = await scrape(bare.url, bearer);
      expect(answer.status).toBe(404);
      expect(await answer.text()).not.toContain('llm_gateway_');
    }
  });

  test('neither the token nor the key of the operator is the key of a client', async () => {
    for (const bearer of [token, adminKey]) {
      const answer = await ask(gateway.url, {
        headers: { Authorization: `Bearer ${bearer}` },
        body: {},
      });
      expect(answer.status).toBe(403);
    }
  });
});

describe('a separate port', () => {
  test('answers this machine without a token, and is free once the gateway has stopped', async () => {
    await using engine = disposable(startDemoEngine());
    using held = holdPort();
    const { port, url } = held;
    const env = { LLM_SERVER_URL: engine.url, METRICS_PORT: String(port) };
    await using gateway = await startGateway(env);
    const answer = await scrape(url);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain('llm_gateway_requests_total');
    expect((await scrape(gateway.url)).status).toBe(404);
    gateway.kill('SIGTERM');
    expect(await gateway.exited).toBe(0);
    let failure: unknown;
    try {
      await scrape(url);
    } catch (error) {
      failure = error;
    }
    expect(failure).toBeInstanceOf(Error);
  });
});

function disposable<T extends { stop(): Promise<void> }>(value: T): T & AsyncDisposable {
  return Object.assign(value, { [Symbol.asyncDispose]: () => value.stop() });
}

describe('what it says', () => {
  test('requests by what became of them, tokens as the engine counted them', async () => {
    await using engine = disposable(startDemoEngine());
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url, ...secrets });
    const body = { prompt: 'Once upon a time', max_tokens: 5, ignore_eos: true };
    for (const stream of [true, false]) {
      expect((await ask(gateway.url, { body: { ...body, stream } })).status).toBe(200);
    }
    const broken = { body, headers: { 'x-demo-fault': 'error-500' } };
    expect((await ask(gateway.url, broken)).status).toBe(500);
    expect((await ask(gateway.url, { body: '{' })).status).toBe(400);

    const route = 'route="/v1/completions"';
    await until('all are counted', async () => (await sumOf(gateway, 'requests_total')) === 4);
    expect(await seriesOf(gateway, 'requests_total')).toEqual({
      [`{${route},status="200",code="none",outcome="done"}`]: 2,
      [`{${route},status="500",code="none",outcome="done"}`]: 1,
      [`{${route},status="400",code="invalid_json",outcome="failed"}`]: 1,
    });
    expect(await sumOf(gateway, 'completion_tokens_total', 'model="demo"')).toBe(10);
    expect(await sumOf(gateway, 'prompt_tokens_total')).toBeGreaterThan(0);
    expect(await sumOf(gateway, 'time_to_first_token_seconds_count')).toBe(1);
    expect(await sumOf(gateway, 'time_per_output_token_seconds_count')).toBe(1);
    expect(await sumOf(gateway, 'queue_wait_seconds_count')).toBe(3);
    expect(await sumOf(gateway, 'overhead_seconds_count')).toBe(3);
    expect(await sumOf(gateway, 'engine_seconds_total')).toBeGreaterThan(0);
  });

  test('how many requests run and wait now, and how many slots there are', async () => {
    await using engine = disposable(startDemoEngine({ slots: 1, tokensPerSecond: 20 }));
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url, ...secrets });
    await until('the slots are known', async () => (await sumOf(gateway, 'upstream_slots')) === 1);
    const body = { prompt: 'x', max_tokens: 2_000, ignore_eos: true, stream: true };
    const holder = await send(gateway.url, { body });
    await holder.hasText('data: {');
    const waiting = await send(gateway.url, { body });
    await until('one waits', async () => (await sumOf(gateway, 'queue_length')) === 1);
    expect(await seriesOf(gateway, 'requests_in_flight')).toEqual({
      '{phase="body"}': 0,
      '{phase="queued"}': 1,
      '{phase="prefill"}': 0,
      '{phase="decode"}': 1,
    });
    expect(await seriesOf(gateway, 'upstream_slots_used')).toEqual({ '{upstream="engine"}': 1 });
    expect(await sumOf(gateway, 'upstream_state', 'state="up"')).toBe(1);
    waiting.leaveByReset();
    holder.leaveByReset();
    await until('nobody is left', async () => (await sumOf(gateway, 'requests_in_flight')) === 0);
    expect(await sumOf(gateway, 'requests_total', 'outcome="aborted"')).toBe(2);
  });

  test('that an engine is away', async () => {
    using held = holdPort();
    const engine = startDemoEngine({ port: held.port });
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url, ...secrets });
    await untilUpstream(gateway, 'engine', { state: 'up' });
    await engine.stop();
    expect((await ask(gateway.url, { body: { prompt: 'x' } })).status).toBe(502);
    await until('it is away', async () => {
      return (await sumOf(gateway, 'upstream_state', 'state="away"')) === 1;
    });
    expect(await sumOf(gateway, 'upstream_state')).toBe(1);
    expect(await sumOf(gateway, 'upstream_breaker_open')).toBe(1);
    expect(await sumOf(gateway, 'requests_total', 'code="upstream_unreachable"')).toBe(1);
  });

  test('nothing that is secret', async () => {
    await using engine = disposable(startDemoEngine());
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url, ...secrets });
    await ask(gateway.url, { body: { prompt: 'a prompt of mine', max_tokens: 1 } });
    await until('it is counted', async () => (await sumOf(gateway, 'requests_total')) === 1);
    const text = await (await scrape(gateway.url, token)).text();
    for (const secret of [key, token, adminKey, 'a prompt of mine']) {
      expect(text).not.toContain(secret);
    }
  });
});

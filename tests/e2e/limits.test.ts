/**
 * What a key may use in a minute and at once: refused with 429 and the time until a retry succeeds, reserved by
 * estimate and corrected by what was used, and given back in full by requests that no engine had.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import OpenAI from 'openai';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask, send, type Asked, type RawClient } from '../support/rawclient.ts';
import { startLateGateway, type Gateway, limitStores } from '../support/gatewayprocess.ts';
import { adminKey, bearer, issueKey } from '../support/operator.ts';
import { holdPort } from '../support/heldport.ts';
import { healthOf, untilUpstream, untilIdle } from '../support/gatewayhealth.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

describe.each(limitStores)('limits $limits', ({ start: startGateway }) => {
  const engine = startDemoEngine({ slots: 2, tokensPerSecond: 200 });
  let gateway: Gateway;

  beforeAll(async () => {
    gateway = await startGateway({ LLM_SERVER_URL: engine.url, ADMIN_API_KEY: adminKey });
    await untilUpstream(gateway, 'engine', { state: 'up', slots: 2 });
  });

  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]();
    await engine.stop();
  });

  /** Makes a key with these limits. */
  async function issue(limits: object, more: object = {}, at: Gateway = gateway): Promise<string> {
    return (await issueKey(at, { name: 'limited', limits, ...more })).key;
  }

  const brief = { prompt: 'x', max_tokens: 1 };
  const endless = { prompt: 'x', max_tokens: 3000, stream: true };

  function asked(key: string, { headers, ...others }: Asked = {}): Asked {
    return { body: brief, ...others, headers: { ...bearer(key), ...headers } };
  }

  const askWith = (key: string, more: Asked = {}, at: Gateway = gateway) =>
    ask(at.url, asked(key, more));
  const sendWith = (key: string, more: Asked = {}) => send(gateway.url, asked(key, more));

  /** A request that costs the engine nothing. */
  const free: Asked = { path: '/tokenize', body: { content: 'x' } };

  /** Sends such requests until one is refused. */
  async function exhaust(key: string): Promise<void> {
    const request = { method: 'POST', headers: { authorization: `Bearer ${key}` }, body: '{}' };
    for (let i = 0; i < 2_000; i++) {
      const answer = await fetch(`${gateway.url}/tokenize`, request);
      await answer.text();
      if (answer.status === 429) return;
    }
    throw new Error('2,000 requests passed');
  }

  function numberIn(answer: RawClient, name: string): number {
    const text = answer.header(name);
    expect(text).toMatch(/^\d+$/);
    return Number(text);
  }

  /** Returns the refusal's wait in milliseconds, after checking that both headers agree. */
  function waitOf(refused: RawClient): number {
    const waitMs = numberIn(refused, 'retry-after-ms');
    expect(numberIn(refused, 'retry-after')).toBe(Math.ceil(waitMs / 1000));
    expect(waitMs).toBeGreaterThan(0);
    return waitMs;
  }

  function expectRefusal(refused: RawClient, code: string): void {
    expect([refused.status, refused.header('x-gateway-error')]).toEqual([429, code]);
    expect(JSON.parse(refused.text)).toEqual({
      error: { message: expect.any(String), type: 'rate_limit_error', param: null, code },
    });
  }

  /** Resolves when no request of these tests runs any more. */
  const idle = () => untilIdle(gateway);

  describe('requests a minute', () => {
    test('can come at once, and are counted down', async () => {
      const key = await issue({ requestsPerMinute: 3 });
      for (const remaining of [2, 1, 0]) {
        const answer = await askWith(key);
        expect(answer.status).toBe(200);
        expect(answer.header('x-ratelimit-limit-requests')).toBe('3');
        expect(answer.header('x-ratelimit-remaining-requests')).toBe(`${remaining}`);
        expect(answer.header('x-ratelimit-reset-requests')).toMatch(/^(\d+m)?\d+(\.\d+)?(ms|s)$/);
        expect(answer.header('x-ratelimit-limit-tokens')).toBeUndefined();
      }
      const before = engine.requests.length;
      const refused = await askWith(key);
      expectRefusal(refused, 'rate_limited');
      expect(refused.header('x-ratelimit-remaining-requests')).toBe('0');
      expect(refused.header('x-should-retry')).toBeUndefined();
      expect(waitOf(refused)).toBeLessThanOrEqual(20_000);
      expect(engine.requests.length).toBe(before);
    });

    test('are told on streams too', async () => {
      const key = await issue({ requestsPerMinute: 3, tokensPerMinute: 6000 });
      const stream = await askWith(key, { body: { ...brief, stream: true } });
      expect(stream.header('content-type')).toStartWith('text/event-stream');
      expect(stream.header('x-ratelimit-remaining-requests')).toBe('2');
      expect(stream.header('x-ratelimit-limit-tokens')).toBe('6000');
    });

    test('cost nothing where they are refused', async () => {
      const key = await issue({ requestsPerMinute: 1 });
      expect((await askWith(key, free)).status).toBe(200);
      let waitMs = waitOf(await askWith(key, free));
      for (let i = 0; i < 20; i++) {
        const again = waitOf(await askWith(key, free));
        expect(again).toBeLessThanOrEqual(waitMs);
        waitMs = again;
      }
    });

    test('come back after the wait that the refusal tells', async () => {
      const key = await issue({ requestsPerMinute: 200 });
      for (let round = 0; round < 3; round++) {
        await exhaust(key);
        let refused = await askWith(key, free);
        // One request may have come back meanwhile.
        if (refused.status === 200) refused = await askWith(key, free);
        expectRefusal(refused, 'rate_limited');
        const waitMs = waitOf(refused);
        expect(waitMs).toBeLessThanOrEqual(300);
        await Bun.sleep(waitMs);
        expect((await askWith(key, free)).status).toBe(200);
      }
    });

    test('do not count a look at the models', async () => {
      const key = await issue({ requestsPerMinute: 1 });
      const headers = { Authorization: `Bearer ${key}` };
      for (let i = 0; i < 3; i++) {
        expect((await ask(gateway.url, { path: '/v1/models', headers })).status).toBe(200);
      }
      expect((await askWith(key)).status).toBe(200);
    });

    test('count what an engine has answered with an error', async () => {
      const key = await issue({ requestsPerMinute: 1 });
      const headers = { 'X-Demo-Fault': 'error-500' };
      expect((await askWith(key, { headers })).status).toBe(500);
      expectRefusal(await askWith(key), 'rate_limited');
    });

    test('are those of each user, where the key speaks for several', async () => {
      const key = await issue({ requestsPerMinute: 1 }, { userHeader: 'x-user' });
      for (const user of ['alice', 'bob']) {
        const headers = { 'X-User': user };
        expect((await askWith(key, { headers })).status).toBe(200);
        expectRefusal(await askWith(key, { headers }), 'rate_limited');
      }
    });
  });

  describe('a refusal', () => {
    test('at /v1/messages has the envelope of Anthropic', async () => {
      const key = await issue({ requestsPerMinute: 1 });
      const messages = [{ role: 'user', content: 'x' }];
      const more: Asked = { path: '/v1/messages', body: { messages, max_tokens: 1 } };
      expect((await askWith(key, more)).status).toBe(200);
      const refused = await askWith(key, more);
      expect(refused.status).toBe(429);
      expect(refused.header('x-gateway-error')).toBe('rate_limited');
      expect(refused.header('request-id')).toBe(refused.header('x-request-id') as string);
      expect(JSON.parse(refused.text)).toEqual({
        type: 'error',
        error: { type: 'rate_limit_error', message: expect.any(String) },
      });
      waitOf(refused);
    });

    test('is waited out by the official client', async () => {
      const apiKey = await issue({ requestsPerMinute: 300 });
      await exhaust(apiKey);
      const openai = new OpenAI({ baseURL: `${gateway.url}/v1`, apiKey, maxRetries: 5 });
      const answer = await openai.completions.create({ model: 'demo', prompt: 'x', max_tokens: 1 });
      expect(answer.usage?.completion_tokens).toBe(1);
    });
  });

  describe('tokens a minute', () => {
    /** Returns what is left according to an answer whose request reserves one token and some for the prompt. */
    async function remaining(key: string): Promise<number> {
      const answer = await askWith(key);
      expect(answer.status).toBe(200);
      return numberIn(answer, 'x-ratelimit-remaining-tokens');
    }

    test('are reserved by max_tokens and corrected by the truth', async () => {
      // Ten of them come back in a second: it does not matter how long this takes.
      const key = await issue({ tokensPerMinute: 600 });
      const body = { ...endless, max_tokens: 400 };
      const stream = await sendWith(key, { body });
      await stream.hasBytes();
      expect(numberIn(stream, 'x-ratelimit-remaining-tokens')).toBeLessThan(200);
      const refused = await askWith(key, { body });
      expectRefusal(refused, 'tokens_exhausted');
      expect(waitOf(refused)).toBeLessThanOrEqual(60_000);
      stream.leaveByReset();
      await idle();
      // It has streamed some tokens, not four hundred.
      expect(await remaining(key)).toBeGreaterThan(300);
      expect((await askWith(key, { body: { ...brief, max_tokens: 200 } })).status).toBe(200);
      expect(await remaining(key)).toBeLessThan(500);
    });

    test('are the prompt’s as well', async () => {
      const key = await issue({ tokensPerMinute: 600 });
      const prompt = 'word '.repeat(250);
      expect((await askWith(key, { body: { ...brief, prompt } })).status).toBe(200);
      expect(await remaining(key)).toBeLessThan(130);
      expectRefusal(await askWith(key, { body: { ...brief, prompt } }), 'tokens_exhausted');
    });

    test('are reserved as many as usual where the body sets no maximum', async () => {
      const key = await issue({ tokensPerMinute: 600 });
      const held = await sendWith(key, {
        body: { prompt: 'x', stream: true },
        headers: { 'X-Demo-Fault': 'stall=1' },
      });
      await held.hasBytes();
      const left = numberIn(held, 'x-ratelimit-remaining-tokens');
      expect(left).toBeGreaterThan(300);
      expect(left).toBeLessThan(360);
      held.leaveByReset();
      await idle();
    });

    test('of one request can be all, and no request is too large for ever', async () => {
      const key = await issue({ tokensPerMinute: 600 });
      const body = { ...endless, max_tokens: 1_000_000 };
      const held = await sendWith(key, { body, headers: { 'X-Demo-Fault': 'stall=1' } });
      await held.hasBytes();
      expect(held.status).toBe(200);
      expect(held.header('x-ratelimit-remaining-tokens')).toBe('0');
      expectRefusal(await askWith(key, { body }), 'tokens_exhausted');
      held.leaveByReset();
      await idle();
    });

    test('are counted for each answer that is asked for', async () => {
      const key = await issue({ tokensPerMinute: 600 });
      const headers = { 'X-Demo-Fault': 'stall=1' };
      const body = { prompt: 'x', max_tokens: 250, n: 2, stream: true };
      const held = await sendWith(key, { body, headers });
      await held.hasBytes();
      expect(numberIn(held, 'x-ratelimit-remaining-tokens')).toBeLessThan(100);
      held.leaveByReset();
      await idle();
    });
  });

  describe('what no engine has had costs nothing', () => {
    test('while the engine is away', async () => {
      using gone = holdPort();
      await using lonely = await startGateway({
        LLM_SERVER_URL: gone.url,
        ADMIN_API_KEY: adminKey,
      });
      const limits = { requestsPerMinute: 1, tokensPerMinute: 300, concurrentRequests: 1 };
      const key = await issue(limits, {}, lonely);
      for (let i = 0; i < 5; i++) {
        const answer = await askWith(key, { body: { ...brief, max_tokens: 250 } }, lonely);
        expect(['upstream_unreachable', 'no_healthy_upstream']).toContain(
          answer.header('x-gateway-error') as string,
        );
      }
    });

    test('when it waits too long, or leaves while it waits', async () => {
      const small = startDemoEngine({ slots: 1 });
      await using busy = await startGateway({
        LLM_SERVER_URL: small.url,
        ADMIN_API_KEY: adminKey,
        QUEUE_TIMEOUT_MS: '150',
      });
      await untilUpstream(busy, 'engine', { state: 'up', slots: 1 });
      const stalled = { 'X-Demo-Fault': 'stall=1' };
      const holder = await send(busy.url, { body: endless, headers: stalled });
      await holder.hasBytes();
      const key = await issue({ requestsPerMinute: 1, tokensPerMinute: 300 }, {}, busy);
      const body = { ...brief, max_tokens: 250 };
      for (let i = 0; i < 2; i++) {
        const late = await askWith(key, { body }, busy);
        expect(late.header('x-gateway-error')).toBe('queue_timeout');
        const leaver = await send(busy.url, asked(key, { body }));
        await until('it waits', async () => (await healthOf(busy)).queued === 1);
        leaver.leaveByReset();
        await until('it has left', async () => (await healthOf(busy)).inFlight === 1);
      }
      holder.leaveByReset();
      await until('the slot is free', async () => (await healthOf(busy)).inFlight === 0);
      expect((await askWith(key, { body }, busy)).status).toBe(200);
      expectRefusal(await askWith(key, { body }, busy), 'rate_limited');
      await small.stop();
    });

    test('when another limit refuses it', async () => {
      const key = await issue({
        requestsPerMinute: 2,
        tokensPerMinute: 600,
        concurrentRequests: 1,
      });
      const held = await sendWith(key, { body: endless, headers: { 'X-Demo-Fault': 'stall=1' } });
      await held.hasBytes();
      for (let i = 0; i < 5; i++) expect((await askWith(key)).status).toBe(429);
      held.leaveByReset();
      await idle();
      expect((await askWith(key)).status).toBe(200);
      expectRefusal(await askWith(key), 'rate_limited');
    });

    test('when its body is invalid', async () => {
      const key = await issue({ requestsPerMinute: 1 });
      expect((await askWith(key, { body: '{' })).status).toBe(400);
      expect((await askWith(key)).status).toBe(200);
    });
  });

  describe('open requests', () => {
    test('count whether they run or wait', async () => {
      const key = await issue({ concurrentRequests: 3 });
      const sent = [];
      for (let i = 0; i < 3; i++) sent.push(await sendWith(key, { body: endless }));
      await until('two run and one waits', async () => {
        const { inFlight, queued } = await healthOf(gateway);
        return inFlight === 3 && queued === 1;
      });
      const refused = await askWith(key);
      expectRefusal(refused, 'too_many_concurrent');
      waitOf(refused);
      for (const each of sent) each.leaveByReset();
      await idle();
      expect((await askWith(key)).status).toBe(200);
    });

    const ends: { how: string; more: Asked; end: (open: RawClient) => unknown }[] = [
      {
        how: 'has been answered',
        more: { body: { ...endless, max_tokens: 20 } },
        end: (open) => open.ended(),
      },
      {
        how: 'was cancelled in its stream',
        more: { body: endless },
        end: (open) => open.leaveByReset(),
      },
      {
        how: 'was left in order',
        more: { body: endless },
        end: (open) => open.leaveByFin(),
      },
      {
        how: 'was left before its first byte',
        more: { body: endless, headers: { 'X-Demo-Fault': 'hang' } },
        end: (open) => open.leaveByReset(),
      },
      {
        how: 'was cut by the engine',
        more: { body: endless, headers: { 'X-Demo-Fault': 'cut=3' } },
        end: (open) => open.ended(),
      },
      {
        how: 'failed at the engine',
        more: { headers: { 'X-Demo-Fault': 'reset' } },
        end: (open) => open.ended(),
      },
    ];
    test.each(ends)('are one less when one $how', async ({ more, end }) => {
      const key = await issue({ concurrentRequests: 1 });
      for (let round = 0; round < 2; round++) {
        const open = await sendWith(key, more);
        await until('it is open or over', async () => {
          return open.ending !== 'open' || (await healthOf(gateway)).inFlight === 1;
        });
        await end(open);
        await idle();
        expect((await askWith(key)).status).toBe(200);
      }
    });

    test('are one less when a client leaves that waits', async () => {
      const [other, key] = [await issue({}), await issue({ concurrentRequests: 1 })];
      const holders = [];
      for (let i = 0; i < 2; i++) holders.push(await sendWith(other, { body: endless }));
      for (const holder of holders) await holder.hasBytes();
      for (const way of ['leaveByFin', 'leaveByReset'] as const) {
        const waiting = await sendWith(key, { body: endless });
        await until('it waits', async () => (await healthOf(gateway)).queued === 1);
        expectRefusal(await askWith(key), 'too_many_concurrent');
        waiting[way]();
        await until('it has left', async () => (await healthOf(gateway)).queued === 0);
      }
      for (const holder of holders) holder.leaveByReset();
      await idle();
      expect((await askWith(key)).status).toBe(200);
    });

    test('are those of each user, where the key speaks for several', async () => {
      const key = await issue({ concurrentRequests: 1 }, { userHeader: 'x-user' });
      const alice = { 'X-User': 'alice' };
      const held = await sendWith(key, { body: endless, headers: alice });
      await held.hasBytes();
      expectRefusal(await askWith(key, { headers: alice }), 'too_many_concurrent');
      expect((await askWith(key, { headers: { 'X-User': 'bob' } })).status).toBe(200);
      expect((await askWith(key)).status).toBe(200);
      held.leaveByReset();
      await idle();
    });

    test('never are more than allowed, however many come at once', async () => {
      const key = await issue({ concurrentRequests: 2 });
      const body = { ...endless, max_tokens: 40 };
      const answers = await Promise.all(Array.from({ length: 30 }, () => askWith(key, { body })));
      const statuses = answers.map(({ status }) => status);
      expect(statuses.filter((status) => status === 200)).toHaveLength(2);
      expect(statuses.filter((status) => status === 429)).toHaveLength(28);
      expect((await askWith(key)).status).toBe(200);
    });
  });
});

/** Only the sources can run with limits that fail; of the binary these tests are not declared. */
const describeFromSources = process.env['GATEWAY_BINARY'] ? () => {} : describe;

describeFromSources('limits that fail', () => {
  const engine = startDemoEngine({ slots: 2 });
  let gateway: Gateway;
  let shared: string;
  const as = (user: string): Asked => {
    return { body: { prompt: 'x', max_tokens: 1 }, headers: { ...bearer(shared), 'X-User': user } };
  };

  beforeAll(async () => {
    gateway = await startLateGateway({ LLM_SERVER_URL: engine.url, ADMIN_API_KEY: adminKey });
    await untilUpstream(gateway, 'engine', { state: 'up', slots: 2 });
    const policy = { name: 'shared', userHeader: 'x-user', limits: { concurrentRequests: 1 } };
    shared = (await issueKey(gateway, policy)).key;
  });

  afterAll(async () => {
    await gateway?.[Symbol.asyncDispose]();
    await engine.stop();
  });

  test('refuse a request, since its use could not be counted, and say when to retry', async () => {
    const before = engine.requests.length;
    const refused = await ask(gateway.url, as('no-admit'));
    expect([refused.status, refused.header('x-gateway-error')]).toEqual([503, 'store_unavailable']);
    expect(refused.header('retry-after')).toBe('1');
    expect(refused.header('x-should-retry')).toBeUndefined();
    expect(JSON.parse(refused.text)).toEqual({
      error: {
        message: expect.stringContaining('limits of this API key cannot be checked'),
        type: 'server_error',
        param: null,
        code: 'store_unavailable',
      },
    });
    expect(engine.requests.length).toBe(before);
    await untilIdle(gateway, engine);
  });

  test('refuse nobody else', async () => {
    expect((await ask(gateway.url, as('eva'))).status).toBe(200);
    // The key of the configuration has no limits, so that nothing is asked about it.
    expect((await ask(gateway.url, { body: { prompt: 'x', max_tokens: 1 } })).status).toBe(200);
  });

  test('when a request is settled do not harm its answer, and the gateway goes on', async () => {
    expect((await ask(gateway.url, as('no-settle'))).status).toBe(200);
    await untilIdle(gateway, engine);
    // The open request was never given back here; a shared store would end it by itself.
    expect((await ask(gateway.url, as('no-settle'))).status).toBe(429);
    expect((await ask(gateway.url, as('eva'))).status).toBe(200);
    const failures = gateway.logs.filter(({ level }) => level === 'ERROR' || level === 50);
    expect(failures).toEqual([]);
    expect(gateway.output).toEqual([]);
  });
});

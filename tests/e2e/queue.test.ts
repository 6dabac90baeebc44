/**
 * Waiting for a slot: it is bounded in number, bytes and time, a refusal says when to retry, queue feedback shows it,
 * and a client that leaves while it waits never reaches the engine.
 */
import { describe, expect, setDefaultTimeout, test } from 'bun:test';
import { ask, send, type Asked, type RawClient } from '../support/rawclient.ts';
import type { Gateway } from '../support/gatewayprocess.ts';
import { healthOf } from '../support/gatewayhealth.ts';
import { startStage } from '../support/stage.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const body = { prompt: 'x', max_tokens: 2000, ignore_eos: true, stream: true };

async function queued(gateway: Gateway): Promise<number> {
  return (await healthOf(gateway)).queued;
}

/** An engine whose only slot stays taken, and a gateway in front of it. */
async function busy(env: Record<string, string> = {}) {
  const stage = await startStage(env, { slots: 1, tokensPerSecond: 20 });
  const { engine, gateway } = stage;
  const holder = await send(gateway.url, { body });
  await holder.hasBytes();
  expect(holder.status).toBe(200);
  async function wait(asked: Asked = { body }, count = 1): Promise<RawClient> {
    const before = await queued(gateway);
    let sent = await send(gateway.url, asked);
    for (let i = 1; i < count; i++) sent = await send(gateway.url, asked);
    await until('they wait', async () => (await queued(gateway)) === before + count);
    return sent;
  }
  return {
    ...stage,
    holder,
    wait,
    posts: () => engine.requests.filter(({ method }) => method === 'POST').length,
  };
}

describe('a client that leaves while it waits', () => {
  for (const way of ['leaveByFin', 'leaveByReset'] as const) {
    test(`never reaches the engine (${way})`, async () => {
      await using stage = await busy({ LOG_LEVEL: 'DEBUG' });
      const { gateway, wait, holder } = stage;
      const waiting = await wait();
      waiting[way]();
      const line = await gateway.logged((each) => each['msg'] === 'request ended');
      expect(line).toMatchObject({
        outcome: 'aborted',
        code: 'client_closed_request',
        status: 499,
      });
      expect(await queued(gateway)).toBe(0);
      holder.leaveByReset();
      expect((await ask(gateway.url, { body: { ...body, max_tokens: 1 } })).status).toBe(200);
      expect(stage.posts()).toBe(2);
    });
  }
});

describe('a queue that is full', () => {
  const limits = [
    ['in all', { MAX_QUEUED_REQUESTS: '2' }],
    ['for one caller', { MAX_QUEUED_PER_CALLER: '2' }],
    ['in bytes', { MAX_QUEUED_BYTES: String(2 * JSON.stringify(body).length) }],
  ] as const;
  for (const [name, env] of limits) {
    test(`${name} refuses with 503 queue_full and says when to retry`, async () => {
      await using stage = await busy(env);
      await stage.wait({ body }, 2);
      const refused = await ask(stage.gateway.url, { body });
      expect(refused.status).toBe(503);
      expect(refused.header('x-gateway-error')).toBe('queue_full');
      expect(Number(refused.header('retry-after'))).toBeGreaterThanOrEqual(1);
      expect(refused.header('x-should-retry')).toBeUndefined();
      expect(stage.posts()).toBe(1);
    });
  }

  test('of length 0 still admits a request that can run at once', async () => {
    await using stage = await busy({ MAX_QUEUED_REQUESTS: '0' });
    expect((await ask(stage.gateway.url, { body })).header('x-gateway-error')).toBe('queue_full');
    stage.holder.leaveByReset();
    await until('the slot is free', async () => {
      return (await ask(stage.gateway.url, { body: { ...body, max_tokens: 1 } })).status === 200;
    });
  });
});

test('a wait that is too long ends with 503 queue_timeout and says when to retry', async () => {
  await using stage = await busy({ QUEUE_TIMEOUT_MS: '300' });
  const late = await ask(stage.gateway.url, { body });
  expect(late.status).toBe(503);
  expect(late.header('x-gateway-error')).toBe('queue_timeout');
  expect(late.header('x-gateway-queue-place')).toBe('1');
  expect(late.text).toContain('place 1.');
  expect(Number(late.header('retry-after'))).toBeGreaterThanOrEqual(1);
  expect(stage.posts()).toBe(1);
});

test('says in a header how long a request has waited', async () => {
  await using stage = await busy();
  const waiting = await stage.wait({ body: { ...body, stream: false, max_tokens: 1 } });
  stage.holder.leaveByReset();
  await waiting.ended();
  expect(waiting.header('x-gateway-queue-ms')).toMatch(/^[1-9]\d*$/);
});

test('requests that wait are ended when the gateway shuts down', async () => {
  await using stage = await busy({ SHUTDOWN_GRACE_MS: '200' });
  const waiting = await stage.wait();
  stage.gateway.kill('SIGTERM');
  await waiting.ended();
  expect(waiting.header('x-gateway-error')).toBe('shutting_down');
  expect(waiting.header('retry-after')).toBe('1');
  expect(stage.posts()).toBe(1);
});

describe('queue feedback', () => {
  const followed: Asked = { body, headers: { 'x-queue-feedback': 'true' } };

  test('tells a stream its place until its first token', async () => {
    await using stage = await busy({ QUEUE_FEEDBACK_AFTER_MS: '100' });
    const waiting = await stage.wait({ ...followed, body: { ...body, max_tokens: 3 } });
    await waiting.hasText(': queued, place 1');
    expect(waiting.status).toBe(200);
    expect(waiting.header('content-type')).toStartWith('text/event-stream');
    stage.holder.leaveByReset();
    await waiting.ended();
    expect(waiting.text).toEndWith('data: [DONE]\n\n');
    expect(waiting.text.indexOf(': queued')).toBeLessThan(waiting.text.indexOf('data:'));
  });

  test('says what of its own holds a request, and nothing of other callers', async () => {
    const env = { QUEUE_FEEDBACK_AFTER_MS: '100', MAX_SLOTS_PER_CALLER: '1' };
    await using stage = await startStage(env, { slots: 2, tokensPerSecond: 20 });
    const holder = await send(stage.gateway.url, { body });
    await holder.hasBytes();
    const waiting = await send(stage.gateway.url, followed);
    await waiting.hasText(', this caller uses 1 of the 1 slots that it may have at once\n\n');
    expect(waiting.text).toMatch(/^: queued, place 1, about \d+ s, this caller uses/m);
    for (const each of [holder, waiting]) each.leaveByReset();
  });

  test('carries a failure as an event, since the status has been sent', async () => {
    await using stage = await busy({ QUEUE_FEEDBACK_AFTER_MS: '50', QUEUE_TIMEOUT_MS: '500' });
    const late = await ask(stage.gateway.url, followed);
    expect(late.status).toBe(200);
    expect(late.text).toContain('"code":"queue_timeout"');
    expect(late.text).not.toContain('[DONE]');
  });

  test('is sent only to a client that asks for it', async () => {
    await using stage = await busy({ QUEUE_FEEDBACK_AFTER_MS: '50', QUEUE_TIMEOUT_MS: '500' });
    const late = await ask(stage.gateway.url, { body });
    expect(late.status).toBe(503);
  });

  test('may be on for all streams, and never for a plain answer', async () => {
    const env = { QUEUE_FEEDBACK: 'on', QUEUE_FEEDBACK_AFTER_MS: '50', QUEUE_TIMEOUT_MS: '500' };
    await using stage = await busy(env);
    expect((await ask(stage.gateway.url, { body })).status).toBe(200);
    expect((await ask(stage.gateway.url, { body: { ...body, stream: false } })).status).toBe(503);
  });

  test('ends with the client', async () => {
    await using stage = await busy({ QUEUE_FEEDBACK_AFTER_MS: '50' });
    const waiting = await stage.wait(followed);
    await waiting.hasText(': queued');
    waiting.leaveByReset();
    await until('it has left the queue', async () => (await queued(stage.gateway)) === 0);
    expect(stage.posts()).toBe(1);
  });
});

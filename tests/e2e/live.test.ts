/**
 * What the operator sees of the requests in flight, as the dashboard does, and how one of them is stopped.
 */
import { afterAll, afterEach, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { requestBytes, send, type Asked, RawClient } from '../support/rawclient.ts';
import { key } from '../support/gatewayprocess.ts';
import { admin, adminKey, bearer, issueKey, startOperated } from '../support/operator.ts';
import { healthOf, untilIdle } from '../support/gatewayhealth.ts';
import { until } from '../support/wait.ts';
import { clientIdOf } from '../support/requestid.ts';

setDefaultTimeout(60_000);

const stage = await startOperated(1);
const { engine, gateway } = stage;
afterAll(() => stage[Symbol.asyncDispose]());

type Json = Record<string, unknown>;

interface LiveRow extends Json {
  id: string;
  phase: string;
}

interface LiveEvent {
  at: string;
  requests: LiveRow[];
  upstreams: Json[];
  queued: number;
}

/** Watches as the page does. */
async function watch() {
  const stream = await send(gateway.url, { path: '/admin/live', headers: bearer(adminKey) });
  await stream.hasText('\n\n');
  function last(): LiveEvent {
    const events = stream.text.split('\n\n').slice(0, -1);
    return JSON.parse(events.at(-1)?.replace(/^event: live\ndata: /, '') ?? '') as LiveEvent;
  }
  return { stream, last };
}

describe('what is in flight', () => {
  const endless = { model: 'demo', prompt: 'x', max_tokens: 3000, stream: true };
  const opened: RawClient[] = [];

  async function openWith(id: string, asked: Asked = {}): Promise<RawClient> {
    const headers = { ...asked.headers, 'X-Request-Id': id };
    const exchange = await send(gateway.url, { body: endless, ...asked, headers });
    opened.push(exchange);
    return exchange;
  }

  afterEach(async () => {
    for (const exchange of opened.splice(0)) exchange.leaveByReset();
    await untilIdle(gateway, engine);
  });

  test('is shown at once and then each second, with its phase', async () => {
    const web = await issueKey(gateway, { name: 'web', userHeader: 'x-user' });
    const { stream, last } = await watch();
    opened.push(stream);
    expect(stream.header('content-type')).toStartWith('text/event-stream');
    expect(stream.header('cache-control')).toBe('no-store');
    expect(last()).toMatchObject({ requests: [], queued: 0 });
    const headers = { ...bearer(web.key), 'X-User': 'alice', 'X-Demo-Fault': 'stall=5' };
    const running = await openWith('live-running', { headers });
    await running.until('5 frames are here', () => running.text.split('\n\n').length === 6);
    await openWith('live-waiting');
    await stream.until('both are shown', () => last().requests.length === 2);
    const event = last();
    expect(Math.abs(Date.parse(event.at) - Date.now())).toBeLessThan(30_000);
    expect(event.queued).toBe(1);
    expect(event.upstreams).toEqual([
      {
        id: 'engine',
        kind: 'llama.cpp',
        state: 'up',
        slots: 1,
        usedSlots: 1,
        models: ['demo'],
      },
    ]);
    expect(event.requests).toEqual([
      {
        id: expect.stringMatching(/^live-running-[0-9a-f]{8}$/),
        requestId: 'live-running',
        keyId: web.id,
        name: 'web',
        principal: `${web.id}/alice`,
        route: '/v1/completions',
        model: 'demo',
        phase: 'decode',
        tokens: expect.any(Number),
        tokensPerSecond: expect.any(Number),
        ageMs: expect.any(Number),
        queuedMs: expect.any(Number),
        upstream: 'engine',
        stream: true,
        wait: null,
      },
      expect.objectContaining({
        requestId: 'live-waiting',
        phase: 'queued',
        tokens: 0,
        tokensPerSecond: null,
        upstream: null,
        wait: expect.objectContaining({
          place: 1,
          held: 'turn',
          why: 'waits for a slot of engine; in use: engine: web 1',
        }),
      }),
    ]);
    const listed = await admin(gateway, 'GET /admin/requests');
    expect(listed.json).toMatchObject({
      queued: 1,
      requests: [{ requestId: 'live-running' }, { requestId: 'live-waiting', wait: { place: 1 } }],
    });
    expect(stream.text).not.toContain(web.key);
    expect(stream.text).not.toContain(key);
  });

  test('is shown with as many tokens as its client has got', async () => {
    const running = await openWith('live-tokens', { headers: { 'X-Demo-Fault': 'stall=5' } });
    await running.until('5 frames are here', () => running.text.split('\n\n').length === 6);
    const { stream, last } = await watch();
    opened.push(stream);
    expect(last().requests).toEqual([
      expect.objectContaining({ requestId: 'live-tokens', phase: 'decode', tokens: 5 }),
    ]);
  });

  test('is shown while its body comes, and while it has no token yet', async () => {
    const half = requestBytes({ body: endless, headers: { 'X-Request-Id': 'live-body' } });
    const sending = await RawClient.open(gateway.url);
    opened.push(sending);
    sending.write(half.subarray(0, half.length - 5));
    await openWith('live-prefill', { headers: { 'X-Demo-Fault': 'hang' } });
    await until('the engine has it', () => engine.busySlots() === 1);
    const { stream, last } = await watch();
    opened.push(stream);
    await stream.until('both are shown', () => last().requests.length === 2);
    const phases = Object.fromEntries(
      last().requests.map(({ requestId, phase }) => [requestId, phase]),
    );
    expect(phases).toEqual({ 'live-body': 'body', 'live-prefill': 'prefill' });
  });

  test('is stopped: a stream with an event, its slot free for a request that waits', async () => {
    const running = await openWith('stop-running', { headers: { 'X-Demo-Fault': 'stall=2' } });
    await running.hasBytes();
    const next = await openWith('stop-next', { body: { ...endless, max_tokens: 2 } });
    await until('it waits', async () => (await healthOf(gateway)).queued === 1);
    const stopped = await admin(gateway, 'DELETE /admin/requests/stop-running');
    expect([stopped.status, stopped.answer.length]).toEqual([204, 0]);
    await running.ended();
    expect(running.ending).toBe('whole');
    expect(running.text).toMatch(/data: \{"error":\{.*"code":"stopped_by_operator".*\}\}\n\n$/);
    await next.ended();
    expect([next.status, next.text.endsWith('data: [DONE]\n\n')]).toEqual([200, true]);
  });

  test('is stopped while it waits: 503, and the client is told not to retry', async () => {
    const running = await openWith('stop-holder', { headers: { 'X-Demo-Fault': 'stall=1' } });
    await running.hasBytes();
    const waiting = await openWith('stop-waiting');
    await until('it waits', async () => (await healthOf(gateway)).queued === 1);
    expect((await admin(gateway, 'DELETE /admin/requests/stop-waiting')).status).toBe(204);
    await waiting.ended();
    expect(waiting.status).toBe(503);
    expect(waiting.header('x-gateway-error')).toBe('stopped_by_operator');
    expect(waiting.header('x-should-retry')).toBe('false');
    expect(running.ending).toBe('open');
    const ids = engine.requests.map(({ headers }) => clientIdOf(headers));
    expect(ids).not.toContain('stop-waiting');
  });

  test('is stopped before its first token, and while it sends its body', async () => {
    const prefill = await openWith('stop-prefill', { headers: { 'X-Demo-Fault': 'hang' } });
    await until('the engine has it', () => engine.busySlots() === 1);
    const half = requestBytes({ body: endless, headers: { 'X-Request-Id': 'stop-body' } });
    const sending = await RawClient.open(gateway.url);
    sending.write(half.subarray(0, half.length - 5));
    await until('both are there', async () => (await healthOf(gateway)).inFlight === 2);
    for (const [id, exchange] of [
      ['stop-prefill', prefill],
      ['stop-body', sending],
    ] as const) {
      expect((await admin(gateway, `DELETE /admin/requests/${id}`)).status).toBe(204);
      await exchange.ended();
      expect(exchange.header('x-gateway-error')).toBe('stopped_by_operator');
    }
  });

  test('does not include ended requests', async () => {
    const done = await openWith('stop-done', { body: { prompt: 'x', max_tokens: 1 } });
    await done.ended();
    const gone = await admin(gateway, 'DELETE /admin/requests/stop-done');
    expect(gone).toMatchObject({ status: 404, code: 'request_not_found' });
  });
});

/**
 * What happens to requests when an upstream goes away, loads, fails, hangs or comes back: no request that provably did
 * not run is lost, none that may have run is repeated, and one caller's failures take no engine from the others.
 */
import { describe, expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import { ask, send, type RawClient } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { holdPort } from '../support/heldport.ts';
import { healthOf, untilUpstream } from '../support/gatewayhealth.ts';
import { startStage } from '../support/stage.ts';
import { plain, startUpstream } from '../support/rawengine.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const body = { prompt: 'x', max_tokens: 2 };
const long = { prompt: 'x', max_tokens: 3000, ignore_eos: true, stream: true };

function posts(engine: DemoEngine): number {
  return engine.requests.filter(({ method }) => method === 'POST').length;
}

async function pair(env: Record<string, string> = {}, speed = 20) {
  const held = holdPort();
  const options = { slots: 2, tokensPerSecond: speed };
  const first = startDemoEngine({ ...options, port: held.port });
  const second = startDemoEngine(options);
  const gateway = await startGateway({ LLM_SERVER_URL: `${first.url},${second.url}`, ...env });
  for (const id of ['engine-1', 'engine-2'])
    await untilUpstream(gateway, id, { state: 'up', slots: 2 });
  return {
    first,
    second,
    gateway,
    async [Symbol.asyncDispose]() {
      await gateway[Symbol.asyncDispose]();
      await Promise.all([first.stop(), second.stop()]);
      held[Symbol.dispose]();
    },
  };
}

/** Sends requests until both engines must have been chosen. */
async function askOften(gateway: Gateway, count = 8): Promise<RawClient[]> {
  const answers: RawClient[] = [];
  for (let i = 0; i < count; i++) answers.push(await ask(gateway.url, { body }));
  return answers;
}

test('an engine that refuses connections costs no request', async () => {
  await using stage = await pair();
  await stage.first.stop();
  const answers = await askOften(stage.gateway);
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
  await untilUpstream(stage.gateway, 'engine-1', { state: 'away' });
  expect((await ask(stage.gateway.url, { path: '/ready' })).status).toBe(200);
});

test('RETRY_POLICY=never answers with the error instead', async () => {
  using dead = holdPort();
  await using gateway = await startGateway({ LLM_SERVER_URL: dead.url, RETRY_POLICY: 'never' });
  expect((await ask(gateway.url, { body })).header('x-gateway-error')).toBe('upstream_unreachable');
});

test('an engine that is killed in a stream ends that stream, and others go on elsewhere', async () => {
  await using stage = await pair();
  const sent: RawClient[] = [];
  for (let i = 0; i < 4; i++) sent.push(await send(stage.gateway.url, { body: long }));
  for (const each of sent) await each.hasBytes(300);
  await stage.first.stop();
  await until('two have ended', () => sent.filter(({ ending }) => ending !== 'open').length === 2);
  const cut = sent.filter(({ ending }) => ending !== 'open');
  for (const each of cut) {
    expect(each.text).toContain('"code":"upstream_reset"');
    expect(each.text).not.toContain('[DONE]');
  }
  for (const each of sent) each.leaveByReset();
  await until('slots are free', async () => {
    const { upstreams } = await healthOf(stage.gateway);
    return upstreams.every(({ usedSlots }) => usedSlots === 0);
  });
  expect((await ask(stage.gateway.url, { body })).status).toBe(200);

  const back = startDemoEngine({ port: stage.first.port, slots: 2 });
  await untilUpstream(stage.gateway, 'engine-1', { state: 'up', slots: 2 });
  await back.stop();
});

describe('an engine that loads its model', () => {
  test('is waited for', async () => {
    const engine = startDemoEngine({ slots: 1 });
    engine.setLoading(true);
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
    await untilUpstream(gateway, 'engine', { state: 'loading' });
    const waiting = await send(gateway.url, { body });
    await until('it waits', async () => (await healthOf(gateway)).queued === 1);
    engine.setLoading(false);
    await waiting.ended();
    expect(waiting.status).toBe(200);
    await engine.stop();
  });

  test('and says so only in its answer to a request: the request waits and runs once', async () => {
    const engine = startDemoEngine({ slots: 1 });
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
    await untilUpstream(gateway, 'engine', { state: 'up', slots: 1 });
    engine.setLoading(true);
    const waiting = await send(gateway.url, { body });
    await until('it is known to load', async () => (await healthOf(gateway)).queued === 1);
    engine.setLoading(false);
    await waiting.ended();
    expect(waiting.status).toBe(200);
    await engine.stop();
  });

  test('for longer than QUEUE_TIMEOUT_MS is a queue_timeout', async () => {
    const engine = startDemoEngine();
    engine.setLoading(true);
    await using gateway = await startGateway({
      LLM_SERVER_URL: engine.url,
      QUEUE_TIMEOUT_MS: '300',
    });
    expect((await ask(gateway.url, { body })).header('x-gateway-error')).toBe('queue_timeout');
    await engine.stop();
  });
});

describe('an error of the engine is an answer', () => {
  for (const fault of ['error-500', 'error-429', 'status=400']) {
    test(`${fault} passes and takes the engine from nobody`, async () => {
      const engine = startDemoEngine();
      await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
      await untilUpstream(gateway, 'engine', { state: 'up' });
      for (let i = 0; i < 20; i++) {
        const answer = await ask(gateway.url, { body, headers: { 'x-demo-fault': fault } });
        expect(answer.status).toBe(Number(/\d+/.exec(fault)?.[0]));
        expect(answer.header('x-gateway-error')).toBeUndefined();
      }
      expect((await ask(gateway.url, { body })).status).toBe(200);
      await engine.stop();
    });
  }

  test('also streams that break: ten of one caller leave the engine up', async () => {
    const engine = startDemoEngine();
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
    await untilUpstream(gateway, 'engine', { state: 'up' });
    const headers = { 'x-demo-fault': 'reset-mid=2' };
    for (let i = 0; i < 10; i++)
      await ask(gateway.url, { body: { ...body, stream: true }, headers });
    await untilUpstream(gateway, 'engine', { state: 'up' });
    expect((await ask(gateway.url, { body })).status).toBe(200);
    await engine.stop();
  });
});

test('an engine that fails fast for everybody is set aside while its peer serves', async () => {
  const keys = ['sk-test-caller-1', 'sk-test-caller-2'];
  await using stage = await pair({ ALLOWED_API_KEYS: keys.join(',') });
  stage.first.setFailing(500);
  const statuses: number[] = [];
  await until('it is set aside', async () => {
    for (const key of [...keys, ...keys.toReversed()]) {
      const headers = { Authorization: `Bearer ${key}` };
      statuses.push((await ask(stage.gateway.url, { body, headers })).status);
    }
    const { upstreams } = await healthOf(stage.gateway);
    return upstreams[0]?.state === 'away';
  });
  expect(statuses.filter((status) => status === 500).length).toBeLessThan(20);
  // The last one is never set aside.
  stage.second.setFailing(500);
  const headers = { Authorization: `Bearer ${keys[0]}` };
  for (let i = 0; i < 12; i++) {
    expect((await ask(stage.gateway.url, { body, headers })).status).toBe(500);
  }
  expect((await healthOf(stage.gateway)).upstreams.some(({ state }) => state === 'up')).toBe(true);
});

describe('connections that break before an answer', () => {
  const keys = ['sk-test-poisonous', 'sk-test-innocent'] as const;
  const env = { ALLOWED_API_KEYS: keys.join(',') };
  const poison = { 'x-demo-fault': 'reset' };
  const [poisonous, innocent] = keys.map((key) => ({ Authorization: `Bearer ${key}` }));

  async function breakOne(gateway: Gateway, caller = poisonous): Promise<void> {
    const answer = await ask(gateway.url, { body, headers: { ...poison, ...caller } });
    expect([answer.status, answer.header('x-gateway-error')]).toEqual([502, 'upstream_reset']);
  }

  async function expectService(gateway: Gateway): Promise<void> {
    expect((await ask(gateway.url, { body, headers: { ...innocent } })).status).toBe(200);
    expect((await ask(gateway.url, { path: '/ready' })).status).toBe(200);
  }

  test('of one caller, and of several, do not take the only engine out of service', async () => {
    await using stage = await startStage(env);
    const { engine, gateway } = stage;
    // One caller: more failures in a row than any threshold.
    for (let i = 0; i < 25; i++) await breakOne(gateway);
    await expectService(gateway);
    // The requests of the other caller are all served.
    for (let i = 0; i < 40; i++) {
      await Promise.all([breakOne(gateway), breakOne(gateway), expectService(gateway)]);
    }
    // Two callers in turn.
    for (let i = 0; i < 25; i++) await breakOne(gateway, i % 2 ? poisonous : innocent);
    await expectService(gateway);
    // Each reached the engine: none was refused on the way.
    expect(posts(engine)).toBe(25 + 1 + 40 * 3 + 25 + 1);
    expect((await healthOf(gateway)).upstreams[0]?.state).toBe('up');
  });

  test('of one caller take none of several engines out of service', async () => {
    await using stage = await pair(env);
    const { first, second, gateway } = stage;
    const states: string[] = [];
    await until('both have broken many', async () => {
      await Promise.all([breakOne(gateway), breakOne(gateway), breakOne(gateway)]);
      await expectService(gateway);
      for (const { state } of (await healthOf(gateway)).upstreams) states.push(state);
      return Math.min(posts(first), posts(second)) >= 40;
    });
    expect(states.filter((state) => state !== 'up')).toEqual([]);
  });

  test('of several callers set an engine aside while its peer serves', async () => {
    await using stage = await pair(env);
    const { gateway } = stage;
    await until('one is set aside', async () => {
      await Promise.all(
        keys.map(() => Promise.all([breakOne(gateway), breakOne(gateway, innocent)])),
      );
      return (await healthOf(gateway)).upstreams.some(({ state }) => state === 'away');
    });
    for (let i = 0; i < 25; i++) {
      await Promise.all([breakOne(gateway), breakOne(gateway, innocent)]);
      const { upstreams } = await healthOf(gateway);
      expect(upstreams.some(({ state }) => state === 'up')).toBe(true);
      await expectService(gateway);
    }
  });

  test('also to the health endpoint move the traffic of a single key', async () => {
    let isBroken = false;
    await using broken = await startUpstream((_, wire) => wire.write(plain('{}')), {
      lookups: {
        '/props': { total_slots: 2 },
        '/health': { status: 'ok' },
        '/v1/models': { data: [{ id: 'demo' }] },
      },
      connected: (socket) => isBroken && socket.resetAndDestroy(),
    });
    const engine = startDemoEngine({ slots: 2 });
    await using gateway = await startGateway({
      LLM_SERVER_URL: `${broken.url},${engine.url}`,
      SLOT_RELEASE_TIMEOUT_MS: '10', // The engine reports no slot as idle.
    });
    for (const id of ['engine-1', 'engine-2'])
      await untilUpstream(gateway, id, { state: 'up', slots: 2 });
    isBroken = true;
    let lost = 0;
    await until('it is set aside', async () => {
      const four = Array.from({ length: 4 }, () => ask(gateway.url, { body }));
      lost += (await Promise.all(four)).filter(({ status }) => status !== 200).length;
      return (await healthOf(gateway)).upstreams[0]?.state === 'away';
    });
    expect(lost).toBeGreaterThanOrEqual(10);
    const answers = await askOften(gateway, 40);
    // A probe now and then: its backoff doubles, so that not even a minute has room for more.
    expect(answers.filter(({ status }) => status !== 200).length).toBeLessThanOrEqual(7);
    isBroken = false;
    await untilUpstream(gateway, 'engine-1', { state: 'up' });
    await engine.stop();
  });
});

test('an engine that hangs gets no new requests, and its streams end at IDLE_TIMEOUT_MS', async () => {
  await using stage = await pair({ STALL_TIMEOUT_MS: '500', IDLE_TIMEOUT_MS: '6000' }, 200);
  const sent: RawClient[] = [];
  for (let i = 0; i < 2; i++) sent.push(await send(stage.gateway.url, { body: long }));
  // Some fifty tokens: on a busy machine, the first two do not show the engine's usual pace.
  for (const each of sent) await each.hasBytes(12_000);
  const frozen = stage.first.busySlots() > 0 ? stage.first : stage.second;
  const id = frozen === stage.first ? 'engine-1' : 'engine-2';
  frozen.setFrozen(true);
  await untilUpstream(stage.gateway, id, { state: 'stalled' });
  const before = posts(frozen);
  for (const answer of await askOften(stage.gateway)) expect(answer.status).toBe(200);
  expect(posts(frozen)).toBe(before);
  await until('a stream ends', () => sent.some(({ ending }) => ending !== 'open'));
  const ended = sent.filter(({ ending }) => ending !== 'open');
  for (const each of ended) expect(each.text).toContain('"code":"idle_timeout"');
  frozen.setFrozen(false);
  await untilUpstream(stage.gateway, id, { state: 'up' });
  for (const each of sent) each.leaveByReset();
});

test('answers say nothing of internal addresses; the log does', async () => {
  using dead = holdPort();
  await using gateway = await startGateway({ LLM_SERVER_URL: dead.url });
  const answer = await ask(gateway.url, { body });
  expect(answer.text + answer.head).not.toContain(String(dead.port));
  await gateway.logged((line) => line['url'] === dead.url);
});

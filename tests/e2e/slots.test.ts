/**
 * Slots: each one is free again when the engine is done with it, none is lost and none is given twice, however clients
 * leave and whatever they request.
 */
import { expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask, send, type RawClient } from '../support/rawclient.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { healthOf, untilUpstream, untilIdle } from '../support/gatewayhealth.ts';
import { randomFrom } from '../support/random.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(120_000);

test('after 1,000 clients have left in random phases every slot is free', async () => {
  const engine = startDemoEngine({ slots: 4, tokensPerSecond: 400, firstTokenMs: 5 });
  await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
  await untilUpstream(gateway, 'engine', { state: 'up', slots: 4 });
  const random = randomFrom(7);
  let most = 0;
  const watching = setInterval(() => {
    most = Math.max(most, engine.busySlots() + engine.waiting());
  }, 1);
  async function client(): Promise<void> {
    const isStream = !random.oneIn(3);
    const body = { prompt: 'x', max_tokens: 1 + random.below(40), stream: isStream };
    const exchange = await send(gateway.url, { body: { ...body, ignore_eos: true } });
    if (random.oneIn(3)) await exchange.ended();
    else {
      await Bun.sleep(random.below(60));
      if (random.oneIn(2)) exchange.leaveByReset();
      else exchange.leaveByFin();
    }
  }
  for (let round = 0; round < 20; round++) {
    await Promise.all(Array.from({ length: 50 }, client));
  }
  await untilIdle(gateway);
  clearInterval(watching);
  expect(most).toBe(4);
  expect(engine.busySlots()).toBe(0);
  expect((await ask(gateway.url, { body: { prompt: 'x', max_tokens: 1 } })).status).toBe(200);
  await engine.stop();
});

test('a slot whose client has left is used again when the engine reports it as idle', async () => {
  const engine = startDemoEngine({ slots: 1, tokensPerSecond: 50, abortLagMs: 700 });
  await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
  await untilUpstream(gateway, 'engine', { state: 'up', slots: 1 });
  const body = { prompt: 'x', max_tokens: 1000, ignore_eos: true, stream: true };
  const first = await send(gateway.url, { body });
  await first.hasBytes();
  first.leaveByReset();
  const second = await send(gateway.url, { body: { ...body, max_tokens: 2 } });
  let most = 0;
  await until('the second has its answer', () => {
    most = Math.max(most, engine.waiting());
    return second.ending !== 'open';
  });
  // Sent sooner, it would have waited in the engine behind a request that nobody reads.
  expect(most).toBe(0);
  expect(second.status).toBe(200);
  await engine.stop();
});

test('a slot that the engine never reports as idle is free again after SLOT_RELEASE_TIMEOUT_MS', async () => {
  const engine = startDemoEngine({ slots: 1, tokensPerSecond: 50, abortLagMs: 3_600_000 });
  const env = { LLM_SERVER_URL: engine.url, SLOT_RELEASE_TIMEOUT_MS: '300' };
  await using gateway = await startGateway(env);
  await untilUpstream(gateway, 'engine', { state: 'up', slots: 1 });
  const body = { prompt: 'x', max_tokens: 1000, ignore_eos: true, stream: true };
  const first = await send(gateway.url, { body });
  await first.hasBytes();
  first.leaveByReset();
  await untilUpstream(gateway, 'engine', { usedSlots: 0 });
  await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

test('n choices and lists of prompts take as many slots, at most all', async () => {
  const engine = startDemoEngine({ slots: 3, tokensPerSecond: 20 });
  await using gateway = await startGateway({ LLM_SERVER_URL: engine.url });
  await untilUpstream(gateway, 'engine', { state: 'up', slots: 3 });
  const body = { prompt: 'x', max_tokens: 500, ignore_eos: true, stream: true };
  const used = [
    [{ n: 2 }, 2],
    [{ prompt: ['a', 'b', 'c'] }, 3],
    [{ n: 9 }, 3],
  ] as const;
  for (const [more, count] of used) {
    const exchange = await send(gateway.url, { body: { ...body, ...more } });
    await untilUpstream(gateway, 'engine', { usedSlots: count });
    // The slots are taken before the engine has the request.
    await exchange.hasBytes();
    exchange.leaveByReset();
    await untilUpstream(gateway, 'engine', { usedSlots: 0 });
  }
  expect(engine.requests.map(({ state }) => state)).toEqual(Array(3).fill('aborted'));
  await engine.stop();
});

test('UPSTREAM_SLOTS sets them by hand, and unbounded leaves the queue to the engine', async () => {
  const engine = startDemoEngine({ slots: 2, tokensPerSecond: 20 });
  const body = { prompt: 'x', max_tokens: 500, ignore_eos: true, stream: true };
  for (const [slots, waiting] of [
    ['1', 2],
    ['unbounded', 0],
  ] as const) {
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url, UPSTREAM_SLOTS: slots });
    await untilUpstream(gateway, 'engine', { state: 'up', kind: 'llama.cpp' });
    const sent: RawClient[] = [];
    for (let i = 0; i < 3; i++) sent.push(await send(gateway.url, { body }));
    await until('they are where they belong', async () => {
      const { queued, inFlight } = await healthOf(gateway);
      return inFlight === 3 && queued === waiting;
    });
    for (const each of sent) each.leaveByReset();
    await until('all have left', () => engine.busySlots() + engine.waiting() === 0);
  }
  await engine.stop();
});

test('MAX_SLOTS_PER_CALLER leaves slots for others', async () => {
  const engine = startDemoEngine({ slots: 2, tokensPerSecond: 20 });
  const [first, second] = ['sk-test-caller-1', 'sk-test-caller-2'];
  await using gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    MAX_SLOTS_PER_CALLER: '1',
    ALLOWED_API_KEYS: `${first},${second}`,
  });
  await untilUpstream(gateway, 'engine', { state: 'up', slots: 2 });
  const body = { prompt: 'x', max_tokens: 500, ignore_eos: true, stream: true };
  const asked = (key: string) => ({ body, headers: { Authorization: `Bearer ${key}` } });
  const one = await send(gateway.url, asked(String(first)));
  const two = await send(gateway.url, asked(String(first)));
  await until('one of two waits', async () => (await healthOf(gateway)).queued === 1);
  const other = await send(gateway.url, asked(String(second)));
  await other.hasBytes();
  for (const each of [one, two, other]) each.leaveByReset();
  await engine.stop();
});

/**
 * Engine time is shared between callers by tokens: a heavy caller queues behind its own requests, a light one goes
 * first, a batch request waits behind interactive ones, and an engine never gets more requests than it has slots.
 */
import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from 'bun:test';
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import { ask, send, type RawClient } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const flooder = 'sk-test-flooder';
const light = 'sk-test-light-key';
const batch = 'sk-test-batch-key';
const slots = 2;

let engine: DemoEngine;
let gateway: Gateway;

beforeAll(async () => {
  engine = startDemoEngine({ slots, tokensPerSecond: 200 });
  gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    ALLOWED_API_KEYS: [flooder, light, batch].join(','),
    BATCH_API_KEYS: batch,
  });
  await until('the slots are known', async () => (await health()).upstreams[0]?.slots === slots);
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

interface Health {
  inFlight: number;
  queued: number;
  upstreams: { slots?: number; usedSlots: number }[];
}

async function health(): Promise<Health> {
  return (await fetch(`${gateway.url}/health`)).json() as Promise<Health>;
}

beforeEach(() => until('all is quiet', async () => (await health()).inFlight === 0));

function complete(key: string, name: string, headers: Record<string, string> = {}) {
  return send(gateway.url, {
    headers: { Authorization: `Bearer ${key}`, ...headers },
    body: { prompt: name, max_tokens: 40, ignore_eos: true, stream: true },
  });
}

/** The names of the requests that have reached the engine since the start, in their order. */
function namesSince(count: number): string[] {
  return engine.requests
    .slice(count)
    .filter(({ method }) => method === 'POST')
    .map(({ body }) => String(JSON.parse(Buffer.from(body).toString()).prompt));
}

async function flood(key: string, name: string, count: number, headers = {}): Promise<RawClient[]> {
  const sent: RawClient[] = [];
  for (let i = 0; i < count; i++) sent.push(await complete(key, name, headers));
  return sent;
}

test('never sends an engine more than it has slots, and none stays idle', async () => {
  const before = engine.requests.length;
  const sent = await flood(flooder, 'flood', 12);
  let most = 0;
  let least = slots;
  await until('all have ended', async () => {
    most = Math.max(most, engine.busySlots() + engine.waiting());
    const { queued } = await health();
    if (queued > 2) least = Math.min(least, (await health()).upstreams[0]?.usedSlots ?? 0);
    return sent.every(({ ending }) => ending === 'whole');
  });
  expect(most).toBe(slots);
  expect(least).toBe(slots);
  expect(engine.waiting()).toBe(0);
  expect(namesSince(before)).toHaveLength(12);
});

test('a light caller goes first, however many requests of another wait', async () => {
  const before = engine.requests.length;
  const sent = await flood(flooder, 'flood', 20);
  await until('the flood waits', async () => (await health()).queued >= 18);
  const one = await complete(light, 'light');
  await one.ended();
  const names = namesSince(before);
  // Two requests were running, and at most one more of the flood could start in the same moment.
  expect(names.indexOf('light')).toBeGreaterThan(0);
  expect(names.indexOf('light')).toBeLessThanOrEqual(4);
  expect(Number(one.header('x-gateway-queue-ms'))).toBeGreaterThan(0);
  for (const each of sent) each.leaveByReset();
});

test('two callers that both flood get their requests in turn', async () => {
  const before = engine.requests.length;
  const first = await flood(flooder, 'a', 12);
  const second = await flood(light, 'b', 12);
  await until('both have had many', () => namesSince(before).length >= 16);
  const names = namesSince(before).slice(4, 16);
  const share = names.filter((name) => name === 'b').length;
  expect(share).toBeGreaterThanOrEqual(4);
  expect(share).toBeLessThanOrEqual(8);
  for (const each of [...first, ...second]) each.leaveByReset();
});

describe('a batch', () => {
  test('of a batch key waits behind interactive requests, and still gets its turn', async () => {
    const before = engine.requests.length;
    const blocking = await flood(flooder, 'blocking', 4);
    const waiting = await flood(batch, 'batch', 4);
    const sent = await flood(light, 'interactive', 8);
    await Promise.all(sent.map((each) => each.ended()));
    const names = namesSince(before);
    const early = names.slice(0, 8).filter((name) => name === 'batch').length;
    expect(early).toBeLessThanOrEqual(1);
    await Promise.all(waiting.map((each) => each.ended()));
    expect(waiting.every(({ status }) => status === 200)).toBe(true);
    for (const each of blocking) each.leaveByReset();
  });

  test('may be asked for with x-priority', async () => {
    const before = engine.requests.length;
    const blocking = await flood(flooder, 'blocking', 4);
    const waiting = await flood(light, 'batch', 2, { 'x-priority': 'batch' });
    const sent = await flood(light, 'interactive', 2);
    await Promise.all([...sent, ...waiting].map((each) => each.ended()));
    const names = namesSince(before);
    expect(names.lastIndexOf('interactive')).toBeLessThan(names.indexOf('batch'));
    for (const each of blocking) each.leaveByReset();
  });
});

test('a request that needs no slot does not wait', async () => {
  const sent = await flood(flooder, 'flood', 8);
  await until('the flood waits', async () => (await health()).queued >= 6);
  const tokens = await ask(gateway.url, {
    path: '/tokenize',
    headers: { Authorization: `Bearer ${flooder}` },
    body: { content: 'Hello world' },
  });
  expect(tokens.status).toBe(200);
  expect((await health()).queued).toBeGreaterThan(0);
  for (const each of sent) each.leaveByReset();
});

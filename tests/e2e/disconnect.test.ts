/**
 * A client that leaves, in whichever phase and way, ends its request at the engine at once: no slot stays taken, nothing
 * counts as in flight, the log says `aborted`. Half a body never reaches the engine.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { requestBytes, send, type Asked, RawClient } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { randomFrom } from '../support/random.ts';
import { soon, until } from '../support/wait.ts';
import { clientIdOf } from '../support/requestid.ts';

setDefaultTimeout(30_000);

const ways = ['leaveByFin', 'leaveByReset'] as const;
const many = { prompt: 'x', max_tokens: 2000, ignore_eos: true };

interface Phase {
  name: string;
  fault?: string;
  body: object;
  /** How many bytes of the answer have arrived when the client leaves; 0 for before its head. */
  bytes: number;
}

const phases: Phase[] = [
  {
    name: 'while a stream has no headers',
    fault: 'hang',
    body: { ...many, stream: true },
    bytes: 0,
  },
  {
    name: 'while a stream has headers only',
    fault: 'hang-body',
    body: { ...many, stream: true },
    bytes: 0,
  },
  { name: 'in the middle of a stream', body: { ...many, stream: true }, bytes: 300 },
  {
    name: 'while a stream stands still',
    fault: 'stall=2',
    body: { ...many, stream: true },
    bytes: 300,
  },
  { name: 'while a plain answer is made', body: many, bytes: 0 },
  {
    name: 'while a plain answer has headers only',
    fault: 'hang-body',
    body: { ...many, max_tokens: 1 },
    bytes: 0,
  },
];

const engine = startDemoEngine({ slots: 16, tokensPerSecond: 20 });
let gateway: Gateway;
let count = 0;

beforeAll(async () => {
  gateway = await startGateway({ LLM_SERVER_URL: engine.url, LOG_LEVEL: 'DEBUG' });
  await soon(
    'the kind',
    gateway.logged((line) => 'kind' in line),
  );
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

function withId({ fault, body }: Pick<Phase, 'fault' | 'body'>): { id: string; asked: Asked } {
  const id = `leaves-${++count}`;
  const headers = { 'X-Request-Id': id, ...(fault !== undefined && { 'X-Demo-Fault': fault }) };
  return { id, asked: { body, headers } };
}

function atEngine(id: string) {
  return engine.requests.find(({ headers }) => clientIdOf(headers) === id);
}

async function inFlight(): Promise<number> {
  const health = (await (await fetch(`${gateway.url}/health`)).json()) as { inFlight: number };
  return health.inFlight;
}

/** Returns the line about that request that has this message. */
function lineOf(id: string, msg: string) {
  const isIt = (line: Record<string, unknown>) => line['requestId'] === id && line['msg'] === msg;
  return soon(`"${msg}" of ${id}`, gateway.logged(isIt));
}

/** Sends a request and resolves when it has reached that phase. */
async function arrive(phase: Phase): Promise<{ id: string; exchange: RawClient }> {
  const { id, asked } = withId(phase);
  const exchange = await send(gateway.url, asked);
  await until(`the engine has ${id}`, () => atEngine(id)?.state === 'running');
  if (phase.bytes > 0) await exchange.hasBytes(phase.bytes);
  return { id, exchange };
}

/** Sends half of a request with a body, and resolves when the gateway has it. */
async function arriveHalf(): Promise<{ id: string; exchange: RawClient }> {
  const { id, asked } = withId({ body: many });
  const bytes = requestBytes(asked);
  const exchange = await RawClient.open(gateway.url);
  exchange.write(bytes.subarray(0, bytes.length - 5));
  await lineOf(id, 'request started');
  return { id, exchange };
}

async function expectNothingLeft(): Promise<void> {
  await until('no slot is busy', () => engine.busySlots() === 0 && engine.waiting() === 0);
  await until('nothing is in flight', async () => (await inFlight()) === 0);
}

for (const way of ways) {
  describe(way, () => {
    test('half a body never reaches the engine', async () => {
      const before = engine.requests.length;
      const { id, exchange } = await arriveHalf();
      exchange[way]();
      const line = await lineOf(id, 'request ended');
      expect(line).toMatchObject({ outcome: 'aborted', code: 'client_closed_request' });
      expect(line).toMatchObject({ status: 499 });
      await expectNothingLeft();
      expect(engine.requests.length).toBe(before);
    });

    for (const phase of phases) {
      test(phase.name, async () => {
        const { id, exchange } = await arrive(phase);
        exchange[way]();
        await until('the engine sees it', () => atEngine(id)?.state === 'aborted');
        expect(await lineOf(id, 'request ended')).toMatchObject({
          outcome: 'aborted',
          code: 'client_closed_request',
        });
        await expectNothingLeft();
      });
    }

    for (const isStream of [true, false]) {
      const kind = isStream ? 'stream' : 'plain answer';
      test(`while it does not read a ${kind}`, async () => {
        const body = { ...many, stream: isStream };
        const { id, exchange } = await arrive({
          name: '',
          fault: 'huge=100000000',
          body,
          bytes: 1,
        });
        exchange.pause();
        exchange[way]();
        await until('the engine sees it', () => atEngine(id)?.state === 'aborted');
        expect(await lineOf(id, 'request ended')).toMatchObject({
          outcome: 'aborted',
          code: 'client_closed_request',
        });
        await expectNothingLeft();
        exchange.leaveByReset();
      });
    }
  });
}

test('200 clients that leave in any phase leave nothing behind', async () => {
  const random = randomFrom(20_261);
  const choices = [...phases, undefined];
  const left = Array.from({ length: 200 }, async () => {
    const [phase, way] = [random.pick(choices), random.pick(ways)];
    const { id, exchange } = await (phase === undefined ? arriveHalf() : arrive(phase));
    exchange[way]();
    return id;
  });
  const ids = await Promise.all(left);
  for (const id of ids) expect((await lineOf(id, 'request ended'))['outcome']).toBe('aborted');
  await expectNothingLeft();
  const states = ids.flatMap((id) => atEngine(id)?.state ?? []);
  expect(new Set(states)).toEqual(new Set(['aborted']));
});

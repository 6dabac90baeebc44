/**
 * Every wait at the engine has its own deadline and its own code, a deadline of 0 is none, and no deadline takes one
 * kind of wait for another. That something does not happen is known once another request's deadline has passed.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { openBlackHole } from '../support/blackhole.ts';
import { ask, send, type Asked } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import {
  chunk,
  lastChunk,
  plain,
  startUpstream,
  streamHead,
  type Upstream,
} from '../support/rawengine.ts';
import { soon, until } from '../support/wait.ts';

setDefaultTimeout(30_000);

const stream: Asked = { body: { prompt: 'x', stream: true } };
const whole: Asked = { body: { prompt: 'x' } };
const frame = 'data: {"choices":[{"text":"a"}]}\n\n';
const noLimits = {
  CONNECT_TIMEOUT_MS: '0',
  FIRST_BYTE_TIMEOUT_MS: '0',
  IDLE_TIMEOUT_MS: '0',
  TOTAL_TIMEOUT_MS: '0',
};

/** How the engine answers the next requests: not at all, unless a test sets it. */
let answer: Parameters<typeof startUpstream>[0] = () => {};
let engine: Upstream;
const gateways: Gateway[] = [];

async function startBehind(env: Record<string, string>, url = engine.url): Promise<Gateway> {
  const gateway = await startGateway({ LLM_SERVER_URL: url, LLM_SERVER_KIND: 'openai', ...env });
  gateways.push(gateway);
  return gateway;
}

/** Returns the line about the end of the only request with that id. */
function endOf(gateway: Gateway, requestId: string | undefined) {
  const ended = gateway.logged(
    (line) => line['msg'] === 'request ended' && line['requestId'] === requestId,
  );
  return soon('the line about its end', ended, 10_000);
}

/**
 * Asks a gateway whose engine is a silent address; returns the codes of the answers and the engine's state at /health.
 */
async function askBehindSilence() {
  await using hole = await openBlackHole();
  const env = { ...noLimits, LLM_SERVER_KIND: 'auto', CONNECT_TIMEOUT_MS: '2900' };
  const gateway = await startBehind(env, hole.url);
  const codes: (string | undefined)[] = [];
  // The probes take longer than two requests together, so that a probe is open when the last request times out.
  while (codes.filter((code) => code === 'connect_timeout').length < 3) {
    codes.push((await ask(gateway.url, whole)).header('x-gateway-error'));
    await Bun.sleep(50);
  }
  const health = (await (await fetch(`${gateway.url}/health`)).json()) as {
    upstreams: { state: string }[];
  };
  return { codes, state: health.upstreams[0]?.state };
}

/** It takes longer than all other tests, so it runs at the same time. */
let silentAddress: ReturnType<typeof askBehindSilence>;

beforeAll(async () => {
  engine = await startUpstream((request, wire) => answer(request, wire));
  silentAddress = askBehindSilence();
  silentAddress.catch(() => {}); // The test that awaits it fails with the reason.
});

afterAll(async () => {
  for (const gateway of gateways) await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

describe('first byte and idle, of streams alone', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startBehind({
      ...noLimits,
      FIRST_BYTE_TIMEOUT_MS: '400',
      IDLE_TIMEOUT_MS: '400',
    });
  });

  test('a stream without a first byte ends with first_byte_timeout, and tells the client not to retry', async () => {
    let isOver = false;
    answer = (_request, wire) => void wire.over.then(() => (isOver = true));
    const exchange = await ask(gateway.url, stream);
    expect(exchange.status).toBe(504);
    expect(exchange.header('x-gateway-error')).toBe('first_byte_timeout');
    expect(exchange.header('x-should-retry')).toBe('false');
    expect(JSON.parse(exchange.text).error.code).toBe('first_byte_timeout');
    await until('the engine is left', () => isOver);
    const line = await endOf(gateway, exchange.header('x-request-id'));
    expect(line).toMatchObject({ status: 504, outcome: 'failed', code: 'first_byte_timeout' });
  });

  test('headers alone are no first byte', async () => {
    answer = (_request, wire) => wire.write(streamHead);
    const exchange = await ask(gateway.url, stream);
    expect(exchange.header('x-gateway-error')).toBe('first_byte_timeout');
  });

  test('a stream that stands still ends with idle_timeout as its last frame', async () => {
    let isOver = false;
    answer = (_request, wire) => {
      wire.write(streamHead);
      wire.write(chunk(frame));
      void wire.over.then(() => (isOver = true));
    };
    const exchange = await ask(gateway.url, stream);
    expect(exchange.ending).toBe('whole');
    const [first, last, ...more] = exchange.text.split('\n\n');
    expect(`${first}\n\n`).toBe(frame);
    expect(JSON.parse(String(last).slice('data: '.length)).error.code).toBe('idle_timeout');
    expect(more).toEqual(['']);
    await until('the engine is left', () => isOver);
    const line = await endOf(gateway, exchange.header('x-request-id'));
    expect(line).toMatchObject({ status: 200, outcome: 'failed', code: 'idle_timeout' });
  });

  test('a plain answer is silent for as long as it takes', async () => {
    let release = () => {};
    answer = (_request, wire) => (release = () => wire.write(plain('{"ok":1}')));
    const slow = await send(gateway.url, whole);
    await until('the engine has it', () => engine.requests.at(-1)?.body.length === 14);
    answer = () => {};
    for (let i = 0; i < 2; i++) {
      const late = await ask(gateway.url, stream);
      expect(late.header('x-gateway-error')).toBe('first_byte_timeout');
    }
    expect(slow.ending).toBe('open');
    release();
    expect((await slow.ended()).text).toBe('{"ok":1}');
  });

  test('every byte of a stream starts its idle time anew, comments too', async () => {
    answer = (_request, wire) => {
      wire.write(streamHead);
      let left = 8;
      const timer = setInterval(() => {
        wire.write(chunk(--left > 0 ? ': still here\n\n' : `data: [DONE]\n\n`));
        if (left > 0) return;
        clearInterval(timer);
        wire.write(lastChunk);
      }, 100);
    };
    const exchange = await ask(gateway.url, stream);
    expect(exchange.text).toBe(`${': still here\n\n'.repeat(7)}data: [DONE]\n\n`);
  });
});

describe('total', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startBehind({ ...noLimits, TOTAL_TIMEOUT_MS: '900' });
  });

  test('bounds a plain answer', async () => {
    answer = () => {};
    const exchange = await ask(gateway.url, whole);
    expect(exchange.status).toBe(504);
    expect(exchange.header('x-gateway-error')).toBe('total_timeout');
    expect(exchange.header('x-should-retry')).toBe('false');
  });

  test('bounds a stream that never stands still, with the error as its last frame', async () => {
    answer = (_request, wire) => {
      wire.write(streamHead);
      const timer = setInterval(() => wire.write(chunk(frame)), 50);
      void wire.over.then(() => clearInterval(timer));
    };
    const exchange = await ask(gateway.url, stream);
    expect(exchange.ending).toBe('whole');
    const frames = exchange.text.split('\n\n').slice(0, -1);
    const last = String(frames.pop());
    expect(JSON.parse(last.slice('data: '.length)).error.code).toBe('total_timeout');
    expect(new Set(frames)).toEqual(new Set([frame.trimEnd()]));
  });

  test('ends the request of a client that does not read', async () => {
    const many = chunk(`data: ${'x'.repeat(64 * 1024)}\n\n`);
    let isOver = false;
    answer = (_request, wire) => {
      wire.write(streamHead);
      for (let i = 0; i < 800; i++) wire.write(many);
      void wire.over.then(() => (isOver = true));
    };
    const exchange = await send(gateway.url, stream);
    await exchange.hasBytes();
    exchange.pause();
    await until('the engine is left', () => isOver);
    const line = await endOf(gateway, exchange.header('x-request-id'));
    expect(line).toMatchObject({ outcome: 'failed', code: 'total_timeout' });
    const health = (await (await fetch(`${gateway.url}/health`)).json()) as { inFlight: number };
    expect(health.inFlight).toBe(0);
    exchange.resume();
    expect((await exchange.ended()).ending).not.toBe('whole');
  });
});

// These tests share nothing and mostly wait, so they run at the same time.
describe.concurrent('connect, and no deadline', () => {
  test('an address that takes no connection ends with connect_timeout, and no other request waits for it', async () => {
    await using hole = await openBlackHole();
    const gateway = await startBehind({ ...noLimits, CONNECT_TIMEOUT_MS: '700' }, hole.url);
    const exchange = await ask(gateway.url, whole);
    expect(exchange.status).toBe(504);
    expect(exchange.header('x-gateway-error')).toBe('connect_timeout');
    expect(exchange.header('x-should-retry')).toBe('false');
    const next = await ask(gateway.url, stream);
    expect(next.status).toBe(503);
    expect(next.header('x-gateway-error')).toBe('no_healthy_upstream');
    expect(Number(next.header('retry-after'))).toBeGreaterThanOrEqual(1);
  });

  test('a silent address does not count as one that answers while it is probed', async () => {
    const { codes, state } = await silentAddress;
    // In between it is known to be away, and nobody waits for it.
    expect(new Set(codes)).toEqual(new Set(['connect_timeout', 'no_healthy_upstream']));
    expect(state).not.toBe('up');
  });

  for (const limitMs of [1_000, 300]) {
    test(`an engine that is busy for longer than ${limitMs} ms is no address that takes no connection`, async () => {
      await using hole = await openBlackHole();
      const env = { ...noLimits, CONNECT_TIMEOUT_MS: String(limitMs) };
      let release = () => {};
      await using busy = await startUpstream((_request, wire) => {
        release = () => wire.write(plain('{"ok":1}'));
      });
      const [gateway, clock] = [await startBehind(env, busy.url), await startBehind(env, hole.url)];
      const slow = await send(gateway.url, whole);
      // In between it is known to be away, and nobody waits for it.
      for (let count = 0; count < 2;) {
        const late = await ask(clock.url, whole);
        if (late.header('x-gateway-error') === 'connect_timeout') count++;
        else await Bun.sleep(20);
      }
      release();
      await slow.ended();
      expect([slow.status, slow.text]).toEqual([200, '{"ok":1}']);
    });
  }

  test('a deadline of 0 is none', async () => {
    const releases: (() => void)[] = [];
    await using idle = await startUpstream((request, wire) => {
      const isStream = request.body.includes('stream');
      if (isStream) wire.write(streamHead);
      const rest = [chunk('data: [DONE]\n\n'), lastChunk];
      releases.push(() => wire.write(isStream ? Buffer.concat(rest) : plain('{"ok":1}')));
    });
    await using mute = await startUpstream(() => {});
    const gateway = await startBehind(noLimits, idle.url);
    const clock = await startBehind({ ...noLimits, TOTAL_TIMEOUT_MS: '600' }, mute.url);
    const [silent, slow] = await Promise.all([send(gateway.url, stream), send(gateway.url, whole)]);
    await until('the engine has both', () => releases.length === 2);
    for (let i = 0; i < 3; i++) {
      expect((await ask(clock.url, whole)).header('x-gateway-error')).toBe('total_timeout');
    }
    for (const release of releases) release();
    expect((await silent.ended()).text).toBe('data: [DONE]\n\n');
    expect((await slow.ended()).text).toBe('{"ok":1}');
  });
});

/**
 * The client can tell how an answer ended: one that the engine left unfinished ends with its family's error event, with
 * a reset or with a 502, and never looks complete; a complete one passes, however its end is marked.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { gzipSync } from 'node:zlib';
import { send, type Asked, type RawClient } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import {
  chunk,
  headOf,
  lastChunk,
  plain,
  startUpstream,
  streamHead,
  type Upstream,
  type Wire,
} from '../support/rawengine.ts';
import { soon, until } from '../support/wait.ts';

setDefaultTimeout(30_000);

type Bytes = string | Uint8Array;
const done = 'data: [DONE]\n\n';
const cuts = ['end', 'reset'] as const;
const eventStream = { 'Content-Type': 'text/event-stream' };

let current: Wire | undefined;
let answer: (wire: Wire) => void = () => {};
let engine: Upstream;
let gateway: Gateway;
let count = 0;

beforeAll(async () => {
  engine = await startUpstream((_request, wire) => {
    current = wire;
    answer(wire);
  });
  gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    LLM_SERVER_KIND: 'openai',
    // Otherwise the gateway would hold back parts of frames, which are tested here.
    INJECT_USAGE: 'off',
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

/** Sends a request to an engine that writes these bytes, ends as told once the client has `seen` bytes of the body. */
async function ending(
  bytes: Bytes[],
  how: (typeof cuts)[number] | 'stay',
  { seen = 0, ...asked }: Asked & { seen?: number } = {},
) {
  const id = `ends-${++count}`;
  answer = (wire) => {
    for (const piece of bytes) wire.write(piece);
    if (seen === 0 && how !== 'stay') wire[how]();
  };
  const body = { prompt: 'x', stream: true };
  const exchange = await send(gateway.url, { body, ...asked, headers: { 'X-Request-Id': id } });
  if (seen > 0) {
    await exchange.hasBytes(seen);
    if (how !== 'stay') current?.[how]();
  }
  await exchange.ended();
  const isItsEnd = (line: Record<string, unknown>) =>
    line['requestId'] === id && line['msg'] === 'request ended';
  const line = await soon('the line about its end', gateway.logged(isItsEnd));
  return { exchange, line };
}

function expectEnvelope(exchange: RawClient, code: string): void {
  expect([exchange.status, exchange.ending]).toEqual([502, 'whole']);
  expect(exchange.header('x-gateway-error')).toBe(code);
  expect(JSON.parse(exchange.text).error.code).toBe(code);
}

const families = [
  {
    path: '/v1/chat/completions',
    frame: 'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
    error: /^data: (\{"error":.*\})\n\n$/,
    expected: { error: { type: 'server_error', param: null, code: 'upstream_reset' } },
  },
  {
    path: '/v1/messages',
    frame: 'event: content_block_delta\ndata: {"type":"content_block_delta","index":0}\n\n',
    error: /^event: error\ndata: (.*)\n\n$/,
    expected: { type: 'error', error: { type: 'api_error' } },
  },
  {
    path: '/v1/responses',
    frame: 'event: response.created\ndata: {"type":"response.created","sequence_number":4}\n\n',
    error: /^event: error\ndata: (.*)\n\n$/,
    expected: { type: 'error', code: 'upstream_reset', param: null, sequence_number: 5 },
  },
];

for (const how of cuts) {
  describe(`a connection that the engine ends by ${how}`, () => {
    for (const { path, frame, error, expected } of families) {
      test(`between two frames of ${path} ends with the error event`, async () => {
        const seen = frame.length * 2;
        const bytes = [streamHead, chunk(frame), chunk(frame)];
        const { exchange, line } = await ending(bytes, how, { path, seen });
        expect([exchange.status, exchange.ending]).toEqual([200, 'whole']);
        expect(exchange.text.slice(0, seen)).toBe(frame + frame);
        const [, json = 'no error event'] = error.exec(exchange.text.slice(seen)) ?? [];
        expect(JSON.parse(json)).toMatchObject(expected);
        expect(line).toMatchObject({ outcome: 'failed', code: 'upstream_reset', status: 200 });
      });

      test(`within a frame of ${path} ends with a reset`, async () => {
        const half = frame.slice(0, -1);
        const bytes = [streamHead, chunk(frame), chunk(half)];
        const seen = frame.length + half.length;
        const { exchange, line } = await ending(bytes, how, { path, seen });
        expect(exchange.ending).toBe('reset');
        expect(exchange.text).toBe(frame + half);
        expect(line).toMatchObject({ outcome: 'failed', code: 'upstream_reset' });
      });
    }

    test('after the last frame counts as complete', async () => {
      const { exchange, line } = await ending([streamHead, chunk(done)], how, { seen: 1 });
      expect([exchange.text, exchange.ending]).toEqual([done, 'whole']);
      expect(line).toMatchObject({ outcome: 'done' });
      expect(line['code']).toBeUndefined();
    });

    test('within a small plain answer is a 502', async () => {
      const bytes = plain('{"text":"abc"}').subarray(0, -2);
      const { exchange, line } = await ending([bytes], how);
      expectEnvelope(exchange, 'upstream_reset');
      expect(line).toMatchObject({ outcome: 'failed', code: 'upstream_reset', status: 502 });
    });

    test('within a large plain answer, or one in chunks, is a reset', async () => {
      const audio = { 'Content-Type': 'audio/mpeg' };
      const large = [headOf({ ...audio, 'Content-Length': '3000000' }), 'x'.repeat(2_000_000)];
      const chunked = [headOf({ ...audio, 'Transfer-Encoding': 'chunked' }), chunk('abc')];
      for (const [bytes, seen] of [
        [large, 2_000_000],
        [chunked, 3],
      ] as const) {
        const { exchange, line } = await ending([...bytes], how, { seen });
        expect([exchange.ending, exchange.length]).toEqual(['reset', seen]);
        expect(line).toMatchObject({ outcome: 'failed', code: 'upstream_reset' });
      }
    });

    test('within an encoded stream is a reset, also where frames end', async () => {
      const gzip = { ...eventStream, 'Content-Encoding': 'gzip', 'Transfer-Encoding': 'chunked' };
      const half = gzipSync('data: {}\n\n'.repeat(50)).subarray(0, 20);
      const { exchange, line } = await ending([headOf(gzip), chunk(half)], how, { seen: 20 });
      expect(exchange.ending).toBe('reset');
      expect(exchange.body).toEqual(half);
      expect(line).toMatchObject({ outcome: 'failed', code: 'upstream_reset' });
    });

    test('before the first byte of a stream is a 502', async () => {
      const { exchange, line } = await ending([streamHead], how);
      expectEnvelope(exchange, 'upstream_reset');
      expect(line).toMatchObject({ outcome: 'failed', code: 'upstream_reset' });
    });

    test('before its answer is a 502', async () => {
      const { exchange, line } = await ending([], how);
      expectEnvelope(exchange, 'upstream_reset');
      expect(line).toMatchObject({ outcome: 'failed', code: 'upstream_reset' });
    });
  });
}

describe('a body that ends with its connection', () => {
  const [{ frame }] = families as [(typeof families)[0]];

  test('passes when its last frame came', async () => {
    const { exchange, line } = await ending([headOf(eventStream), frame + done], 'end');
    expect([exchange.text, exchange.ending]).toEqual([frame + done, 'whole']);
    expect(line['outcome']).toBe('done');
  });

  test('ends with the error event when it did not', async () => {
    const { exchange, line } = await ending([headOf(eventStream), frame], 'end');
    expect(exchange.text).toStartWith(`${frame}data: {"error":`);
    expect(exchange.text).not.toContain('[DONE]');
    expect(line).toMatchObject({ outcome: 'failed', code: 'upstream_reset' });
  });

  test('is a 502 where the JSON is cut', async () => {
    const json = headOf({ 'Content-Type': 'application/json' });
    expectEnvelope((await ending([json, '{"text":"ab'], 'end')).exchange, 'upstream_reset');
    expect((await ending([json, '{"text":"ab"}'], 'end')).exchange.text).toBe('{"text":"ab"}');
  });
});

test('passes an event that is not JSON', async () => {
  const broken = 'data: {"choices":[{"text":\n\n';
  const bytes = [streamHead, chunk(broken), chunk(done), lastChunk];
  const { exchange, line } = await ending(bytes, 'stay');
  expect([exchange.text, exchange.ending]).toEqual([broken + done, 'whole']);
  expect(line['outcome']).toBe('done');
});

describe('what is not HTTP is a 502', () => {
  const head = (start: string) => `${start}\r\nContent-Length: 2\r\n\r\n{}`;
  const answers = [
    'SSH-2.0-OpenSSH_9.2\r\n',
    '\x00\x01 this is not HTTP \xff\r\n\r\n',
    head('ICY 200 OK'),
    head('HTTP/1.1 abc OK'),
  ];
  const statuses = ['000', '099', '600', '999'].map((status) => head(`HTTP/1.1 ${status} Odd`));
  for (const bytes of [...answers, ...statuses]) {
    test(JSON.stringify(bytes.slice(0, 20)), async () => {
      const { exchange, line } = await ending([bytes], 'end');
      expectEnvelope(exchange, 'upstream_malformed');
      expect(line).toMatchObject({ outcome: 'failed', code: 'upstream_malformed', status: 502 });
    });
  }
});

test('the gateway works after all that', async () => {
  const { exchange } = await ending([plain('{"ok":1}')], 'stay');
  expect([exchange.status, exchange.text]).toEqual([200, '{"ok":1}']);
  await until('nothing is in flight', async () => {
    const health = (await (await fetch(`${gateway.url}/health`)).json()) as { inFlight: number };
    return health.inFlight === 0;
  });
});

/**
 * An answer in the making for the response cache: what of it is kept, what is refused, and the memory that it asks for.
 */
import { describe, expect, test } from 'bun:test';
import { Recording, type Kept, type Result } from '../../../src/cache/recording.ts';
import { StreamEnds } from '../../../src/relay/lastframes.ts';
import { FrameStage } from '../../../src/wire/sse.ts';

/** Makes one, with what came of it, the bytes that it holds, and how often it said what came of it. */
function making(maxBytes = 100_000, limitBytes = Number.POSITIVE_INFINITY) {
  const seen = { result: undefined as Result | undefined, bytes: 0, settled: 0 };
  const recording = new Recording({
    maxBytes,
    reserve(bytes) {
      if (bytes > 0 && seen.bytes + bytes > limitBytes) return false;
      seen.bytes += bytes;
      return true;
    },
    settled(result) {
      seen.result = result;
      seen.settled++;
    },
  });
  return { recording, seen };
}

function textOf(result: Result | undefined): string {
  if (typeof result !== 'object') throw new Error(`there is no answer: ${result}`);
  return Buffer.from(result.bytes).toString();
}

const plain = (headers = {}, status = 200) =>
  new Response('', { status, headers: { 'content-length': '1', ...headers } });

/** Fills in an event stream as the relay would. */
function stream(
  recording: Recording,
  chunks: string[],
  outcome: 'done' | 'aborted' | 'failed',
): void {
  const ends = new StreamEnds();
  const stage = new FrameStage(ends);
  recording.open(plain({ 'content-type': 'text/event-stream' }), ends);
  for (const chunk of chunks) recording.add(stage.push(Buffer.from(chunk)) as Uint8Array);
  recording.end(outcome);
}

describe('what is kept', () => {
  test('has the bytes and headers of the answer, but for the connection and cookies', () => {
    const { recording, seen } = making();
    recording.open(
      plain({
        'content-type': 'application/json',
        'set-cookie': 'a=b',
        connection: 'x-hop',
        'x-hop': '1',
        'x-engine': '2',
      }),
    );
    recording.add(Buffer.from('{"a":'));
    recording.add(Buffer.from('"ä"}'));
    recording.end('done');
    const kept = seen.result as Kept;
    expect(textOf(kept)).toBe('{"a":"ä"}');
    // It holds no memory beside those.
    expect(kept.bytes.buffer.byteLength).toBe(kept.bytes.length);
    expect(kept.headers.toJSON()).toEqual({ 'content-type': 'application/json', 'x-engine': '2' });
  });

  test('does not change when the chunk that it came from is used again', () => {
    const { recording, seen } = making();
    const chunk = Buffer.from('hello');
    recording.open(plain());
    recording.add(chunk);
    chunk.fill(0);
    recording.end('done');
    expect(textOf(seen.result)).toBe('hello');
  });

  const whole = 'data: {"x":1}\n\ndata: [DONE]\n\n';
  const streams: [string, string[]][] = [
    ['of OpenAI', [whole]],
    ['in pieces', whole.split(/(?=[dx])/)],
    ['of Anthropic', ['event: a\ndata: {}\n\n', 'event: message_stop\ndata: {}\n\n']],
    ['of llama.cpp', ['data: {"content":"a"}\n\n', 'data: {"stop":true}\n\n']],
  ];
  for (const [name, chunks] of streams) {
    test(`is a whole stream ${name}`, () => {
      const { recording, seen } = making();
      stream(recording, chunks, 'done');
      expect(textOf(seen.result)).toBe(chunks.join(''));
    });
  }

  test('is a stream whose client left once it had the last frame', () => {
    const { recording, seen } = making();
    stream(recording, [whole], 'aborted');
    expect(textOf(seen.result)).toBe(whole);
  });

  test('is an answer without a length whose framing tells its end', () => {
    for (const name of ['transfer-encoding', 'content-type']) {
      const { recording, seen } = making();
      const value = name === 'content-type' ? 'application/json' : 'chunked';
      recording.open(new Response('', { headers: { [name]: value } }));
      recording.add(Buffer.from('1'));
      recording.end('done');
      expect(textOf(seen.result)).toBe('1');
    }
  });
});

describe('what is not kept', () => {
  const heads: [string, Response][] = [
    ['an error', plain({}, 400)],
    ['another status', plain({}, 206)],
    ['an encoded body', plain({ 'content-encoding': 'gzip' })],
    ['what the engine wants nobody to store', plain({ 'cache-control': 'private, No-Store' })],
    ['what ends by closing', new Response('', { headers: { 'content-type': 'audio/mpeg' } })],
  ];
  for (const [name, head] of heads) {
    test(name, () => {
      const { recording, seen } = making();
      recording.open(head);
      recording.add(Buffer.from('x'));
      recording.end('done');
      expect(seen).toEqual({ result: 'unkept', bytes: 0, settled: 1 });
    });
  }

  for (const outcome of ['failed', 'aborted'] as const) {
    test(`a plain answer that ${outcome}`, () => {
      const { recording, seen } = making();
      recording.open(plain());
      recording.add(Buffer.from('x'));
      recording.end(outcome);
      const result = outcome === 'aborted' ? 'left' : 'unkept';
      expect(seen).toEqual({ result, bytes: 0, settled: 1 });
    });
  }

  test('an empty answer', () => {
    const { recording, seen } = making();
    recording.open(plain({ 'content-length': '0' }));
    recording.end('done');
    expect(seen).toEqual({ result: 'unkept', bytes: 0, settled: 1 });
  });

  test('an answer whose head never came', () => {
    const { recording, seen } = making();
    recording.end('done');
    expect(seen.result).toBe('unkept');
  });

  const streams: [string, string[], 'done' | 'aborted' | 'failed'][] = [
    ['that was cut', ['data: {"x":1}\n\n'], 'failed'],
    ['that ends without a last frame', ['data: {"x":1}\n\n'], 'done'],
    ['without a frame', [': hello\n\n'], 'done'],
    ['whose last frame is not whole', ['data: {"x":1}\n\ndata: [DONE]\n'], 'done'],
    ['that ends with an error', ['data: {"x":1}\n\n', 'data: {"error":{"code":1}}\n\n'], 'done'],
    ['with an error before its end', ['data: {"error":"no"}\n\ndata: [DONE]\n\n'], 'done'],
    ['of Anthropic with an error', ['event: error\ndata: {}\n\n'], 'done'],
    ['of a response that failed', ['event: response.failed\ndata: {}\n\n'], 'done'],
    [
      'that an engine broke off',
      ['data: {"choices":[{"finish_reason":"abort"}]}\n\ndata: [DONE]\n\n'],
      'done',
    ],
  ];
  for (const [name, chunks, outcome] of streams) {
    test(`a stream ${name}`, () => {
      const { recording, seen } = making();
      stream(recording, chunks, outcome);
      expect(seen.result).toBe('unkept');
    });
  }

  for (const body of [
    '{"error":{"message":"no"}}',
    '{"choices":[{"finish_reason": "error"}]}',
    '{"status":"failed"}',
  ]) {
    test(`a failure under status 200: ${body}`, () => {
      const { recording, seen } = making();
      recording.open(plain());
      recording.add(Buffer.from(body));
      recording.end('done');
      expect(seen.result).toBe('unkept');
    });
  }
});

describe('memory', () => {
  test('is asked for as it grows, and given back once at the end', () => {
    const { recording, seen } = making();
    recording.open(plain());
    const held: number[] = [];
    for (let i = 0; i < 5; i++) {
      recording.add(Buffer.alloc(3_000, 'x'));
      held.push(seen.bytes);
    }
    expect(held).toEqual([4_096, 8_192, 16_384, 16_384, 16_384]);
    recording.end('done');
    recording.end('failed');
    recording.add(Buffer.from('late'));
    expect([seen.bytes, seen.settled]).toEqual([0, 1]);
    expect(textOf(seen.result)).toBe('x'.repeat(15_000));
  });

  test('has a bound for one answer', () => {
    const { recording, seen } = making(10_000);
    recording.open(plain());
    recording.add(Buffer.alloc(10_000));
    expect(seen).toEqual({ result: undefined, bytes: 10_000, settled: 0 });
    recording.add(Buffer.alloc(1));
    expect(seen).toEqual({ result: 'unkept', bytes: 0, settled: 1 });
  });

  test('can be refused to it', () => {
    const { recording, seen } = making(100_000, 5_000);
    recording.open(plain());
    recording.add(Buffer.alloc(4_000));
    recording.add(Buffer.alloc(4_000));
    recording.end('done');
    expect(seen).toEqual({ result: 'unkept', bytes: 0, settled: 1 });
  });
});

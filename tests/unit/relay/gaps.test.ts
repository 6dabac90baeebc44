/**
 * The gaps of an event stream: filled between frames alone, and only while somebody reads.
 */
import { describe, expect, test } from 'bun:test';
import { FilledGaps, idleFrame } from '../../../src/relay/gaps.ts';
import type { Family } from '../../../src/wire/errors.ts';

type Result = { done: boolean; value?: Uint8Array | undefined };

/** A stream that a test feeds, read with its gaps filled; its timer fires by hand. */
function start(family: Family = 'openai') {
  let reading = Promise.withResolvers<Result>();
  let reads = 0;
  let timer: (() => void) | undefined;
  const gaps = new FilledGaps({
    read() {
      reads++;
      reading = Promise.withResolvers<Result>();
      return reading.promise;
    },
    everyMs: 2_000,
    family,
    setTimer(callback, ms) {
      expect(ms).toBe(2_000);
      timer = callback;
      return () => (timer = undefined);
    },
  });
  const text = async (next: Promise<Result>) => {
    const { done, value } = await next;
    return done ? undefined : Buffer.from(value ?? []).toString();
  };
  return {
    reads: () => reads,
    isTimed: () => timer !== undefined,
    read: () => text(gaps.read()),
    /** Reads what the stream sends now. */
    readSent(sent: string) {
      const next = text(gaps.read());
      reading.resolve({ done: false, value: Buffer.from(sent) });
      return next;
    },
    fire: () => timer?.(),
    send: (sent: string) => reading.resolve({ done: false, value: Buffer.from(sent) }),
    end: () => reading.resolve({ done: true }),
    fail: (error: Error) => reading.reject(error),
  };
}

const filler = ': waiting for the next token\n\n';

describe('a gap', () => {
  test('is filled before the first frame and between two, as often as its time passes', async () => {
    const stream = start();
    const early = stream.read();
    stream.fire();
    expect(await early).toBe(filler);
    expect(await stream.readSent('data: 1\n\n')).toBe('data: 1\n\n');
    for (let i = 0; i < 2; i++) {
      const next = stream.read();
      stream.fire();
      expect(await next).toBe(filler);
    }
    const next = stream.read();
    stream.send('data: 2\n\n');
    expect(await next).toBe('data: 2\n\n');
    // The read that was under way in the gaps went on.
    expect(stream.reads()).toBe(2);
    expect(stream.isTimed()).toBe(false);
  });

  test.each([
    ['data: 1', '\n\n'],
    ['data: 1\n', '\n'],
    ['data: 1\r\n', '\r\n'],
    ['data: 0\n\nda', 'ta: 1\n\n'],
  ])('in the middle of a frame is left alone: %j', async (begun, rest) => {
    const stream = start();
    await stream.readSent(begun);
    const next = stream.read();
    expect(stream.isTimed()).toBe(false);
    stream.send(rest);
    expect(await next).toBe(rest);
    void stream.read();
    expect(stream.isTimed()).toBe(true);
  });

  test.each(['data: [DONE]\n\n', 'event: message_stop\ndata: {}\n\n'])(
    'after the last frame is left alone: %j',
    async (last) => {
      const stream = start();
      await stream.readSent(last);
      const next = stream.read();
      expect(stream.isTimed()).toBe(false);
      stream.end();
      expect(await next).toBeUndefined();
    },
  );

  test('has no timer while nobody reads', async () => {
    const stream = start();
    await stream.readSent('data: 1\n\n');
    expect(stream.isTimed()).toBe(false);
  });

  test('ends as the stream does', async () => {
    const stream = start();
    const next = stream.read();
    stream.fail(new Error('reset'));
    expect(await next.catch(String)).toBe('Error: reset');
    expect(stream.isTimed()).toBe(false);
  });
});

test('Anthropic gets an event, the others a comment', () => {
  expect(idleFrame('openai', 'a')).toBe(': a\n\n');
  expect(idleFrame('responses', 'a')).toBe(': a\n\n');
  expect(idleFrame('anthropic', 'a')).toBe(': a\nevent: ping\ndata: {"type": "ping"}\n\n');
});

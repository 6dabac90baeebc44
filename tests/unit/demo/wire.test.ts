/** The parts of the simulated engine's answers. */
import { describe, expect, test } from 'bun:test';
import {
  chunkOf,
  EngineError,
  headOf,
  jsonAnswer,
  lastChunk,
  pause,
  streamAnswer,
  untilGone,
} from '../../../src/demo/wire.ts';

const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString();

test('a head has the reason phrase of its status, a default one for an unknown status, and its headers', () => {
  expect(textOf(headOf(200, { A: '1', B: '2' }))).toBe(
    'HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nA: 1\r\nB: 2\r\n\r\n',
  );
  expect(textOf(headOf(418, {}))).toStartWith('HTTP/1.1 418 Simulated\r\n');
});

test('a chunk has its size in hexadecimal', () => {
  expect(textOf(chunkOf(Buffer.from('x'.repeat(26))))).toBe(`1a\r\n${'x'.repeat(26)}\r\n`);
  expect(textOf(lastChunk)).toBe('0\r\n\r\n');
});

test('an answer in JSON has its type, and the headers that it is given', () => {
  const { status, headers, body } = jsonAnswer({ a: 1 }, 201, { 'X-More': 'yes' });
  expect([status, textOf(body as Uint8Array)]).toEqual([201, '{"a":1}']);
  expect(headers).toEqual({ 'Content-Type': 'application/json; charset=utf-8', 'X-More': 'yes' });
});

test('a stream is one of events', () => {
  const parts = (async function* () {})();
  const answer = streamAnswer(parts);
  expect(answer).toMatchObject({ status: 200, headers: { 'Content-Type': 'text/event-stream' } });
  expect(answer.body).toBe(parts);
});

test('an error is the answer of llama.cpp, with its additional members', () => {
  const { answer } = new EngineError(400, 'some_type', 'No.', { n_ctx: 7 });
  expect(answer.status).toBe(400);
  expect(JSON.parse(textOf(answer.body as Uint8Array))).toEqual({
    error: { code: 400, message: 'No.', type: 'some_type', n_ctx: 7 },
  });
});

describe('waiting', () => {
  const reason = new Error('the client has left');

  test.each([0, 1])('a pause of %d ms ends', async (ms) => {
    const { signal } = new AbortController();
    expect(await pause(ms, signal)).toBeUndefined();
  });

  test.each([0, 3_600_000])('a pause of %d ms ends when the client leaves', async (ms) => {
    const leaving = new AbortController();
    const waiting = pause(ms, leaving.signal);
    leaving.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(pause(ms, leaving.signal)).rejects.toBe(reason);
  });

  test('for the end of a client ends with it, or at once if it has left', async () => {
    const leaving = new AbortController();
    const waiting = untilGone(leaving.signal);
    leaving.abort(reason);
    await expect(waiting).rejects.toBe(reason);
    await expect(untilGone(leaving.signal)).rejects.toBe(reason);
  });
});

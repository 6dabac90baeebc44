/**
 * Bodies that are read only as far as they are short.
 */
import { describe, expect, test } from 'bun:test';
import { readShort, readUpTo } from '../../../src/wire/shortbody.ts';

function readerOf(...chunks: string[]) {
  let reads = 0;
  return {
    reads: () => reads,
    async read() {
      const value = chunks[reads++];
      return value === undefined ? { done: true } : { done: false, value: Buffer.from(value) };
    },
  };
}

describe('readUpTo', () => {
  test('reads a body of the bound to its end', async () => {
    const { bytes, isEnd } = await readUpTo(readerOf('ab', 'cd'), 4);
    expect([bytes.toString(), isEnd]).toEqual(['abcd', true]);
  });

  test('stops with the chunk that goes beyond the bound', async () => {
    const reader = readerOf('ab', 'cd', 'ef', 'gh');
    const { bytes, isEnd } = await readUpTo(reader, 5);
    expect([bytes.toString(), isEnd, reader.reads()]).toEqual(['abcdef', false, 3]);
  });
});

describe('readShort', () => {
  const answerOf = (length: string | undefined) => {
    const headers = { 'x-engine': 'a', ...(length !== undefined && { 'content-length': length }) };
    return new Response('text', { status: 422, headers });
  };

  test('returns the body, and the answer with it', async () => {
    const short = await readShort(answerOf('4'), 4);
    expect(Buffer.from(short?.bytes ?? []).toString()).toBe('text');
    const { status, headers } = short?.answer ?? new Response();
    expect([status, headers.get('x-engine')]).toEqual([422, 'a']);
    expect(await short?.answer.text()).toBe('text');
  });

  test.each(['5', undefined, 'x'])('leaves an answer alone that announces %j', async (length) => {
    const answer = answerOf(length);
    expect(await readShort(answer, 4)).toBeUndefined();
    expect(await answer.text()).toBe('text');
  });
});

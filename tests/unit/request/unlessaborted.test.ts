/** A wait that a signal ends. */
import { expect, test } from 'bun:test';
import { unlessAborted } from '../../../src/request/unlessaborted.ts';

const never = new Promise<never>(() => {});

test('what comes first counts: the value, the failure, or the reason of the signal', async () => {
  const { signal } = new AbortController();
  expect(await unlessAborted(Promise.resolve(7), signal)).toBe(7);
  expect(unlessAborted(Promise.reject(new Error('failed')), signal)).rejects.toThrow('failed');
  const leaving = new AbortController();
  const waiting = unlessAborted(never, leaving.signal);
  leaving.abort(new Error('left'));
  expect(waiting).rejects.toThrow('left');
});

test('a signal that fired before ends it at once', () => {
  const signal = AbortSignal.abort(new Error('gone'));
  expect(unlessAborted(never, signal)).rejects.toThrow('gone');
});

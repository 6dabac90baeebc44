/**
 * The memory of all bodies: who gets some, and who does not.
 */
import { describe, expect, test } from 'bun:test';
import { bodyBounds, BodyMemory } from '../../../src/request/bodymemory.ts';

const refused = expect.objectContaining({
  code: 'queue_full',
  status: 503,
  headers: { 'retry-after': '1' },
});

describe('memory', () => {
  const start = () => new BodyMemory({ maxBytes: 100, maxBytesPerKey: 40 });

  test('is there up to the bound of a key, and the others have theirs', () => {
    const memory = start();
    memory.take('a', 30);
    memory.take('a', 10);
    expect(() => memory.take('a', 1)).toThrow(refused);
    expect(() => memory.take('a', 1)).toThrow(/this API key .* 40 bytes \(MAX_BODY_BYTES_TOTAL\)/);
    memory.take('b', 40);
    expect(memory.bytes).toBe(80);
  });

  test('is there up to the bound of all', () => {
    const memory = start();
    for (const key of ['a', 'b', 'c']) memory.take(key, 30);
    expect(() => memory.take('d', 11)).toThrow(/all clients .* 100 bytes/);
    memory.take('d', 10);
  });

  test('can be taken again when it was given back, and a refusal takes none', () => {
    const memory = start();
    memory.take('a', 40);
    expect(() => memory.take('a', 40)).toThrow(refused);
    memory.giveBack('a', 40);
    expect(memory.bytes).toBe(0);
    memory.take('a', 40);
  });
});

describe('the bounds', () => {
  const megabyte = 1024 * 1024;

  test('are a sixteenth of the memory and a quarter of that for a key', () => {
    expect(bodyBounds(undefined, 32 * megabyte, 16_384 * megabyte)).toEqual({
      maxBytes: 1_024 * megabyte,
      maxBytesPerKey: 256 * megabyte,
    });
  });

  test('are those of the setting where there is one', () => {
    expect(bodyBounds(400, 10, 1e9)).toEqual({ maxBytes: 400, maxBytesPerKey: 100 });
  });

  test('let one body of the largest size in', () => {
    expect(bodyBounds(400, 200, 1e9)).toEqual({ maxBytes: 400, maxBytesPerKey: 200 });
    expect(bodyBounds(undefined, 200, 16)).toEqual({ maxBytes: 200, maxBytesPerKey: 200 });
  });
});

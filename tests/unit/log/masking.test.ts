/** What people may see of a secret. */
import { describe, expect, test } from 'bun:test';
import { maskKey } from '../../../src/log/masking.ts';

describe('the hint of a key', () => {
  test.each([
    ['sk-0123456789abcdef', 'sk-…cdef'],
    ['sk-0123456789abc', 'sk-…9abc'],
    ['sk-test-key-1', '…-1'],
    ['12345678', '…78'],
    ['EMPTY', '…'],
    ['', '…'],
  ])('%j is shown as %j', (key, mask) => {
    expect(maskKey(key)).toBe(mask);
  });
});

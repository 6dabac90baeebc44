/**
 * Searches and decodings of bytes have the same results as Buffer's, on a plain Uint8Array and on a part of one.
 */
import { describe, expect, test } from 'bun:test';
import { decode, hasText, lastIndexOfText, viewOf } from '../../../src/wire/bytes.ts';

const text = '\uFEFF{"a":"Привет 👋","b":1,"a":2}';
const whole = new TextEncoder().encode(text);
const framed = new TextEncoder().encode(`"a"${text}"a"`);

describe.each([
  ['a whole array', whole],
  ['a part of an array', framed.subarray(3, -3)],
])('of %s', (_what, bytes) => {
  test('decode returns the text, including a byte order mark', () => {
    expect(decode(bytes, 'utf8')).toBe(text);
    expect(decode(bytes, 'latin1')).toBe(Buffer.from(text).toString('latin1'));
  });

  test('decode returns a range, with a replacement character for a character that is cut', () => {
    expect(decode(bytes, 'utf8', 3, 7)).toBe('{"a"');
    expect(decode(bytes, 'utf8', 9, 12)).toBe('П\uFFFD');
    expect(decode(bytes, 'utf8', 5, 5)).toBe('');
  });

  test('hasText returns whether the bytes contain the text', () => {
    expect(hasText(bytes, 'Привет')).toBe(true);
    expect(hasText(bytes, '"c"')).toBe(false);
  });

  test('lastIndexOfText searches backwards from an offset', () => {
    const first = 4;
    const last = bytes.length - 6;
    expect(lastIndexOfText(bytes, '"a"')).toBe(last);
    expect(lastIndexOfText(bytes, '"a"', last - 1)).toBe(first);
    expect(lastIndexOfText(bytes, '"a"', 0)).toBe(-1);
  });

  test('viewOf shows the same memory', () => {
    expect(viewOf(bytes).toString()).toBe(text);
    expect(viewOf(bytes).buffer).toBe(bytes.buffer as ArrayBuffer);
  });
});

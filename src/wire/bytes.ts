/**
 * Text search and decoding for a plain Uint8Array, borrowed from Buffer. They work on the array itself: making a Buffer
 * or a subarray first would create its ArrayBuffer object, which costs more than the search.
 */
const { includes, lastIndexOf, toString } = Buffer.prototype;

/** Returns the bytes `[start, end)` as text. */
export function decode(
  bytes: Uint8Array,
  encoding: 'utf8' | 'latin1',
  start = 0,
  end = bytes.length,
): string {
  return toString.call(bytes, encoding, start, end);
}

/** Returns whether the bytes contain the text. */
export function hasText(bytes: Uint8Array, text: string): boolean {
  return includes.call(bytes, text);
}

/** Returns the offset of the last occurrence of the text that begins at or before `from`, -1 if there is none. */
export function lastIndexOfText(bytes: Uint8Array, text: string, from = bytes.length): number {
  return lastIndexOf.call(bytes, text, from);
}

/** Returns a Buffer over the same memory, without copying. Making one costs more than a single short search. */
export function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

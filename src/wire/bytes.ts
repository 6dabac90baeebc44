/**
 * Searches and decodings that a plain Uint8Array lacks, borrowed from Buffer. They take the bytes as they are: a Buffer
 * or a subarray of them would first make an ArrayBuffer for them, and that costs more than the work itself.
 */
const { includes, lastIndexOf, toString } = Buffer.prototype;

/** Gives the bytes `[start, end)` as text. */
export function decode(
  bytes: Uint8Array,
  encoding: 'utf8' | 'latin1',
  start = 0,
  end = bytes.length,
): string {
  return toString.call(bytes, encoding, start, end);
}

/** Says whether the text stands anywhere in the bytes. */
export function hasText(bytes: Uint8Array, text: string): boolean {
  return includes.call(bytes, text);
}

/** Gives the last offset, at or before `from`, at which the text begins; -1 where it does not stand there. */
export function lastIndexOfText(bytes: Uint8Array, text: string, from = bytes.length): number {
  return lastIndexOf.call(bytes, text, from);
}

/** Gives a Buffer of the bytes, for work that outweighs what making one costs; nothing is copied. */
export function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

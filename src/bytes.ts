/**
 * Bytes seen as a Buffer, for the searches and decodings that a plain Uint8Array lacks.
 */

/** Gives a view of the bytes; nothing is copied. */
export function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

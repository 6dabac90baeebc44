/**
 * The frames of a zstd body: which bytes are whole.
 */
import { describe, expect, test } from 'bun:test';
import { constants, zstdCompressSync } from 'node:zlib';
import { ZstdFrames } from '../../../src/wire/zstdframes.ts';

const text = Buffer.from('{"prompt": "hello"}'.repeat(20));
/** Random bytes make blocks that are stored, more than one. */
const noise = Buffer.from(crypto.getRandomValues(new Uint8Array(60_000)));
const checked = { params: { [constants.ZSTD_c_checksumFlag]: 1 } };
const skippable = Buffer.from([0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);

const bodies: [string, Uint8Array][] = [
  ['one frame', zstdCompressSync(text)],
  ['an empty frame', zstdCompressSync('')],
  ['a frame of one repeated byte', zstdCompressSync(Buffer.alloc(300_000))],
  [
    'a frame of several blocks',
    zstdCompressSync(Buffer.concat([noise, noise, noise, noise, noise])),
  ],
  ['a frame with a checksum', zstdCompressSync(text, checked)],
  ['two frames', Buffer.concat([zstdCompressSync(text), zstdCompressSync(text, checked)])],
  ['a skippable frame and a frame', Buffer.concat([skippable, zstdCompressSync(text)])],
];

function isWhole(...parts: Uint8Array[]): boolean {
  const frames = new ZstdFrames();
  for (const part of parts) frames.push(part);
  return frames.isWhole;
}

describe('isWhole', () => {
  test.each(bodies)('%s, also byte by byte', (_, bytes) => {
    expect(isWhole(bytes)).toBe(true);
    expect(isWhole(...Array.from(bytes, (byte) => Uint8Array.of(byte)))).toBe(true);
  });

  test.each(bodies)('not %s that is cut short', (_, bytes) => {
    for (const lost of [1, 2, 3, 4, 5, 9]) {
      expect(isWhole(bytes.subarray(0, Math.max(bytes.length - lost, 0)))).toBe(false);
    }
  });

  test('not what is followed by bytes of no frame, nor nothing', () => {
    expect(isWhole(zstdCompressSync(text), Buffer.from('garbage'))).toBe(false);
    expect(isWhole()).toBe(false);
  });
});

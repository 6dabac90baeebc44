/**
 * The coding of a request's body: which are known, what they decode to, and what is damaged.
 */
import { describe, expect, test } from 'bun:test';
import * as zlib from 'node:zlib';
import { codingOf, decodedParts, type Coding } from '../../../src/request/coding.ts';
import { GatewayError } from '../../../src/wire/errors.ts';

const text = Buffer.from(JSON.stringify({ prompt: 'hello '.repeat(50_000) }));
const coded: [string, Coding, Buffer][] = [
  ['gzip', 'gzip', zlib.gzipSync(text)],
  ['deflate', 'deflate', zlib.deflateSync(text)],
  ['deflate without its wrapper', 'deflate', zlib.deflateRawSync(text)],
  ['br', 'br', zlib.brotliCompressSync(text)],
  ['zstd', 'zstd', zlib.zstdCompressSync(text)],
];

interface Source {
  read: number;
  hasEnded: boolean;
}

/** Yields the parts, and notes in `source` how many were asked for. */
async function* partsOf(parts: Iterable<Uint8Array>, source?: Source) {
  try {
    for (const part of parts) {
      if (source !== undefined) source.read++;
      yield part;
    }
  } finally {
    if (source !== undefined) source.hasEnded = true;
  }
}

function decode(coding: Coding, parts: AsyncIterable<Uint8Array>, maxBytes = 1e9) {
  const error = () => new GatewayError('body_too_large');
  return decodedParts(parts, coding, { maxBytes, error });
}

async function wholeOf(parts: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(parts));
}

async function codeOf(parts: AsyncIterable<Uint8Array>): Promise<unknown> {
  try {
    return `${(await wholeOf(parts)).length} bytes`;
  } catch (error) {
    return error instanceof GatewayError ? error.code : error;
  }
}

describe('codingOf', () => {
  test.each([null, '', ' ', 'identity', 'Identity'])('%j is none', (header) => {
    expect(codingOf(header)).toBeUndefined();
  });

  test.each([
    ['gzip', 'gzip'],
    [' GZip ', 'gzip'],
    ['x-gzip', 'gzip'],
    ['deflate', 'deflate'],
    ['br', 'br'],
    ['zstd', 'zstd'],
  ] as const)('%j is %s', (header, coding) => {
    expect(codingOf(header)).toBe(coding);
  });

  test.each(['compress', 'gzip, br', 'gzip,gzip', 'aes128gcm'])(
    '%j is refused with the list of what is known',
    (header) => {
      try {
        codingOf(header);
        expect.unreachable();
      } catch (error) {
        expect(error).toMatchObject({
          code: 'unsupported_content_encoding',
          headers: { 'accept-encoding': 'gzip, deflate, br, zstd' },
        });
      }
    },
  );
});

describe('decodedParts', () => {
  test.each(coded)('decodes %s, whole and byte by byte', async (_, coding, bytes) => {
    expect((await wholeOf(decode(coding, partsOf([bytes])))).equals(text)).toBe(true);
    const single = Array.from(bytes, (byte) => Uint8Array.of(byte));
    expect((await wholeOf(decode(coding, partsOf(single)))).equals(text)).toBe(true);
  });

  test.each(coded)('refuses %s that is cut short anywhere', async (_, coding, bytes) => {
    for (const length of [0, 1, 2, bytes.length >> 1, bytes.length - 1]) {
      const cut = decode(coding, partsOf([bytes.subarray(0, length)]));
      expect([length, await codeOf(cut)]).toEqual([length, 'invalid_content_encoding']);
    }
  });

  test.each(['gzip', 'br', 'zstd', 'deflate'] as const)('refuses what is no %s', async (coding) => {
    const code = await codeOf(decode(coding, partsOf([Buffer.from('{"prompt": "plain"}')])));
    expect(code).toBe('invalid_content_encoding');
  });

  test('refuses a window of zstd that HTTP does not allow', async () => {
    const { ZSTD_c_windowLog, ZSTD_c_enableLongDistanceMatching: long } = zlib.constants;
    const noise = Buffer.from(
      Array.from({ length: 300 }, () => Math.random())
        .join()
        .repeat(4000),
    );
    const wide = zlib.zstdCompressSync(noise, { params: { [ZSTD_c_windowLog]: 25, [long]: 1 } });
    expect(await codeOf(decode('zstd', partsOf([wide])))).toBe('invalid_content_encoding');
  });

  test('takes no more coded bytes than a body may have', async () => {
    const source = { read: 0, hasEnded: false };
    const empty = zlib.gzipSync('');
    const parts = partsOf(
      Array.from({ length: 100 }, () => empty),
      source,
    );
    expect(await codeOf(decode('gzip', parts, 10 * empty.length))).toBe('body_too_large');
    expect(source).toEqual({ read: 11, hasEnded: true });
  });

  test('unpacks no further than is read, and then lets go of the body', async () => {
    const source = { read: 0, hasEnded: false };
    const noise = crypto.getRandomValues(new Uint8Array(60_000));
    const pieces = Array.from({ length: 100 }, () => zlib.gzipSync(noise));
    for await (const part of decode('gzip', partsOf(pieces, source))) {
      expect(part.length).toBeGreaterThan(0);
      break;
    }
    await Bun.sleep(0);
    expect(source.hasEnded).toBe(true);
    expect(source.read).toBeLessThan(pieces.length / 2);
  });

  test.each(coded)('fails as its body does: %s', async (_, coding, bytes) => {
    const gone = new Error('the client has left');
    async function* broken() {
      yield bytes.subarray(0, 10);
      throw gone;
    }
    expect(await codeOf(decode(coding, broken()))).toBe(gone);
  });
});

/**
 * The coding of a request's body (Content-Encoding), which is undone as the body arrives. The decoders work outside the
 * event loop, and only as far as somebody reads.
 */
import type { Transform } from 'node:stream';
import { GatewayError } from '../wire/errors.ts';
import { ZstdFrames } from '../wire/zstdframes.ts';

/** What clients may send; `accept-encoding` of a refusal. */
const codings = ['gzip', 'deflate', 'br', 'zstd'] as const;
export type Coding = (typeof codings)[number];

/** How much is decoded at a time. */
const chunkSize = 64 * 1024;
/** The largest window of HTTP's zstd (RFC 9659), as a power of two: a larger one is memory that the body itself asks for. */
const windowBits = 23;

/**
 * Returns the coding that a Content-Encoding header names; `undefined` without one. Throws
 * `unsupported_content_encoding`, also for several.
 */
export function codingOf(header: string | null): Coding | undefined {
  if (header === null) return undefined;
  const name = header
    .trim()
    .toLowerCase()
    .replace(/^x-gzip$/, 'gzip');
  if (name === '' || name === 'identity') return undefined;
  const coding = codings.find((each) => each === name);
  if (coding !== undefined) return coding;
  throw new GatewayError('unsupported_content_encoding', {
    headers: { 'accept-encoding': codings.join(', ') },
  });
}

/**
 * Decodes the parts of a body. Throws `body_too_large` when more than `maxBytes` have come still coded; the reader counts
 * the decoded ones and stops when they are too many. Throws `invalid_content_encoding` for what cannot be decoded or was
 * cut short, and what `coded` throws.
 */
export async function* decodedParts(
  coded: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  coding: Coding,
  tooLarge: { maxBytes: number; error(): GatewayError },
): AsyncGenerator<Uint8Array> {
  const { pipeline } = await import('node:stream');
  const frames = coding === 'zstd' ? new ZstdFrames() : undefined;
  let broken: { cause: unknown } | undefined;
  async function* counted(): AsyncGenerator<Uint8Array> {
    let size = 0;
    try {
      for await (const part of coded) {
        size += part.length;
        if (size > tooLarge.maxBytes) throw tooLarge.error();
        frames?.push(part);
        yield part;
      }
    } catch (cause) {
      broken = { cause };
      throw cause;
    }
  }
  const parts = counted();
  const first = await parts.next();
  const decoder = await decoderOf(coding, first.value?.[0]);
  async function* all(): AsyncGenerator<Uint8Array> {
    if (first.value !== undefined) yield first.value;
    yield* parts;
  }
  // What goes wrong is thrown by the decoder, too.
  pipeline(all(), decoder, () => {});
  try {
    yield* decoder;
  } catch (cause) {
    throw broken === undefined ? undecodable(coding, cause) : broken.cause;
  } finally {
    decoder.destroy();
  }
  if (frames?.isWhole === false) throw undecodable(coding, undefined);
}

function undecodable(coding: Coding, cause: unknown): GatewayError {
  return new GatewayError('invalid_content_encoding', {
    message: `The body cannot be decoded as "${coding}", as its Content-Encoding says: it is damaged or was cut short. Send it again, or uncompressed and without that header.`,
    cause,
  });
}

/** @param firstByte of the body; `undefined` if it is empty */
async function decoderOf(coding: Coding, firstByte: number | undefined): Promise<Transform> {
  const zlib = await import('node:zlib');
  if (coding === 'gzip') return zlib.createGunzip({ chunkSize });
  if (coding === 'br') return zlib.createBrotliDecompress({ chunkSize });
  if (coding === 'zstd') {
    const params = { [zlib.constants.ZSTD_d_windowLogMax]: windowBits };
    return zlib.createZstdDecompress({ chunkSize, params });
  }
  // Some clients send "deflate" without the wrapper of zlib, which begins with an 8 in its low bits (RFC 9110 section 8.4.1.2).
  const isWrapped = ((firstByte ?? 8) & 15) === 8;
  return isWrapped ? zlib.createInflate({ chunkSize }) : zlib.createInflateRaw({ chunkSize });
}

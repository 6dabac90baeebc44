/**
 * Sends an answer of the simulated engine, intact or with the faults that the request asked for in
 * `x-demo-fault: NAME[=NUMBER][, ...]`. The content of the answer is decided elsewhere (demo/answers.ts).
 *
 * A fault that happens "after N tokens" of a stream happens in the middle of a plain body.
 */
import { constants, createGzip, gzipSync } from 'node:zlib';
import type { Answer, Part, Wire } from './wire.ts';
import { EngineError, chunkOf, headOf, jsonAnswer, lastChunk, pause, untilGone } from './wire.ts';

/** Every fault and what it does. */
export const faults = {
  hang: 'takes a slot and never answers; the slot is free when the client leaves',
  'hang-body': 'sends the head, then nothing',
  reset: 'RST before the head',
  refuse: 'RST before the head, and no connection is accepted for N milliseconds (default 1000)',
  'empty-close': 'FIN before the head',
  'not-http': 'sends bytes that are not HTTP, then FIN',
  'reset-mid': 'RST after N tokens',
  cut: 'FIN after N tokens, without the last chunk or the rest of content-length',
  'cut-frame': 'FIN in the middle of the frame after N tokens',
  'cut-plain': 'FIN in the middle of a plain body with content-length',
  'close-delimited': 'neither content-length nor chunks: FIN marks the end of the complete body',
  'close-delimited-cut': 'like close-delimited, but FIN after N tokens',
  stall: 'N tokens, then silence until the client leaves',
  malformed: 'an event that is not JSON after N tokens, then the rest; a plain body is unchanged',
  'split-utf8': 'every byte of the body is a separate chunk and write',
  drip: 'like split-utf8, with N milliseconds between the bytes',
  gzip: 'content-encoding: gzip, flushed with every event',
  huge: 'a body of N bytes, as fast as the client reads',
  cors: 'the access-control headers of llama.cpp',
  'error-500': 'the 500 of llama.cpp',
  'error-503-loading': 'the 503 of llama.cpp while it loads its model',
  'error-429': 'too many requests, with Retry-After: 7',
  'error-401': 'the 401 of llama.cpp for a missing or wrong key',
  status: 'an error with the status N',
} as const;

export type FaultName = keyof typeof faults;
export type Faults = ReadonlyMap<FaultName, number>;

/** Parses the header. Throws a 400 that lists all faults if it names an unknown one. */
export function parseFaults(header: string | undefined): Faults {
  const asked = new Map<FaultName, number>();
  if (!header) return asked;
  for (const item of header.split(',')) {
    const [name = '', number = '0'] = item.trim().split('=');
    if (!Object.hasOwn(faults, name) || !/^\d+$/.test(number)) {
      const known = Object.keys(faults).join(', ');
      throw new EngineError(
        400,
        'invalid_request_error',
        `unknown fault ${item}; known faults: ${known}`,
      );
    }
    asked.set(name as FaultName, Number(number));
  }
  return asked;
}

/** Returns how long to accept no connection, in milliseconds; 0 if the request did not ask for `refuse`. */
export function refusalMs(asked: Faults): number {
  return asked.has('refuse') ? asked.get('refuse') || 1_000 : 0;
}

/** Returns the error answer that the request asked for; `undefined` if it asked for none. */
export function faultAnswer(asked: Faults): Answer | undefined {
  const status = asked.get('status');
  if (status !== undefined) return statusAnswer(status);
  if (asked.has('error-500')) {
    return new EngineError(500, 'server_error', 'Simulated failure').answer;
  }
  if (asked.has('error-503-loading')) return loadingModel.answer;
  if (asked.has('error-401')) return invalidKey.answer;
  if (asked.has('error-429')) {
    const error = { code: 429, message: 'Simulated: too many requests', type: 'rate_limit_error' };
    return jsonAnswer({ error }, 429, { 'Retry-After': '7' });
  }
  return undefined;
}

/** Returns an error answer with that status. */
export function statusAnswer(status: number): Answer {
  const { answer } = new EngineError(status, 'server_error', `Simulated status ${status}`);
  // RFC 9110 section 15: an answer with these statuses has no body.
  const isBodiless = status < 200 || status === 204 || status === 304;
  return isBodiless ? { ...answer, body: new Uint8Array() } : answer;
}

export const loadingModel = new EngineError(503, 'unavailable_error', 'Loading model');
export const invalidKey = new EngineError(401, 'authentication_error', 'Invalid API Key');

/** Applies a fault that comes before any answer. Resolves to whether it ended the connection. */
export async function strikeAtOnce(wire: Wire, asked: Faults): Promise<boolean> {
  if (asked.has('reset') || asked.has('refuse')) {
    wire.reset();
    return true;
  }
  if (asked.has('not-http'))
    await wire.write(Buffer.from('\x00\x01 this is not HTTP \xff\r\n\r\n'));
  if (!asked.has('not-http') && !asked.has('empty-close')) return false;
  wire.end();
  return true;
}

const midFaults = [
  'reset-mid',
  'cut',
  'cut-frame',
  'cut-plain',
  'close-delimited-cut',
  'stall',
  'malformed',
] as const;
/** Time for the client to read what was sent: a reset, and in some clients an early FIN, discards unread bytes. */
const beforeBreakMs = 50;
const malformedFrame = Buffer.from('data: {"choices":[{"text":\n\n');

function halfOf(bytes: Uint8Array): Uint8Array {
  return bytes.subarray(0, Math.ceil(bytes.length / 2));
}

async function* inHalves(body: Uint8Array): AsyncGenerator<Part> {
  const half = halfOf(body);
  yield { kind: 'opening', bytes: half };
  yield { kind: 'closing', bytes: body.subarray(half.length) };
}

/** Yields the parts and applies the fault after its number of tokens; unless it is `malformed`, no part follows. */
async function* struck(
  parts: AsyncIterable<Part>,
  fault: { name: string; tokens: number },
  wire: Wire,
): AsyncGenerator<Part> {
  let tokens = 0;
  let isStruck = false;
  for await (const part of parts) {
    if (!isStruck && part.kind !== 'opening' && tokens === fault.tokens) {
      isStruck = true;
      if (fault.name === 'malformed') {
        yield { kind: 'token', bytes: malformedFrame };
      } else {
        // An empty part makes the head be sent.
        const isInFrame = fault.name === 'cut-frame';
        yield { kind: 'token', bytes: isInFrame ? halfOf(part.bytes) : new Uint8Array() };
        if (fault.name !== 'stall') {
          await pause(beforeBreakMs, wire.signal);
          if (fault.name === 'reset-mid') wire.reset();
          else wire.end();
        }
        await untilGone(wire.signal);
      }
    }
    if (part.kind === 'token') tokens++;
    yield part;
  }
}

/** Compresses the parts into one gzip body; the client can decode each part as soon as it arrives. */
async function* gzipped(parts: AsyncIterable<Part>): AsyncGenerator<Part> {
  const gzip = createGzip();
  const ready: Uint8Array[] = [];
  gzip.on('data', (bytes: Uint8Array) => ready.push(bytes));
  for await (const { kind, bytes } of parts) {
    gzip.write(bytes);
    await new Promise<void>((resolve) => gzip.flush(constants.Z_SYNC_FLUSH, () => resolve()));
    yield { kind, bytes: Buffer.concat(ready.splice(0)) };
  }
  const ended = new Promise((resolve) => gzip.once('end', resolve));
  gzip.end();
  await ended;
  yield { kind: 'closing', bytes: Buffer.concat(ready) };
}

/** Returns the body as parts, with the faults applied, and its length if it is known in advance. */
function bodyOf(answer: Answer, asked: Faults, wire: Wire) {
  const isGzip = asked.has('gzip');
  const mid = midFaults.find((name) => asked.has(name));
  if (answer.body instanceof Uint8Array) {
    const body = isGzip ? gzipSync(Buffer.from(answer.body)) : answer.body;
    const parts = inHalves(body);
    if (mid === undefined || mid === 'malformed') return { parts, lengthBytes: body.length };
    return { parts: struck(parts, { name: mid, tokens: 0 }, wire), lengthBytes: body.length };
  }
  let parts = answer.body;
  if (mid !== undefined) {
    parts = struck(parts, { name: mid, tokens: asked.get(mid) as number }, wire);
  }
  if (isGzip) return { parts: gzipped(parts), lengthBytes: undefined };
  return { parts, lengthBytes: answer.lengthBytes };
}

/**
 * Sends the answer with its faults. The head is sent with the first part of the body, as in llama.cpp.
 * Resolves to whether the connection can serve another request; rejects if the connection ends before the answer.
 */
export async function deliver(wire: Wire, answer: Answer, asked: Faults): Promise<boolean> {
  const headers = { ...answer.headers, ...wire.headers };
  if (asked.size === 0 && answer.body instanceof Uint8Array) {
    headers['Content-Length'] = String(answer.body.length);
    await wire.write(Buffer.concat([headOf(answer.status, headers), answer.body]));
    return true;
  }
  const { parts, lengthBytes } = bodyOf(answer, asked, wire);
  const isCloseDelimited = asked.has('close-delimited') || asked.has('close-delimited-cut');
  const isChunked = lengthBytes === undefined && !isCloseDelimited;
  if (isCloseDelimited) headers['Connection'] = 'close';
  else if (isChunked) headers['Transfer-Encoding'] = 'chunked';
  else headers['Content-Length'] = String(lengthBytes);
  if (asked.has('gzip')) headers['Content-Encoding'] = 'gzip';
  if (asked.has('cors')) {
    headers['Access-Control-Allow-Origin'] ||= 'http://engine.example';
    headers['Access-Control-Allow-Credentials'] = 'true';
  }

  const dripMs = asked.get('drip') ?? asked.get('split-utf8');
  let isHeadSent = false;
  for await (const { bytes } of parts) {
    if (!isHeadSent) await wire.write(headOf(answer.status, headers));
    isHeadSent = true;
    if (asked.has('hang-body')) await untilGone(wire.signal);
    // An empty piece is not sent: as a chunk it would end the body.
    const pieces = dripMs === undefined ? [bytes] : inBytes(bytes);
    for (const piece of pieces) {
      if (piece.length > 0) await wire.write(isChunked ? chunkOf(piece) : piece);
      if (dripMs !== undefined) await pause(dripMs, wire.signal);
    }
  }
  if (isChunked) await wire.write(lastChunk);
  if (isCloseDelimited) wire.end();
  return !isCloseDelimited;
}

function* inBytes(bytes: Uint8Array): Generator<Uint8Array> {
  for (let i = 0; i < bytes.length; i++) yield bytes.subarray(i, i + 1);
}

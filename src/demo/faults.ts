/**
 * Puts an answer of the simulated engine onto the wire, whole or with the faults that the request asked for in
 * `x-demo-fault: NAME[=NUMBER][, ...]`. It decides nothing about the answer itself.
 *
 * Where a fault strikes "after N tokens" of a stream, it strikes a plain body in its middle.
 */
import { constants, createGzip, gzipSync } from 'node:zlib';
import type { Answer, Part, Wire } from './wire.ts';
import { EngineError, chunkOf, headOf, jsonAnswer, lastChunk, pause, untilGone } from './wire.ts';

/** What each does, for whoever reads a request, a test or an error message. */
export const faults = {
  hang: 'takes a slot and never answers, until the client leaves',
  'hang-body': 'sends the head, then nothing',
  reset: 'RST before the head',
  refuse: 'the same, and for N milliseconds (1000 if not said) no connection is accepted',
  'empty-close': 'FIN before the head',
  'not-http': 'answers with something that is not HTTP, then FIN',
  'reset-mid': 'RST after N tokens',
  cut: 'FIN after N tokens, without the last chunk or the rest of content-length',
  'cut-frame': 'FIN in the middle of the frame after N tokens',
  'cut-plain': 'FIN in the middle of a plain body with content-length',
  'close-delimited': 'neither content-length nor chunks: the body ends by FIN, whole',
  'close-delimited-cut': 'the same, but FIN after N tokens',
  stall: 'N tokens, then silence until the client leaves',
  malformed: 'an event that is not JSON after N tokens, then goes on; a plain body is left alone',
  'split-utf8': 'every byte of the body is a chunk and a write of its own',
  drip: 'the same, with N milliseconds between them',
  gzip: 'content-encoding: gzip, flushed with every event',
  huge: 'a body of N bytes, as fast as the client reads',
  cors: 'the access-control headers of llama.cpp',
  'error-500': 'llama.cpp failed',
  'error-503-loading': 'llama.cpp is loading its model',
  'error-429': 'too many requests, with Retry-After: 7',
  'error-401': 'llama.cpp wants a key',
  status: 'an error of the status N, whatever it is',
} as const;

export type FaultName = keyof typeof faults;
export type Faults = ReadonlyMap<FaultName, number>;

/** Reads the header; throws a 400 that lists the faults when it names one that there is not. */
export function parseFaults(header: string | undefined): Faults {
  const asked = new Map<FaultName, number>();
  if (!header) return asked;
  for (const item of header.split(',')) {
    const [name = '', number = '0'] = item.trim().split('=');
    if (!Object.hasOwn(faults, name) || !/^\d+$/.test(number)) {
      const known = Object.keys(faults).join(', ');
      throw new EngineError(400, 'invalid_request_error', `no fault ${item}; there are ${known}`);
    }
    asked.set(name as FaultName, Number(number));
  }
  return asked;
}

/** Gives for how long no connection is to be accepted, in milliseconds; 0 where that was not asked for. */
export function refusalMs(asked: Faults): number {
  return asked.has('refuse') ? asked.get('refuse') || 1_000 : 0;
}

/** Gives the error answer that was asked for, if one was. */
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

/** Gives an error of that status. */
export function statusAnswer(status: number): Answer {
  const { answer } = new EngineError(status, 'server_error', `Simulated status ${status}`);
  // RFC 9110 section 15: these have no body.
  const isBodiless = status < 200 || status === 204 || status === 304;
  return isBodiless ? { ...answer, body: new Uint8Array() } : answer;
}

export const loadingModel = new EngineError(503, 'unavailable_error', 'Loading model');
export const invalidKey = new EngineError(401, 'authentication_error', 'Invalid API Key');

/** Strikes before an answer is even made; gives whether it did, and the connection is over then. */
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
/** A reset discards what the client has not read yet, and some clients do so at an early FIN; this lets them read. */
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

/** Passes the parts on and strikes after the tokens that the fault counts; after that only the wire's end follows. */
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
        // Without a byte it makes the head go out at least.
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

/** Compresses the parts as one gzip body; each can be decoded as soon as it has arrived. */
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

/** Gives the body as parts with the faults that change them, and its length where the head can say it. */
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
 * Sends the answer with its faults. The head leaves with the first part of the body, as llama.cpp does it.
 * Gives whether the connection can serve another request; rejects when it is over before the answer is.
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
    // Without a byte there is nothing to send, and as a chunk it would end the body.
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

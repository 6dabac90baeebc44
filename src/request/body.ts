/**
 * The body of a client's request: read as bytes, bounded, looked at once. It refuses only what no engine could answer;
 * the engine judges the rest.
 */
import { GatewayError } from '../wire/errors.ts';
import { JsonBody, valueOf } from '../wire/jsonbody.ts';
import { JsonScan } from '../wire/jsonscan.ts';
import type { LiveRequest } from './live.ts';
import { namesModelElsewhere, namesModelInQuery, namesModelToOllama } from '../wire/modelnames.ts';
import { searchOf, type Route } from '../wire/routes.ts';
import type { BodyMemory } from './bodymemory.ts';
import type { Caller } from './caller.ts';
import { codingOf, decodedParts, type Coding } from './coding.ts';
import { pace } from './pace.ts';

/** To read in parts, which can be counted, costs 20 µs and more: conversations are read at once. */
const uncountedBytes = 1024 * 1024;

/** Where a body comes from; a Request or a Response is one. */
export interface BodySource {
  /** Resolves with the whole body. Looking at `body` makes a stream of it, which costs more. */
  bytes(): Promise<Uint8Array>;
  readonly body: AsyncIterable<Uint8Array> | null;
}

/**
 * Reads a whole body as bytes, decoded, at most `maxBytes` of them, and counts them in `request`: also those of a body that
 * never became whole, unless it is small, and the announced length of one that is too large. Takes its memory first; who
 * called gives that back. Throws `body_too_large`, `queue_full`, `unsupported_content_encoding` and
 * `invalid_content_encoding`.
 * @param headers of the request, for its `content-length` and `content-encoding`
 */
export async function readBody(
  source: BodySource,
  headers: Headers,
  request: LiveRequest,
  { maxBytes, memory }: { maxBytes: number; memory: BodyMemory },
): Promise<Uint8Array<ArrayBuffer>> {
  const coding = codingOf(headers.get('content-encoding'));
  const declared = headers.get('content-length');
  const announced = declared === null ? Number.NaN : Number(declared);
  if (announced > maxBytes && Number.isSafeInteger(announced)) {
    request.bodyCounted(announced);
    throw tooLarge(maxBytes);
  }
  const isKnown = Number.isSafeInteger(announced) && coding === undefined;
  const length = isKnown ? announced : undefined;
  const take = (more: number) => {
    memory.take(request.caller.keyId, more);
    request.bodyHolds(request.bodyHeld + more);
  };
  if (length !== undefined) take(length);
  const bytes = await new Promise<Uint8Array<ArrayBuffer>>((resolve, reject) => {
    request.onAbort(reject);
    // Bun returns it over a buffer that nobody shares.
    const reading =
      length !== undefined && length <= uncountedBytes
        ? (source.bytes() as Promise<Uint8Array<ArrayBuffer>>)
        : readCounted(partsOf(source, coding, maxBytes), request, { maxBytes, length, take });
    reading.then(resolve, reject);
  });
  request.onAbort(undefined);
  request.bodyCounted(bytes.length);
  return bytes;
}

function partsOf(
  { body }: BodySource,
  coding: Coding | undefined,
  maxBytes: number,
): AsyncIterable<Uint8Array> | null {
  if (coding === undefined || body === null) return body;
  return decodedParts(body, coding, { maxBytes, error: () => tooLarge(maxBytes) });
}

function tooLarge(maxBytes: number): GatewayError {
  return new GatewayError('body_too_large', {
    message: `The body is larger than ${maxBytes} bytes (MAX_BODY_BYTES).`,
  });
}

/** The first memory for a body of unknown length, which is doubled each time it is full. */
const firstBytes = 64 * 1024;

interface Counting {
  maxBytes: number;
  /** The announced length; `undefined` without one, and of a coded body. */
  length: number | undefined;
  /** Takes more memory. Throws where there is none. */
  take(bytes: number): void;
}

/** Reads and counts a body until it ends or has more than `maxBytes`. */
async function readCounted(
  parts: AsyncIterable<Uint8Array> | null,
  request: LiveRequest,
  { maxBytes, length, take }: Counting,
): Promise<Uint8Array<ArrayBuffer>> {
  // The system gives memory to what is written alone, so that a body which does not come costs none.
  let bytes = new Uint8Array(length ?? 0);
  let size = 0;
  for await (const part of parts ?? []) {
    if (request.code !== undefined) break; // Nobody waits for it any more.
    const end = size + part.length;
    request.bodyCounted(end);
    if (end > maxBytes) throw tooLarge(maxBytes);
    if (end > bytes.length) {
      const wanted = Math.min(Math.max(end, firstBytes, 2 * bytes.length), maxBytes);
      take(wanted - bytes.length);
      bytes = await enlarged(bytes, size, wanted);
    }
    bytes.set(part, size);
    size = end;
    // Many small parts come as one if they are not asked for at once.
    if (pace.isUp() || part.length < smallPartBytes) await pace.turn();
  }
  return bytes.subarray(0, size);
}

/** Returns a larger buffer with the first `size` bytes, copied in slices. */
async function enlarged(
  bytes: Uint8Array,
  size: number,
  wanted: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const larger = new Uint8Array(wanted);
  for (let at = 0; at < size; at += copiedBytes) {
    if (pace.isUp()) await pace.turn();
    larger.set(bytes.subarray(at, Math.min(at + copiedBytes, size)), at);
  }
  return larger;
}

/** Less than what a socket gives at once, so that more may follow at once. */
const smallPartBytes = 4 * 1024;

/** How much is copied between two looks at the clock. */
const copiedBytes = 1024 * 1024;

/** A body up to this size is parsed whatever the others do: it takes a millisecond at most. */
const hastyBytes = 16 * 1024;
/** A body up to this size is parsed at once, which takes some milliseconds whatever is in it. Larger ones are scanned. */
const parsedBytes = 32 * 1024;
/** How much is scanned between two looks at the clock. */
const scannedBytes = 16 * 1024;

/**
 * Returns what a JSON body has at its top level; of a large body later, because it is read in slices. Throws or rejects
 * with `invalid_json`, or with the reason of the request's signal.
 */
export function readJson(
  bytes: Uint8Array<ArrayBuffer>,
  request: LiveRequest,
): JsonBody | Promise<JsonBody> {
  const isParsed = bytes.length <= parsedBytes;
  if (isParsed && (bytes.length <= hastyBytes || !pace.isUp())) return JsonBody.parse(bytes);
  return isParsed ? parseInTurn(bytes, request) : scan(bytes, request);
}

async function parseInTurn(bytes: Uint8Array, request: LiveRequest): Promise<JsonBody> {
  await pace.turn();
  request.signal.throwIfAborted();
  return JsonBody.parse(bytes);
}

async function scan(bytes: Uint8Array, request: LiveRequest): Promise<JsonBody> {
  const found = new JsonScan(bytes);
  do {
    if (pace.isUp()) await pace.turn();
    request.signal.throwIfAborted();
  } while (!found.read(scannedBytes));
  // Without a prototype: a member may be called as one of its members.
  const fields: Record<string, unknown> = Object.create(null);
  for (const member of found.members) {
    if (pace.isUp()) await pace.turn();
    fields[member.key] = valueOf(bytes, member);
  }
  return new JsonBody(bytes, fields, found.members);
}

/** Takes from the members of a body what the gateway needs. Throws what no engine could answer. */
export function inspect(route: Route, json: JsonBody, request: LiveRequest): void {
  const { fields } = json;
  const { stream } = fields;
  const model = fields['model'] ?? (route.path === '/api/show' ? fields['name'] : undefined);
  if (model !== undefined && model !== null && typeof model !== 'string') {
    throw new GatewayError('invalid_field', {
      message: '"model" must be a string. Leave it out for the default model.',
      param: 'model',
    });
  }
  if (request.caller.models !== undefined) assertOneModel(json, route);
  request.asks(model ?? undefined, route.streamsUnasked ? stream !== false : stream === true);
  const { needsOneOf } = route;
  if (needsOneOf !== undefined && !needsOneOf.some((field) => fields[field] !== undefined)) {
    throw new GatewayError('missing_field', {
      message: `The body needs ${needsOneOf.map((field) => `"${field}"`).join(' or ')}.`,
      param: needsOneOf[0] as string,
    });
  }
}

/** Throws when an engine may find another model in the body than the one that is checked. */
function assertOneModel(json: JsonBody, { family }: Route): void {
  const { fields } = json;
  // Of two names the last is checked, and replaces the other. Go keeps the one before a null.
  const isTakenBack =
    fields['model'] === null && json.members.filter(({ key }) => key === 'model').length > 1;
  const isElsewhere = (key: string) =>
    namesModelElsewhere(key) || (family === 'ollama' && namesModelToOllama(key));
  const name = isTakenBack ? 'model' : Object.keys(fields).find(isElsewhere);
  if (name === undefined) return;
  const isSpelling = /^model(\[|$)/i.test(name);
  throw new GatewayError('invalid_field', {
    message: isSpelling
      ? 'Write "model" in small letters, once: this API key may not use every model.'
      : `Leave out "${name}", which can name a model: this API key may not use every model.`,
    param: isSpelling ? 'model' : name,
  });
}

/**
 * Throws when the query of a URL can name a model to an engine and the caller may not use all of them: only the body's
 * is checked.
 */
export function assertQueryWithoutModel(url: string, { models }: Caller): void {
  if (models === undefined || !namesModelInQuery(searchOf(url))) return;
  throw new GatewayError('invalid_field', {
    message: 'Name the model in the body, not in the query: this API key may not use every model.',
    param: 'model',
  });
}

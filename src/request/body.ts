/**
 * The body of a client's request: read as bytes, bounded, looked at once. It refuses only what no engine could answer;
 * the engine judges the rest.
 */
import { GatewayError } from '../wire/errors.ts';
import { parseObject, type Fields } from '../wire/json.ts';
import type { LiveRequest } from './live.ts';
import { namesModelElsewhere, namesModelInQuery } from '../wire/modelnames.ts';
import { searchOf, type Route } from '../wire/routes.ts';
import type { Caller } from './caller.ts';

/** To read in parts, which can be counted, costs 20 µs and more: conversations are read at once. */
const uncountedBytes = 1024 * 1024;

/** Where a body comes from; a Request or a Response is one. */
export interface BodySource {
  /** Resolves with the whole body. Looking at `body` makes a stream of it, which costs more. */
  bytes(): Promise<Uint8Array>;
  readonly body: ReadableStream<Uint8Array> | null;
}

/**
 * Reads a whole body as bytes, at most `maxBytes` of them, and counts them in `request`: also those of a body that never
 * became whole, unless it is small, and the announced length of one that is too large.
 * @param declared its `content-length`; `null` without one
 */
export async function readBody(
  source: BodySource,
  declared: string | null,
  request: LiveRequest,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const length = declared === null ? Number.POSITIVE_INFINITY : Number(declared);
  if (declared !== null && length > maxBytes) {
    request.bodyCounted(length);
    throw tooLarge(maxBytes);
  }
  const bytes = await new Promise<Uint8Array<ArrayBuffer>>((resolve, reject) => {
    request.onAbort(reject);
    // Bun returns both over a buffer that nobody shares.
    const reading =
      length > uncountedBytes ? readCounted(source, request, maxBytes) : source.bytes();
    (reading as Promise<Uint8Array<ArrayBuffer>>).then(resolve, reject);
  });
  if (bytes.length > maxBytes) throw tooLarge(maxBytes);
  request.onAbort(undefined);
  request.bodyCounted(bytes.length);
  return bytes;
}

function tooLarge(maxBytes: number): GatewayError {
  return new GatewayError('body_too_large', {
    message: `The body is larger than ${maxBytes} bytes (MAX_BODY_BYTES).`,
  });
}

/** Reads and counts a body until it ends or has more than `maxBytes`. */
async function readCounted(
  source: BodySource,
  request: LiveRequest,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const sink = new Bun.ArrayBufferSink();
  sink.start({ asUint8Array: true });
  for await (const part of source.body ?? []) {
    sink.write(part);
    request.bodyCounted(request.bytesIn + part.length);
    if (request.bytesIn > maxBytes) break;
  }
  return sink.end() as Uint8Array<ArrayBuffer>;
}

/** Takes from the body what the gateway needs and returns its members. Throws what no engine could answer. */
export function inspect(route: Route, body: Uint8Array, request: LiveRequest): Fields {
  const fields = parseObject(body);
  const { model, stream } = fields;
  if (model !== undefined && model !== null && typeof model !== 'string') {
    throw new GatewayError('invalid_field', {
      message: '"model" must be a string. Leave it out for the default model.',
      param: 'model',
    });
  }
  if (request.caller.models !== undefined) assertOneModel(fields);
  request.asks(model ?? undefined, stream === true);
  const { needsOneOf } = route;
  if (needsOneOf !== undefined && !needsOneOf.some((field) => fields[field] !== undefined)) {
    throw new GatewayError('missing_field', {
      message: `The body needs ${needsOneOf.map((field) => `"${field}"`).join(' or ')}.`,
      param: needsOneOf[0] as string,
    });
  }
  return fields;
}

/** Throws when an engine may find another model in the body than the one that is checked. */
function assertOneModel(fields: Fields): void {
  const name = Object.keys(fields).find(namesModelElsewhere);
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

/**
 * The body of a client's request: read as bytes, bounded, looked at once. It refuses only what no engine could answer;
 * the engine judges the rest.
 */
import { GatewayError } from '../wire/errors.ts';
import { parseObject, type Fields } from '../wire/json.ts';
import type { LiveRequest } from './live.ts';
import type { Route } from '../wire/routes.ts';

/** To read in parts, which can be counted, costs 20 µs and more: conversations are read at once. */
const uncountedBytes = 1024 * 1024;

/**
 * Reads the whole body of a client's request as bytes, at most `maxBytes` of them, and counts them in `entry`: those
 * that came of one that never was whole, too, unless it is small, and the length that one declares which is too large.
 */
export async function readBody(
  request: Request,
  entry: LiveRequest,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = () =>
    new GatewayError('body_too_large', {
      message: `The body is larger than ${maxBytes} bytes (MAX_BODY_BYTES).`,
    });
  const declared = request.headers.get('content-length');
  const length = declared === null ? Number.POSITIVE_INFINITY : Number(declared);
  if (declared !== null && length > maxBytes) {
    entry.bytesIn = length;
    throw tooLarge();
  }
  const bytes = await new Promise<Uint8Array<ArrayBuffer>>((resolve, reject) => {
    entry.onAbort = reject;
    // Bun gives both over a buffer that nobody shares.
    const reading =
      length > uncountedBytes ? readCounted(request, entry, maxBytes) : request.bytes();
    (reading as Promise<Uint8Array<ArrayBuffer>>).then(resolve, reject);
  });
  if (bytes.length > maxBytes) throw tooLarge();
  entry.onAbort = undefined;
  entry.bytesIn = bytes.length;
  return bytes;
}

/** Reads and counts a body until it ends or has more than `maxBytes`. */
async function readCounted(
  request: Request,
  entry: LiveRequest,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const sink = new Bun.ArrayBufferSink();
  sink.start({ asUint8Array: true });
  for await (const part of request.body ?? []) {
    sink.write(part);
    entry.bytesIn += part.length;
    if (entry.bytesIn > maxBytes) break;
  }
  return sink.end() as Uint8Array<ArrayBuffer>;
}

/** Takes from the body what the gateway needs, gives its fields, and refuses what no engine could answer. */
export function inspect(route: Route, body: Uint8Array, entry: LiveRequest): Fields {
  const fields = parseObject(body);
  const { model, stream } = fields;
  if (model !== undefined && model !== null && typeof model !== 'string') {
    throw new GatewayError('invalid_field', {
      message: '"model" must be a string. Leave it out for the default model.',
      param: 'model',
    });
  }
  // Go reads names of members in any case, so that this is another name to the gateway than to the engine.
  const isAmbiguous = Object.keys(fields).some((name) => name !== 'model' && /^model$/i.test(name));
  if (isAmbiguous && entry.caller.models !== undefined) {
    throw new GatewayError('invalid_field', {
      message: 'Write "model" in small letters, once: this API key may not use every model.',
      param: 'model',
    });
  }
  entry.model = model ?? undefined;
  entry.stream = stream === true;
  const { needsOneOf } = route;
  if (needsOneOf !== undefined && !needsOneOf.some((field) => fields[field] !== undefined)) {
    throw new GatewayError('missing_field', {
      message: `The body needs ${needsOneOf.map((field) => `"${field}"`).join(' or ')}.`,
      param: needsOneOf[0] as string,
    });
  }
  return fields;
}

/**
 * A collector for tests: takes traces by OTLP over HTTP and reads the protobuf by itself, so that what the SDK writes is
 * checked without the SDK. It keeps every byte that it got, and answers with the status that a test sets.
 */

export type Value = string | number | boolean | undefined;
type Attributes = Record<string, Value>;

export interface ReceivedSpan {
  traceId: string;
  spanId: string;
  /** The empty string where there is none. */
  parentId: string;
  name: string;
  kind: 'internal' | 'server' | 'client' | 'other';
  /** Milliseconds since 1970. */
  startMs: number;
  endMs: number;
  attributes: Attributes;
  isError: boolean;
  /** Attributes of the process that sent it. */
  resource: Attributes;
}

export interface Collector {
  url: string;
  spans: ReceivedSpan[];
  /** The bodies, decompressed. */
  bodies: Uint8Array[];
  /** The head of each request. */
  requests: { path: string; headers: Headers }[];
  /** The status of the answers from now on. */
  answer(status: number): void;
  /** The spans of one trace, by name. */
  trace(traceId: string): Record<string, ReceivedSpan>;
  /** Returns whether any of these words came, in any field. */
  hasHeard(...words: string[]): boolean;
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** A field of a protobuf message: its number, and its bytes or its number. */
type Field = [number: number, value: Uint8Array | bigint];

const emptyBytes = new Uint8Array();

/** Reads the fields of a message (protobuf.dev/programming-guides/encoding). */
function fieldsOf(message: Uint8Array): Field[] {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  const fields: Field[] = [];
  let at = 0;

  function varint(): bigint {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = view.getUint8(at++);
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  function bytes(length: number): Uint8Array {
    if (at + length > message.length)
      throw new Error('a protobuf field is longer than its message');
    at += length;
    return message.subarray(at - length, at);
  }

  while (at < message.length) {
    const tag = Number(varint());
    const type = tag & 7;
    if (type === 0) fields.push([tag >> 3, varint()]);
    else if (type === 1) fields.push([tag >> 3, bytes(8)]);
    else if (type === 2) fields.push([tag >> 3, bytes(Number(varint()))]);
    else if (type === 5) fields.push([tag >> 3, bytes(4)]);
    else throw new Error(`protobuf has no wire type ${type}`);
  }
  return fields;
}

function all(fields: Field[], number: number): Uint8Array[] {
  return fields.flatMap(([n, value]) => (n === number && typeof value !== 'bigint' ? value : []));
}

function one(fields: Field[], number: number): Uint8Array {
  return all(fields, number)[0] ?? emptyBytes;
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
}

function numberOf(fields: Field[], number: number): number {
  const found = fields.find(([n]) => n === number)?.[1];
  return typeof found === 'bigint' ? Number(found) : 0;
}

/** Reads nanoseconds since 1970, which a double does not hold exactly. */
function milliseconds(bytes: Uint8Array): number {
  return Number(Buffer.from(bytes).readBigUInt64LE() / 1_000n) / 1_000;
}

/** Reads an AnyValue; the gateway sends no lists and no maps. */
function valueOf(message: Uint8Array): Value {
  const [field] = fieldsOf(message);
  if (field === undefined) return undefined;
  const [number, value] = field;
  if (typeof value === 'bigint')
    return number === 2 ? value !== 0n : Number(BigInt.asIntN(64, value));
  if (number === 4) return Buffer.from(value).readDoubleLE();
  if (number === 1) return textOf(value);
  throw new Error(`an attribute has a value of kind ${number}`);
}

function attributesOf(messages: Uint8Array[]): Attributes {
  return Object.fromEntries(
    messages.map((message) => {
      const fields = fieldsOf(message);
      return [textOf(one(fields, 1)), valueOf(one(fields, 2))];
    }),
  );
}

const kinds = ['other', 'internal', 'server', 'client'] as const;

/** Field numbers: opentelemetry-proto, trace/v1/trace.proto. */
function spanOf(message: Uint8Array, resource: Attributes): ReceivedSpan {
  const fields = fieldsOf(message);
  const hex = (number: number) => Buffer.from(one(fields, number)).toString('hex');
  return {
    traceId: hex(1),
    spanId: hex(2),
    parentId: hex(4),
    name: textOf(one(fields, 5)),
    kind: kinds[numberOf(fields, 6)] ?? 'other',
    startMs: milliseconds(one(fields, 7)),
    endMs: milliseconds(one(fields, 8)),
    attributes: attributesOf(all(fields, 9)),
    isError: numberOf(fieldsOf(one(fields, 15)), 3) === 2,
    resource,
  };
}

/** Reads the body of an export: ExportTraceServiceRequest > ResourceSpans > ScopeSpans > Span. */
export function spansOf(body: Uint8Array): ReceivedSpan[] {
  return all(fieldsOf(body), 1).flatMap((resourceSpans) => {
    const fields = fieldsOf(resourceSpans);
    const resource = attributesOf(all(fieldsOf(one(fields, 1)), 1));
    const scopes = all(fields, 2).map(fieldsOf);
    return scopes.flatMap((scope) => all(scope, 2).map((span) => spanOf(span, resource)));
  });
}

/** Starts it on 127.0.0.1. */
export function startCollector(port = 0): Collector {
  const spans: ReceivedSpan[] = [];
  const bodies: Uint8Array[] = [];
  const requests: Collector['requests'] = [];
  let status = 200;
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port,
    reusePort: false,
    async fetch(request) {
      const { headers, url } = request;
      requests.push({ path: new URL(url).pathname, headers });
      const sent = new Uint8Array(await request.arrayBuffer());
      const body = headers.get('content-encoding') === 'gzip' ? Bun.gunzipSync(sent) : sent;
      bodies.push(body);
      if (status < 300) spans.push(...spansOf(body));
      return new Response(null, { status });
    },
  });
  const stop = () => server.stop(true);
  return {
    url: `http://127.0.0.1:${server.port}`,
    spans,
    bodies,
    requests,
    answer: (next) => void (status = next),
    trace(traceId) {
      const own = spans.filter((span) => span.traceId === traceId);
      return Object.fromEntries(own.map((span) => [span.name, span]));
    },
    hasHeard(...words) {
      return bodies.some((body) => words.some((word) => Buffer.from(body).includes(word)));
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

/**
 * The answer to the client, made from the engine's: status and headers as they came but for the documented few, a small
 * body read whole, any other passed on as it comes. It answers nothing before the first byte of a body is there, so that
 * a failure until then can still have a status.
 */
import type { StreamEnds } from './lastframes.ts';
import { LineEnds } from './lineends.ts';
import type { StreamUsage } from '../engines/streamusage.ts';
import { GatewayError, type Family } from '../wire/errors.ts';
import { explainFailure } from './failure.ts';
import { isRedirect, redirected } from './redirect.ts';
import type { Holdings } from './holdings.ts';
import type { Reader } from '../request/reader.ts';
import { answerHeaders } from '../wire/headers.ts';
import { failureInAnswer, failureInEdges } from '../wire/failures.ts';
import { isList, textOf } from '../wire/json.ts';
import { JsonEnd } from '../wire/jsonend.ts';
import type { LiveRequest } from '../request/live.ts';
import { relay, type Passage } from './stream.ts';
import { readUpTo, type ChunkReader } from '../wire/shortbody.ts';
import { Edges, readOllamaTokens, readTokens } from '../wire/tokens.ts';
import type { Outcome } from '../request/settlement.ts';
import { endsOf, hasUsageFrame } from './usageinjection.ts';

export interface AnswerOptions {
  request: LiveRequest;
  reader: Reader;
  /** Settles the request when the body has ended or failed, and knows whether the answer is collected for the cache. */
  holdings: Pick<Holdings, 'settle' | 'recording'>;
  corsHeaders: Readonly<Record<string, string>>;
  /** Further headers of the gateway's own, such as how the caller stands with its limits. */
  moreHeaders: Readonly<Record<string, string>>;
  /** Returns what the client gets of the engine's list of models: one of them, or those that its key may use. */
  pick: ((list: Uint8Array) => Uint8Array) | undefined;
  /** Whether the client wants the headers alone; the engine is asked for the whole all the same. */
  isHead: boolean;
  /** Whether a frame with the usage is kept from the client. */
  hidesUsage: boolean;
  /** Is told whether a stream that was left as it is was counted unasked. */
  watchedUsage: StreamUsage | undefined;
  now: () => number;
}

/** An answer up to this size is read whole: it keeps its length, and one that is cut becomes a 502. */
const maxWholeBytes = 1024 * 1024;
/** A list of models that is longer is none. */
const maxListBytes = 4 * 1024 * 1024;

const nullBodyStatuses = new Set([204, 205, 304]);

/** What the headers of an answer say of its body. */
interface Shape {
  isEventStream: boolean;
  /** Ollama's lines of JSON, which come as they are made. */
  hasLines: boolean;
  isEncoded: boolean;
  /** Only the closing of the connection ends it. */
  isCloseDelimited: boolean;
  /** Its own syntax tells whether it is whole; an encoded one tells by its encoding. */
  isJudgedByJson: boolean;
  isSmall: boolean;
}

function shapeOf({ headers }: Response, type: string, family: Family): Shape {
  const length = headers.get('content-length');
  const isEncoded = headers.has('content-encoding');
  const isCloseDelimited = length === null && !headers.has('transfer-encoding');
  return {
    isEventStream: eventStream.test(type),
    hasLines: family === 'ollama' && lines.test(type),
    isEncoded,
    isCloseDelimited,
    isJudgedByJson: isCloseDelimited && isJson(type) && !isEncoded,
    isSmall: length !== null && Number(length) <= maxWholeBytes,
  };
}

/**
 * Returns the answer, at once where there is no body to wait for. Throws a GatewayError, or rejects with what reading the
 * body throws, while no byte has gone to the client.
 */
export function answerClient(
  upstream: Response,
  options: AnswerOptions,
): Response | Promise<Response> {
  const { request, pick, isHead, holdings } = options;
  const { status } = upstream;
  if (status === 401 || status === 403) throw new GatewayError('upstream_auth_failed');
  if (isRedirect(status)) throw redirected(upstream);
  if (status < 200 || status > 599) throw new GatewayError('upstream_malformed');
  request.answered(status);
  const headers = headersFor(upstream, options);
  if (nullBodyStatuses.has(status) || upstream.body === null) {
    holdings.settle('done');
    return new Response(null, { status, headers });
  }
  const shape = shapeOf(upstream, typeOf(headers), request.route.family);
  if (!shape.isEventStream && !shape.hasLines && shape.isSmall) {
    return upstream.bytes().then((bytes) => answerWhole(upstream, bytes, headers, options));
  }
  if (pick !== undefined || isHead) return answerRead(upstream, headers, shape, options);
  if (!shape.isEventStream && shape.isJudgedByJson) {
    return answerJson(upstream, headers, shape, options);
  }
  return answerInParts(upstream, headers, shape, options);
}

/** Returns an answer that has been read whole, so that it keeps its length. */
function answerWhole(
  upstream: Response,
  bytes: Uint8Array,
  headers: Headers,
  { request, pick, isHead, holdings, now }: AnswerOptions,
): Response {
  const { status } = upstream;
  // A list of answers counts each.
  const isOllama = request.route.family === 'ollama';
  request.told(isOllama ? readOllamaTokens(bytes) : readTokens(bytes), isList(bytes));
  const type = typeOf(headers);
  if (status < 300 && isJson(type)) request.toldFailure(failureInAnswer(bytes, isProblem(type)));
  const found = pick === undefined || status !== 200 ? bytes : pick(bytes);
  request.received(isHead ? 0 : found.length, now());
  const { recording } = holdings;
  recording?.open(upstream);
  recording?.add(bytes);
  holdings.settle('done');
  return new Response(found as Uint8Array<ArrayBuffer>, { status, headers });
}

/** Reads what must be read whole, whatever its headers say of its length. */
async function answerRead(
  upstream: Response,
  headers: Headers,
  { isJudgedByJson }: Shape,
  options: AnswerOptions,
): Promise<Response> {
  const reader = readerOf(upstream);
  const { bytes, isEnd } = await readUpTo(reader, maxListBytes);
  if (!isEnd) {
    await reader.cancel();
    throw new GatewayError('upstream_malformed');
  }
  if (isJudgedByJson) assertWhole(bytes);
  return answerWhole(upstream, bytes, headers, options);
}

/** Reads JSON whole if it is small, and passes it on as it comes if not; then its brackets tell whether it is whole. */
async function answerJson(
  upstream: Response,
  headers: Headers,
  shape: Shape,
  options: AnswerOptions,
): Promise<Response> {
  const reader = readerOf(upstream);
  const { bytes, isEnd } = await readUpTo(reader, maxWholeBytes);
  if (!isEnd) return passOn({ upstream, reader, first: bytes, headers, shape, options });
  assertWhole(bytes);
  return answerWhole(upstream, bytes, headers, options);
}

/** Reads the chunks of the engine's body. */
interface BodyReader extends ChunkReader {
  cancel(): Promise<void>;
}

function readerOf(upstream: Response): BodyReader {
  return (upstream.body as ReadableStream<Uint8Array>).getReader();
}

/** Passes the body on as it comes. */
async function answerInParts(
  upstream: Response,
  headers: Headers,
  shape: Shape,
  options: AnswerOptions,
): Promise<Response> {
  const reader = readerOf(upstream);
  const { done, value: first } = await reader.read();
  if (done || first === undefined) {
    if (shape.isCloseDelimited) throw new GatewayError('upstream_reset');
    options.holdings.settle('done');
    return new Response(null, { status: upstream.status, headers });
  }
  return passOn({ upstream, reader, first, headers, shape, options });
}

interface Passing {
  upstream: Response;
  reader: BodyReader;
  /** What has been read. */
  first: Uint8Array;
  headers: Headers;
  shape: Shape;
  options: AnswerOptions;
}

function passOn({ upstream, reader, first, headers, shape, options }: Passing): Response {
  const { request, holdings, hidesUsage, now } = options;
  const { isEventStream, hasLines, isEncoded, isCloseDelimited, isJudgedByJson } = shape;
  const isStream = isEventStream || hasLines;
  request.began(now(), isStream);
  if (isStream) {
    headers.set('x-accel-buffering', 'no');
    if (!headers.has('cache-control')) headers.set('cache-control', 'no-cache');
  }
  let ends: StreamEnds | undefined;
  if (isStream && !isEncoded) ends = hasLines ? new LineEnds() : endsOf(hidesUsage);
  const edges = isStream || isEncoded ? undefined : new Edges();
  const json = isJudgedByJson ? new JsonEnd() : undefined;
  holdings.recording?.open(upstream, ends);
  const watched = {
    ends,
    edges,
    json,
    type: edges === undefined ? '' : typeOf(headers),
    isCloseDelimited,
  };
  const passed = new PassedAnswer(options, watched);
  return new Response(relay(reader, first, passed), { status: upstream.status, headers });
}

/** What an answer in parts means for its request. A class, so that an open stream keeps nothing but what it names. */
class PassedAnswer implements Passage {
  readonly family: Family;
  readonly ends: StreamEnds | undefined;
  readonly json: JsonEnd | undefined;
  readonly isCloseDelimited: boolean;
  readonly #edges: Edges | undefined;
  readonly #isJson: boolean;
  readonly #isProblem: boolean;

  constructor(
    private readonly options: AnswerOptions,
    watched: {
      ends: StreamEnds | undefined;
      edges: Edges | undefined;
      json: JsonEnd | undefined;
      type: string;
      isCloseDelimited: boolean;
    },
  ) {
    this.family = options.request.route.family;
    this.ends = watched.ends;
    this.json = watched.json;
    this.isCloseDelimited = watched.isCloseDelimited;
    this.#edges = watched.edges;
    this.#isJson = isJson(watched.type);
    this.#isProblem = isProblem(watched.type);
  }

  get signal(): AbortSignal {
    return this.options.request.signal;
  }

  received(bytes: number): void {
    const { request, now } = this.options;
    if (this.ends !== undefined) request.counted(this.ends.frames);
    request.received(bytes, now());
  }

  passed(bytes: Uint8Array): void {
    this.options.holdings.recording?.add(bytes);
    this.#edges?.add(bytes);
    this.json?.add(bytes);
  }

  explain(error: unknown): GatewayError {
    return explainFailure(error, this.options.request);
  }

  left(): void {
    this.options.reader.left();
  }

  finished(outcome: Outcome, error?: GatewayError): void {
    const { request, holdings, watchedUsage } = this.options;
    if (this.ends !== undefined) {
      request.counted(this.ends.frames);
      request.told(this.ends.tokens());
      if (request.status < 300) request.toldFailure(this.ends.failure);
      watchedUsage?.watched(hasUsageFrame(this.ends));
    }
    if (this.#edges !== undefined) {
      const isOllama = this.family === 'ollama';
      request.told(isOllama ? this.#edges.ollamaTokens() : this.#edges.tokens());
      const { whole, head, tail } = this.#edges;
      if (this.#isJson && request.status < 300) {
        request.toldFailure(
          whole === undefined
            ? failureInEdges(head, tail)
            : failureInAnswer(whole, this.#isProblem),
        );
      }
    }
    holdings.settle(outcome, error);
  }
}

function headersFor(
  upstream: Response,
  { request, holdings, corsHeaders, moreHeaders, pick }: AnswerOptions,
): Headers {
  const headers = answerHeaders(upstream);
  const vary = headers.get('vary');
  for (const name in corsHeaders) headers.set(name, corsHeaders[name] as string);
  if (vary !== null && 'vary' in corsHeaders)
    headers.set('vary', `${vary}, ${corsHeaders['vary']}`);
  for (const name in moreHeaders) headers.set(name, moreHeaders[name] as string);
  headers.set('x-request-id', request.id);
  if (request.isCacheHit) headers.set('x-gateway-cache', 'hit');
  else if (holdings.recording !== undefined) headers.set('x-gateway-cache', 'miss');
  headers.set('x-gateway-queue-ms', String(Math.round(request.queuedMs)));
  if (request.route.family === 'anthropic' && !headers.has('request-id')) {
    headers.set('request-id', request.id);
  }
  // The list was decoded so that models could be found in it.
  if (pick !== undefined) headers.delete('content-encoding');
  return headers;
}

function typeOf(headers: Headers): string {
  return headers.get('content-type') ?? '';
}

/** Names of media types are the same in capitals. */
const eventStream = /^text\/event-stream/i;
const lines = /^application\/x-ndjson/i;
const json = /^application\/([\w.-]+\+)?json(?![\w+.-])/i;
const problem = /^application\/problem\+json/i;

function isJson(type: string): boolean {
  return json.test(type);
}

/** Returns whether its type alone says that it describes a failure (RFC 9457). */
function isProblem(type: string): boolean {
  return problem.test(type);
}

function assertWhole(json: Uint8Array): void {
  try {
    JSON.parse(textOf(json));
  } catch (cause) {
    throw new GatewayError('upstream_reset', { cause });
  }
}

/**
 * The answer to the client, made from the engine's: status and headers as they came but for the documented few, the
 * body whole where it is small and relayed where it is not. It answers nothing before the first byte of a body is
 * there, so that a failure until then can still be told by a status.
 */
import { StreamEnds } from './lastframes.ts';
import { GatewayError, type Family } from '../wire/errors.ts';
import { explainFailure } from './failure.ts';
import type { Filling } from '../cache/recording.ts';
import { answerHeaders } from '../wire/headers.ts';
import { isList, textOf } from '../wire/json.ts';
import type { LiveRequest } from '../request/live.ts';
import { relay, type Passage } from './stream.ts';
import { Edges, readTokens } from '../wire/tokens.ts';
import type { Outcome } from '../request/settlement.ts';
import { endsOf } from './usageinjection.ts';

export interface AnswerOptions {
  entry: LiveRequest;
  corsHeaders: Readonly<Record<string, string>>;
  /** Of the gateway's own, beside those of every answer. */
  moreHeaders: Readonly<Record<string, string>>;
  /** Gives what the client gets of the engine's list of models: one of them, or those that its key may use. */
  pick: ((list: Uint8Array) => Uint8Array) | undefined;
  /** Whether the client wants the headers alone; the engine is asked for the whole all the same. */
  isHead: boolean;
  now: () => number;
  /** Collects the answer for the response cache. */
  filling: Filling | undefined;
  /** Settles the request; called once, when the body has ended or failed. */
  finish: (outcome: Outcome, error?: GatewayError) => void;
}

/** An answer up to this size is read whole: it keeps its length, and a cut one becomes a true 502. */
const maxWholeBytes = 1024 * 1024;

const nullBodyStatuses = new Set([204, 205, 304]);

/** What the headers of an answer say of its body. */
interface Shape {
  isEventStream: boolean;
  isEncoded: boolean;
  /** Only the closing of the connection ends it. */
  isCloseDelimited: boolean;
  /** Its own syntax tells whether it is whole; an encoded one tells by its encoding. */
  isJudgedByJson: boolean;
  isSmall: boolean;
}

function shapeOf({ headers }: Response, type: string): Shape {
  const length = headers.get('content-length');
  const isEncoded = headers.has('content-encoding');
  const isCloseDelimited = length === null && !headers.has('transfer-encoding');
  return {
    isEventStream: type.startsWith('text/event-stream'),
    isEncoded,
    isCloseDelimited,
    isJudgedByJson: isCloseDelimited && type.startsWith('application/json') && !isEncoded,
    isSmall: length !== null && Number(length) <= maxWholeBytes,
  };
}

/**
 * Makes the answer, before it returns where there is no body to wait for. Throws a GatewayError, or fails with what
 * reading the body throws, while no byte has gone to the client.
 */
export function answerClient(
  upstream: Response,
  options: AnswerOptions,
): Response | Promise<Response> {
  const { entry, pick, isHead } = options;
  const { status } = upstream;
  if (status === 401 || status === 403) throw new GatewayError('upstream_auth_failed');
  if (status < 200 || status > 599) throw new GatewayError('upstream_malformed');
  entry.status = status;
  const headers = headersFor(upstream, options);
  if (nullBodyStatuses.has(status) || upstream.body === null) {
    options.finish('done');
    return new Response(null, { status, headers });
  }
  const shape = shapeOf(upstream, headers.get('content-type') ?? '');
  const isShort = !shape.isEventStream && (shape.isSmall || shape.isJudgedByJson);
  if (pick !== undefined || isHead || isShort) {
    return answerWhole(upstream, headers, shape, options);
  }
  return answerInParts(upstream, headers, shape, options);
}

/** Reads the body whole, so that the answer keeps its length. */
async function answerWhole(
  upstream: Response,
  headers: Headers,
  { isJudgedByJson }: Shape,
  options: AnswerOptions,
): Promise<Response> {
  const { entry, pick, isHead, filling } = options;
  const { status } = upstream;
  const bytes = await upstream.bytes();
  if (isJudgedByJson) assertWhole(bytes);
  entry.tokens = readTokens(bytes);
  // A list of answers counts each.
  if (isList(bytes)) entry.isPartial = false;
  const found = pick === undefined || status !== 200 ? bytes : pick(bytes);
  countBytes(isHead ? 0 : found.length, options);
  filling?.open(upstream);
  filling?.add(bytes);
  options.finish('done');
  return new Response(found as Uint8Array<ArrayBuffer>, { status, headers });
}

/** Passes the body on as it comes. */
async function answerInParts(
  upstream: Response,
  headers: Headers,
  { isEventStream, isEncoded, isCloseDelimited }: Shape,
  options: AnswerOptions,
): Promise<Response> {
  const { entry, filling } = options;
  const { status } = upstream;
  entry.stream ||= isEventStream;
  const reader = (upstream.body as ReadableStream<Uint8Array>).getReader();
  const { done, value: first } = await reader.read();
  if (done || first === undefined) {
    if (isCloseDelimited) throw new GatewayError('upstream_reset');
    options.finish('done');
    return new Response(null, { status, headers });
  }
  entry.phase = 'streaming';
  if (isEventStream) {
    headers.set('x-accel-buffering', 'no');
    if (!headers.has('cache-control')) headers.set('cache-control', 'no-cache');
  }
  const ends = isEventStream && !isEncoded ? endsOf(entry) : undefined;
  const edges = isEventStream || isEncoded ? undefined : new Edges();
  filling?.open(upstream, ends);
  const passing = new Passing(options, ends, edges, isCloseDelimited);
  return new Response(relay(reader, first, passing), { status, headers });
}

/** What an answer in parts means for its request. A class, so that an open stream keeps nothing but what it names. */
class Passing implements Passage {
  readonly family: Family;

  constructor(
    private readonly options: AnswerOptions,
    readonly ends: StreamEnds | undefined,
    private readonly edges: Edges | undefined,
    readonly isCloseDelimited: boolean,
  ) {
    this.family = options.entry.route.family;
  }

  get signal(): AbortSignal {
    return this.options.entry.signal;
  }

  received(bytes: number): void {
    if (this.ends !== undefined) this.options.entry.frames = this.ends.frames;
    countBytes(bytes, this.options);
  }

  passed(bytes: Uint8Array): void {
    this.options.filling?.add(bytes);
    this.edges?.add(bytes);
  }

  explain(error: unknown): GatewayError {
    return explainFailure(error, this.options.entry);
  }

  cancelled(): void {
    this.options.entry.abort('client_closed_request');
  }

  finished(outcome: Outcome, error?: GatewayError): void {
    const { entry, finish } = this.options;
    if (this.ends !== undefined) {
      entry.frames = this.ends.frames;
      entry.tokens = readTokens(this.ends.lastFrames(), this.ends.opening);
    }
    if (this.edges !== undefined) entry.tokens = this.edges.tokens();
    finish(outcome, error);
  }
}

function headersFor(
  upstream: Response,
  { entry, corsHeaders, moreHeaders, pick, filling }: AnswerOptions,
): Headers {
  const headers = answerHeaders(upstream.headers);
  const vary = headers.get('vary');
  for (const name in corsHeaders) headers.set(name, corsHeaders[name] as string);
  if (vary !== null && 'vary' in corsHeaders)
    headers.set('vary', `${vary}, ${corsHeaders['vary']}`);
  for (const name in moreHeaders) headers.set(name, moreHeaders[name] as string);
  headers.set('x-request-id', entry.id);
  if (entry.isCacheHit) headers.set('x-gateway-cache', 'hit');
  else if (filling !== undefined) headers.set('x-gateway-cache', 'miss');
  headers.set('x-gateway-queue-ms', String(Math.round(entry.queuedMs)));
  if (entry.route.family === 'anthropic' && !headers.has('request-id')) {
    headers.set('request-id', entry.id);
  }
  // The list was decoded so that models could be found in it.
  if (pick !== undefined) headers.delete('content-encoding');
  return headers;
}

function countBytes(count: number, { entry, now }: AnswerOptions): void {
  entry.lastByteAt = now();
  entry.firstByteAt ||= entry.lastByteAt;
  entry.bytesOut += count;
}

function assertWhole(json: Uint8Array): void {
  try {
    JSON.parse(textOf(json));
  } catch (cause) {
    throw new GatewayError('upstream_reset', { cause });
  }
}

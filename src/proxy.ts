/**
 * The proxied routes: body -> lease -> fetch -> relay -> settle. One request of a client is one request to the engine;
 * an answer of the engine, whatever its status, is never asked for again. It knows nothing of logs, usage or metrics:
 * it tells `observer`, and whoever composes the app fans that out.
 */
import { Elysia } from 'elysia';
import { auth } from './auth.ts';
import type { CorsHeaders } from './cors.ts';
import { GatewayError } from './errors.ts';
import { answerHeaders, upstreamHeaders } from './headers.ts';
import { textOf } from './json.ts';
import { findModel } from './models.ts';
import { inspect, readBody } from './body.ts';
import type { KeyRing } from './keys.ts';
import {
  LiveRequest,
  overdue,
  type Deadlines,
  type LiveRequests,
  type Outcome,
  type RequestObserver,
} from './live.ts';
import type { Lease, Pool } from './pool.ts';
import { relay, StreamEnds } from './relay.ts';
import { routes } from './routes.ts';
import { readTokens } from './tokens.ts';

export interface ProxyOptions {
  keys: KeyRing;
  trustedUserHeader: string | undefined;
  pool: Pool;
  live: LiveRequests;
  deadlines: Deadlines;
  maxBodyBytes: number;
  corsHeaders: CorsHeaders;
  observer: RequestObserver;
  isDraining: () => boolean;
  now: () => number;
}

/** The part of Bun's server that is used here. */
interface TimeoutSetter {
  timeout(request: Request, seconds: number): void;
}

/** An answer up to this size is read whole: it keeps its length, and a cut one becomes a true 502. */
const maxBufferedBytes = 1024 * 1024;
/** Bun closes connections that stand still; the gateway's own deadlines decide instead, while a request is open. */
const idleSeconds = 30;
/** How often deadlines are looked at, and when a request is worth a line and a connection worth a doubt. */
const sweepMs = 100;
const longMs = 2_000;
const doubtMs = 500;

const nullBodyStatuses = new Set([204, 205, 304]);

/** What `fetch` calls a connection that was never made. */
const unreachable = new Set([
  'ECONNREFUSED',
  'ConnectionRefused',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'FailedToOpenSocket',
]);

/** Turns what `fetch` or the body of an answer threw into the error that the client is told. */
function explainFailure(error: unknown, request: LiveRequest): GatewayError {
  if (request.code !== undefined) {
    // The engine had the request: a repeat by the client's SDK would only add load.
    return new GatewayError(request.code, { headers: { 'x-should-retry': 'false' } });
  }
  if (error instanceof GatewayError) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  if (unreachable.has(code) || /CERT|TLS|SSL|SIGNATURE/.test(code)) {
    return new GatewayError('upstream_unreachable', { cause: error });
  }
  const isReset = code === 'ECONNRESET' || code === 'EPIPE';
  return new GatewayError(isReset ? 'upstream_reset' : 'upstream_malformed', { cause: error });
}

/** The plugin with every route of the table. */
export function proxy(options: ProxyOptions) {
  const { pool, live, deadlines, maxBodyBytes, observer, isDraining, now } = options;
  let sweeping: ReturnType<typeof setInterval> | undefined;

  /** Looks at every open request: one timer for all of them, and none while there is none. */
  function sweep(): void {
    const at = now();
    for (const entry of live) {
      const { provenAt } = pool.upstream;
      const code = overdue(entry, deadlines, provenAt, at);
      if (code !== undefined) {
        entry.abort(code);
        continue;
      }
      if (!entry.isLong && at - entry.startedAt >= longMs) {
        entry.isLong = true;
        observer.isLong(entry);
      }
      const isDoubtful = entry.phase === 'waiting' && !entry.hasHeaders && provenAt < entry.sentAt;
      const { connectTimeoutMs } = deadlines;
      if (
        connectTimeoutMs > 0 &&
        isDoubtful &&
        at - entry.sentAt >= Math.min(doubtMs, connectTimeoutMs / 2)
      ) {
        pool.proveByConnecting(pool.upstream, connectTimeoutMs);
      }
    }
    if (live.size === 0) {
      clearInterval(sweeping);
      sweeping = undefined;
    }
  }

  async function exchange(
    entry: LiveRequest,
    request: Request,
    server: TimeoutSetter | null,
    modelId: string | undefined,
  ): Promise<Response> {
    const { route } = entry;
    let lease: Lease | undefined;

    function finish(outcome: Outcome, error?: GatewayError): void {
      if (!live.remove(entry)) return;
      server?.timeout(request, idleSeconds);
      lease?.release(outcome);
      if (error !== undefined) entry.status ||= error.status;
      observer.settled(entry.settlement(outcome, error?.code, now()), error?.cause);
    }

    function answered(bytes: number): void {
      entry.lastByteAt = now();
      entry.firstByteAt ||= entry.lastByteAt;
      entry.bytesOut += bytes;
    }

    live.add(entry);
    sweeping ??= setInterval(sweep, sweepMs);
    server?.timeout(request, 0);
    observer.started(entry);
    const { signal: clientGone } = request;
    clientGone.addEventListener('abort', () => entry.abort('client_closed_request'));
    try {
      if (clientGone.aborted) throw new GatewayError('client_closed_request');
      if (isDraining()) {
        throw new GatewayError('shutting_down', { headers: { 'retry-after': '1' } });
      }
      const body = route.body === 'none' ? undefined : await readBody(request, entry, maxBodyBytes);
      if (body !== undefined && route.body === 'json') inspect(route, body, entry);

      entry.phase = 'queued';
      lease = await pool.lease(entry.signal);
      const { upstream, connection } = lease;
      entry.phase = 'waiting';
      entry.upstream = upstream.id;
      entry.sentAt = now();
      const query = request.url.indexOf('?');
      const search = query === -1 ? '' : request.url.slice(query);
      const path = modelId === undefined ? route.path + search : '/v1/models';
      const answer = await fetch(upstream.url + path, {
        ...connection,
        method: route.method,
        headers: upstreamHeaders(request.headers, entry.id, upstream.apiKey),
        body: body ?? null,
        signal: entry.signal,
        // Only a list in which one model is looked up has to be read.
        decompress: modelId !== undefined,
        redirect: 'manual',
        timeout: false,
      });
      entry.hasHeaders = true;
      pool.prove(upstream);
      return await respond(answer);
    } catch (thrown) {
      if (clientGone.aborted) entry.code = 'client_closed_request';
      const error =
        entry.phase === 'waiting' || entry.code ? explainFailure(thrown, entry) : thrown;
      if (!(error instanceof GatewayError)) {
        finish('failed', new GatewayError('internal_error', { cause: thrown }));
        throw thrown;
      }
      if (error.code === 'upstream_unreachable' && lease) pool.missed(lease.upstream);
      entry.status = error.status;
      finish(error.code === 'client_closed_request' ? 'aborted' : 'failed', error);
      // An answer that nobody will read any more must not go on.
      entry.abort(error.code);
      throw error;
    }

    async function respond(answer: Response): Promise<Response> {
      const { status } = answer;
      if (status === 401 || status === 403) throw new GatewayError('upstream_auth_failed');
      if (status < 200 || status > 599) throw new GatewayError('upstream_malformed');
      entry.status = status;
      const headers = answerHeaders(answer.headers) as Record<string, string>;
      if (modelId !== undefined) delete headers['content-encoding'];
      const { vary } = headers;
      Object.assign(headers, options.corsHeaders(request.headers.get('origin')));
      if (vary !== undefined && headers['vary'] !== vary)
        headers['vary'] = `${vary}, ${headers['vary']}`;
      headers['x-request-id'] = entry.id;
      headers['x-gateway-queue-ms'] = String(entry.queuedMs);
      if (route.family === 'anthropic') headers['request-id'] ??= entry.id;

      const type = headers['content-type'] ?? '';
      const isEventStream = type.startsWith('text/event-stream');
      const length = answer.headers.get('content-length');
      const isCloseDelimited = length === null && !answer.headers.has('transfer-encoding');
      // An encoded body tells by its own end whether it is whole.
      const isJson = type.startsWith('application/json') && !answer.headers.has('content-encoding');
      const isSmall = length !== null && Number(length) <= maxBufferedBytes;
      const isEmpty = nullBodyStatuses.has(status) || answer.body === null;
      if (
        isEmpty ||
        modelId !== undefined ||
        (!isEventStream && (isSmall || (isJson && isCloseDelimited)))
      ) {
        const bytes = await answer.bytes();
        answered(bytes.length);
        // Only its own end tells whether such a body is whole.
        if (isJson && isCloseDelimited && !isEmpty) assertWhole(bytes);
        entry.tokens = readTokens(bytes);
        const found = modelId === undefined || status !== 200 ? bytes : findModel(bytes, modelId);
        finish('done');
        return answerOf(isEmpty ? null : found, status, headers);
      }

      entry.stream ||= isEventStream;
      const reader = (answer.body as ReadableStream<Uint8Array>).getReader();
      const { done, value: first } = await reader.read();
      if (done || first === undefined) {
        if (isCloseDelimited) throw new GatewayError('upstream_reset');
        finish('done');
        return answerOf(null, status, headers);
      }
      entry.phase = 'streaming';
      if (isEventStream) {
        headers['x-accel-buffering'] = 'no';
        headers['cache-control'] ??= 'no-cache';
      }
      const isWatched = isEventStream && !answer.headers.has('content-encoding');
      const ends = isWatched ? new StreamEnds() : undefined;
      const body = relay({
        reader,
        first,
        family: route.family,
        ends,
        isCloseDelimited,
        signal: entry.signal,
        onChunk(bytes) {
          answered(bytes);
          if (ends !== undefined) entry.frames = ends.frames;
        },
        explain: (error) => explainFailure(error, entry),
        onCancel: () => entry.abort('client_closed_request'),
        finish(outcome, error) {
          if (ends !== undefined) {
            entry.frames = ends.frames;
            entry.tokens = readTokens(ends.lastFrames(), ends.first);
          }
          finish(outcome, error);
        },
      });
      return answerOf(body, status, headers);
    }
  }

  const plugin = new Elysia({ name: 'proxy' }).use(auth(options));
  for (const route of routes) {
    const isLookup = route.path.endsWith('/*');
    plugin.route(
      route.method,
      route.path,
      function proxyRequest({ request, server, requestId, caller }) {
        const entry = new LiveRequest(requestId, route, caller, now());
        const modelId = isLookup ? lookedUp(request.url) : undefined;
        return exchange(entry, request, server, modelId);
      },
      { parse: 'none' },
    );
  }
  return plugin;
}

/** Makes the answer to the client; several cookies stay several, which a record of headers would join. */
function answerOf(
  body: ConstructorParameters<typeof Response>[0],
  status: number,
  headers: Record<string, string | string[]>,
): Response {
  const { 'set-cookie': cookies, ...others } = headers;
  if (cookies === undefined) {
    return new Response(body, { status, headers: headers as Record<string, string> });
  }
  const response = new Response(body, { status, headers: others as Record<string, string> });
  for (const cookie of [cookies].flat()) response.headers.append('set-cookie', cookie);
  return response;
}

/** Gives the id that a path under /v1/models/ names; an absolute target, or none of a host, changes nothing. */
function lookedUp(url: string): string {
  const path = url.split('?', 1)[0] as string;
  const id = path.slice(path.indexOf(modelsPath) + modelsPath.length);
  try {
    return decodeURIComponent(id);
  } catch {
    return id; // A stray percent sign: no model is called that, and the answer says so.
  }
}

const modelsPath = '/v1/models/';

function assertWhole(json: Uint8Array): void {
  try {
    JSON.parse(textOf(json));
  } catch (cause) {
    throw new GatewayError('upstream_reset', { cause });
  }
}

/**
 * The built-in simulated engine: it looks like llama-server, has its slots, its queue and its prefix cache, and answers
 * every route that the gateway proxies, but has no model; its answers say so. It fails on demand (demo-faults.ts).
 * For first runs, tests and benchmarks; it refuses nothing that a real engine must refuse for safety.
 */
import type { Setting } from './demo/answers.ts';
import { answerWith, generatings, occupy } from './demo/answers.ts';
import type { Faults } from './demo/faults.ts';
import { deliver, faultAnswer, invalidKey, parseFaults, strikeAtOnce } from './demo/faults.ts';
import type { Connection, HttpRequest } from './demo/http.ts';
import { ConnectionOver, startHttpServer } from './demo/http.ts';
import type { Reading } from './demo/lookups.ts';
import { lookups, readings } from './demo/lookups.ts';
import { PrefixCache, Slots } from './demo/model.ts';
import { parseBody, parseForm, promptsFrom, runOf } from './demo/prompts.ts';
import type { Json } from './demo/run.ts';
import type { Answer } from './demo/wire.ts';
import { EngineError, jsonAnswer, untilGone } from './demo/wire.ts';

export interface DemoOptions {
  /** Default 127.0.0.1. */
  hostname?: string;
  /** Default 0, any free one. */
  port?: number;
  /** Default 4. Requests beyond them wait, first come, first served. */
  slots?: number;
  /** The part of the time to the first token that does not depend on the prompt; default 0. */
  firstTokenMs?: number;
  /** For the tokens of a prompt that the cache does not hold; default 0, at once. */
  prefillTokensPerSecond?: number;
  /** Of each slot; default 0, as fast as possible. */
  tokensPerSecond?: number;
  /** How much the prefix cache holds; default what all slots together hold, 0 for no cache. */
  cacheTokens?: number;
  /** Of each slot; default 4096. A prompt that does not fit gets llama.cpp's 400. */
  contextTokens?: number;
  /** Default `demo`. */
  model?: string;
  /** When set, everything but /health answers 401 without it, as Bearer or x-api-key. */
  apiKey?: string;
  /** When set, a connection that is idle for so long is closed. */
  keepAliveSeconds?: number;
}

export interface DemoRequest extends HttpRequest {
  state: 'waiting' | 'running' | 'done' | 'aborted';
  /** Which connection it came on, counted from 1. */
  readonly connection: number;
  /** How many bytes of the answer the system has taken over so far, its head and framing included. */
  readonly sentBytes: number;
}

export interface DemoEngine {
  url: string;
  port: number;
  hostname: string;
  /** What was received in full, the newest last; at most 10,000, and 128 MB of bodies. */
  requests: DemoRequest[];
  busySlots(): number;
  /** How many requests wait for a slot. */
  waiting(): number;
  /** Resolves with the next change of slots, of the queue or of a request's state. */
  changed(): Promise<void>;
  /** Ends everything at once. */
  stop(): Promise<void>;
}

const keptRequests = 10_000;
const keptBodyBytes = 128 * 1024 * 1024;

/** Gives the key that a request presents, as llama-server reads it. */
function keyOf(headers: Record<string, string>): string | undefined {
  return headers['authorization']?.replace(/^Bearer /, '') ?? headers['x-api-key'];
}

/** What the engine did wrong counts as a 500, as in llama-server; that the connection is over passes on. */
function errorAnswer(error: unknown): Answer {
  if (error instanceof EngineError) return error.answer;
  if (error instanceof ConnectionOver) throw error;
  return new EngineError(500, 'server_error', String(error)).answer;
}

/** Answers a route that reads in one slot and generates nothing. */
async function answerReading(reading: Reading, body: Json, setting: Setting): Promise<Answer> {
  const tokens = promptsFrom(reading.input(body)).flatMap((prompt) => prompt.tokens);
  const run = runOf({ tokens, subject: '' }, body, setting.engine);
  await occupy({ ...run, output: [] }, setting);
  const value = reading.answer(body, run.model, tokens.length);
  if (!(value instanceof Uint8Array)) return jsonAnswer(value);
  return { status: 200, headers: { 'Content-Type': 'audio/wav' }, body: value };
}

/** Starts the engine; throws when the address cannot be bound. */
export function startDemoEngine(options: DemoOptions = {}): DemoEngine {
  const { contextTokens = 4096, model = 'demo', slots: slotCount = 4, apiKey } = options;
  const { cacheTokens = slotCount * contextTokens } = options;
  const slots = new Slots(slotCount, notify);
  const engine = { model, contextTokens, tasks: slots.tasks };
  const speeds = {
    firstTokenMs: options.firstTokenMs ?? 0,
    prefillTokensPerSecond: options.prefillTokensPerSecond ?? 0,
    tokensPerSecond: options.tokensPerSecond ?? 0,
  };
  const workshop = { slots, cache: new PrefixCache(cacheTokens), speeds };
  const requests: DemoRequest[] = [];
  let requestBodyBytes = 0;
  let change = Promise.withResolvers<void>();

  function notify(): void {
    const { resolve } = change;
    change = Promise.withResolvers<void>();
    resolve();
  }

  function keep(request: DemoRequest): void {
    requests.push(request);
    requestBodyBytes += request.body.length;
    while (requests.length > keptRequests || requestBodyBytes > keptBodyBytes) {
      requestBodyBytes -= requests.shift()?.body.length ?? 0;
    }
    notify();
  }

  async function answerTo(request: DemoRequest, signal: AbortSignal, asked: Faults) {
    const { method, headers } = request;
    const [path = ''] = request.path.split('?');
    function started(): void {
      request.state = 'running';
      notify();
    }
    if (apiKey !== undefined && keyOf(headers) !== apiKey && !path.endsWith('/health')) {
      return invalidKey.answer;
    }
    const failure = faultAnswer(asked);
    if (failure !== undefined) return failure;
    const lookup = lookups[`${method} ${path}`];
    if (lookup !== undefined) {
      started();
      if (asked.has('hang')) await untilGone(signal);
      return jsonAnswer(lookup(method === 'GET' ? {} : parseBody(request.body), engine));
    }
    const setting = { engine, workshop, job: { signal, started }, asked };
    const reading = readings[path];
    if (method === 'POST' && reading !== undefined) {
      return answerReading(reading, parseBody(request.body), setting);
    }
    const generating = generatings[path];
    if (method === 'POST' && generating !== undefined) {
      const body = generating.isForm
        ? await parseForm(request.body, headers['content-type'] ?? '')
        : parseBody(request.body);
      return answerWith(generating, body, setting);
    }
    throw new EngineError(404, 'not_found_error', 'File Not Found');
  }

  /** Answers, or fails as asked; gives whether the connection can go on. */
  async function respond(request: DemoRequest, connection: Connection): Promise<boolean> {
    const { headers } = request;
    let asked: Faults = new Map();
    let answer: Answer;
    try {
      asked = parseFaults(headers['x-demo-fault']);
      if (await strikeAtOnce(connection, asked)) return false;
      answer = await answerTo(request, connection.signal, asked);
    } catch (error) {
      answer = errorAnswer(error);
    }
    const cors = { 'Access-Control-Allow-Origin': headers['origin'] ?? '' };
    return deliver(connection, { ...answer, headers: { ...cors, ...answer.headers } }, asked);
  }

  async function handle(received: HttpRequest, connection: Connection): Promise<boolean> {
    const sentBefore = connection.sentBytes;
    let sentAfter: number | undefined;
    const request: DemoRequest = {
      ...received,
      state: 'waiting',
      connection: connection.id,
      get sentBytes() {
        return (sentAfter ?? connection.sentBytes) - sentBefore;
      },
    };
    keep(request);
    try {
      const canGoOn = await respond(request, connection);
      request.state = 'done';
      return canGoOn;
    } catch (error) {
      if (!(error instanceof ConnectionOver)) throw error;
      request.state = error.by === 'client' ? 'aborted' : 'done';
      return false;
    } finally {
      sentAfter = connection.sentBytes;
      notify();
    }
  }

  const { hostname = '127.0.0.1', port = 0, keepAliveSeconds } = options;
  const server = startHttpServer({ hostname, port, keepAliveSeconds, handle });
  return {
    url: `http://${hostname.includes(':') ? `[${hostname}]` : hostname}:${server.port}`,
    port: server.port,
    hostname,
    requests,
    busySlots: () => slots.busy,
    waiting: () => slots.waiting,
    changed: () => change.promise,
    stop: () => server.stop(),
  };
}

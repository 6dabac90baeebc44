/**
 * The built-in simulated engine: it behaves like llama-server, with slots, a queue and a prefix cache, and answers
 * every route that the gateway proxies. It has no model, and its answers say so. It fails on demand (demo/faults.ts).
 * It is for first runs, tests and benchmarks and has none of the checks that a real engine needs for safety.
 */
import { answerReading, answerWith, generatings } from './answers.ts';
import * as faults from './faults.ts';
import type { Figures } from './figures.ts';
import { metricsText, noFigures } from './figures.ts';
import { Gate } from './gate.ts';
import type { Connection, HttpRequest } from './http.ts';
import { ConnectionOver, startHttpServer } from './http.ts';
import { lookups, readings } from './lookups.ts';
import {
  asOllamaSays,
  asOthersSay,
  ollamaGeneratings,
  ollamaLookups,
  ollamaModel,
  ollamaReadings,
} from './ollama.ts';
import { PrefixCache, Slots } from './model.ts';
import { parseBody, parseForm } from './prompts.ts';
import type { Answer } from './wire.ts';
import { EngineError, jsonAnswer, untilGone } from './wire.ts';
import { watchAgent } from '../wire/headers.ts';

export interface DemoOptions {
  /** Default `llama.cpp`. As `ollama` it has Ollama's native routes, its OpenAI routes and its errors. */
  kind?: 'llama.cpp' | 'ollama';
  /** Default 127.0.0.1. */
  hostname?: string;
  /** Default 0: any free port. */
  port?: number;
  /** Default 4. Further requests wait, first come, first served. */
  slots?: number;
  /** The time to the first token that is added for every prompt, whatever its length; default 0. */
  firstTokenMs?: number;
  /** Speed for prompt tokens that are not in the cache; default 0: no time. */
  prefillTokensPerSecond?: number;
  /** Speed of each slot; default 0: as fast as possible. */
  tokensPerSecond?: number;
  /** Size of the prefix cache; default the context of all slots together, 0 for no cache. */
  cacheTokens?: number;
  /** Context size of each slot; default 4096. A prompt that does not fit gets llama.cpp's 400. */
  contextTokens?: number;
  /** Default `demo`. As with llama-server, a request may name any model; without a name it gets the first. */
  models?: readonly [string, ...string[]];
  /** When set, every route except /health answers 401 without it (as Bearer or x-api-key). */
  apiKey?: string;
  /** When set, a connection is closed after being idle this long. */
  keepAliveSeconds?: number;
  /** How long a slot stays taken after its client has left; default 0. llama.cpp takes seconds during prefill. */
  abortLagMs?: number;
}

export interface DemoRequest extends HttpRequest {
  state: 'waiting' | 'running' | 'done' | 'aborted';
  /** The number of the connection it came on, from 1. */
  readonly connection: number;
  /** How many bytes of the answer the operating system has accepted so far, including head and framing. */
  readonly sentBytes: number;
}

export interface DemoEngine {
  url: string;
  port: number;
  hostname: string;
  /** Complete requests, the newest last, at most 10,000 and 128 MB of bodies; the gateway's own probes are left out. */
  requests: DemoRequest[];
  busySlots(): number;
  /** The number of requests that wait for a slot. */
  waiting(): number;
  /** Resolves at the next change of the slots, the queue or a request's state. */
  changed(): Promise<void>;
  /** Sums over all runs so far. */
  readonly figures: Readonly<Figures>;
  /** While loading, every path answers llama.cpp's 503 "Loading model". */
  setLoading(isLoading: boolean): void;
  /** With a status, every path that takes a slot immediately answers an error with it. */
  setFailing(status: number | undefined): void;
  /** While frozen, only routes that take no slot are answered: slots stay taken and streams stall. */
  setFrozen(isFrozen: boolean): void;
  /** Stops immediately. An engine started later on the same port has an empty cache. */
  stop(): Promise<void>;
}

const notFound = () => new EngineError(404, 'not_found_error', 'File Not Found');

const keptRequests = 10_000;
const keptBodyBytes = 128 * 1024 * 1024;

/** Returns the API key of a request, read as llama-server does. */
function keyOf(headers: Record<string, string>): string | undefined {
  return headers['authorization']?.replace(/^Bearer /, '') ?? headers['x-api-key'];
}

/** Returns the error answer; an unexpected error is a 500, as in llama-server. Rethrows ConnectionOver. */
function errorAnswer(error: unknown): Answer {
  if (error instanceof EngineError) return error.answer;
  if (error instanceof ConnectionOver) throw error;
  return new EngineError(500, 'server_error', String(error)).answer;
}

/** The paths of the OpenAI routes that Ollama has too. */
const openaiOfOllama = /^\/v1\/(chat\/completions|completions|embeddings)$/;

/** Starts the engine; throws when the address cannot be bound. */
export function startDemoEngine(options: DemoOptions = {}): DemoEngine {
  const { contextTokens = 4096, slots: slotCount = 4, apiKey, kind = 'llama.cpp' } = options;
  const isOllama = kind === 'ollama';
  const { models = [isOllama ? 'demo:latest' : 'demo'] } = options;
  const { cacheTokens = slotCount * contextTokens } = options;
  const slots = new Slots(slotCount, notify);
  const engine = { model: models[0], models, contextTokens, tasks: slots.tasks };
  const speeds = {
    firstTokenMs: options.firstTokenMs ?? 0,
    prefillTokensPerSecond: options.prefillTokensPerSecond ?? 0,
    tokensPerSecond: options.tokensPerSecond ?? 0,
  };
  const gate = new Gate();
  const stopping = new AbortController();
  const workshop = {
    slots,
    cache: new PrefixCache(cacheTokens),
    speeds,
    figures: noFigures(),
    gate,
    abortLagMs: options.abortLagMs ?? 0,
    stopped: stopping.signal,
  };
  let isLoading = false;
  let failing: number | undefined;
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

  async function answerTo(request: DemoRequest, signal: AbortSignal, asked: faults.Faults) {
    const { method, headers } = request;
    const [path = ''] = request.path.split('?');
    function started(): void {
      request.state = 'running';
      notify();
    }
    if (apiKey !== undefined && keyOf(headers) !== apiKey && !path.endsWith('/health')) {
      return faults.invalidKey.answer;
    }
    if (isLoading) return faults.loadingModel.answer;
    const failure = faults.faultAnswer(asked);
    if (failure !== undefined) return failure;
    const lookup = (isOllama ? ollamaLookups : lookups)[`${method} ${path}`];
    if (lookup !== undefined) {
      started();
      if (asked.has('hang')) await untilGone(signal);
      return jsonAnswer(lookup(method === 'GET' ? {} : parseBody(request.body), engine));
    }
    if (isOllama && path.startsWith('/api/')) return await answerAsOllama(request, signal, asked);
    if (isOllama && !openaiOfOllama.test(path)) throw notFound();
    if (method === 'GET' && path === '/metrics') {
      const load = { running: slots.busy, waiting: slots.waiting };
      const body = Buffer.from(metricsText(workshop.figures, load));
      return { status: 200, headers: { 'Content-Type': 'text/plain; version=0.0.4' }, body };
    }
    const takesSlot = method === 'POST' && (path in readings || path in generatings);
    if (takesSlot && failing !== undefined) return faults.statusAnswer(failing);
    const setting = { engine, workshop, requester: { signal, started }, asked };
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
    throw notFound();
  }

  /** Answers one of Ollama's own routes that takes a slot. */
  async function answerAsOllama(request: DemoRequest, signal: AbortSignal, asked: faults.Faults) {
    const { method } = request;
    const [path = ''] = request.path.split('?');
    const [reading, generating] = [ollamaReadings[path], ollamaGeneratings[path]];
    if (method !== 'POST' || (reading ?? generating) === undefined) throw notFound();
    if (failing !== undefined) return faults.statusAnswer(failing);
    function started(): void {
      request.state = 'running';
      notify();
    }
    const setting = { engine, workshop, requester: { signal, started }, asked };
    const body = parseBody(request.body);
    const model = ollamaModel(body['model'], models);
    if (reading !== undefined) return await answerReading(reading, { ...body, model }, setting);
    if (generating === undefined) throw notFound();
    const loaded = generating.loaded({ ...body, model });
    if (loaded !== undefined) return jsonAnswer(loaded);
    const { prompts } = generating;
    const shape = generating.shape(body);
    return await answerWith(
      { shape, prompts, hasLines: true },
      asOthersSay({ ...body, model }),
      setting,
    );
  }

  /** Answers, or fails as the request asked. Resolves to whether the connection can serve another request. */
  async function respond(request: DemoRequest, connection: Connection): Promise<boolean> {
    const { headers } = request;
    let asked: faults.Faults = new Map();
    let answer: Answer;
    try {
      asked = faults.parseFaults(headers['x-demo-fault']);
      const refusalMs = faults.refusalMs(asked);
      if (refusalMs > 0) server.refuse(refusalMs);
      if (await faults.strikeAtOnce(connection, asked)) return false;
      answer = await answerTo(request, connection.signal, asked);
    } catch (error) {
      answer = errorAnswer(error);
    }
    if (isOllama) answer = asOllamaSays(answer);
    const cors = { 'Access-Control-Allow-Origin': headers['origin'] ?? '' };
    // By `Server: llama.cpp` it would be taken for one.
    const own = isOllama ? { Server: 'simulated' } : {};
    return faults.deliver(
      connection,
      { ...answer, headers: { ...own, ...cors, ...answer.headers } },
      asked,
    );
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
    // The gateway's own probes are not client requests.
    if (request.headers['user-agent'] !== watchAgent) keep(request);
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
    figures: workshop.figures,
    setLoading(value) {
      isLoading = value;
    },
    setFailing(status) {
      failing = status;
    },
    setFrozen: (isFrozen) => gate.set(!isFrozen),
    async stop() {
      stopping.abort();
      await server.stop();
      while (slots.busy > 0) await change.promise;
    },
  };
}

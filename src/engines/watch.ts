/**
 * Looks after one upstream: asks it what it is, whether it lives, what it serves and how far it is, on a jittered timer
 * and whenever something happened. It asks cheap endpoints only and never for a generation, and judges nothing: what it
 * hears it reports.
 */
import { failureOf } from './failure.ts';
import { healthPathOf, readHealth, readLoad, sightEngine } from './probe.ts';
import type { EngineAnswer, EngineLoad } from './probe.ts';
import { modelIdsOf } from '../wire/modellist.ts';
import type { Log } from '../log/log.ts';
import type { Upstream } from './upstream.ts';
import { watchAgent } from '../wire/headers.ts';

export interface WatchOptions {
  upstream: Upstream;
  log: Log;
  now: () => number;
  random: () => number;
  /** Something that decides about admission may have changed. */
  changed: () => void;
  /** What the engine says of its load; `askedAt` is when it was asked. */
  loaded: (load: EngineLoad, askedAt: number) => void;
  /** A connection to it was made; no more is known. */
  reached: () => void;
  /** One of its endpoints answered, whatever it said. */
  answered: () => void;
  /** The connection to its health endpoint broke before any byte of an answer. */
  broke: () => void;
  /** No connection to it could be made. */
  unreachable: () => void;
}

/** An endpoint that answers slower than this says nothing. */
const askTimeoutMs = 2_000;
const firstRetryMs = 500;
/** How often its health endpoint is asked at most beside requests whose connections break. */
const proofPauseMs = 500;
const longestRetryMs = 5_000;
/** How long an upstream may take to say what it is before it gets requests all the same. */
const patienceMs = 1_000;
/** Lists of models are read again after so long. */
const listMs = 30_000;
const maxAnswerBytes = 4 * 1024 * 1024;

export class Watch {
  readonly #options: WatchOptions;
  #patience: ReturnType<typeof setTimeout> | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #retryMs = firstRetryMs;
  #listAt = Number.NEGATIVE_INFINITY;
  #isLooking = false;
  /** Whether it may be another engine than the one that was sighted. */
  #isDoubtful = false;
  #isProving = false;
  #proofAt = Number.NEGATIVE_INFINITY;
  #isClosed = false;
  #loadAt = Number.NEGATIVE_INFINITY;
  #isAskingLoad = false;

  constructor(options: WatchOptions) {
    this.#options = options;
  }

  /** Begins to look. */
  start(): void {
    this.#wait();
    void this.look();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#patience);
  }

  /** Looks now: what it is where that is not known, else whether it lives; and again later. */
  async look(): Promise<void> {
    if (this.#isLooking || this.#isClosed) return;
    this.#isLooking = true;
    clearTimeout(this.#timer);
    const { upstream, changed, unreachable } = this.#options;
    let hasFailed = false;
    try {
      if (this.#isDoubtful || this.#isUnclear()) await this.#sight();
      else await this.#checkHealth();
      await this.#readList();
      // Its counters may show that it stands still no more.
      if (upstream.isStalled) this.askLoad(0);
    } catch {
      hasFailed = true;
      unreachable();
    }
    this.#isLooking = false;
    if (this.#isDoubtful && !hasFailed) return await this.look();
    this.#sighted();
    changed();
    const isWell = upstream.state === 'up' && !this.#isUnclear();
    this.#later(isWell ? longestRetryMs : this.#retryMs);
    this.#retryMs = isWell ? firstRetryMs : Math.min(this.#retryMs * 2, longestRetryMs);
  }

  /** Something speaks for another state than the last look gave: looks again soon. */
  hasten(): void {
    this.#retryMs = firstRetryMs;
    this.#later(firstRetryMs);
  }

  /** It may be another engine by now: forgets what it was and asks. */
  lookAnew(): void {
    this.#options.upstream.isSighted = false;
    this.#isDoubtful = true;
    this.#listAt = Number.NEGATIVE_INFINITY;
    this.#wait();
    void this.look();
  }

  /** Asks how far the engine is, unless it is being asked or was within `pauseMs`; says whether it does. */
  askLoad(pauseMs: number): boolean {
    const at = this.#options.now();
    if (this.#isAskingLoad || at - this.#loadAt < pauseMs) return false;
    this.#isAskingLoad = true;
    this.#loadAt = at;
    void this.#readLoad(at);
    return true;
  }

  async #readLoad(at: number): Promise<void> {
    const { upstream, loaded, unreachable } = this.#options;
    try {
      const load = await readLoad(upstream.kind, (path) => this.#ask(path));
      if (load !== undefined && !this.#isClosed) loaded(load, at);
    } catch {
      unreachable();
    } finally {
      this.#isAskingLoad = false;
    }
  }

  /**
   * Tries a bare TCP connection, beside requests that have waited for headers: fetch cannot tell an address that
   * swallows packets from an engine that is busy.
   */
  proveByConnecting(timeoutMs: number): void {
    if (this.#isProving) return;
    this.#isProving = true;
    const { upstream, reached } = this.#options;
    const done = () => {
      this.#isProving = false;
    };
    const { hostname, port, protocol } = new URL(upstream.settings.url);
    setTimeout(done, timeoutMs).unref();
    Bun.connect({
      hostname: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port) || (protocol === 'https:' ? 443 : 80),
      socket: {
        open: (socket) => {
          socket.terminate();
          reached();
          done();
        },
        data: () => {},
        connectError: done,
      },
    }).catch(done); // Refused: the request itself fails with that.
  }

  /** Asks its health endpoint, beside requests whose connections break, unless it did so a moment ago. */
  proveByAsking(): void {
    const { upstream, now, unreachable } = this.#options;
    const at = now();
    if (at - this.#proofAt < proofPauseMs) return;
    this.#proofAt = at;
    this.#ask(healthPathOf(upstream.kind)).catch(unreachable);
  }

  /** Posts JSON to a route that generates nothing; gives the JSON of a 200, `undefined` for anything else. */
  async post(path: string, body: Uint8Array | string): Promise<unknown> {
    const init = { method: 'POST', body: body as Uint8Array<ArrayBuffer> };
    const answer = await this.#ask(path, init).catch(() => undefined);
    return answer?.status === 200 ? answer.json : undefined;
  }

  #later(afterMs: number): void {
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    const jittered = afterMs * (0.75 + this.#options.random() / 2);
    this.#timer = setTimeout(() => void this.look(), jittered);
    this.#timer.unref();
  }

  /** Waits until it has said what it is, but not for long. */
  #wait(): void {
    clearTimeout(this.#patience);
    this.#patience = setTimeout(() => this.#sighted(), patienceMs);
  }

  #sighted(): void {
    clearTimeout(this.#patience);
    if (this.#options.upstream.isSighted) return;
    this.#options.upstream.isSighted = true;
    this.#options.changed();
  }

  /** It may be busy, be loading its model, or be a proxy whose engine is not there yet. */
  #isUnclear(): boolean {
    const { kind, slots, isSighted } = this.#options.upstream;
    return !isSighted || kind === 'unknown' || (kind === 'llama.cpp' && slots === undefined);
  }

  async #sight(): Promise<void> {
    const { upstream, log } = this.#options;
    const sighting = await sightEngine((path) => this.#ask(path), upstream.settings.kind);
    this.#isDoubtful = false;
    if (sighting === undefined) return;
    const { kind, slots, contextTokens } = sighting;
    upstream.isLoading = sighting.isLoading ?? false;
    if (kind !== upstream.kind)
      log.info({ upstream: upstream.id, kind, slots }, 'upstream kind found');
    upstream.kind = kind;
    upstream.slots = slots;
    upstream.contextTokens = contextTokens;
  }

  async #checkHealth(): Promise<void> {
    const { upstream } = this.#options;
    const answer = await this.#ask(healthPathOf(upstream.kind));
    if (answer === undefined) return;
    const wasLoading = upstream.isLoading;
    upstream.isLoading = readHealth(answer.status, answer.json) === 'loading';
    // It may have loaded another model.
    if (wasLoading && !upstream.isLoading) this.#listAt = Number.NEGATIVE_INFINITY;
  }

  async #readList(): Promise<void> {
    const { upstream, now } = this.#options;
    if (upstream.settings.models !== undefined || now() - this.#listAt < listMs) return;
    const answer = await this.#ask('/v1/models');
    if (answer === undefined || answer.status !== 200) return;
    const list = Buffer.from(answer.text);
    const ids = modelIdsOf(list);
    if (ids.length === 0) return;
    this.#listAt = now();
    upstream.list = list;
    upstream.listed = ids;
  }

  async #ask(path: string, init: RequestInit = {}): Promise<EngineAnswer | undefined> {
    const { upstream, answered, broke } = this.#options;
    const { url, apiKey } = upstream.settings;
    const headers = new Headers({ 'user-agent': watchAgent, 'content-type': 'application/json' });
    if (apiKey !== undefined) headers.set('authorization', `Bearer ${apiKey}`);
    let isAnswered = false;
    try {
      const response = await fetch(url + path, {
        ...init,
        keepalive: false,
        redirect: 'manual',
        signal: AbortSignal.timeout(askTimeoutMs),
        headers,
      });
      isAnswered = true;
      answered();
      const text = await readText(response);
      return { status: response.status, headers: response.headers, text, json: parsed(text) };
    } catch (error) {
      // Slow is not away, nor is one that resets what it does not know: only a connection that was never made is.
      const failure = failureOf(error);
      if (failure === 'unreachable') throw error;
      if (!isAnswered && failure !== 'slow' && path === healthPathOf(upstream.kind)) broke();
      return undefined;
    }
  }
}

async function readText(response: Response): Promise<string> {
  const length = Number(response.headers.get('content-length') ?? 0);
  if (length <= maxAnswerBytes) return await response.text();
  await response.body?.cancel();
  return '';
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Prometheus text, a page, or nothing.
  }
}

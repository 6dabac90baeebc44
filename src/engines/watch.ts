/**
 * Looks after one upstream: asks it what it is, whether it lives, what it serves and how far it is, on a jittered timer
 * and whenever something has happened. It asks cheap endpoints only, never for a generation, and judges nothing: it
 * reports what it hears.
 */
import { askEndpoint, type EngineAnswer, type Fetch } from './endpoints.ts';
import { failureOf } from './failure.ts';
import { readLoad, type EngineLoad } from './load.ts';
import { saysLoading } from './loading.ts';
import { healthPathOf, sightEngine } from './probe.ts';
import type { Upstream } from './upstream.ts';
import type { Log } from '../log/log.ts';
import type { SetTimer } from '../request/timer.ts';
import { modelIdsOf } from '../wire/modellist.ts';

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

/** How a watch acts. */
export interface WatchEffects {
  setTimer: SetTimer;
  fetch: Fetch;
}

const firstRetryMs = 500;
/** The least time between two questions to its health endpoint because connections of requests break. */
const proofPauseMs = 500;
const longestRetryMs = 5_000;
/** How long an upstream may take to say what it is before it gets requests all the same. */
const patienceMs = 1_000;
/** Lists of models are read again after so long. */
const listMs = 30_000;

export class Watch {
  readonly #options: WatchOptions;
  readonly #effects: WatchEffects;
  #cancelPatience: (() => void) | undefined;
  #cancelLook: (() => void) | undefined;
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

  constructor(options: WatchOptions, effects: WatchEffects) {
    this.#options = options;
    this.#effects = effects;
  }

  /** Starts to look. */
  start(): void {
    this.#wait();
    void this.look();
  }

  close(): void {
    this.#isClosed = true;
    this.#cancelLook?.();
    this.#cancelPatience?.();
  }

  /** Looks now, and again later: what it is when that is not known, else whether it lives. */
  async look(): Promise<void> {
    if (this.#isLooking || this.#isClosed) return;
    this.#isLooking = true;
    this.#cancelLook?.();
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

  /** Something contradicts what the last look has found: looks again soon. */
  hasten(): void {
    this.#retryMs = firstRetryMs;
    this.#later(firstRetryMs);
  }

  /** It may be another engine by now: forgets what it was and asks. */
  lookAnew(): void {
    this.#options.upstream.sighted(false);
    this.#isDoubtful = true;
    this.#listAt = Number.NEGATIVE_INFINITY;
    this.#wait();
    void this.look();
  }

  /** Asks how far the engine is, unless it is being asked or was within `pauseMs`; returns whether it does. */
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
   * Tries a bare TCP connection while requests wait for headers: fetch cannot tell an address that swallows packets
   * from an engine that is busy.
   */
  proveByConnecting(timeoutMs: number): void {
    if (this.#isProving) return;
    this.#isProving = true;
    const { upstream, reached } = this.#options;
    const done = () => {
      this.#isProving = false;
    };
    const { hostname, port, protocol } = new URL(upstream.settings.url);
    this.#effects.setTimer(done, timeoutMs);
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

  /** Asks its health endpoint because connections of requests break, unless it did so a moment ago. */
  proveByAsking(): void {
    const { upstream, now, unreachable } = this.#options;
    const at = now();
    if (at - this.#proofAt < proofPauseMs) return;
    this.#proofAt = at;
    this.#ask(healthPathOf(upstream.kind)).catch(unreachable);
  }

  /** Reads its list of models now, if it is there and the operator has not said what it serves. Never rejects. */
  async readListNow(): Promise<void> {
    const { upstream, changed, unreachable } = this.#options;
    if (this.#isClosed || !upstream.isHopeful) return;
    this.#listAt = Number.NEGATIVE_INFINITY;
    await this.#readList().catch(unreachable);
    changed();
  }

  /** Posts JSON to a route that generates nothing; returns the JSON of a 200, `undefined` for anything else. */
  async post(path: string, parts: readonly Uint8Array[]): Promise<unknown> {
    const answer = await this.#ask(path, parts).catch(() => undefined);
    return answer?.status === 200 ? answer.json : undefined;
  }

  #later(afterMs: number): void {
    if (this.#isClosed) return;
    this.#cancelLook?.();
    const jittered = afterMs * (0.75 + this.#options.random() / 2);
    this.#cancelLook = this.#effects.setTimer(() => void this.look(), jittered);
  }

  /** Waits until it has said what it is, but not for long. */
  #wait(): void {
    this.#cancelPatience?.();
    this.#cancelPatience = this.#effects.setTimer(() => this.#sighted(), patienceMs);
  }

  #sighted(): void {
    this.#cancelPatience?.();
    const { upstream, changed } = this.#options;
    if (upstream.isSighted) return;
    upstream.sighted(true);
    changed();
  }

  /** It may be busy, be loading its model, or be a proxy whose engine is not there yet. */
  #isUnclear(): boolean {
    const { kind, reportedSlots, isSighted } = this.#options.upstream;
    const isSilent = kind === 'llama.cpp' && reportedSlots === undefined;
    return !isSighted || kind === 'unknown' || isSilent;
  }

  async #sight(): Promise<void> {
    const { upstream, log } = this.#options;
    const sighting = await sightEngine((path) => this.#ask(path), upstream.settings.kind);
    this.#isDoubtful = false;
    if (sighting === undefined) return;
    const { kind, slots } = sighting;
    if (kind !== upstream.kind)
      log.info({ upstream: upstream.id, kind, slots }, 'upstream kind found');
    upstream.saw(sighting);
  }

  async #checkHealth(): Promise<void> {
    const { upstream } = this.#options;
    const answer = await this.#ask(healthPathOf(upstream.kind));
    if (answer === undefined) return;
    const wasLoading = upstream.isLoading;
    upstream.loads(saysLoading(answer.status, answer.json));
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
    upstream.listed(list, ids);
  }

  /** Asks an endpoint and reports what came of it. Returns `undefined` when it says nothing; throws when it is away. */
  async #ask(path: string, parts?: readonly Uint8Array[]): Promise<EngineAnswer | undefined> {
    const { upstream, answered, broke } = this.#options;
    const { fetch } = this.#effects;
    const { url, apiKey } = upstream.settings;
    let isAnswered = false;
    const heard = () => {
      isAnswered = true;
      answered();
    };
    try {
      return await askEndpoint({ url, apiKey, path, parts }, { fetch, answered: heard });
    } catch (error) {
      // Slow is not away, nor is one that resets what it does not know: only a connection that was never made is.
      const failure = failureOf(error);
      if (failure === 'unreachable') throw error;
      if (!isAnswered && failure !== 'slow' && path === healthPathOf(upstream.kind)) broke();
      return undefined;
    }
  }
}

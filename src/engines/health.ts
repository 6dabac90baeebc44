/**
 * What is heard of upstreams, from their watches and from requests alike, brought to their breakers and to the log.
 * Nothing else changes a breaker's verdict. It decides nothing about which request runs where.
 */
import type { Job } from '../request/job.ts';
import type { EngineLoad } from './load.ts';
import type { Fleet } from './fleet.ts';
import type { Log } from '../log/log.ts';
import type { Upstream } from './upstream.ts';
import type { Watch, WatchOptions } from './watch.ts';

/** The part of a watch that is used here. */
export type Watching = Pick<
  Watch,
  | 'start'
  | 'close'
  | 'hasten'
  | 'lookAnew'
  | 'askLoad'
  | 'post'
  | 'readListNow'
  | 'proveByConnecting'
  | 'proveByAsking'
>;

export interface HealthOptions {
  fleet: Fleet;
  log: Log;
  now(): number;
  random(): number;
  /** Makes the watch of one upstream. */
  watch(options: WatchOptions): Watching;
  /** Something that decides about admission may have changed. */
  changed(): void;
  /** What an engine says of its load; `askedAt` is when it was asked. */
  loaded(upstream: Upstream, load: EngineLoad, askedAt: number): void;
}

/** How many times its usual gap an engine may stay without progress. */
const stallFactor = 20;
/** How long it may be silent before it is asked how far it is, and how often then. */
const silenceMs = 1_500;

export class Health {
  #isStarted = false;
  readonly #watches = new Map<Upstream, Watching>();
  readonly #options: HealthOptions;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  /** Begins to look after the upstreams; none gets a request before it was looked at. */
  start(): void {
    this.#isStarted = true;
    for (const watch of this.#watches.values()) watch.start();
  }

  close(): void {
    for (const watch of this.#watches.values()) watch.close();
  }

  /** Looks after one more upstream. */
  add(upstream: Upstream): void {
    const { log, now, random, changed } = this.#options;
    const watch = this.#options.watch({
      upstream,
      log,
      now,
      random,
      changed,
      reached: () => this.#reached(upstream, false),
      answered: () => this.#reached(upstream, true),
      broke: () => this.#broke(upstream),
      unreachable: () => this.#unreachable(upstream, true),
      loaded: (load, askedAt) => this.#loaded(upstream, load, askedAt),
    });
    this.#watches.set(upstream, watch);
    if (this.#isStarted) watch.start();
  }

  drop(upstream: Upstream): void {
    this.#watches.get(upstream)?.close();
    this.#watches.delete(upstream);
  }

  /** Asks how busy it is, unless it was asked within `pauseMs`; returns whether it does. */
  askLoad(upstream: Upstream, pauseMs: number): boolean {
    return this.#watches.get(upstream)?.askLoad(pauseMs) ?? false;
  }

  /** Reads the lists of models of all upstreams now. Never rejects. */
  async readLists(): Promise<void> {
    await Promise.all([...this.#watches.values()].map((watch) => watch.readListNow()));
  }

  /** Posts JSON to a route that generates nothing; returns the JSON of a 200, `undefined` for anything else. */
  async post(upstream: Upstream, path: string, parts: readonly Uint8Array[]): Promise<unknown> {
    return await this.#watches.get(upstream)?.post(path, parts);
  }

  /** Finds out, while a request waits for it, whether the upstream of that id takes connections. */
  proveByConnecting(id: string, timeoutMs: number): void {
    for (const [upstream, watch] of this.#watches) {
      if (upstream.id === id) watch.proveByConnecting(timeoutMs);
    }
  }

  /**
   * Records that the upstream answered with that status. An answer that begins well is judged at its end, by `judged`:
   * engines can fail inside it.
   */
  answered(upstream: Upstream, status: number, { caller, units }: Job): void {
    const { breaker, state } = upstream;
    const now = this.#options.now();
    upstream.proven(now);
    upstream.refuses(false);
    // An engine that generates nothing may still count tokens.
    if (units === 0 || (status >= 200 && status < 300)) breaker.answered(now);
    else if (status < 500) breaker.succeeded(now);
    else breaker.failed5xx(caller.keyId, now, this.#options.fleet.canSpare(upstream));
    this.#heard(upstream, state);
  }

  /** Records how an answer ended that had begun well; `failing` counts as a 500 does. */
  judged(upstream: Upstream, verdict: 'well' | 'failing', { caller, units }: Job): void {
    if (units === 0) return;
    const { breaker, state } = upstream;
    const { fleet, now } = this.#options;
    if (verdict === 'well') breaker.succeeded(now());
    else breaker.failed5xx(caller.keyId, now(), fleet.canSpare(upstream));
    this.#heard(upstream, state);
  }

  /** Records that no connection could be made; `isQuick` when it was refused at once. */
  missed(upstream: Upstream, isQuick: boolean): void {
    this.#unreachable(upstream, isQuick);
    this.#watches.get(upstream)?.hasten();
  }

  /**
   * Records that the connection broke before any byte of an answer. Where one caller's prompts may be the reason, the
   * health endpoint is asked.
   */
  wasReset(upstream: Upstream, { caller }: Job): void {
    const { breaker, state } = upstream;
    const { fleet, now } = this.#options;
    const canSpare = fleet.canSpare(upstream);
    breaker.reset(caller.keyId, now(), canSpare);
    this.#heard(upstream, state);
    if (canSpare && breaker.isSuspect) this.#watches.get(upstream)?.proveByAsking();
  }

  /** Records that the engine is loading its model. */
  noteLoading(upstream: Upstream): void {
    const { breaker, state } = upstream;
    upstream.loads(true);
    breaker.answered(this.#options.now());
    this.#heard(upstream, state);
    this.#watches.get(upstream)?.hasten();
  }

  /**
   * Finds out whether requests stand still at an upstream, and asks it where it is silent.
   * @param hasBegun whether one of them has had a part of its answer
   */
  judgeProgress(upstream: Upstream, hasBegun: boolean, floorMs: number): void {
    const { progress, open, isFull, isStalled } = upstream;
    if (open === 0 && !isFull && !isStalled) return;
    const now = this.#options.now();
    const isSilent = now - (progress.silentSince ?? now) > silenceMs;
    if (isSilent || upstream.reportsWaiting) this.askLoad(upstream, silenceMs);
    const canJudge = hasBegun || progress.hasCounters;
    const question = { openRequests: open, now, floorMs, factor: stallFactor, canJudge };
    // That its requests have ended is no progress: one with counters has to show that it is idle.
    const isStill = isStalled && open === 0 && progress.hasCounters;
    this.#setStalled(upstream, isStill || progress.isStalled(question));
  }

  #loaded(upstream: Upstream, load: EngineLoad, askedAt: number): void {
    const { progress, open } = upstream;
    const { silentSince } = progress;
    progress.counters(load.progress, this.#options.now());
    upstream.loaded(load);
    const isIdle = (load.busySlots ?? load.running) === 0;
    const hasMoved = progress.silentSince !== silentSince;
    if (open === 0 && (isIdle || hasMoved)) this.#setStalled(upstream, false);
    this.#options.loaded(upstream, load, askedAt);
  }

  #setStalled(upstream: Upstream, isStalled: boolean): void {
    if (isStalled === upstream.isStalled) return;
    upstream.stalled(isStalled);
    const { log } = this.#options;
    const { id, settings } = upstream;
    if (isStalled) log.error({ upstream: id, url: settings.url }, 'upstream makes no progress');
    else log.info({ upstream: id }, 'upstream makes progress again');
    // It may have been the last that could do without one that is set aside.
    this.#options.changed();
  }

  /** `isAnswer` when one of its cheap endpoints answered, and not just a connection was made. */
  #reached(upstream: Upstream, isAnswer: boolean): void {
    const { breaker, state } = upstream;
    const now = this.#options.now();
    upstream.proven(now);
    if (isAnswer) breaker.lives(now);
    else breaker.reached(now);
    // Every look comes here; the look itself reports an upstream that is heard of for the first time.
    if (state === 'away') this.#heard(upstream, state);
  }

  #broke(upstream: Upstream): void {
    const { breaker, state } = upstream;
    const { fleet, now } = this.#options;
    breaker.broke(now(), fleet.canSpare(upstream));
    this.#heard(upstream, state);
    // What its health endpoint says next may close it.
    if (upstream.state !== state) this.#watches.get(upstream)?.hasten();
  }

  #unreachable(upstream: Upstream, isQuick: boolean): void {
    const { breaker, state } = upstream;
    upstream.refuses(isQuick);
    breaker.unreachable(this.#options.now());
    this.#heard(upstream, state);
  }

  /** Does what follows from a new state, and logs it. */
  #heard(upstream: Upstream, before: Upstream['state']): void {
    const { state, id, settings, breaker } = upstream;
    if (state === before) return;
    const { log, changed } = this.#options;
    if (state === 'away') {
      const { reason } = breaker;
      const message =
        reason === 'unreachable' ? 'upstream cannot be reached' : 'upstream is set aside';
      log.error({ upstream: id, url: settings.url, reason }, message);
    } else if (before === 'away') {
      log.info({ upstream: id }, 'upstream is back');
      upstream.returned();
      // It may be another engine by now.
      this.#watches.get(upstream)?.lookAnew();
    }
    changed();
  }
}

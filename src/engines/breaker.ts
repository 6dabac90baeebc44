/**
 * Whether an upstream may be given requests, judged from how exchanges with it ended. Busy is not down, an engine's error
 * is an answer, and a prompt may break its connection: what requests meet sets an upstream aside only while a peer can
 * serve, and on no caller's word alone. Only a missing process opens a breaker at once. It reads no clock.
 */

/** `half-open`: one probe request is out, and nothing else goes there until its verdict. */
export type BreakerState = 'closed' | 'open' | 'half-open';

/**
 * `unreachable`: no process was there. `resetting`: the connections of several callers, or of one and of the health
 * endpoint, broke before any byte of an answer. `failing`: it answered several callers with nothing but 5xx. The last two
 * only while a peer can serve.
 */
export type BreakerReason = 'unreachable' | 'resetting' | 'failing';

/** The one request that tries an upstream whose breaker is open. */
export type Probe = number;

const firstBackoffMs = 500;
/** Before the jitter of 25 % either way. */
const longestBackoffMs = 30_000;

/** In a row, from at least two keys: one caller's prompts must not take an engine from the others. */
const enoughOfSeveral = 5;
/** Connections broken in a row for one key alone; what the health endpoint does must bear it out. */
const enoughResetsOfOne = 10;

/** Failures of one kind in a row, and whether they were more than one key's. */
class Streak {
  count = 0;
  isShared = false;
  #first: string | undefined;

  add(key: string): void {
    if (this.count++ === 0) this.#first = key;
    else if (key !== this.#first) this.isShared = true;
  }

  clear(): void {
    this.count = 0;
    this.isShared = false;
    this.#first = undefined;
  }

  get isOfSeveral(): boolean {
    return this.isShared && this.count >= enoughOfSeveral;
  }
}

/** The breaker of one upstream. Every `now` is milliseconds on one clock. */
export class Breaker {
  /** From when a probe may be sent; in the past while the breaker is closed. */
  retryAt = Number.NEGATIVE_INFINITY;
  #reason: BreakerReason | undefined;
  #backoffMs = firstBackoffMs;
  #probe: Probe | undefined;
  #probes = 0;
  readonly #resets = new Streak();
  readonly #failures = new Streak();
  readonly #random: () => number;

  /** @param random returns numbers from 0 up to, not including, 1 */
  constructor(random: () => number) {
    this.#random = random;
  }

  get state(): BreakerState {
    if (this.#reason === undefined) return 'closed';
    return this.#probe === undefined ? 'open' : 'half-open';
  }

  /** Why it is not closed; `undefined` while it is. */
  get reason(): BreakerReason | undefined {
    return this.#reason;
  }

  /** Returns whether a request may be sent now: any while it is closed, one probe when its backoff has passed. */
  canAdmit(now: number): boolean {
    return this.#probe === undefined && now >= this.retryAt;
  }

  /**
   * Records that a request is sent, after `canAdmit` allowed it.
   * @returns the probe that this request is, to be given to `probeEnded`; `undefined` while the breaker is closed
   */
  admitted(now: number): Probe | undefined {
    if (this.#reason === undefined || !this.canAdmit(now)) return undefined;
    this.#probe = ++this.#probes;
    return this.#probe;
  }

  /**
   * The request that was this probe has ended. Without a verdict (its client left) the next request may be a probe at
   * once; after one, and for a request that was no probe, this does nothing. So it may follow every request.
   */
  probeEnded(probe: Probe | undefined): void {
    if (probe === this.#probe) this.#probe = undefined;
  }

  /** Refused, no such name, or no connection in time: provably no process is there. Opens at once. */
  unreachable(now: number): void {
    const isVerdict = this.#probe !== undefined || now >= this.retryAt;
    if (this.#reason === undefined || isVerdict) this.#open('unreachable', now);
    // What answers after that is another process: its first answer must close this, whatever the reason was before.
    else this.#reason = 'unreachable';
  }

  /**
   * The connection of one of this key's requests broke before any byte of an answer.
   * @param canSpare whether a peer can serve what this upstream serves: the last one is never set aside
   */
  reset(key: string, now: number, canSpare: boolean): void {
    // Somebody took the probe's connection; the rest is judged like any other reset.
    if (this.#probe !== undefined) this.reached(now);
    this.#resets.add(key);
    if (this.#reason === undefined) {
      if (canSpare && this.#resets.isOfSeveral) this.#open('resetting', now);
    } else if (!canSpare) this.recall();
    // While it is open, without a probe: a request from before. It says nothing new.
    else if (this.#probe !== undefined) this.#open(this.#reason, now);
  }

  /** Whether so many connections broke in a row that the health endpoint must confirm what one caller's requests show. */
  get isSuspect(): boolean {
    return this.#reason === undefined && this.#resets.count >= enoughResetsOfOne;
  }

  /**
   * The connection to its health endpoint broke before any byte of an answer: so it was not one caller's prompts.
   * @param canSpare as for `reset`
   */
  broke(now: number, canSpare: boolean): void {
    if (!canSpare) return;
    const isStill =
      this.#reason === 'resetting' && this.#probe === undefined && now >= this.retryAt;
    if (this.isSuspect || isStill) this.#open('resetting', now);
  }

  /** A connection was taken there, and no more is known. Closes it when it opened because no process was there. */
  reached(_now: number): void {
    if (this.#reason === 'unreachable') this.#close();
  }

  /** One of its cheap endpoints answered. Closes it also when only one caller's connections broke. */
  lives(now: number): void {
    this.reached(now);
    if (this.#reason === 'resetting' && !this.#resets.isShared) this.#close();
  }

  /** Headers came, of any status and any path. Closes it unless it is `failing`, which a health endpoint cannot deny. */
  answered(_now: number): void {
    this.#resets.clear();
    if (this.#reason === 'unreachable' || this.#reason === 'resetting') this.#close();
  }

  /** A client's request was answered with anything but a 5xx. Closes it. */
  succeeded(_now: number): void {
    this.#close();
  }

  /**
   * A request of this key was answered with a 5xx other than "Loading model".
   * @param canSpare as for `reset`
   */
  failed5xx(key: string, now: number, canSpare: boolean): void {
    this.answered(now);
    this.#failures.add(key);
    if (this.#reason === undefined) {
      if (canSpare && this.#failures.isOfSeveral) this.#open('failing', now);
    } else if (!canSpare) this.#close();
    else if (this.#probe !== undefined) this.#open('failing', now);
  }

  /** No peer can serve any more: takes the upstream back, unless no process is there. */
  recall(): void {
    if (this.#reason === 'failing' || this.#reason === 'resetting') this.#close();
  }

  #open(reason: BreakerReason, now: number): void {
    this.#reason = reason;
    this.#probe = undefined;
    this.retryAt = now + this.#backoffMs * (0.75 + this.#random() / 2);
    this.#backoffMs = Math.min(this.#backoffMs * 2, longestBackoffMs);
  }

  #close(): void {
    this.#reason = undefined;
    this.#probe = undefined;
    this.#backoffMs = firstBackoffMs;
    this.retryAt = Number.NEGATIVE_INFINITY;
    this.#resets.clear();
    this.#failures.clear();
  }
}

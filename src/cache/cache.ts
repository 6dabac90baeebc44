/**
 * The response cache: whole answers of an engine, kept for exact repeats of deterministic requests, and one run for
 * identical requests that come while it is under way. It refuses what did not end well, what would not fit, and what an
 * engine answers from more than the request; it opens no socket, and no key gets what another asked for unless told so.
 *
 * A request that comes while an equal one is being answered waits until that answer is whole and gets it at once: the
 * first one goes at the pace of its own client, which others should not have to share. When that client leaves, its exchange with the
 * engine ends like any other, and the next in line asks anew.
 */
import type { CacheKey } from './key.ts';
import { Recording, type Kept, type Result } from './recording.ts';
import { setRealTimer, type SetTimer } from '../request/timer.ts';

/** Returns a kept answer as an engine's answer, to be passed on like one. */
export function replay({ headers, bytes }: Kept): Response {
  const all = new Headers(headers);
  all.set('content-length', String(bytes.length));
  return new Response(bytes, { headers: all });
}

interface CacheOptions {
  /** Bounds what is kept and what is being collected together, their bookkeeping included. */
  maxBytes: number;
  /** How long an answer is kept, in milliseconds; 0 shares only what is under way. */
  ttlMs: number;
  /** Milliseconds. */
  now: () => number;
  setTimer?: SetTimer;
}

/** Who asks for an answer. */
interface Asker {
  /**
   * Its principal and class. Only requests of one line wait for one another: one that waited for another line's would
   * wait at that line's place in the queue for the engine.
   */
  line: string;
  /** Of the body that stays in memory while it waits. */
  bytes: number;
  signal: AbortSignal;
}

interface Stored extends Kept {
  sizeBytes: number;
  expiresAt: number;
}

/** An answer that others wait for. */
interface Flight {
  since: number;
  result: Promise<Result>;
}

/** Approximate size of the bookkeeping of a kept answer, and of a request that waits. */
const overheadBytes = 1_024;
/** Shares of all bytes: for one answer, for those that are being collected, for the bodies of those that wait. */
const answerShare = 1 / 8;
const recordingShare = 1 / 2;
const waitingShare = 1 / 8;
/** Nobody waits for an answer that has been under way for longer: its client may not be reading. */
const maxFlightMs = 60_000;
/** After this many leaders in a row left without an answer, ask the engine instead of waiting again. */
const maxLeaders = 3;

/** What is kept, least recently used first, and what is under way. */
export class ResponseCache {
  readonly #stored = new Map<string, Stored>();
  readonly #flights = new Map<string, Flight>();
  #keptBytes = 0;
  #recordingBytes = 0;
  #waitingBytes = 0;
  /** Counts the times that it was cleared: what was begun before that is not kept. */
  #age = 0;
  readonly #setTimer: SetTimer;

  constructor(private readonly options: CacheOptions) {
    this.#setTimer = options.setTimer ?? setRealTimer;
  }

  /** Of what is kept and what is being collected; never more than `maxBytes`. */
  get bytes(): number {
    return this.#keptBytes + this.#recordingBytes;
  }

  /** How many answers are kept. */
  get size(): number {
    return this.#stored.size;
  }

  /** Forgets everything, for instance because other engines serve now. */
  clear(): void {
    this.#age++;
    this.#stored.clear();
    this.#keptBytes = 0;
    this.#flights.clear();
  }

  /**
   * Returns the answer that is kept, or that came while this waited; else the right to ask the engine and the duty to
   * `end` the recording. Rejects with the signal's reason.
   */
  async enter(
    { key, isFresh }: CacheKey,
    { line, bytes, signal }: Asker,
  ): Promise<Kept | Recording> {
    const id = `${line} ${key}`;
    for (let leaders = 0; ; leaders++) {
      signal.throwIfAborted();
      const kept = isFresh ? undefined : this.#get(key);
      if (kept !== undefined) return kept;
      const flight = this.#flights.get(id);
      const leftMs = flight ? flight.since + maxFlightMs - this.options.now() : 0;
      if (isFresh) return this.#begin(key, undefined);
      if (flight === undefined || leftMs <= 0) return this.#begin(key, id);
      if (leaders === maxLeaders || !this.#canWait(bytes)) return this.#begin(key, undefined);
      const result = await this.#follow(flight, { bytes, leftMs, signal });
      if (result === 'unkept') return this.#begin(key, undefined);
      if (result !== 'left') return result;
    }
  }

  #get(key: string): Kept | undefined {
    const stored = this.#stored.get(key);
    if (stored === undefined) return undefined;
    this.#drop(key, stored);
    if (this.options.now() >= stored.expiresAt) return undefined;
    this.#stored.set(key, stored);
    this.#keptBytes += stored.sizeBytes;
    return stored;
  }

  /** @param id the flight that it becomes, for others to wait for */
  #begin(key: string, id: string | undefined): Recording {
    const age = this.#age;
    const { promise, resolve } = Promise.withResolvers<Result>();
    const flight = { since: this.options.now(), result: promise };
    if (id !== undefined) this.#flights.set(id, flight);
    return new Recording({
      maxBytes: Math.floor(this.options.maxBytes * answerShare),
      reserve: (bytes) => this.#reserve(bytes),
      settled: (result) => {
        if (id !== undefined && this.#flights.get(id) === flight) this.#flights.delete(id);
        if (typeof result === 'object' && age === this.#age) this.#keep(key, result);
        resolve(result);
      },
    });
  }

  #canWait(bytes: number): boolean {
    const { maxBytes } = this.options;
    return this.#waitingBytes + bytes + overheadBytes <= maxBytes * waitingShare;
  }

  /** Waits for what comes of a flight; for so long only. */
  async #follow(
    flight: Flight,
    wait: { bytes: number; leftMs: number; signal: AbortSignal },
  ): Promise<Result> {
    const { leftMs, signal } = wait;
    const bytes = wait.bytes + overheadBytes;
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    const leave = () => reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    const callOff = this.#setTimer(() => resolve('unkept'), leftMs);
    void flight.result.then(resolve);
    this.#waitingBytes += bytes;
    try {
      return await promise;
    } finally {
      this.#waitingBytes -= bytes;
      callOff();
      signal.removeEventListener('abort', leave);
    }
  }

  #reserve(bytes: number): boolean {
    const { maxBytes } = this.options;
    if (bytes > 0 && this.#recordingBytes + bytes > maxBytes * recordingShare) return false;
    this.#recordingBytes += bytes;
    this.#evict();
    return true;
  }

  #keep(key: string, { headers, bytes }: Kept): void {
    const { maxBytes, ttlMs, now } = this.options;
    let sizeBytes = overheadBytes + bytes.length;
    for (const [name, value] of headers) sizeBytes += name.length + value.length;
    if (sizeBytes > maxBytes * answerShare) return;
    const before = this.#stored.get(key);
    if (before !== undefined) this.#drop(key, before);
    this.#stored.set(key, { headers, bytes, sizeBytes, expiresAt: now() + ttlMs });
    this.#keptBytes += sizeBytes;
    this.#evict();
  }

  /** Lets go of what was not used for longest until the rest fits. */
  #evict(): void {
    for (const [key, stored] of this.#stored) {
      if (this.bytes <= this.options.maxBytes) return;
      this.#drop(key, stored);
    }
  }

  #drop(key: string, stored: Stored): void {
    this.#stored.delete(key);
    this.#keptBytes -= stored.sizeBytes;
  }
}

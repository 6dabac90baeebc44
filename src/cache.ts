/**
 * The response cache: whole answers of an engine, kept for exact repeats of deterministic requests, and one run for
 * identical requests that come while it is under way. It refuses what did not end well, what would not fit, and what an
 * engine answers from more than the request; it opens no socket, and no key gets what another asked for unless told so.
 *
 * Whoever comes while the same is being answered waits until that is whole and gets it at once: the first answer goes at
 * the pace of its own client, which nobody else should have to share. When that client leaves, its exchange with the
 * engine ends like any other, and the next in line asks anew.
 */
import { decode, hasText } from './bytes.ts';
import type { SetTimer } from './feedback.ts';
import { answerHeaders } from './headers.ts';
import type { Outcome } from './live.ts';
import type { Fields } from './prompt.ts';
import type { Route } from './routes.ts';
import { isLastFrame } from './sse.ts';

/** A request whose answer may be kept. */
export interface CacheKey {
  /** SHA-256 of everything that the answer depends on. */
  key: string;
  /** Whether the client takes no answer that was kept; the new one is kept all the same. */
  isFresh: boolean;
}

export interface CacheKeyOptions {
  route: Route;
  /** The query of the request's URL with its question mark, or nothing. */
  search: string;
  headers: Headers;
  /** As the client sent it. */
  body: Uint8Array;
  fields: Fields;
  /**
   * Requests of different scopes share nothing. By key, not by principal: whoever holds a key that speaks for several
   * users reads all their answers anyway.
   */
  scope: string;
}

const embedding = /\/embeddings?$/;
/** Beside the body these can change an answer; what says who or how somebody asks does not. */
const telling = /^(accept|content-type|anthropic-.*|openai-.*)$/;
/** What these name lies outside the request. */
const outside = [
  'previous_response_id',
  'conversation',
  'container',
  'mcp_servers',
  'web_search_options',
];
/** llama.cpp's LLAMA_DEFAULT_SEED: it draws another one each time. A negative one says the same everywhere. */
const randomSeed = 0xffffffff;

function isDeterministic({ path }: Route, { temperature, seed }: Fields): boolean {
  if (embedding.test(path) || temperature === 0) return true;
  return Number.isSafeInteger(seed) && (seed as number) >= 0 && seed !== randomSeed;
}

/** Functions are the client's to call; other tools an engine may run by itself, with whatever comes of that today. */
function isFunction(tool: unknown): boolean {
  const type = typeof tool === 'object' && tool !== null && 'type' in tool ? tool.type : undefined;
  return type === undefined || type === 'function' || type === 'custom';
}

function isSelfContained(fields: Fields): boolean {
  const { store, background, tools } = fields;
  if (store === true || background === true) return false;
  if (outside.some((name) => (fields[name] ?? undefined) !== undefined)) return false;
  return !Array.isArray(tools) || tools.every(isFunction);
}

/**
 * Pure decision: the key under which the answer to this request may be kept; `undefined` where it may not. Deterministic
 * are temperature 0, a seed, and embeddings; a client's `cache-control: no-store` opts out.
 */
export function cacheKeyOf(options: CacheKeyOptions): CacheKey | undefined {
  const { route, search, headers, body, fields, scope } = options;
  if (route.method !== 'POST' || route.body !== 'json' || !route.generates) return undefined;
  if (!isDeterministic(route, fields) || !isSelfContained(fields)) return undefined;
  const control = headers.get('cache-control')?.toLowerCase() ?? '';
  if (control.includes('no-store')) return undefined;
  // Headers are iterated in the order of their names.
  const told = [...headers].filter(([name]) => telling.test(name));
  const key = new Bun.CryptoHasher('sha256')
    // Text that ends where the body begins, since JSON has no line break of its own.
    .update(`${JSON.stringify([scope, route.path + search, told])}\n`)
    .update(body)
    .digest('base64');
  return { key, isFresh: control.includes('no-cache') };
}

/** An answer with status 200. */
export interface Kept {
  /** The engine's, without those of its connection. */
  readonly headers: Headers;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Gives what was kept in the place of an engine's answer, for whoever passes that on. */
export function replay({ headers, bytes }: Kept): Response {
  const all = new Headers(headers);
  all.set('content-length', String(bytes.length));
  return new Response(bytes, { headers: all });
}

/** The end of an event stream, as the relay sees it. */
export interface StreamEnding {
  readonly lastFrame: Uint8Array | undefined;
  lastFrames(): Uint8Array;
}

const isEnded = ({ lastFrame }: StreamEnding) => lastFrame !== undefined && isLastFrame(lastFrame);

/** Engines can fail under status 200, vLLM with a `[DONE]` behind it. */
const failures = [
  '"finish_reason":"error"',
  '"finish_reason":"abort"',
  '"status":"failed"',
].flatMap((text) => [text, text.replace(':', ': ')]);
const failedStart = /^(data: ?|\s*)\{\s*"error"|^event: ?(error|response\.failed)/m;
const startBytes = 64;

function saysFailure(bytes: Uint8Array, ending: StreamEnding | undefined): boolean {
  const said = ending?.lastFrames() ?? bytes;
  const start = decode(said, 'latin1', 0, ending === undefined ? startBytes : said.length);
  return failedStart.test(start) || failures.some((text) => hasText(said, text));
}

/** Whether the end of such a body can be told from a cut; encoded ones are not looked into. */
function isKeepable({ status, headers }: Response, ending: StreamEnding | undefined): boolean {
  if (status !== 200 || headers.has('content-encoding')) return false;
  if (headers.get('cache-control')?.toLowerCase().includes('no-store')) return false;
  if (headers.has('content-length') || headers.has('transfer-encoding')) return true;
  return (
    ending !== undefined || Boolean(headers.get('content-type')?.startsWith('application/json'))
  );
}

/** What came of an answer: itself; `left`: its client went away; `unkept`: it failed or cannot be kept. */
type Result = Kept | 'left' | 'unkept';

/** How an answer in the making asks for memory and says what came of it. */
interface Keeper {
  /** Of one answer, in bytes. */
  maxBytes: number;
  /** Takes so many bytes more, or gives back where it is negative; `false` when there are no more. */
  reserve(bytes: number): boolean;
  /** Called once. */
  settled(result: Result): void;
}

const firstCapacityBytes = 4_096;

/** An answer in the making: it collects a copy of what goes to the client. */
export class Filling {
  #headers: Headers | undefined;
  #ending: StreamEnding | undefined;
  /** The first `#length` bytes of a buffer that grows. */
  #held = new Uint8Array(0);
  #length = 0;
  #isOver = false;

  constructor(private readonly keeper: Keeper) {}

  /**
   * Takes the head of the engine's answer.
   * @param ending of an event stream that is not encoded
   */
  open(answer: Response, ending?: StreamEnding): void {
    if (!isKeepable(answer, ending)) return this.#settle('unkept');
    this.#headers = answerHeaders(answer.headers);
    // It would be one client's session.
    this.#headers.delete('set-cookie');
    this.#ending = ending;
  }

  /** Takes the next bytes that go to the client. */
  add(bytes: Uint8Array): void {
    if (this.#isOver) return;
    const length = this.#length + bytes.length;
    if (length > this.#held.length && !this.#grow(length)) return this.#settle('unkept');
    this.#held.set(bytes, this.#length);
    this.#length = length;
  }

  /** Must follow when the request has ended, however; idempotent. */
  end(outcome: Outcome): void {
    if (this.#isOver) return;
    const ending = this.#ending;
    const hasFailed = this.#headers === undefined || saysFailure(this.#held, ending);
    // A client may leave as soon as it has seen the last frame: nothing is missing then.
    const isWhole = ending === undefined ? outcome === 'done' : isEnded(ending);
    if (isWhole && !hasFailed && this.#headers !== undefined) {
      return this.#settle({ headers: this.#headers, bytes: this.#held.slice(0, this.#length) });
    }
    this.#settle(outcome === 'aborted' ? 'left' : 'unkept');
  }

  #grow(length: number): boolean {
    const { maxBytes, reserve } = this.keeper;
    if (length > maxBytes) return false;
    const wanted = Math.max(firstCapacityBytes, 2 * this.#held.length, length);
    const capacity = Math.min(wanted, maxBytes);
    if (!reserve(capacity - this.#held.length)) return false;
    const grown = new Uint8Array(capacity);
    grown.set(this.#held);
    this.#held = grown;
    return true;
  }

  #settle(result: Result): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.keeper.reserve(-this.#held.length);
    this.#held = new Uint8Array(0);
    this.keeper.settled(result);
  }
}

export interface CacheOptions {
  /** Bounds what is kept and what is being collected together, their bookkeeping included. */
  maxBytes: number;
  /** How long an answer is kept, in milliseconds; 0 shares only what is under way. */
  ttlMs: number;
  /** Milliseconds. */
  now: () => number;
  setTimer?: SetTimer;
}

/** Who asks for an answer. */
export interface Asker {
  /**
   * Those of one line wait for one another: its principal and class. Whoever waited for somebody of another line would
   * wait at that one's place in the queue for the engine.
   */
  line: string;
  /** Of the body that stays in memory while it waits. */
  bytes: number;
  signal: AbortSignal;
}

interface Entry extends Kept {
  sizeBytes: number;
  expiresAt: number;
}

/** An answer that others wait for. */
interface Flight {
  since: number;
  result: Promise<Result>;
}

/** About what an entry costs beside its body and headers, and one that waits beside its own. */
const overheadBytes = 1_024;
/** Shares of all bytes: for one answer, for those that are being collected, for the bodies of those that wait. */
const answerShare = 1 / 8;
const fillingShare = 1 / 2;
const waitingShare = 1 / 8;
/** Nobody waits for an answer that has been under way for longer: its client may not be reading. */
const maxFlightMs = 60_000;
/** For so many that failed to come nobody waits in a row. */
const maxLeaders = 3;

function setRealTimer(callback: () => void, ms: number): () => void {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
}

/** What is kept, least recently used first, and what is under way. */
export class ResponseCache {
  readonly #entries = new Map<string, Entry>();
  readonly #flights = new Map<string, Flight>();
  #keptBytes = 0;
  #fillingBytes = 0;
  #waitingBytes = 0;
  /** Counts the times that it was cleared: what was begun before that is not kept. */
  #age = 0;
  readonly #setTimer: SetTimer;

  constructor(private readonly options: CacheOptions) {
    this.#setTimer = options.setTimer ?? setRealTimer;
  }

  /** Of what is kept and what is being collected; never more than `maxBytes`. */
  get bytes(): number {
    return this.#keptBytes + this.#fillingBytes;
  }

  /** How many answers are kept. */
  get size(): number {
    return this.#entries.size;
  }

  /** Forgets everything, for instance because other engines serve now. */
  clear(): void {
    this.#age++;
    this.#entries.clear();
    this.#keptBytes = 0;
    this.#flights.clear();
  }

  /**
   * Gives the answer that is kept, or that came while this waited; else the right to ask the engine and the duty to
   * `end` what it gives. Rejects with the signal's reason.
   */
  async enter({ key, isFresh }: CacheKey, { line, bytes, signal }: Asker): Promise<Kept | Filling> {
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
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#drop(key, entry);
    if (this.options.now() >= entry.expiresAt) return undefined;
    this.#entries.set(key, entry);
    this.#keptBytes += entry.sizeBytes;
    return entry;
  }

  /** @param id the flight that it becomes, for others to wait for */
  #begin(key: string, id: string | undefined): Filling {
    const age = this.#age;
    const { promise, resolve } = Promise.withResolvers<Result>();
    const flight = { since: this.options.now(), result: promise };
    if (id !== undefined) this.#flights.set(id, flight);
    return new Filling({
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
    if (bytes > 0 && this.#fillingBytes + bytes > maxBytes * fillingShare) return false;
    this.#fillingBytes += bytes;
    this.#evict();
    return true;
  }

  #keep(key: string, { headers, bytes }: Kept): void {
    const { maxBytes, ttlMs, now } = this.options;
    let sizeBytes = overheadBytes + bytes.length;
    for (const [name, value] of headers) sizeBytes += name.length + value.length;
    if (sizeBytes > maxBytes * answerShare) return;
    const before = this.#entries.get(key);
    if (before !== undefined) this.#drop(key, before);
    this.#entries.set(key, { headers, bytes, sizeBytes, expiresAt: now() + ttlMs });
    this.#keptBytes += sizeBytes;
    this.#evict();
  }

  /** Lets go of what was not used for longest until the rest fits. */
  #evict(): void {
    for (const [key, entry] of this.#entries) {
      if (this.bytes <= this.options.maxBytes) return;
      this.#drop(key, entry);
    }
  }

  #drop(key: string, entry: Entry): void {
    this.#entries.delete(key);
    this.#keptBytes -= entry.sizeBytes;
  }
}

/**
 * The core of the simulated engine: a tokenizer, the words of its answers, a prefix cache and slots. There is no model:
 * the same prompt always has the same answer. It reads no clock and opens no socket.
 */

const bytesPerToken = 4;
const SPACE = 0x20;
const NEWLINE = 0x0a;
const LESS_THAN = 0x3c;
/** Each byte is stored as 1 to 256, so that a token's number also says how many bytes it has. */
const radix = 257;

/** Returns the length in bytes of the UTF-8 character that begins with this byte. */
function widthOf(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead < 0xe0) return 2;
  return lead < 0xf0 ? 3 : 4;
}

/**
 * Returns the tokens of a text: up to four bytes each, whole characters only. A space, a line feed and `<` begin a new
 * token, and a line feed ends one. So a word has the same tokens in every position, and an answer has the same tokens
 * when it is part of the next prompt.
 */
export function tokenize(text: string): number[] {
  const bytes = Buffer.from(text);
  const tokens: number[] = [];
  let token = 0;
  let length = 0;
  function flush(): void {
    if (length > 0) tokens.push(token);
    token = 0;
    length = 0;
  }
  for (let i = 0; i < bytes.length;) {
    const lead = bytes[i] as number;
    const width = widthOf(lead);
    if (lead === SPACE || lead === NEWLINE || lead === LESS_THAN || length + width > bytesPerToken)
      flush();
    for (const end = i + width; i < end; i++) token = token * radix + (bytes[i] as number) + 1;
    length += width;
    if (lead === NEWLINE) flush();
  }
  flush();
  return tokens;
}

/** Returns the text of tokens; numbers that `tokenize` never returns are skipped. */
export function detokenize(tokens: readonly number[]): string {
  const bytes: number[] = [];
  for (const token of tokens) {
    if (!Number.isInteger(token) || token < 0 || token >= radix ** bytesPerToken) continue;
    const piece: number[] = [];
    for (let rest = token; rest > 0; rest = Math.floor(rest / radix)) {
      const digit = rest % radix;
      if (digit > 0) piece.unshift(digit - 1);
    }
    bytes.push(...piece);
  }
  return Buffer.from(bytes).toString();
}

const hashStart = 0x811c9dc5;

/** Returns the next state of a 32-bit FNV-1a hash. */
function chain(hash: number, number: number): number {
  return Math.imul(hash ^ number, 0x01000193) >>> 0;
}

/** Returns a 32-bit hash of the numbers. */
export function hashOf(numbers: readonly number[], start = hashStart): number {
  return numbers.reduce(chain, start);
}

const fillers = ['привет', 'мир', '🙂', 'naïve', '世界', 'слово', 'déjà', '🚀', 'token', 'slot'];

/**
 * Returns an answer of `count` tokens. It says first that it is simulated, then repeats the prompt's last words, mixed
 * with words that are not ASCII.
 */
export function answerTo(prompt: string, count: number): number[] {
  const words = prompt.slice(-400).match(/[\p{L}\p{N}]{1,24}/gu) ?? [];
  const echoed = words.slice(-8);
  const tokens = tokenize(
    `🤖 Симуляция: this is a simulated engine without a model. It read: ${echoed.join(' ')}.`,
  );
  const choices = [...echoed, ...fillers];
  let state = hashOf(tokens);
  while (tokens.length < count) {
    state = chain(state, tokens.length);
    tokens.push(...tokenize(` ${choices[(state >>> 8) % choices.length]}`));
  }
  return tokens.slice(0, count);
}

/** Remembers every prefix of the prompts that have been computed, up to a number of tokens. */
export class PrefixCache {
  /** One hash for each prefix, the least recently used first. */
  readonly #prefixes = new Set<number>();

  constructor(private readonly maxTokens: number) {}

  /** Returns how many of the first tokens are in the cache. */
  lengthOf(tokens: readonly number[]): number {
    let hash = hashStart;
    for (let i = 0; i < tokens.length; i++) {
      hash = chain(hash, tokens[i] as number);
      if (!this.#prefixes.has(hash)) return i;
    }
    return tokens.length;
  }

  /** Adds these tokens. To make room, the least recently used prefixes are removed, the longest first. */
  hold(tokens: readonly number[]): void {
    const hashes: number[] = [];
    let chained = hashStart;
    for (const token of tokens) hashes.push((chained = chain(chained, token)));
    for (const hash of hashes.reverse()) {
      this.#prefixes.delete(hash);
      this.#prefixes.add(hash);
    }
    for (const oldest of this.#prefixes) {
      if (this.#prefixes.size <= this.maxTokens) return;
      this.#prefixes.delete(oldest);
    }
  }
}

/** What a slot works on, in tokens. */
export interface Task {
  promptTokens: number;
  cachedTokens: number;
  /** Prompt tokens computed so far, without the cached ones. */
  computedTokens: number;
  decodedTokens: number;
}

/** The slots of the engine, one task each. Waiting tasks are served first come, first served. */
export class Slots {
  readonly tasks: (Task | undefined)[];
  readonly #queue: { task: Task; start: (slot: number) => void }[] = [];

  /** @param changed called when a task starts, begins to wait, leaves the queue or ends */
  constructor(
    count: number,
    private readonly changed: () => void,
  ) {
    this.tasks = Array.from({ length: count }, () => undefined);
  }

  get busy(): number {
    return this.tasks.filter((task) => task !== undefined).length;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  /** Resolves to the number of a free slot; rejects with the signal's reason if the signal fires first. */
  acquire(task: Task, signal: AbortSignal): Promise<number> {
    if (signal.aborted) return Promise.reject(signal.reason);
    const free = this.tasks.indexOf(undefined);
    if (free !== -1) {
      this.tasks[free] = task;
      this.changed();
      return Promise.resolve(free);
    }
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const leave = (): void => {
      this.#queue.splice(this.#queue.indexOf(waiter), 1);
      this.changed();
      reject(signal.reason);
    };
    const waiter = {
      task,
      start(slot: number): void {
        signal.removeEventListener('abort', leave);
        resolve(slot);
      },
    };
    this.#queue.push(waiter);
    signal.addEventListener('abort', leave, { once: true });
    this.changed();
    return promise;
  }

  /** Frees the slot and passes it to the task that has waited longest. */
  release(slot: number): void {
    const next = this.#queue.shift();
    this.tasks[slot] = next?.task;
    next?.start(slot);
    this.changed();
  }
}

/**
 * Reads how many tokens a request used from the end of the engine's answer, without parsing all of it. It never
 * guesses: a count that the engine does not report, or that is no whole number from 0 to 10^9, stays absent.
 */
import { isList, lastValueOf, spans } from './json.ts';

/** Token counts of a request; a count that the engine did not report is absent. */
export interface Tokens {
  promptTokens?: number;
  cachedTokens?: number;
  completionTokens?: number;
}

/** No request has more. What an engine says beyond it is not believed: it would spoil every sum and estimate. */
const maxCount = 1e9;

/** Returns the number if it can be a count of tokens. */
function counted(value: unknown): number | undefined {
  const isCount =
    Number.isInteger(value) && (value as number) >= 0 && (value as number) <= maxCount;
  return isCount ? (value as number) : undefined;
}

function numberAt(value: unknown, ...path: string[]): number | undefined {
  let at = value;
  for (const key of path)
    at = typeof at === 'object' && at !== null ? Reflect.get(at, key) : undefined;
  return counted(at);
}

function defined(counts: Record<keyof Tokens, number | undefined>): Tokens {
  const tokens: Tokens = {};
  for (const name in counts) {
    const count = counts[name as keyof Tokens];
    if (count !== undefined) tokens[name as keyof Tokens] = count;
  }
  return tokens;
}

/**
 * Reads `usage` (OpenAI, Responses, Anthropic) or llama.cpp's `timings`. Anthropic does not include prompt tokens that
 * were read from or written to a cache in its prompt count; `promptTokens` includes them.
 * @param end an answer, or the last frames of a stream
 * @param opening the first frame of an Anthropic stream, which has the prompt's counts
 */
export function readTokens(end: Uint8Array, opening?: Uint8Array): Tokens {
  if (isList(end))
    return sumOf(spans(end).map((item) => readTokens(end.subarray(item.start, item.end))));
  const usage = lastValueOf(end, 'usage');
  const completionTokens = numberAt(usage, 'completion_tokens') ?? numberAt(usage, 'output_tokens');
  let prompt = readPrompt(usage);
  if (prompt.promptTokens === undefined && opening !== undefined) {
    prompt = readPrompt(lastValueOf(opening, 'usage'));
  }
  if (prompt.promptTokens !== undefined || completionTokens !== undefined) {
    return defined({ ...prompt, completionTokens });
  }
  const timings = lastValueOf(end, 'timings');
  const computed = numberAt(timings, 'prompt_n');
  const cachedTokens = numberAt(timings, 'cache_n');
  return defined({
    promptTokens: computed === undefined ? undefined : counted(computed + (cachedTokens ?? 0)),
    cachedTokens,
    completionTokens: numberAt(timings, 'predicted_n'),
  });
}

/** Reads Ollama's counts. @param end an answer, its end, or the last line of a stream */
export function readOllamaTokens(end: Uint8Array): Tokens {
  return defined({
    promptTokens: counted(lastValueOf(end, 'prompt_eval_count')),
    cachedTokens: undefined,
    completionTokens: counted(lastValueOf(end, 'eval_count')),
  });
}

/** Returns the sums over several answers; a count that one of them lacks is absent. */
function sumOf(parts: readonly Tokens[]): Tokens {
  const sum = (name: keyof Tokens) => {
    const counts = parts.map((part) => part[name]);
    return counts.every((count) => count !== undefined) && counts.length > 0
      ? counted(counts.reduce((total, count) => total + count, 0))
      : undefined;
  };
  return defined({
    promptTokens: sum('promptTokens'),
    cachedTokens: sum('cachedTokens'),
    completionTokens: sum('completionTokens'),
  });
}

/** The first and last 8 KiB of an answer that is too long to keep. Engines put the counts at one of the two ends. */
export class Edges {
  #head = new Uint8Array();
  #tail = new Uint8Array();

  add(bytes: Uint8Array): void {
    if (this.#head.length < edgeBytes) {
      this.#head = joined(this.#head, bytes).slice(0, edgeBytes);
    }
    this.#tail = joined(this.#tail, bytes.subarray(-edgeBytes)).slice(-edgeBytes);
  }

  get head(): Uint8Array {
    return this.#head;
  }

  get tail(): Uint8Array {
    return this.#tail;
  }

  /** The whole answer as long as it is shorter than one of the two. */
  get whole(): Uint8Array | undefined {
    return this.#head.length < edgeBytes ? this.#head : undefined;
  }

  /** Reads Ollama's counts, which stand at the end. */
  ollamaTokens(): Tokens {
    return readOllamaTokens(this.#tail);
  }

  tokens(): Tokens {
    const atEnd = readTokens(this.#tail);
    return Object.keys(atEnd).length > 0 ? atEnd : readTokens(this.#head);
  }
}

const edgeBytes = 8_192;

function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  return Buffer.concat([a, b]);
}

function readPrompt(usage: unknown) {
  const tokens = numberAt(usage, 'prompt_tokens') ?? numberAt(usage, 'input_tokens');
  const read = numberAt(usage, 'cache_read_input_tokens');
  const written = numberAt(usage, 'cache_creation_input_tokens');
  const promptTokens =
    tokens === undefined ? undefined : counted(tokens + (read ?? 0) + (written ?? 0));
  const cachedTokens =
    read ??
    numberAt(usage, 'prompt_tokens_details', 'cached_tokens') ??
    numberAt(usage, 'input_tokens_details', 'cached_tokens');
  // A part of the prompt is not more than the prompt.
  const isPart = promptTokens === undefined || (cachedTokens ?? 0) <= promptTokens;
  return { promptTokens, cachedTokens: isPart ? cachedTokens : undefined };
}

/**
 * What an engine says of the tokens of a request, read from the end of its answer without parsing all of it, and how to
 * make it say so. It never guesses: what the engine does not say stays absent.
 */
import { hasText } from './bytes.ts';
import type { EngineKind } from '../engines/probe.ts';
import type { Tokens } from '../request/cost.ts';
import { isList, lastValueOf, spans, type Fields } from './json.ts';
import { isRecord } from './record.ts';
import type { Route } from './routes.ts';

function numberAt(value: unknown, ...path: string[]): number | undefined {
  let at = value;
  for (const key of path)
    at = typeof at === 'object' && at !== null ? Reflect.get(at, key) : undefined;
  return typeof at === 'number' ? at : undefined;
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
 * Reads `usage` (OpenAI, Responses, Anthropic) or llama.cpp's `timings`. Anthropic counts prompt tokens that were read
 * from or written to a cache apart; here a prompt's tokens are all of them.
 * @param end an answer, or the last frames of a stream
 * @param opening the frame with which Anthropic opens a stream: it says what the prompt was
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
    promptTokens: computed === undefined ? undefined : computed + (cachedTokens ?? 0),
    cachedTokens,
    completionTokens: numberAt(timings, 'predicted_n'),
  });
}

/** Adds up what is said of each of several answers. */
function sumOf(parts: readonly Tokens[]): Tokens {
  const sum = (name: keyof Tokens) => {
    const counts = parts.map((part) => part[name]);
    return counts.every((count) => count !== undefined) && counts.length > 0
      ? counts.reduce((total, count) => total + count, 0)
      : undefined;
  };
  return defined({
    promptTokens: sum('promptTokens'),
    cachedTokens: sum('cachedTokens'),
    completionTokens: sum('completionTokens'),
  });
}

/** The beginning and the end of an answer that is too long to be kept: engines count at either. */
export class Edges {
  #head = new Uint8Array();
  #tail = new Uint8Array();

  add(bytes: Uint8Array): void {
    if (this.#head.length < edgeBytes) {
      this.#head = joined(this.#head, bytes).slice(0, edgeBytes);
    }
    this.#tail = joined(this.#tail, bytes.subarray(-edgeBytes)).slice(-edgeBytes);
  }

  tokens(): Tokens {
    const said = readTokens(this.#tail);
    return Object.keys(said).length > 0 ? said : readTokens(this.#head);
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
  return {
    promptTokens: tokens === undefined ? undefined : tokens + (read ?? 0) + (written ?? 0),
    cachedTokens:
      read ??
      numberAt(usage, 'prompt_tokens_details', 'cached_tokens') ??
      numberAt(usage, 'input_tokens_details', 'cached_tokens'),
  };
}

/** Routes whose streams count their tokens only when they are asked to, but for llama.cpp's, which always does. */
const countsOnDemand = new Set(['/v1/completions', '/v1/chat/completions']);

/**
 * Gives what has to be in a body so that its stream counts its tokens; `undefined` where it does so by itself or the
 * client has asked already.
 * @param kind of the engine; one of an unknown kind is asked for nothing that it may not know
 */
export function usageEdit(
  route: Route,
  fields: Fields,
  kind: EngineKind,
): { stream_options: object } | undefined {
  if (kind === 'unknown' || kind === 'llama.cpp' || !countsOnDemand.has(route.path))
    return undefined;
  if (fields['stream'] !== true) return undefined;
  const options = fields['stream_options'];
  if (options !== undefined && options !== null && !isRecord(options)) return undefined;
  if (options?.['include_usage'] === true) return undefined;
  return { stream_options: { ...options, include_usage: true } };
}

/** Says whether the frame `[start, end)` is the one that comes only because usage was asked for: no choices, and counts. */
export function isUsageFrame(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
  // Most chunks are one frame. A view of a part costs an ArrayBuffer, a search beyond it the rest of the chunk each time.
  const isWhole = start === 0 && end === bytes.length;
  const frame = isWhole ? bytes : bytes.subarray(start, end);
  if (!hasText(frame, '"usage"')) return false;
  const usage = lastValueOf(frame, 'usage');
  const choices = lastValueOf(frame, 'choices');
  return isRecord(usage) && Array.isArray(choices) && choices.length === 0;
}

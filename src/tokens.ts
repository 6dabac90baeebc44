/**
 * What an engine says of the tokens of a request, read from the end of its answer without parsing all of it. It never
 * guesses: what the engine does not say stays absent.
 */
import { lastValueOf } from './json.ts';
import type { Tokens } from './live.ts';

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

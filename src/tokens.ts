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

function defined(tokens: Record<keyof Tokens, number | undefined>): Tokens {
  return Object.fromEntries(Object.entries(tokens).filter(([, count]) => count !== undefined));
}

/**
 * Reads `usage` (OpenAI, Responses, Anthropic) or llama.cpp's `timings` from an answer or from frames of a stream.
 * Anthropic counts cached prompt tokens apart from the others; here a prompt's tokens always include them.
 */
export function readTokens(bytes: Uint8Array): Tokens {
  const usage = lastValueOf(bytes, 'usage');
  const prompt = numberAt(usage, 'prompt_tokens') ?? numberAt(usage, 'input_tokens');
  const completion = numberAt(usage, 'completion_tokens') ?? numberAt(usage, 'output_tokens');
  if (prompt !== undefined || completion !== undefined) {
    const apart = numberAt(usage, 'cache_read_input_tokens');
    return defined({
      promptTokens: prompt === undefined ? undefined : prompt + (apart ?? 0),
      cachedTokens:
        apart ??
        numberAt(usage, 'prompt_tokens_details', 'cached_tokens') ??
        numberAt(usage, 'input_tokens_details', 'cached_tokens'),
      completionTokens: completion,
    });
  }
  const timings = lastValueOf(bytes, 'timings');
  const computed = numberAt(timings, 'prompt_n');
  const cached = numberAt(timings, 'cache_n');
  return defined({
    promptTokens: computed === undefined ? undefined : computed + (cached ?? 0),
    cachedTokens: cached,
    completionTokens: numberAt(timings, 'predicted_n'),
  });
}

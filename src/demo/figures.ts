/**
 * Counters of the simulated engine, for benchmarks and as llama.cpp's `/metrics`. demo/workshop.ts and demo/generate.ts
 * increment them.
 */

/** Sums over all runs. A slot's time is added when the slot is released. */
export interface Figures {
  /** Tokens of all prompts that were computed, including the cached ones. */
  promptTokens: number;
  /** Those of `promptTokens` that were in the cache. */
  cachedTokens: number;
  predictedTokens: number;
  /** How long slots were taken, in slot milliseconds. */
  busyMs: number;
  /** The part of `busyMs` after the client's connection had ended. */
  goneMs: number;
}

export function noFigures(): Figures {
  return { promptTokens: 0, cachedTokens: 0, predictedTokens: 0, busyMs: 0, goneMs: 0 };
}

/** Returns the text of `/metrics`. As in llama.cpp, `prompt_tokens_total` leaves out cached tokens. */
export function metricsText(
  { promptTokens, cachedTokens, predictedTokens }: Figures,
  load: { running: number; waiting: number },
): string {
  const metrics = [
    ['prompt_tokens_total', 'counter', promptTokens - cachedTokens],
    ['prompt_tokens_cached_total', 'counter', cachedTokens],
    ['tokens_predicted_total', 'counter', predictedTokens],
    ['requests_processing', 'gauge', load.running],
    ['requests_deferred', 'gauge', load.waiting],
  ] as const;
  const samples = metrics.map(([name, type, value]) => {
    return `# TYPE llamacpp:${name} ${type}\nllamacpp:${name} ${value}\n`;
  });
  return samples.join('');
}

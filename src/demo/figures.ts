/**
 * What the simulated engine has done so far, for benchmarks and as llama.cpp's `/metrics`. Pure: whoever works counts.
 */

/** Sums over all runs; times are milliseconds of one slot, counted when it is free again. */
export interface Figures {
  /** Of prompts that were computed, whatever the cache held of them included. */
  promptTokens: number;
  /** Of these what the cache held. */
  cachedTokens: number;
  predictedTokens: number;
  /** How long slots were taken. */
  busyMs: number;
  /** Of that how long for a client whose connection was over. */
  goneMs: number;
}

export function noFigures(): Figures {
  return { promptTokens: 0, cachedTokens: 0, predictedTokens: 0, busyMs: 0, goneMs: 0 };
}

/** Gives the text of `/metrics`; prompts count without what the cache held. */
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

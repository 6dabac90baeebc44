/**
 * What the parts of the simulated engine hand one another: a prompt, a run of it, the shape that a wire family gives to
 * its answer. It does nothing with them but count.
 */

export type Json = Record<string, unknown>;

export interface Prompt {
  tokens: readonly number[];
  /** Whose words the answer takes up: the prompt, or the last message of a conversation. */
  subject: string;
}

/** One generation: a choice of an answer. */
export interface Run {
  /** Without the prefix that says what it names. */
  id: string;
  index: number;
  model: string;
  prompt: Prompt;
  cachedTokens: number;
  output: readonly number[];
  finish: 'stop' | 'length';
  promptMs: number;
  predictedMs: number;
}

/** How a wire family answers. The texts of its stream are whole frames, or empty where it has none. */
export interface Shape {
  plain(runs: readonly Run[]): unknown;
  /** What begins one run, before its first token. */
  opening(run: Run): string;
  token(run: Run, piece: string, position: number): string;
  /** What ends one run. */
  closing(run: Run): string;
  /** What ends the stream, after all runs. */
  ending(runs: readonly Run[], includeUsage: boolean): string;
}

/** The first of January 2026: the same request has the same answer on every day. */
export const created = 1_767_225_600;
export const none = (): string => '';

export function frame(data: unknown): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

function total(runs: readonly Run[], count: (run: Run) => number): number {
  return runs.reduce((sum, run) => sum + count(run), 0);
}

export function countsOf(runs: readonly Run[]) {
  const prompt = total(runs, (run) => run.prompt.tokens.length);
  const completion = total(runs, (run) => run.output.length);
  const cached = total(runs, (run) => run.cachedTokens);
  return { prompt, completion, cached, total: prompt + completion };
}

/** Every answer has at least one run, since every request has at least one prompt. */
export function first(runs: readonly Run[]): Run {
  return runs[0] as Run;
}

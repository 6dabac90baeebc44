/**
 * The types that the parts of the simulated engine share: a prompt, a run of it, and the shape of an answer in a wire
 * family. The functions only count tokens and write frames.
 */

export type Json = Record<string, unknown>;

export interface Prompt {
  tokens: readonly number[];
  /** The text whose words the answer repeats: the prompt, or the last message of a conversation. */
  subject: string;
}

/** One generation, which is one choice of an answer. */
export interface Run {
  /** Without a prefix such as `chatcmpl-`. */
  id: string;
  index: number;
  model: string;
  prompt: Prompt;
  cachedTokens: number;
  output: readonly number[];
  /** The tool that the answer calls; then `output` is the JSON of its arguments instead of a text. */
  tool?: string;
  finish: 'stop' | 'length';
  promptMs: number;
  predictedMs: number;
}

/**
 * How a wire family writes answers. The stream's texts are complete frames; a text is empty if the family has no frame
 * there.
 */
export interface Shape {
  plain(runs: readonly Run[]): unknown;
  /** The frames of one run before its first token. */
  opening(run: Run): string;
  token(run: Run, piece: string, position: number): string;
  /** The frames that end one run. */
  closing(run: Run): string;
  /** The frames that end the stream, after all runs. */
  ending(runs: readonly Run[], includeUsage: boolean): string;
}

/** 1 January 2026, a fixed date, so that the same request always has the same answer. */
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

/** Returns the first run. There is one, because every request has at least one prompt. */
export function first(runs: readonly Run[]): Run {
  return runs[0] as Run;
}

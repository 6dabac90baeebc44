/**
 * What a request has cost in tokens: the engine's own counts if they are complete, else an estimate that is marked so.
 * Pure decision; it reads no answer.
 */
import type { Tokens } from '../wire/tokens.ts';

/** What shows how much an engine has done for a request. */
export interface Evidence {
  /** What the engine said. */
  said: Tokens;
  /** Whether that is about one of several answers only. */
  isPartial: boolean;
  outcome: 'done' | 'failed' | 'aborted';
  /** Whether the engine has refused it. */
  isRefused: boolean;
  stream: boolean;
  /** Frames of the answer that carried data. */
  frames: number;
  /** Tokens by the bytes of the prompt, and of a plain answer; 0 where there are none. */
  promptEstimate: number;
  answerEstimate: number;
}

export type Cost = Tokens & { tokensAre: 'exact' | 'estimated' | undefined };

const unknown: Cost = { tokensAre: undefined };

/** Returns the cost of a request that an engine had. */
export function costOf(evidence: Evidence): Cost {
  const { said, isPartial, outcome, isRefused, frames, promptEstimate } = evidence;
  const hasSaid = said.promptTokens !== undefined || said.completionTokens !== undefined;
  // What an engine says before its end, it says of that moment.
  if (hasSaid && outcome === 'done' && !isPartial) return { ...said, tokensAre: 'exact' };
  if (isRefused) return unknown;
  const hasBegun = frames > 0 || hasSaid || outcome !== 'failed';
  if (!hasBegun || (!hasSaid && frames === 0 && promptEstimate === 0)) return unknown;
  return {
    ...said,
    ...estimatedPrompt(evidence),
    completionTokens: estimatedAnswer(evidence),
    tokensAre: 'estimated',
  };
}

function estimatedPrompt({ said, isPartial, promptEstimate }: Evidence): Tokens {
  const { promptTokens } = said;
  // Of several prompts an engine may have counted the first alone.
  const tokens = isPartial ? Math.max(promptTokens ?? 0, promptEstimate) : promptTokens;
  const estimate = tokens ?? promptEstimate;
  return estimate > 0 ? { promptTokens: estimate } : {};
}

function estimatedAnswer({ said, outcome, stream, ...rest }: Evidence): number {
  const { completionTokens = 0 } = said;
  if (stream) return Math.max(rest.frames, completionTokens);
  // Nothing of a plain answer is seen before it is whole.
  if (outcome !== 'done') return completionTokens;
  return Math.max(rest.answerEstimate, completionTokens);
}

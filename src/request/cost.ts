/**
 * What a request has cost in tokens: the engine's own counts if they are complete, else an estimate that is marked so.
 * Pure decision; it reads no answer.
 */
import type { Tokens } from '../wire/tokens.ts';

/** What shows how much an engine has done for a request. */
export interface Evidence {
  /** What the engine said. */
  said: Tokens;
  /** How many answers it asked for, of which the engine has counted one; 1 where the engine counts all. */
  answers: number;
  /** The most tokens that all answers may have together, as the request asked; `Infinity` without a maximum. */
  mostTokens: number;
  outcome: 'done' | 'failed' | 'aborted';
  /** Whether the engine told of a failure inside its answer: what it counted until then is all that it made. */
  tellsFailure: boolean;
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
  const { said, answers, outcome, tellsFailure, isRefused, frames, promptEstimate } = evidence;
  const hasSaid = said.promptTokens !== undefined || said.completionTokens !== undefined;
  // What an engine says before its end, it says of that moment.
  if (hasSaid && outcome === 'done' && answers === 1) return { ...said, tokensAre: 'exact' };
  if (tellsFailure && hasSaid) return { ...said, tokensAre: 'exact' };
  if (isRefused || tellsFailure) return unknown;
  const hasBegun = frames > 0 || hasSaid || outcome !== 'failed';
  if (!hasBegun || (!hasSaid && frames === 0 && promptEstimate === 0)) return unknown;
  return {
    ...said,
    ...estimatedPrompt(evidence),
    completionTokens: estimatedAnswer(evidence),
    tokensAre: 'estimated',
  };
}

function estimatedPrompt({ said, answers, promptEstimate }: Evidence): Tokens {
  const { promptTokens } = said;
  // Of several prompts an engine may have counted the first alone.
  const tokens = answers > 1 ? Math.max(promptTokens ?? 0, promptEstimate) : promptTokens;
  const estimate = tokens ?? promptEstimate;
  return estimate > 0 ? { promptTokens: estimate } : {};
}

/** Never less than the engine has said, and beyond that never more than was asked for. */
function estimatedAnswer({
  said,
  answers,
  mostTokens,
  outcome,
  stream,
  ...seen
}: Evidence): number {
  const { completionTokens = 0 } = said;
  const estimate = () => {
    if (stream) return seen.frames;
    // Nothing of a plain answer is seen before it is whole.
    if (outcome !== 'done') return 0;
    return completionTokens === 0 ? seen.answerEstimate : completionTokens * answers;
  };
  return Math.max(completionTokens, Math.min(estimate(), mostTokens));
}

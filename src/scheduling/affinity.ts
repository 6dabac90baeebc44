/**
 * Which upstream already holds the beginning of a prompt, and where a request is best sent because of that. It knows only
 * the hashes of the blocks of prompts, and decides nothing about whose turn it is.
 */

/** An upstream that may run a request. */
export interface Candidate {
  matchedBlocks: number;
  isShared: boolean;
  /** Share of its slots in use, 0 to 1. */
  usedShare: number;
  /** Whether the request can start there now. */
  isFree: boolean;
  /** Size of its index. */
  heldBlocks: number;
  weight: number;
  /** `undefined` until that was observed. */
  prefillBlocksPerMs: number | undefined;
  /** Until a slot is free and the requests held for it before have run; 0 when it can start now. */
  expectedWaitMs: number;
  /** Whether the conversation that the client named went there before. */
  isConversationHome: boolean;
}

export interface Placement {
  /** Place of the candidate that it should run on. */
  index: number;
  /** Whether it should wait for that one. */
  isHeld: boolean;
}

/** The request that is to be placed. */
export interface Placed {
  /** Blocks of its prompt. */
  blocks: number;
  /** For how long it has been held for its home already, in milliseconds; 0 when it has not. */
  waitedMs: number;
  /** A number that changes from request to request, so that ties are not always broken alike. */
  turn: number;
}

function leastBy<T>(items: readonly T[], ...keys: ((item: T) => number)[]): T | undefined {
  return [...items].sort((a, b) => {
    for (const key of keys) {
      const difference = key(a) - key(b);
      if (difference !== 0) return difference;
    }
    return 0;
  })[0];
}

/**
 * What a move costs on top of the matched blocks that are computed again, in blocks: the answer and what did not fill a
 * block are at the home too, and the place that was given to the conversation is lost. Without this, short conversations
 * would move at any moment, crowd together by chance, and grow until the cache where they are is too small for them.
 */
const moveBlocks = 8;
/** Busier engines count as busy for this share: else the cost below would have no bound. */
const maxBusyShare = 0.875;

/**
 * Returns what it costs to compute for that long what is cached elsewhere. It delays later requests too: in a queue whose
 * servers are busy for a share b of the time, work costs all together 1 / (1 - b) times itself.
 */
function costOf(computingMs: number, candidates: readonly Candidate[]): number {
  const busyShare =
    candidates.reduce((sum, { usedShare }) => sum + usedShare, 0) / candidates.length;
  return computingMs / (1 - Math.min(maxBusyShare, busyShare));
}

/** Blocks of a prompt that an engine computes in a millisecond, until any was observed. */
const defaultPrefill = 1 / 64;

/** The speed that is assumed of an engine that has computed nothing yet: that of the others. */
function usualPrefill(candidates: readonly Candidate[]): number {
  const observed = candidates.flatMap(({ prefillBlocksPerMs }) => prefillBlocksPerMs ?? []);
  if (observed.length === 0) return defaultPrefill;
  return observed.reduce((sum, rate) => sum + rate, 0) / observed.length;
}

/**
 * Pure decision: runs a request where its conversation is; holds it for that upstream as long as waiting costs less than
 * computing the prompt elsewhere, and in all never longer than that would cost; else runs it where the least is to do.
 * One of the candidates must be free.
 */
export function place(request: Placed, candidates: readonly Candidate[]): Placement {
  const { blocks, waitedMs, turn } = request;
  const usual = usualPrefill(candidates);
  const all = candidates.map((candidate, index) => {
    const { matchedBlocks, prefillBlocksPerMs = usual } = candidate;
    const missingMs = (blocks - matchedBlocks) / prefillBlocksPerMs;
    const order = (index + turn) % candidates.length;
    return { ...candidate, prefillBlocksPerMs, index, missingMs, order };
  });
  const homes = all.filter(({ isShared, isConversationHome }) => !isShared || isConversationHome);
  const home = leastBy(
    homes,
    ({ matchedBlocks }) => -matchedBlocks,
    ({ isConversationHome }) => (isConversationHome ? 0 : 1),
    ({ isFree }) => (isFree ? 0 : 1),
    ({ usedShare, weight }) => usedShare / weight,
  );
  if (home?.isFree) return { index: home.index, isHeld: false };
  const spill = leastBy(
    all.filter(({ isFree }) => isFree),
    ({ missingMs }) => (home === undefined ? 0 : missingMs),
    ({ usedShare, weight }) => usedShare / weight,
    ({ matchedBlocks }) => -matchedBlocks,
    ({ heldBlocks, weight }) => heldBlocks / weight,
    ({ order }) => order,
  );
  if (home === undefined || spill === undefined) {
    return { index: spill?.index ?? home?.index ?? 0, isHeld: spill === undefined };
  }
  const hasMore = home.matchedBlocks > spill.matchedBlocks;
  const moveMs = hasMore ? moveBlocks / spill.prefillBlocksPerMs : 0;
  const patienceMs = costOf(spill.missingMs + moveMs - home.missingMs, all);
  const isWorthIt = waitedMs < patienceMs && home.expectedWaitMs < patienceMs;
  return isWorthIt ? { index: home.index, isHeld: true } : { index: spill.index, isHeld: false };
}

const maxConversations = 10_000;

/** Where conversations went last; those used longest ago are forgotten first. */
export class ConversationHomes {
  readonly #homes = new Map<string, string>();

  get(conversation: string): string | undefined {
    return this.#homes.get(conversation);
  }

  set(conversation: string, upstream: string): void {
    this.#homes.delete(conversation);
    this.#homes.set(conversation, upstream);
    if (this.#homes.size <= maxConversations) return;
    const oldest = this.#homes.keys().next().value;
    if (oldest !== undefined) this.#homes.delete(oldest);
  }
}

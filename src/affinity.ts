/**
 * Which upstream already holds the beginning of a prompt, and where a request is best sent for that. It knows prompts by
 * the hashes of their blocks alone, and decides nothing about whose turn it is.
 */

/** How far a prompt is held. */
export interface Match {
  /** Leading blocks that are held. */
  blocks: number;
  /** Whether the match ends where several prompts went different ways: it says nothing of this one's home. */
  isShared: boolean;
}

interface Block {
  /** The block that came next, and whether others did. */
  next: number | undefined;
  isBranched: boolean;
}

const maxIndexBlocks = 65_536;
const minIndexBlocks = 256;
/** After a report that less was cached than thought, and after one that it was as thought. */
const shrinkBy = 0.9;
const growBy = 1.01;

/** What one upstream probably holds of prompts, in blocks; what was used longest ago goes first. */
export class PrefixIndex {
  /** The blocks used longest ago are first; a prefix stands behind what continues it. */
  readonly #blocks = new Map<number, Block>();
  #capacity = maxIndexBlocks;

  get size(): number {
    return this.#blocks.size;
  }

  get capacity(): number {
    return this.#capacity;
  }

  matchOf(chain: Uint32Array): Match {
    let blocks = 0;
    while (blocks < chain.length && this.#blocks.has(chain[blocks] as number)) blocks++;
    const last = blocks === 0 ? undefined : this.#blocks.get(chain[blocks - 1] as number);
    return { blocks, isShared: blocks === 0 || (last?.isBranched ?? false) };
  }

  /** Takes note that the upstream computes this prompt. */
  hold(chain: Uint32Array): void {
    for (let i = chain.length - 1; i >= 0; i--) {
      const hash = chain[i] as number;
      const next = chain[i + 1];
      const block = this.#blocks.get(hash) ?? { next: undefined, isBranched: false };
      if (next !== undefined) {
        block.isBranched ||= block.next !== undefined && block.next !== next;
        block.next = next;
      }
      this.#blocks.delete(hash);
      this.#blocks.set(hash, block);
    }
    this.#trim();
  }

  /** Forgets everything: the engine has started anew. */
  forget(): void {
    this.#blocks.clear();
    this.#capacity = maxIndexBlocks;
  }

  /**
   * Learns from what the engine says that it had in its cache.
   * @param matchedBlocks what was thought to be held
   * @param cachedTokens what was
   */
  learn(
    chain: Uint32Array,
    matchedBlocks: number,
    cachedTokens: number,
    tokensPerBlock: number,
  ): void {
    if (matchedBlocks === 0) return;
    const cachedBlocks = Math.floor(cachedTokens / tokensPerBlock);
    if (cachedBlocks >= matchedBlocks / 2) {
      this.#capacity = Math.min(maxIndexBlocks, this.#capacity * growBy);
      return;
    }
    // This prompt has just been computed: it is the others that are gone.
    this.#capacity = Math.max(minIndexBlocks, Math.min(this.#capacity, this.size) * shrinkBy);
    this.hold(chain);
  }

  #trim(): void {
    for (const oldest of this.#blocks.keys()) {
      if (this.#blocks.size <= this.#capacity) return;
      this.#blocks.delete(oldest);
    }
  }
}

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
  prefillBlocksPerMs: number;
  /** Until a slot is free; 0 when one is. */
  expectedWaitMs: number;
  /** Whether the session that the client named went there before. */
  isSessionHome: boolean;
}

export interface Placement {
  /** Of the candidate that it should run on. */
  index: number;
  /** Whether it should wait for that one. */
  isHeld: boolean;
}

/** The request that is to be placed. */
export interface Placed {
  /** Blocks of its prompt. */
  blocks: number;
  /** How long it has waited, in milliseconds. */
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
 * Pure decision: runs a request where its conversation lives; waits for that place when this costs less than computing
 * the prompt elsewhere, and in all never longer than it would save; else runs it where least is to do.
 * One of the candidates must be free.
 */
export function place(request: Placed, candidates: readonly Candidate[]): Placement {
  const { blocks, waitedMs, turn } = request;
  const all = candidates.map((candidate, index) => {
    const missingMs = (blocks - candidate.matchedBlocks) / candidate.prefillBlocksPerMs;
    const order = (index + turn) % candidates.length;
    return { ...candidate, index, missingMs, order };
  });
  const free = all.filter(({ isFree }) => isFree);
  const homes = all.filter(({ isShared, isSessionHome }) => !isShared || isSessionHome);
  const home = leastBy(
    homes,
    ({ matchedBlocks }) => -matchedBlocks,
    ({ isSessionHome }) => (isSessionHome ? 0 : 1),
    ({ isFree }) => (isFree ? 0 : 1),
    ({ usedShare, weight }) => usedShare / weight,
  );
  if (home?.isFree) return { index: home.index, isHeld: false };
  const spill = leastBy(
    free,
    ({ missingMs }) => (home === undefined ? 0 : missingMs),
    ({ usedShare, weight }) => usedShare / weight,
    ({ matchedBlocks }) => -matchedBlocks,
    ({ heldBlocks, weight }) => heldBlocks / weight,
    ({ order }) => order,
  );
  if (home === undefined || spill === undefined) {
    return { index: spill?.index ?? 0, isHeld: spill === undefined };
  }
  const savedMs = (spill.missingMs - home.missingMs) * spillCost;
  const isWorthIt = waitedMs < savedMs && home.expectedWaitMs < savedMs;
  return isWorthIt ? { index: home.index, isHeld: true } : { index: spill.index, isHeld: false };
}

/** Computing a prompt elsewhere also drives as much out of a cache there, which somebody has to compute again. */
const spillCost = 2;

const maxSessions = 10_000;

/** Where sessions went last; the ones used longest ago are forgotten first. */
export class SessionHomes {
  readonly #homes = new Map<string, string>();

  get(session: string): string | undefined {
    return this.#homes.get(session);
  }

  set(session: string, upstream: string): void {
    this.#homes.delete(session);
    this.#homes.set(session, upstream);
    if (this.#homes.size <= maxSessions) return;
    const oldest = this.#homes.keys().next().value;
    if (oldest !== undefined) this.#homes.delete(oldest);
  }
}

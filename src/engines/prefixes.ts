/**
 * Which beginnings of prompts one upstream probably still has in its cache. It knows only the hashes of their blocks.
 */

/** How far a prompt is held. */
export interface Match {
  /** Leading blocks that are held. */
  blocks: number;
  /** Whether the match ends where several prompts went on differently: then it does not tell this one's home. */
  isShared: boolean;
}

interface Block {
  /** The block that came next, and whether others did. */
  next: number | undefined;
  isBranched: boolean;
}

const maxIndexBlocks = 65_536;

const minIndexBlocks = 256;

/** Factors of the capacity after a report of far less than was expected, of far more, and of about as much. */
const shrinkBy = 0.9;

const growBy = 1.1;

const creepBy = 1.01;

/** Fewer blocks say more about the engine's template than about its cache. */
const tellingBlocks = 4;

/** The blocks of prompts that one upstream probably holds; those used longest ago are dropped first. */
export class PrefixIndex {
  /** The blocks used longest ago are first; a prefix stands behind what continues it. */
  readonly #blocks = new Map<number, Block>();
  #capacity = maxIndexBlocks;

  get size(): number {
    return this.#blocks.size;
  }

  /** How many blocks the upstream is expected to keep. */
  get capacity(): number {
    return Math.floor(this.#capacity);
  }

  matchOf(chain: Uint32Array): Match {
    // What is held of a chain is always its beginning, so that the end of it can be found by halving.
    let blocks = 0;
    for (let missing = chain.length; blocks < missing;) {
      const middle = (blocks + missing) >> 1;
      if (this.#blocks.has(chain[middle] as number)) blocks = middle + 1;
      else missing = middle;
    }
    const last = blocks === 0 ? undefined : this.#blocks.get(chain[blocks - 1] as number);
    return { blocks, isShared: blocks === 0 || (last?.isBranched ?? false) };
  }

  /** Records that the upstream has computed this prompt. */
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
   * @param matchedBlocks what was expected to be held
   * @param cachedTokens what was held
   */
  learn(
    chain: Uint32Array,
    matchedBlocks: number,
    cachedTokens: number,
    tokensPerBlock: number,
  ): void {
    const cachedBlocks = Math.min(chain.length, cachedTokens / tokensPerBlock);
    if (Math.max(matchedBlocks, cachedBlocks) < tellingBlocks) return;
    if (cachedBlocks < matchedBlocks / 2) {
      // This prompt has just been computed: it is those used longest ago that are gone.
      this.#capacity = Math.max(minIndexBlocks, Math.min(this.#capacity, this.size) * shrinkBy);
      this.hold(chain);
      return;
    }
    const grown = this.#capacity * (matchedBlocks < cachedBlocks / 2 ? growBy : creepBy);
    this.#capacity = Math.min(maxIndexBlocks, grown);
  }

  #trim(): void {
    for (const oldest of this.#blocks.keys()) {
      if (this.#blocks.size <= this.#capacity) return;
      this.#blocks.delete(oldest);
    }
  }
}

/**
 * On which upstream a job runs: where affinity says, as far as one is free; or it is held for the upstream that has its
 * conversation. It grants nothing, and asks only the fleet what is known of upstreams.
 */
import { place, ConversationHomes, type Candidate } from './affinity.ts';
import type { Job } from '../request/job.ts';
import type { Fleet } from '../engines/fleet.ts';
import { blockBytes } from '../wire/prompt.ts';
import type { SlotSet } from '../engines/slots.ts';
import type { Upstream } from '../engines/upstream.ts';

/** Where a job is to run, and how many leading blocks of its prompt are thought to be there. */
export interface Spot {
  readonly slots: SlotSet;
  readonly blocks: number;
}

/** Where a job waits for the upstream that has its conversation. */
interface Hold {
  readonly slots: SlotSet;
  readonly since: number;
}

const noChain = new Uint32Array();

export class Placing {
  #turn = 0;
  readonly #homes = new ConversationHomes();
  readonly #holds = new Map<Job, Hold>();
  /** The same by slots; the job that was held first comes first. */
  readonly #heldFor = new WeakMap<SlotSet, Set<Job>>();
  readonly #fleet: Fleet;
  readonly #tokensPerByte: () => number;

  constructor(fleet: Fleet, tokensPerByte: () => number) {
    this.#fleet = fleet;
    this.#tokensPerByte = tokensPerByte;
  }

  /**
   * Returns where a job is best run; `undefined` when it should wait for slots that are not free.
   * @param slotSets those that may run it
   * @param free those of them where it can start now, at least one
   */
  choose(
    job: Job,
    slotSets: readonly SlotSet[],
    free: readonly SlotSet[],
    now: number,
  ): Spot | undefined {
    const open = slotSets.filter((slots) => slots.isOpen);
    const tokensPerBlock = blockBytes * this.#tokensPerByte();
    const home = job.conversation && this.#homes.get(conversationOf(job));
    const candidates = open.map((slots): Candidate => {
      const upstream = this.#fleet.ownerOf(slots);
      const { blocks, isShared } = upstream.index.matchOf(job.chain ?? noChain);
      const isFree = free.includes(slots);
      const turnMs = upstream.speed.serviceMs / slots.capacity;
      const { prefillPerMs } = upstream.speed;
      return {
        matchedBlocks: blocks,
        isShared,
        usedShare: slots.used / slots.capacity,
        isFree,
        heldBlocks: upstream.index.size,
        weight: upstream.settings.weight,
        prefillBlocksPerMs: prefillPerMs && prefillPerMs / tokensPerBlock,
        expectedWaitMs: isFree ? 0 : turnMs * (1 + this.#heldBefore(job, slots)),
        isConversationHome: upstream.id === home,
      };
    });
    const hold = this.#holds.get(job);
    const waitedMs = hold === undefined ? 0 : now - hold.since;
    const request = { blocks: job.chain?.length ?? 0, waitedMs, turn: this.#turn++ };
    const { index, isHeld } = place(request, candidates);
    const slots = open[index];
    const candidate = candidates[index];
    if (slots === undefined || candidate === undefined) return undefined;
    if (!isHeld) return { slots, blocks: candidate.matchedBlocks };
    this.#hold(job, slots, hold?.since ?? now);
    return undefined;
  }

  /** Records that the job runs there now. Returns how many leading blocks of its prompt were there before. */
  took(job: Job, upstream: Upstream, spot: Spot | undefined): number {
    const { chain, conversation } = job;
    if (conversation !== undefined) this.#homes.set(conversationOf(job), upstream.id);
    if (chain === undefined || chain.length === 0) return 0;
    const isThere = spot !== undefined && this.#fleet.ownerOf(spot.slots) === upstream;
    return isThere ? spot.blocks : upstream.index.matchOf(chain).blocks;
  }

  /**
   * Records that the job has run there: its prompt counts as held from now on, and no sooner. Others that begin alike
   * would wait for what is only being computed, while idle engines could compute it.
   */
  ran({ chain }: Job, upstream: Upstream): void {
    if (chain !== undefined) upstream.index.hold(chain);
  }

  /** The job does not wait any more. */
  leave(job: Job): void {
    const hold = this.#holds.get(job);
    if (hold === undefined) return;
    this.#holds.delete(job);
    this.#heldFor.get(hold.slots)?.delete(job);
  }

  #hold(job: Job, slots: SlotSet, since: number): void {
    if (this.#holds.get(job)?.slots === slots) return;
    this.leave(job);
    this.#holds.set(job, { slots, since });
    const held = this.#heldFor.get(slots) ?? new Set();
    this.#heldFor.set(slots, held.add(job));
  }

  /** Returns how many jobs wait for those slots since before this one: they run there first. */
  #heldBefore(job: Job, slots: SlotSet): number {
    let count = 0;
    for (const other of this.#heldFor.get(slots) ?? []) {
      if (other === job) break;
      count++;
    }
    return count;
  }
}

function conversationOf({ caller, conversation }: Job): string {
  return `${caller.principal} ${conversation}`;
}

/**
 * On which upstream a request runs: where affinity says, as far as one is free; or it is held for the one that has its
 * conversation. It grants nothing, and asks the fleet alone what is known of upstreams.
 */
import { place, SessionHomes, type Candidate } from './affinity.ts';
import type { Job } from '../request/job.ts';
import type { Fleet } from '../engines/fleet.ts';
import { blockBytes } from '../wire/prompt.ts';
import type { Station } from '../engines/slots.ts';
import type { Upstream } from '../engines/upstream.ts';

/** Where a request is to run, and how many leading blocks of its prompt are thought to be there. */
export interface Spot {
  readonly station: Station;
  readonly blocks: number;
}

/** A request that waits for the upstream that has its conversation. */
interface Hold {
  readonly station: Station;
  readonly since: number;
}

const noChain = new Uint32Array();

export class Placing {
  #turn = 0;
  readonly #homes = new SessionHomes();
  readonly #holds = new Map<Job, Hold>();
  /** The same by station, who was held first at the beginning. */
  readonly #heldFor = new WeakMap<Station, Set<Job>>();
  readonly #fleet: Fleet;
  readonly #tokensPerByte: () => number;

  constructor(fleet: Fleet, tokensPerByte: () => number) {
    this.#fleet = fleet;
    this.#tokensPerByte = tokensPerByte;
  }

  /**
   * Gives where a request is best run; `undefined` where it should wait for a station that is not free.
   * @param stations that may run it
   * @param free those of them where it can start now, at least one
   */
  choose(
    job: Job,
    stations: readonly Station[],
    free: readonly Station[],
    now: number,
  ): Spot | undefined {
    const open = stations.filter((station) => station.isOpen);
    const tokensPerBlock = blockBytes * this.#tokensPerByte();
    const home = job.session && this.#homes.get(sessionOf(job));
    const candidates = open.map((station): Candidate => {
      const upstream = this.#fleet.ownerOf(station);
      const { blocks, isShared } = upstream.index.matchOf(job.chain ?? noChain);
      const isFree = free.includes(station);
      const turnMs = upstream.serviceMs / station.capacity;
      const { prefillPerMs } = upstream;
      return {
        matchedBlocks: blocks,
        isShared,
        usedShare: station.used / station.capacity,
        isFree,
        heldBlocks: upstream.index.size,
        weight: upstream.settings.weight,
        prefillBlocksPerMs: prefillPerMs && prefillPerMs / tokensPerBlock,
        expectedWaitMs: isFree ? 0 : turnMs * (1 + this.#heldBefore(job, station)),
        isSessionHome: upstream.id === home,
      };
    });
    const hold = this.#holds.get(job);
    const waitedMs = hold === undefined ? 0 : now - hold.since;
    const request = { blocks: job.chain?.length ?? 0, waitedMs, turn: this.#turn++ };
    const { index, isHeld } = place(request, candidates);
    const station = open[index];
    const candidate = candidates[index];
    if (station === undefined || candidate === undefined) return undefined;
    if (!isHeld) return { station, blocks: candidate.matchedBlocks };
    this.#hold(job, station, hold?.since ?? now);
    return undefined;
  }

  /** Takes note that the request runs there now. Gives how many leading blocks of its prompt were there before. */
  took(job: Job, upstream: Upstream, spot: Spot | undefined): number {
    const { chain, session } = job;
    if (session !== undefined) this.#homes.set(sessionOf(job), upstream.id);
    if (chain === undefined || chain.length === 0) return 0;
    const isThere = spot !== undefined && this.#fleet.ownerOf(spot.station) === upstream;
    return isThere ? spot.blocks : upstream.index.matchOf(chain).blocks;
  }

  /**
   * Takes note that the request has run there: its prompt counts as held from now on, and no sooner. Others that begin
   * alike would wait for what is only being computed, and engines that idle compute it meanwhile.
   */
  ran({ chain }: Job, upstream: Upstream): void {
    if (chain !== undefined) upstream.index.hold(chain);
  }

  /** The request does not wait any more. */
  leave(job: Job): void {
    const hold = this.#holds.get(job);
    if (hold === undefined) return;
    this.#holds.delete(job);
    this.#heldFor.get(hold.station)?.delete(job);
  }

  #hold(job: Job, station: Station, since: number): void {
    if (this.#holds.get(job)?.station === station) return;
    this.leave(job);
    this.#holds.set(job, { station, since });
    const held = this.#heldFor.get(station) ?? new Set();
    this.#heldFor.set(station, held.add(job));
  }

  /** How many wait for that station that did so before: they run there first. */
  #heldBefore(job: Job, station: Station): number {
    let count = 0;
    for (const other of this.#heldFor.get(station) ?? []) {
      if (other === job) break;
      count++;
    }
    return count;
  }
}

function sessionOf({ caller, session }: Job): string {
  return `${caller.principal} ${session}`;
}

/**
 * In which order those that wait will have their turn, as far as it can be told: all of them are ranked at once and the
 * ranks are shared, since to rank one costs nearly as much as to rank all. It grants nothing, and has no clock.
 */
import { interactiveForBatch } from './contest.ts';
import { byOrder } from './lanes.ts';
import type { Crowd, Line, Share, Waiter } from './waiter.ts';
import type { SlotSet } from '../engines/slots.ts';

/** How old ranks may be, in milliseconds: of a waiter that has one, and until one that came since has one. */
const oldMs = 500;
const newMs = 100;
/** How many of the callers that are next are remembered. */
const maxFirst = 4;

/** Those that wait for the same slots, and how many they are. */
interface Ranking {
  /** The first waiters of the callers that are next, in their order. */
  readonly first: readonly Waiter[];
  /** All slots that any of them may run on. */
  readonly slotSets: ReadonlySet<SlotSet>;
  readonly size: number;
}

/** A job in the order of its class: the counter at which it will have its turn. */
interface Start {
  readonly waiter: Waiter;
  readonly at: number;
  readonly share: Share;
  /** Whether its caller may have it now; one at its cap takes no place from others. */
  readonly isCounted: boolean;
  /** How many of the same caller come before, and the first of them. */
  readonly own: number;
  readonly head: Waiter;
}

function byStart(a: Start, b: Start): number {
  return a.at - b.at || a.share.grantedAt - b.share.grantedAt || byOrder(a.head, b.head);
}

export class Places {
  readonly #crowds: Iterable<Crowd>;
  #rankedAt = Number.NEGATIVE_INFINITY;
  #rankings: readonly Ranking[] = [];

  /** @param crowds all that wait, as they are whenever that is asked */
  constructor(crowds: Iterable<Crowd>) {
    this.#crowds = crowds;
  }

  /**
   * Estimates how many are granted until it is this waiter's turn: 1 is next. All jobs are taken to be of the same size.
   * @param now milliseconds
   */
  of(waiter: Waiter, now: number): number {
    const age = now - this.#rankedAt;
    if (age >= (waiter.rank === 0 ? newMs : oldMs)) this.#rank(now);
    if (waiter.rank > 0) return waiter.rank;
    return this.competing(waiter.group.slotSets, now) + 1;
  }

  /**
   * Returns how many wait for any of these slots or for slots that one of those may run on.
   * @param now milliseconds
   */
  competing(slotSets: readonly SlotSet[], now: number): number {
    if (now - this.#rankedAt >= oldMs) this.#rank(now);
    return this.#rankingOf(slotSets)?.size ?? 0;
  }

  /** Returns the first waiters of the callers that come before this one: at most three of them. */
  before(waiter: Waiter): Waiter[] {
    const { first = [] } = this.#rankingOf(waiter.group.slotSets) ?? {};
    return first
      .filter((each) => each.rank < waiter.rank && each.share.holder !== waiter.share.holder)
      .slice(0, maxFirst - 1);
  }

  /** Returns the slots that those may run on that wait for any of these, with these. */
  contested(slotSets: readonly SlotSet[]): Iterable<SlotSet> {
    return this.#rankingOf(slotSets)?.slotSets ?? slotSets;
  }

  #rankingOf(slotSets: readonly SlotSet[]): Ranking | undefined {
    return this.#rankings.find((ranking) => slotSets.some((slots) => ranking.slotSets.has(slots)));
  }

  /** Ranks all that wait: O(n log n) for n of them. */
  #rank(now: number): void {
    this.#rankedAt = now;
    this.#rankings = connected(this.#crowds).map((crowds) => ({
      slotSets: new Set(crowds.flatMap(({ group }) => group.slotSets)),
      ...rank(crowds),
    }));
  }
}

/** Returns the crowds in groups: those that can take the same slots are in one, and so are those that others connect. */
function connected(all: Iterable<Crowd>): Crowd[][] {
  const groups = new Map<SlotSet, Crowd[]>();
  for (const crowd of all) {
    const mine = [crowd];
    for (const slots of crowd.group.slotSets) {
      const others = groups.get(slots);
      if (others !== mine && others !== undefined) {
        mine.push(...others);
        for (const { group } of others) for (const each of group.slotSets) groups.set(each, mine);
      }
      groups.set(slots, mine);
    }
  }
  return [...new Set(groups.values())];
}

/**
 * Ranks those that compete; returns how many they are, and the first of them. Jobs are taken to be of the same size, so that
 * the tokens that interactive ones get for each of a batch are as many jobs.
 */
function rank(crowds: readonly Crowd[]): Pick<Ranking, 'size' | 'first'> {
  const interactive = startsOf(crowds, 'interactive');
  const batch = startsOf(crowds, 'batch');
  const isDue = crowds[0]?.contest.isBatchDue ?? false;
  const first: Waiter[] = [];
  let place = 0;
  let untilBatch = isDue ? 0 : interactiveForBatch;
  let [i, b] = [0, 0];
  while (i < interactive.length || b < batch.length) {
    const isBatch = i >= interactive.length || (untilBatch === 0 && b < batch.length);
    const start = (isBatch ? batch[b++] : interactive[i++]) as Start;
    if (start.isCounted) place++;
    if (start.isCounted && start.own === 0 && first.length < maxFirst) first.push(start.waiter);
    start.waiter.rank = start.isCounted ? place : place + 1 + start.own;
    if (isBatch) untilBatch = interactiveForBatch;
    else if (start.isCounted && untilBatch > 0) untilBatch--;
  }
  return { size: place, first };
}

/** Returns what waits of a class, in its order. */
function startsOf(crowds: readonly Crowd[], priority: string): Start[] {
  const lines = new Map<Share, Line[]>();
  for (const { lanes } of crowds) {
    for (const lane of lanes.values()) {
      if (lane.priority !== priority) continue;
      for (const [share, line] of lane.lines) {
        const others = lines.get(share);
        if (others === undefined) lines.set(share, [line]);
        else others.push(line);
      }
    }
  }
  const starts: Start[] = [];
  for (const [share, own] of lines) addStarts(starts, share, own);
  return starts.sort(byStart);
}

/** Adds the jobs of one caller: each begins when those before it have been served. */
function addStarts(starts: Start[], share: Share, lines: readonly Line[]): void {
  const waiters = lines.flatMap((line) => [...line.waiters]).sort(byOrder);
  const { jobTokens: size } = (lines[0] as Line).lane.crowd.contest;
  let own = 0;
  for (const waiter of waiters) {
    const line = waiter.line as Line;
    const isCounted = line.lane.eligible.has(line);
    const at = share.counter + (own * size) / share.weight;
    starts.push({ waiter, at, share, isCounted, own, head: waiters[0] as Waiter });
    own++;
  }
}

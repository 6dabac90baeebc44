/**
 * A small world for the placement of requests: engines with slots and prefix caches, and people who chat with them. Time
 * is a number that jumps from event to event, so that hours pass at once and always alike. It computes no tokens.
 */
import { Heap } from '../../src/heap.ts';
import { place, PrefixIndex, type Candidate } from '../../src/affinity.ts';
import { Queue, Station, type Group, type Waiter } from '../../src/queue.ts';
import { randomFrom, type Random } from './random.ts';

/** round: the next engine with room. loaded: the least loaded. pooled: one engine with the slots and caches of all. */
export type Policy = 'round' | 'loaded' | 'affinity' | 'pooled';

/** Times in milliseconds, lengths in tokens. */
export interface Scenario {
  seed: number;
  engines: number;
  slots: number;
  /** What one engine caches. */
  cacheTokens: number;
  /** People, each with one chat at a time. */
  people: number;
  /** Answers that they get in all. */
  requests: number;
  thinkMs: number;
  turnsPerChat: number;
  systemTokens: number;
  /** Whether a few people think a tenth of the time, write four times as much, and chat for longer. */
  isSkewed?: boolean;
  /** When the first engine starts anew, as a share of all requests. */
  restartsAfter?: number;
  /** Whether clients name their conversation. */
  hasSessions?: boolean;
}

export interface Outcome {
  /** Share of all prompt tokens that were cached. */
  cachedShare: number;
  /** From asking to the first token. */
  firstTokenMs: { p50: number; p95: number };
  /** Answers a second. */
  perSecond: number;
  /** Share of the requests that were kept for an engine while another had room. */
  heldShare: number;
}

const prefillPerMs = 2;
const decodeMs = 15;
const tokensPerBlock = 64;
const pageTokens = 16;
/** Chats have at most this many tokens, so that a number tells chat and place. */
const longestChat = 2 ** 16;

/** One person's present conversation. */
interface Chat {
  id: number;
  turn: number;
  turns: number;
  /** Of the next prompt. */
  promptTokens: number;
}

interface Person {
  name: string;
  isBusy: boolean;
  random: Random;
  chat: Chat;
}

interface Ask extends Waiter {
  person: Person;
  chain: Uint32Array;
  session: string;
  promptTokens: number;
  answerTokens: number;
  heldSince: number | undefined;
}

/** The pages of a prompt that an engine caches; the common beginning has the same in every chat. */
function pagesOf(
  chat: number,
  tokens: number,
  pageLength: number,
  systemTokens: number,
): Uint32Array {
  return Uint32Array.from({ length: Math.floor(tokens / pageLength) }, (_, page) =>
    (page + 1) * pageLength <= systemTokens ? page : (chat + 1) * longestChat + page,
  );
}

/** A prefix cache as engines have it: pages, of which those used longest ago go first, ends before beginnings. */
class Cache {
  readonly #pages = new Set<number>();

  constructor(readonly capacity: number) {}

  /** Gives how many leading tokens of the prompt are there. */
  match(pages: Uint32Array): number {
    let count = 0;
    while (count < pages.length && this.#pages.has(pages[count] as number)) count++;
    return count * pageTokens;
  }

  keep(pages: Uint32Array): void {
    for (const page of pages.toReversed()) {
      this.#pages.delete(page);
      this.#pages.add(page);
    }
    this.shrinkTo(this.capacity);
  }

  /** Drops what was used longest ago until so many tokens are left. */
  shrinkTo(tokens: number): void {
    for (const oldest of this.#pages) {
      if (this.#pages.size * pageTokens <= tokens) return;
      this.#pages.delete(oldest);
    }
  }
}

class Engine {
  readonly cache: Cache;
  readonly index = new PrefixIndex();
  readonly station: Station;
  serviceMs = 2_000;

  constructor(id: number, slots: number, cacheTokens: number) {
    this.station = new Station(`engine-${id}`, slots, true);
    this.cache = new Cache(cacheTokens);
  }
}

interface Event {
  at: number;
  number: number;
  run: () => void;
}

/** Runs a scenario to its end. */
export function runWorld(policy: Policy, scenario: Scenario): Outcome {
  return new World(policy, scenario).run();
}

class World {
  #now = 0;
  #events = 0;
  #chats = 0;
  #turn = 0;
  #asked = 0;
  #answered = 0;
  #promptTokens = 0;
  #cachedTokens = 0;
  #held = 0;
  readonly #firstTokenMs: number[] = [];
  readonly #heap = new Heap<Event>((a, b) => a.at - b.at || a.number - b.number);
  readonly #engines: Engine[];
  readonly #group: Group;
  readonly #homes = new Map<string, Engine>();
  readonly #queue: Queue<Ask>;

  constructor(
    readonly policy: Policy,
    readonly scenario: Scenario,
  ) {
    const { engines, slots, cacheTokens } = scenario;
    this.#engines =
      policy === 'pooled'
        ? [new Engine(0, engines * slots, engines * cacheTokens)]
        : Array.from({ length: engines }, (_, id) => new Engine(id, slots, cacheTokens));
    this.#group = { key: 'all', stations: this.#engines.map(({ station }) => station) };
    this.#queue = new Queue<Ask>({
      limits: () => ({ maxWaiters: 1e6, maxWaitersPerCaller: 1e6, maxBytes: 1e12 }),
      choose: (ask, free, now) => this.#choose(ask, free, now),
    });
  }

  run(): Outcome {
    const { people, seed, thinkMs, isSkewed } = this.scenario;
    for (let i = 0; i < people; i++) {
      const random = randomFrom(seed * 1_000 + i);
      const isBusy = isSkewed === true && i % 5 === 0;
      const person: Person = {
        name: `person-${i}`,
        isBusy,
        random,
        chat: this.#newChat(random, isBusy),
      };
      this.#after(random.below(thinkMs), () => this.#ask(person));
    }
    for (let event = this.#heap.peek(); event !== undefined; event = this.#heap.peek()) {
      this.#heap.delete(event);
      this.#now = event.at;
      event.run();
    }
    const sorted = this.#firstTokenMs.sort((a, b) => a - b);
    const percentile = (share: number) => sorted[Math.floor(sorted.length * share)] ?? 0;
    return {
      cachedShare: this.#cachedTokens / this.#promptTokens,
      firstTokenMs: { p50: percentile(0.5), p95: percentile(0.95) },
      perSecond: (this.#answered * 1_000) / this.#now,
      heldShare: this.#held / this.#answered,
    };
  }

  #after(delayMs: number, run: () => void): void {
    this.#heap.set({ at: this.#now + delayMs, number: this.#events++, run });
  }

  #newChat(random: Random, isBusy: boolean): Chat {
    const { turnsPerChat, systemTokens } = this.scenario;
    const turns = Math.ceil(turnsPerChat * (0.5 + random.below(1_000) / 1_000)) * (isBusy ? 2 : 1);
    const promptTokens = systemTokens + this.#messageTokens(random, isBusy);
    return { id: this.#chats++, turn: 0, turns, promptTokens };
  }

  #messageTokens(random: Random, isBusy: boolean): number {
    return (50 + random.below(300)) * (isBusy ? 4 : 1);
  }

  #ask(person: Person): void {
    const { requests, systemTokens } = this.scenario;
    if (this.#asked++ >= requests) return;
    const { chat, name, random } = person;
    this.#queue.enter({
      person,
      chain: pagesOf(chat.id, chat.promptTokens, tokensPerBlock, systemTokens),
      session: `${name}/${chat.id}`,
      promptTokens: chat.promptTokens,
      answerTokens: 30 + random.below(250),
      heldSince: undefined,
      principal: name,
      weight: 1,
      maxUnits: Number.POSITIVE_INFINITY,
      priority: 'interactive',
      units: 1,
      bytes: 0,
      enteredAt: this.#now,
      group: this.#group,
    });
    this.#dispatch();
  }

  #dispatch(): void {
    for (const { waiter, station } of this.#queue.dispatch(this.#now)) this.#start(waiter, station);
    // The pool's timer looks at held requests again.
    if (this.#queue.size > 0 && !this.#isLooking) {
      this.#isLooking = true;
      this.#after(100, () => {
        this.#isLooking = false;
        this.#dispatch();
      });
    }
  }
  #isLooking = false;

  #start(ask: Ask, station: Station): void {
    const engine = this.#engines.find((each) => each.station === station) as Engine;
    const { person, chain, promptTokens, answerTokens } = ask;
    const { systemTokens } = this.scenario;
    const { blocks } = engine.index.matchOf(chain);
    engine.index.hold(chain);
    this.#homes.set(ask.session, engine);
    const pages = pagesOf(person.chat.id, promptTokens, pageTokens, systemTokens);
    // The last token is always computed.
    const cached = Math.min(engine.cache.match(pages), promptTokens - 1);
    engine.cache.keep(pages);
    this.#promptTokens += promptTokens;
    this.#cachedTokens += cached;
    const prefillMs = (promptTokens - cached) / prefillPerMs;
    this.#firstTokenMs.push(this.#now - ask.enteredAt + prefillMs);
    this.#queue.charge(ask.principal, promptTokens - cached + 2 * answerTokens);
    const serviceMs = prefillMs + answerTokens * decodeMs;
    this.#after(serviceMs, () => {
      const held = pagesOf(person.chat.id, promptTokens + answerTokens, pageTokens, systemTokens);
      engine.cache.keep(held);
      engine.serviceMs = engine.serviceMs * 0.8 + serviceMs * 0.2;
      engine.index.learn(chain, blocks, cached, tokensPerBlock);
      this.#queue.release(station, ask.principal, 1);
      this.#end(ask);
      this.#dispatch();
    });
  }

  #end({ person, answerTokens }: Ask): void {
    const { chat, random, isBusy } = person;
    const { thinkMs, restartsAfter, requests } = this.scenario;
    this.#answered++;
    if (this.#answered === Math.floor((restartsAfter ?? 2) * requests)) this.#restart();
    chat.promptTokens += answerTokens + this.#messageTokens(random, isBusy);
    if (++chat.turn >= chat.turns || chat.promptTokens > longestChat - 2_000) {
      person.chat = this.#newChat(random, isBusy);
    }
    const pause = (thinkMs / 2 + random.below(thinkMs)) / (isBusy ? 10 : 1);
    this.#after(pause, () => this.#ask(person));
  }

  /** The first engine loses its cache; of the one that stands for all, what was used longest ago is lost. */
  #restart(): void {
    const [engine] = this.#engines as [Engine];
    const { engines, cacheTokens } = this.scenario;
    engine.cache.shrinkTo(this.policy === 'pooled' ? (engines - 1) * cacheTokens : 0);
    if (this.policy !== 'pooled') engine.index.forget();
  }

  #choose(ask: Ask, free: readonly Station[], now: number): Station | undefined {
    const turn = this.#turn++;
    if (this.policy === 'affinity') return this.#chooseByAffinity(ask, free, now, turn);
    const count = this.#engines.length;
    const order = (station: Station) =>
      (this.#group.stations.indexOf(station) + count - (this.#next % count)) % count;
    const byOrder = [...free].sort((a, b) => order(a) - order(b));
    const [first] = this.policy === 'loaded' ? byOrder.sort((a, b) => a.used - b.used) : byOrder;
    this.#next = this.#group.stations.indexOf(first as Station) + 1;
    return first;
  }
  #next = 0;

  #chooseByAffinity(
    ask: Ask,
    free: readonly Station[],
    now: number,
    turn: number,
  ): Station | undefined {
    const home = this.scenario.hasSessions ? this.#homes.get(ask.session) : undefined;
    const candidates = this.#engines.map((engine): Candidate => {
      const { station, index, serviceMs } = engine;
      const { blocks, isShared } = index.matchOf(ask.chain);
      const isFree = free.includes(station);
      return {
        matchedBlocks: blocks,
        isShared,
        usedShare: station.used / station.capacity,
        isFree,
        heldBlocks: index.size,
        weight: 1,
        prefillBlocksPerMs: prefillPerMs / tokensPerBlock,
        expectedWaitMs: isFree ? 0 : serviceMs / station.capacity,
        isSessionHome: engine === home,
      };
    });
    const since = process.env['SINCE'] === 'enter' ? ask.enteredAt : ask.heldSince;
    const placed = place(
      { blocks: ask.chain.length, waitedMs: now - (since ?? now), turn },
      candidates,
    );
    if (!placed.isHeld) return this.#engines[placed.index]?.station;
    if (ask.heldSince === undefined) this.#held++;
    ask.heldSince ??= now;
    return undefined;
  }
}

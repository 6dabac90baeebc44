/**
 * A small world for the placement of requests: engines with slots and prefix caches, and people who chat with them. Time
 * is a number that jumps from event to event, so that hours pass at once and always alike. It computes no tokens.
 */
import { place, PrefixIndex, SessionHomes, type Candidate } from '../../src/affinity.ts';
import { Heap } from '../../src/heap.ts';
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
  /** Between an answer and the next message, on average; once in ten times it is ten times as long. */
  thinkMs: number;
  turnsPerChat: number;
  /** What all chats begin with. */
  systemTokens: number;
  /** Whether one in five thinks a tenth of the time, writes four times as much and chats twice as long. */
  isSkewed: boolean;
  /** After how many answers the first engine starts anew; 0 for never. */
  restartsAfter: number;
  /** Whether the gateway notices. */
  isRestartSeen: boolean;
  /** Whether clients name their conversations. */
  hasSessions: boolean;
}

export interface Outcome {
  /** Share of all prompt tokens that were cached. */
  cachedShare: number;
  /** From asking to the first token, in milliseconds. */
  meanFirstTokenMs: number;
  /** The longest time that a request was held for its home. */
  longestHoldMs: number;
  answered: number;
}

const prefillPerMs = 2;
const decodeMs = 15;
const tokensPerBlock = 64;
const tokensPerPage = 16;
/** How often held requests are looked at again. */
const tickMs = 100;
/** Chats have fewer tokens, so that one number tells chat and place. */
const longestChat = 2 ** 16;

interface Chat {
  id: number;
  turnsLeft: number;
  /** Of its next prompt. */
  promptTokens: number;
}

interface Person {
  name: string;
  isBusy: boolean;
  /** Each has its own, so that the same is said whatever the order. */
  random: Random;
  chat: Chat;
}

interface Ask extends Waiter {
  person: Person;
  chain: Uint32Array;
  pages: Uint32Array;
  session: string;
  promptTokens: number;
  answerTokens: number;
  heldSince: number | undefined;
  heldFor: Station | undefined;
}

/** A prefix cache as engines have it: pages, of which those used longest ago go first, ends before beginnings. */
class Cache {
  readonly #pages = new Set<number>();

  constructor(readonly capacity: number) {}

  /** Gives how many leading tokens of the prompt are there. */
  match(pages: Uint32Array): number {
    let count = 0;
    while (count < pages.length && this.#pages.has(pages[count] as number)) count++;
    return count * tokensPerPage;
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
      if (this.#pages.size * tokensPerPage <= tokens) return;
      this.#pages.delete(oldest);
    }
  }
}

class Engine {
  readonly station: Station;
  readonly cache: Cache;
  readonly index = new PrefixIndex();
  serviceMs = 2_000;

  constructor(id: string, slots: number, cacheTokens: number) {
    this.station = new Station(id, slots, true);
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
  #eventCount = 0;
  #chatCount = 0;
  #turn = 0;
  #next = 0;
  #asked = 0;
  #answered = 0;
  #promptTokens = 0;
  #cachedTokens = 0;
  #firstTokenMs = 0;
  #longestHoldMs = 0;
  #isTicking = false;
  readonly #events = new Heap<Event>((a, b) => a.at - b.at || a.number - b.number);
  readonly #engines: readonly Engine[];
  readonly #group: Group;
  readonly #homes = new SessionHomes();
  readonly #held = new Map<Station, Set<Ask>>();
  readonly #queue: Queue<Ask>;

  constructor(
    readonly policy: Policy,
    readonly scenario: Scenario,
  ) {
    const { engines, slots, cacheTokens } = scenario;
    this.#engines =
      policy === 'pooled'
        ? [new Engine('all', engines * slots, engines * cacheTokens)]
        : Array.from({ length: engines }, (_, id) => new Engine(`${id}`, slots, cacheTokens));
    this.#group = { key: 'all', stations: this.#engines.map(({ station }) => station) };
    const unbounded = Number.POSITIVE_INFINITY;
    this.#queue = new Queue<Ask>({
      limits: () => ({
        maxWaiters: unbounded,
        maxWaitersPerCaller: unbounded,
        maxBytes: unbounded,
      }),
      choose: (ask, free) => this.#choose(ask, free),
    });
  }

  run(): Outcome {
    const { people, seed, thinkMs, isSkewed } = this.scenario;
    for (let i = 0; i < people; i++) {
      const random = randomFrom(seed * 1_000 + i);
      const isBusy = isSkewed && i % 5 === 0;
      const chat = this.#newChat(random, isBusy);
      const person: Person = { name: `person-${i}`, isBusy, random, chat };
      this.#after(random.below(thinkMs), () => this.#ask(person));
    }
    for (let event = this.#events.peek(); event !== undefined; event = this.#events.peek()) {
      this.#events.delete(event);
      this.#now = event.at;
      event.run();
    }
    return {
      cachedShare: this.#cachedTokens / this.#promptTokens,
      meanFirstTokenMs: this.#firstTokenMs / this.#answered,
      longestHoldMs: this.#longestHoldMs,
      answered: this.#answered,
    };
  }

  #after(delayMs: number, run: () => void): void {
    this.#events.set({ at: this.#now + delayMs, number: this.#eventCount++, run });
  }

  #newChat(random: Random, isBusy: boolean): Chat {
    const { turnsPerChat, systemTokens } = this.scenario;
    const turnsLeft = (turnsPerChat / 2 + random.below(turnsPerChat)) * (isBusy ? 2 : 1);
    const promptTokens = systemTokens + messageTokens(random, isBusy);
    return { id: this.#chatCount++, turnsLeft, promptTokens };
  }

  #ask(person: Person): void {
    if (this.#asked++ >= this.scenario.requests) return;
    const { chat, name, random } = person;
    this.#queue.enter({
      person,
      chain: this.#piecesOf(chat, chat.promptTokens, tokensPerBlock),
      pages: this.#piecesOf(chat, chat.promptTokens, tokensPerPage),
      session: `${name} ${chat.id}`,
      promptTokens: chat.promptTokens,
      answerTokens: 30 + random.below(250),
      heldSince: undefined,
      heldFor: undefined,
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

  /** Gives what a chat's first tokens are, in pieces of that length; only the common beginning is that of others too. */
  #piecesOf(chat: Chat, tokens: number, length: number): Uint32Array {
    const pieces = new Uint32Array(Math.floor(tokens / length));
    const common = Math.floor(this.scenario.systemTokens / length);
    for (let i = 0; i < pieces.length; i++) {
      pieces[i] = i < common ? i : (chat.id + 1) * longestChat + i;
    }
    return pieces;
  }

  #dispatch(): void {
    for (const { waiter, station } of this.#queue.dispatch(this.#now)) this.#start(waiter, station);
    if (this.#queue.size === 0 || this.#isTicking) return;
    this.#isTicking = true;
    this.#after(tickMs, () => {
      this.#isTicking = false;
      this.#dispatch();
    });
  }

  #start(ask: Ask, station: Station): void {
    const engine = this.#engines.find((each) => each.station === station) as Engine;
    const { chain, pages, promptTokens, answerTokens } = ask;
    this.#stopHolding(ask);
    const { blocks } = engine.index.matchOf(chain);
    engine.index.hold(chain);
    this.#homes.set(ask.session, station.id);
    const cached = engine.cache.match(pages);
    engine.cache.keep(pages);
    this.#promptTokens += promptTokens;
    this.#cachedTokens += cached;
    const prefillMs = (promptTokens - cached) / prefillPerMs;
    this.#firstTokenMs += this.#now - ask.enteredAt + prefillMs;
    if (ask.heldSince !== undefined) {
      this.#longestHoldMs = Math.max(this.#longestHoldMs, this.#now - ask.heldSince);
    }
    this.#queue.charge(ask.principal, promptTokens - cached + 2 * answerTokens);
    const serviceMs = prefillMs + answerTokens * decodeMs;
    this.#after(serviceMs, () => {
      engine.cache.keep(
        this.#piecesOf(ask.person.chat, promptTokens + answerTokens, tokensPerPage),
      );
      engine.serviceMs = engine.serviceMs * 0.8 + serviceMs * 0.2;
      engine.index.learn(chain, blocks, cached, tokensPerBlock);
      this.#queue.release(station, ask.principal, 1);
      this.#end(ask);
      this.#dispatch();
    });
  }

  #end({ person, answerTokens }: Ask): void {
    const { chat, random, isBusy } = person;
    const { thinkMs, restartsAfter } = this.scenario;
    if (++this.#answered === restartsAfter) this.#restart();
    chat.promptTokens += answerTokens + messageTokens(random, isBusy);
    const isOver = --chat.turnsLeft <= 0 || chat.promptTokens >= longestChat;
    if (isOver) person.chat = this.#newChat(random, isBusy);
    const factor = (random.oneIn(10) ? 10 : 1) / (isBusy ? 10 : 1);
    this.#after((thinkMs / 2 + random.below(thinkMs)) * factor, () => this.#ask(person));
  }

  /** The first engine loses its cache; the one that stands for all loses as much, of what was used longest ago. */
  #restart(): void {
    const [engine] = this.#engines as [Engine];
    const { engines, cacheTokens, isRestartSeen } = this.scenario;
    engine.cache.shrinkTo(this.policy === 'pooled' ? (engines - 1) * cacheTokens : 0);
    if (isRestartSeen) engine.index.forget();
  }

  #choose(ask: Ask, free: readonly Station[]): Station | undefined {
    if (this.policy === 'affinity') return this.#chooseByAffinity(ask, free);
    const { stations } = this.#group;
    const order = (station: Station) =>
      (stations.indexOf(station) - this.#next + stations.length) % stations.length;
    const load = (station: Station) => (this.policy === 'loaded' ? station.used : 0);
    const [first] = free.toSorted((a, b) => load(a) - load(b) || order(a) - order(b)) as [Station];
    this.#next = (stations.indexOf(first) + 1) % stations.length;
    return first;
  }

  #chooseByAffinity(ask: Ask, free: readonly Station[]): Station | undefined {
    const home = this.scenario.hasSessions ? this.#homes.get(ask.session) : undefined;
    const candidates = this.#engines.map(({ station, index, serviceMs }): Candidate => {
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
        expectedWaitMs: isFree
          ? 0
          : (serviceMs / station.capacity) * (1 + this.#heldBefore(ask, station)),
        isSessionHome: station.id === home,
      };
    });
    const waitedMs = this.#now - (ask.heldSince ?? this.#now);
    const placed = place({ blocks: ask.chain.length, waitedMs, turn: this.#turn++ }, candidates);
    if (!placed.isHeld) return this.#engines[placed.index]?.station;
    ask.heldSince ??= this.#now;
    const station = this.#engines[placed.index]?.station;
    if (station !== undefined && ask.heldFor !== station) {
      this.#stopHolding(ask);
      ask.heldFor = station;
      const held = this.#held.get(station) ?? new Set();
      this.#held.set(station, held.add(ask));
    }
    return undefined;
  }

  #stopHolding(ask: Ask): void {
    if (ask.heldFor !== undefined) this.#held.get(ask.heldFor)?.delete(ask);
    ask.heldFor = undefined;
  }

  /** How many wait for that station that did so before. */
  #heldBefore(ask: Ask, station: Station): number {
    let count = 0;
    for (const other of this.#held.get(station) ?? []) {
      if (other === ask) break;
      count++;
    }
    return count;
  }
}

function messageTokens(random: Random, isBusy: boolean): number {
  return (50 + random.below(300)) * (isBusy ? 4 : 1);
}

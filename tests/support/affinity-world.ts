/**
 * A small world for the placement of requests: engines with slots and prefix caches, and people who chat with them. Time
 * is a number that jumps from event to event, so that hours pass at once and every run is the same. It computes no
 * tokens.
 */
import { place, type Candidate } from '../../src/scheduling/affinity.ts';
import { Heap, type Ranked } from '../../src/scheduling/heap.ts';
import type { Queue } from '../../src/scheduling/queue.ts';
import { Waiter } from '../../src/scheduling/waiter.ts';
import type { SlotGroup, SlotSet } from '../../src/engines/slots.ts';
import { Upstream } from '../../src/engines/upstream.ts';
import { turnsOf, type Scenario, type Turn } from './affinity-scenarios.ts';
import { groupOf, partsOf, principalOf, queueOf, settingsOf } from './schedulingworld.ts';

/**
 * round: the next engine with room. loaded: the least loaded. pooled: one engine with the slots and caches of all, of
 * which what was used longest ago goes first, as in each of them: what the best placement comes near to. An engine
 * that could foresee what will be asked for would keep more.
 */
export type Policy = 'round' | 'loaded' | 'affinity' | 'pooled';

/** Times in milliseconds. */
export interface Outcome {
  /** Share of all prompt tokens that were cached. */
  cachedShare: number;
  /** Time from the request to the first token. */
  meanFirstTokenMs: number;
  answered: number;
}

const tokensPerBlock = 64;
const tokensPerPage = 16;
/** How often held requests are reconsidered, in milliseconds. */
const tickMs = 100;
/** Chats have fewer pieces, and people fewer chats, so that one number identifies chat and place. */
const [longestChat, mostChats] = [2 ** 16, 2 ** 8];

interface Person {
  number: number;
  turns: Iterator<Turn>;
  /** The number of the current chat. */
  chat: number;
  /** Tokens of the chat so far, prompts and answers. */
  tokens: number;
}

/** A turn of a chat that waits. */
class Message extends Waiter {
  heldSince: number | undefined;
  heldFor: SlotSet | undefined;

  constructor(
    readonly of: {
      person: Person;
      chat: number;
      chain: Uint32Array;
      promptTokens: number;
      answerTokens: number;
      askedAt: number;
    },
    group: SlotGroup,
  ) {
    super(...partsOf(`person-${of.person.number}`, group, { bytes: 0 }));
  }
}

/** A prefix cache as engines have it: pages, of which those used longest ago go first, ends before beginnings. */
class Cache {
  readonly #pages = new Set<number>();

  constructor(readonly capacity: number) {}

  /** Returns how many leading tokens of the prompt are there. */
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
    for (const oldest of this.#pages) {
      if (this.#pages.size * tokensPerPage <= this.capacity) return;
      this.#pages.delete(oldest);
    }
  }

  drop(isLost: (page: number) => boolean): void {
    for (const page of this.#pages) if (isLost(page)) this.#pages.delete(page);
  }
}

class Engine {
  readonly upstream: Upstream;
  readonly slots: SlotSet;
  readonly cache: Cache;
  /** The requests that are held for it, in the order of their arrival. */
  readonly held = new Set<Message>();

  constructor(id: string, slots: number, cacheTokens: number) {
    this.upstream = new Upstream(settingsOf(id, { slots }), () => 0);
    this.slots = this.upstream.slotsFor(undefined);
    this.cache = new Cache(cacheTokens);
    this.upstream.refresh(true);
  }
}

interface Event extends Ranked {
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
  #turn = 0;
  #next = 0;
  #asked = 0;
  #answered = 0;
  #counted = { requests: 0, promptTokens: 0, cachedTokens: 0, firstTokenMs: 0 };
  #isTicking = false;
  readonly #total: number;
  readonly #events = new Heap<Event>((a, b) => a.at - b.at || a.number - b.number);
  readonly #engines: readonly Engine[];
  readonly #group: SlotGroup;
  readonly #queue: Queue;

  constructor(
    readonly policy: Policy,
    readonly scenario: Scenario,
  ) {
    const { engines, slots, cacheTokens, othersComeAfter, answers } = scenario;
    this.#engines =
      policy === 'pooled'
        ? [new Engine('all', engines * slots, engines * cacheTokens)]
        : Array.from({ length: engines }, (_, id) => new Engine(`${id}`, slots, cacheTokens));
    if (othersComeAfter > 0)
      for (const { upstream } of this.#engines.slice(1)) upstream.refresh(false);
    this.#total = answers || this.#turnsInAll();
    this.#group = groupOf(...(this.#engines.map(({ slots }) => slots) as [SlotSet, ...SlotSet[]]));
    this.#queue = queueOf({ choose: (waiter, free) => this.#choose(waiter as Message, free) });
  }

  run(): Outcome {
    for (let number = 0; number < this.scenario.people; number++) {
      const turns = turnsOf(this.scenario, number);
      this.#goOn({ number, turns, chat: number * mostChats - 1, tokens: 0 });
    }
    for (let event = this.#events.peek(); event !== undefined; event = this.#events.peek()) {
      this.#events.delete(event);
      this.#now = event.at;
      event.run();
    }
    const { requests, promptTokens, cachedTokens, firstTokenMs } = this.#counted;
    return {
      cachedShare: cachedTokens / promptTokens,
      meanFirstTokenMs: firstTokenMs / requests,
      answered: this.#answered,
    };
  }

  #turnsInAll(): number {
    const { people } = this.scenario;
    const counts = Array.from({ length: people }, (_, i) => [...turnsOf(this.scenario, i)].length);
    return counts.reduce((sum, count) => sum + count, 0);
  }

  #after(delayMs: number, run: () => void): void {
    this.#events.set({ at: this.#now + delayMs, number: this.#eventCount++, run, heapIndex: -1 });
  }

  #goOn(person: Person): void {
    const { value, done } = person.turns.next();
    if (done !== true) this.#after(value.afterMs, () => this.#ask(person, value));
  }

  #ask(person: Person, { isFirst, messageTokens, answerTokens }: Turn): void {
    if (this.#asked++ >= this.#total) return;
    if (isFirst) {
      person.chat++;
      person.tokens = this.scenario.systemTokens;
    }
    const promptTokens = person.tokens + messageTokens;
    person.tokens = promptTokens + answerTokens;
    const { chat } = person;
    const chain = this.#piecesOf(chat, promptTokens, tokensPerBlock);
    const asked = { person, chat, chain, promptTokens, answerTokens, askedAt: this.#now };
    this.#queue.enter(new Message(asked, this.#group));
    this.#dispatch();
  }

  /** Returns the first tokens of a chat, in pieces of that length; all chats share the common beginning. */
  #piecesOf(chat: number, tokens: number, length: number): Uint32Array {
    const { systemTokens, isOnePrompt } = this.scenario;
    const pieces = new Uint32Array(Math.floor(tokens / length));
    const common = isOnePrompt ? pieces.length : Math.floor(systemTokens / length);
    for (let i = 0; i < pieces.length; i++)
      pieces[i] = i < common ? i : (chat + 1) * longestChat + i;
    return pieces;
  }

  #dispatch(): void {
    this.#queue.dispatch(this.#now, ({ waiter, slots }) => {
      this.#start(waiter as Message, slots);
    });
    if (this.#queue.size === 0 || this.#isTicking) return;
    this.#isTicking = true;
    this.#after(tickMs, () => {
      this.#isTicking = false;
      this.#dispatch();
    });
  }

  #start(message: Message, slots: SlotSet): void {
    const engine = this.#engines.find((each) => each.slots === slots) as Engine;
    const { firstTokenMs, prefillPerMs, decodeMs, wayMs } = this.scenario;
    const { chat, chain, promptTokens, answerTokens } = message.of;
    const principal = principalOf(message);
    const { cache, upstream } = engine;
    const pages = this.#piecesOf(chat, promptTokens + answerTokens, tokensPerPage);
    const prompt = pages.subarray(0, Math.floor(promptTokens / tokensPerPage));
    const { blocks } = upstream.index.matchOf(chain);
    this.#hold(message, undefined);
    const cachedTokens = Math.min(promptTokens - 1, cache.match(prompt));
    const computedTokens = promptTokens - cachedTokens;
    const firstByteMs = firstTokenMs + computedTokens / prefillPerMs + wayMs / 2;
    const serviceMs = firstByteMs + answerTokens * decodeMs + wayMs / 2;
    this.#count(message, cachedTokens, firstByteMs);
    this.#queue.charge(slots, principal, 'interactive', computedTokens + 2 * answerTokens);
    this.#after(firstByteMs, () => cache.keep(prompt));
    this.#after(serviceMs, () => {
      cache.keep(pages);
      const completionTokens = answerTokens;
      upstream.speed.observe({ serviceMs, firstByteMs, computedTokens, completionTokens });
      upstream.index.hold(chain);
      upstream.index.learn(chain, blocks, cachedTokens, tokensPerBlock);
      this.#queue.release(slots, principal, 1);
      this.#answer(message);
      this.#dispatch();
    });
  }

  #count({ of: { askedAt, promptTokens } }: Message, cachedTokens: number, prefillMs: number) {
    const { requests, ...sums } = this.#counted;
    this.#counted = {
      requests: requests + 1,
      promptTokens: sums.promptTokens + promptTokens,
      cachedTokens: sums.cachedTokens + cachedTokens,
      firstTokenMs: sums.firstTokenMs + this.#now - askedAt + prefillMs,
    };
  }

  #answer({ of: { person } }: Message): void {
    const { restartsAfter, othersComeAfter } = this.scenario;
    this.#answered++;
    if (this.#answered === Math.round(this.#total * restartsAfter)) this.#restart();
    if (this.#answered === Math.round(this.#total * othersComeAfter)) {
      for (const { upstream } of this.#engines) upstream.refresh(true);
      this.#counted = { requests: 0, promptTokens: 0, cachedTokens: 0, firstTokenMs: 0 };
    }
    this.#goOn(person);
  }

  /** Empties the cache of the first engine; of the pooled one, the part of one engine's share of the people. */
  #restart(): void {
    const [engine] = this.#engines as [Engine];
    const { engines, isRestartSeen } = this.scenario;
    const personOf = (page: number) => Math.floor((page / longestChat - 1) / mostChats);
    engine.cache.drop((page) => this.policy !== 'pooled' || personOf(page) % engines === 0);
    if (isRestartSeen) engine.upstream.index.forget();
  }

  #choose(message: Message, free: readonly SlotSet[]): SlotSet | undefined {
    if (this.policy === 'affinity') return this.#chooseByAffinity(message, free);
    const { slotSets } = this.#group;
    const order = (slots: SlotSet) =>
      (slotSets.indexOf(slots) - this.#next + slotSets.length) % slotSets.length;
    const load = (slots: SlotSet) => (this.policy === 'loaded' ? slots.used : 0);
    const [first] = free.toSorted((a, b) => load(a) - load(b) || order(a) - order(b)) as [SlotSet];
    this.#next = (slotSets.indexOf(first) + 1) % slotSets.length;
    return first;
  }

  /** The gateway's own placement. */
  #chooseByAffinity(message: Message, free: readonly SlotSet[]): SlotSet | undefined {
    const open = this.#engines.filter(({ slots }) => slots.isOpen);
    const candidates = open.map(({ slots, upstream, held }): Candidate => {
      const { index } = upstream;
      const { serviceMs, prefillPerMs } = upstream.speed;
      const { blocks, isShared } = index.matchOf(message.of.chain);
      const isFree = free.includes(slots);
      const before = held.has(message) ? [...held].indexOf(message) : held.size;
      return {
        matchedBlocks: blocks,
        isShared,
        usedShare: slots.used / slots.capacity,
        isFree,
        heldBlocks: index.size,
        weight: 1,
        prefillBlocksPerMs: prefillPerMs && prefillPerMs / tokensPerBlock,
        expectedWaitMs: isFree ? 0 : (serviceMs / slots.capacity) * (1 + before),
        isConversationHome: false,
      };
    });
    const waitedMs = this.#now - (message.heldSince ?? this.#now);
    const placed = place(
      { blocks: message.of.chain.length, waitedMs, turn: this.#turn++ },
      candidates,
    );
    const slots = open[placed.index]?.slots;
    if (!placed.isHeld) return slots;
    this.#hold(message, slots);
    return undefined;
  }

  #hold(message: Message, slots: SlotSet | undefined): void {
    if (message.heldFor === slots) return;
    for (const { held } of this.#engines) held.delete(message);
    this.#engines.find((engine) => engine.slots === slots)?.held.add(message);
    message.heldFor = slots;
    message.heldSince ??= this.#now;
  }
}

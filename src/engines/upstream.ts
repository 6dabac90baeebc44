/**
 * One inference server as the gateway knows it: what it is, what it was seen to do, and whether it may be given requests
 * now. It opens no socket and sets no timer. Anything may read it; each method that changes it names its caller.
 */
import { Breaker } from './breaker.ts';
import { connectionOf, Sessions, type Connection } from './connections.ts';
import type { EngineLoad } from './load.ts';
import { PrefixIndex } from './prefixes.ts';
import type { EngineSighting } from './probe.ts';
import { Progress } from './progress.ts';
import { Domain, SlotSet } from './slots.ts';
import { Speed } from './speed.ts';
import { StreamUsage } from './streamusage.ts';
import type { UpstreamSettings } from '../config/upstreams.ts';
import type { EngineKind } from '../wire/kinds.ts';

/**
 * `unknown`: nothing was heard of it yet, or it is still being asked what it is. `up`: it takes requests. `away`: it
 * could not be reached, breaks connections or only fails. `loading`: it loads its model. `stalled`: it answers and makes
 * no progress. `drained`: the operator empties it.
 */
export type UpstreamState = 'unknown' | 'up' | 'away' | 'loading' | 'stalled' | 'drained';

export class Upstream {
  readonly breaker: Breaker;
  readonly progress = new Progress();
  readonly index = new PrefixIndex();
  readonly speed = new Speed();
  readonly streamUsage = new StreamUsage();
  readonly #sessions = new Sessions(() => new Bun.FetchSession());
  readonly #slotSets = new Map<string, SlotSet>();
  #domain: Domain;
  #settings: UpstreamSettings;
  #kind: EngineKind;
  #reportedSlots: number | undefined;
  #contextTokens: number | undefined;
  #list: Uint8Array | undefined;
  #listed: readonly string[] | undefined;
  #isSighted = false;
  #isLoading = false;
  #isStalled = false;
  #isFull = false;
  #isRemoved = false;
  #isAdmitting = false;
  #provenAt = Number.NEGATIVE_INFINITY;
  #refusesQuickly = false;
  #open = 0;

  /** @param random returns numbers from 0 up to, not including, 1 */
  constructor(settings: UpstreamSettings, random: () => number) {
    this.#settings = settings;
    this.#domain = new Domain(settings.id);
    this.#kind = settings.kind === 'auto' ? 'unknown' : settings.kind;
    this.breaker = new Breaker(random);
  }

  get id(): string {
    return this.#settings.id;
  }

  /** The engines that requests compete for together with this one. */
  get domain(): Domain {
    return this.#domain;
  }

  get settings(): UpstreamSettings {
    return this.#settings;
  }

  get kind(): EngineKind {
    return this.#kind;
  }

  /** How many requests the engine says that it runs at once; `undefined` where it did not say. */
  get reportedSlots(): number | undefined {
    return this.#reportedSlots;
  }

  /** How many tokens one request may have, prompt and answer together; `undefined` where the engine did not say. */
  get contextTokens(): number | undefined {
    return this.#contextTokens;
  }

  /** Its list of models as it came; `undefined` while that is not known. */
  get list(): Uint8Array | undefined {
    return this.#list;
  }

  /** The names of its models; `undefined` while they are not known, so that it may serve any. */
  get models(): readonly string[] | undefined {
    return this.#settings.models ?? this.#listed;
  }

  /** Whether it was asked what it is, or has had its time to say so. */
  get isSighted(): boolean {
    return this.#isSighted;
  }

  get isLoading(): boolean {
    return this.#isLoading;
  }

  get isStalled(): boolean {
    return this.#isStalled;
  }

  /** Whether it says that requests wait inside it already. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** When it last proved that it takes connections, in milliseconds; -Infinity before the first time. */
  get provenAt(): number {
    return this.#provenAt;
  }

  /** Whether a connection that cannot be made to it costs no time. */
  get refusesQuickly(): boolean {
    return this.#refusesQuickly;
  }

  /** How many requests are at it. */
  get open(): number {
    return this.#open;
  }

  get state(): UpstreamState {
    if (this.#settings.drain || this.#isRemoved) return 'drained';
    if (this.breaker.state !== 'closed') return 'away';
    if (this.#isLoading) return 'loading';
    if (this.#isStalled) return 'stalled';
    return this.#isSighted && this.#provenAt !== Number.NEGATIVE_INFINITY ? 'up' : 'unknown';
  }

  /** Whether waiting for it makes sense: it is there, or was there a moment ago. */
  get isHopeful(): boolean {
    const { state } = this;
    return state !== 'away' && state !== 'drained';
  }

  /** Whether it may get requests, as far as its breaker does not decide that. */
  get isWilling(): boolean {
    const isEmptied = this.#settings.drain || this.#isRemoved;
    return this.#isSighted && !this.#isLoading && !this.#isStalled && !isEmptied;
  }

  /** Whether it says how many requests wait inside it, and not how many it can run. */
  get reportsWaiting(): boolean {
    const isKnownTo = this.#kind === 'vllm' || this.#kind === 'sglang';
    return this.#settings.slots === 'auto' && isKnownTo;
  }

  /** Slots in use and in all; `capacity` is `undefined` where it is not bounded. */
  get occupancy(): { used: number; capacity: number | undefined } {
    const slotSets = [...this.#slotSets.values()];
    const capacity = slotSets.reduce((sum, slots) => sum + slots.capacity, 0);
    return {
      used: slotSets.reduce((sum, { used }) => sum + used, 0),
      capacity: Number.isFinite(capacity) && slotSets.length > 0 ? capacity : this.#reportedSlots,
    };
  }

  /** Returns the slots for requests of that model: one set for all, or one a model where slots are given by model. */
  slotsFor(model: string | undefined): SlotSet {
    const key = typeof this.#settings.slots === 'object' ? (model ?? '') : '';
    let slots = this.#slotSets.get(key);
    if (slots === undefined) {
      const id = key === '' ? this.id : `${this.id}/${key}`;
      const isOpen = this.#isAdmitting && !this.#isFull;
      slots = new SlotSet(id, this.#capacityOf(key), isOpen, this.#domain);
      this.#slotSets.set(key, slots);
    }
    return slots;
  }

  /** The fleet: brings the slots up to what is known; `isAdmitting` says whether requests may start. */
  refresh(isAdmitting: boolean): void {
    this.#isAdmitting = isAdmitting;
    for (const [key, slots] of this.#slotSets) {
      slots.capacity = this.#capacityOf(key);
      slots.isOpen = isAdmitting && !this.#isFull;
    }
  }

  /** The fleet: it belongs to that domain from now on. */
  joins(domain: Domain): void {
    this.#domain = domain;
    for (const slots of this.#slotSets.values()) slots.domain = domain;
  }

  /** The fleet: takes new settings of the same URL, kind and key. */
  reconfigure(settings: UpstreamSettings): void {
    this.#settings = settings;
  }

  /** The fleet: the configuration has it no more. What runs on it may end. */
  remove(): void {
    this.#isRemoved = true;
    this.refresh(false);
  }

  /** The watch: takes what one look has found out. */
  saw({ kind, slots, contextTokens, isLoading }: EngineSighting): void {
    this.#kind = kind;
    this.#reportedSlots = slots;
    this.#contextTokens = contextTokens;
    this.#isLoading = isLoading ?? false;
  }

  /** The watch: whether it has had its time to say what it is; `false` when it may be another engine by now. */
  sighted(isSighted: boolean): void {
    this.#isSighted = isSighted;
  }

  /** The watch: takes its list of models as it came, and the names in it. */
  listed(list: Uint8Array, names: readonly string[]): void {
    this.#list = list;
    this.#listed = names;
  }

  /** The watch, and health where a request was refused so: whether it loads its model. */
  loads(isLoading: boolean): void {
    this.#isLoading = isLoading;
  }

  /** Health: whether requests stand still at it. */
  stalled(isStalled: boolean): void {
    this.#isStalled = isStalled;
  }

  /** Health: takes what the engine says of its load. */
  loaded({ waiting = 0 }: EngineLoad): void {
    this.#isFull = this.#settings.slots === 'auto' && waiting > 0;
  }

  /** Health: a connection to it was made, or it answered. */
  proven(now: number): void {
    this.#provenAt = now;
  }

  /** Health: whether the latest connection that failed, if any, was refused at once. */
  refuses(isQuick: boolean): void {
    this.#refusesQuickly = isQuick;
  }

  /** Health: it was away and is back. What was true of the process before need not be true of this one. */
  returned(): void {
    this.#refusesQuickly = false;
    this.#isStalled = false;
    this.index.forget();
    this.streamUsage.forget();
  }

  /** The pool: a request is sent to it. */
  opened(now: number): void {
    if (this.#open++ === 0) this.progress.opened(now);
  }

  /** The pool: a request to it has ended. */
  closed(): void {
    if (--this.#open === 0) this.progress.closed();
  }

  /** Returns a connection to it for one exchange. */
  connect(now: number): Connection {
    return connectionOf(this.#kind, this.#sessions, now);
  }

  #capacityOf(key: string): number {
    const { slots } = this.#settings;
    if (typeof slots === 'number') return slots;
    const ofModel = typeof slots === 'object' && Object.hasOwn(slots, key) ? slots[key] : undefined;
    if (ofModel !== undefined) return ofModel;
    // A model that a mapping leaves out may have as many as the engine says that it has.
    return (slots !== 'unbounded' && this.#reportedSlots) || Number.POSITIVE_INFINITY;
  }
}

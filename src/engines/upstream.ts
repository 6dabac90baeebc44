/**
 * One inference server as the gateway knows it: what it is, what it was seen to do, and whether it may be given
 * requests now. It opens no socket and sets no timer; the pool and the watch tell it what happened.
 */
import { Breaker } from './breaker.ts';
import { reusesConnections } from './probe.ts';
import { Station } from './slots.ts';
import { Sessions } from './connections.ts';
import { Progress } from './progress.ts';
import type { UpstreamSettings } from '../config/upstreams.ts';
import type { EngineKind } from '../wire/kinds.ts';
import { PrefixIndex } from './prefixes.ts';

/**
 * `unknown`: nothing was heard yet, or it is still being asked what it is. `up`: it takes requests. `away`: it could not
 * be reached, breaks connections or only fails. `loading`: it loads its model. `stalled`: it answers and makes no
 * progress. `drained`: the operator empties it.
 */
export type UpstreamState = 'unknown' | 'up' | 'away' | 'loading' | 'stalled' | 'drained';

/** A mean in which what came last counts most. */
class Average {
  #value: number | undefined;

  get value(): number | undefined {
    return this.#value;
  }

  add(sample: number): void {
    if (!Number.isFinite(sample) || sample <= 0) return;
    this.#value = this.#value === undefined ? sample : this.#value * 0.8 + sample * 0.2;
  }
}

/** Until anything was observed. */
const defaultServiceMs = 2_000;
const defaultTokensPerSecond = 30;
/** A shorter computation says more about the way than about the engine. */
const tellingPrefillTokens = 32;

/** A connection for one exchange. */
export interface Connection {
  /** What decides how `fetch` handles it. */
  readonly init: BunFetchRequestInit;
  /** Must follow when the exchange has ended. */
  readonly release: () => void;
}

/** What an ended request showed of an upstream; absent where it did not. Times in milliseconds. */
export interface Observation {
  serviceMs: number;
  firstByteMs: number | undefined;
  computedTokens: number | undefined;
  completionTokens: number | undefined;
}

export class Upstream {
  kind: EngineKind;
  /** How many requests the engine says that it runs at once, and how many tokens one may have. */
  slots: number | undefined;
  contextTokens: number | undefined;
  /** Its list of models as it came, and the names in it; `undefined` while they are not known. */
  list: Uint8Array | undefined;
  listed: readonly string[] | undefined;
  /** Whether it was asked what it is, or has had its time to say so. */
  isSighted = false;
  isLoading = false;
  isStalled = false;
  /** Whether it says that requests wait inside it already. */
  isFull = false;
  /** Whether the configuration has it no more; what runs on it may end. */
  isRemoved = false;
  /** When it last proved that it takes connections. */
  provenAt = Number.NEGATIVE_INFINITY;
  /** Whether a connection that cannot be made to it costs no time. */
  refusesQuickly = false;
  /** How many requests are at it. */
  open = 0;
  readonly breaker: Breaker;
  readonly progress = new Progress();
  readonly index = new PrefixIndex();
  readonly sessions = new Sessions(() => new Bun.FetchSession());
  #isAdmitting = false;
  readonly #stations = new Map<string, Station>();
  readonly #serviceMs = new Average();
  readonly #tokensPerSecond = new Average();
  readonly #prefillPerMs = new Average();

  constructor(
    public settings: UpstreamSettings,
    random: () => number,
  ) {
    this.kind = settings.kind === 'auto' ? 'unknown' : settings.kind;
    this.breaker = new Breaker(random);
  }

  get id(): string {
    return this.settings.id;
  }

  get state(): UpstreamState {
    if (this.settings.drain || this.isRemoved) return 'drained';
    if (this.breaker.state !== 'closed') return 'away';
    if (this.isLoading) return 'loading';
    if (this.isStalled) return 'stalled';
    return this.isSighted && this.provenAt !== Number.NEGATIVE_INFINITY ? 'up' : 'unknown';
  }

  /** Whether waiting for it makes sense: it is there, or was there a moment ago. */
  get isHopeful(): boolean {
    const { state } = this;
    return state !== 'away' && state !== 'drained';
  }

  /** The names of its models; `undefined` while they are not known, so that it may serve any. */
  get models(): readonly string[] | undefined {
    return this.settings.models ?? this.listed;
  }

  /** Whether it tells how many requests wait inside it, and not how many it can run. */
  get reportsWaiting(): boolean {
    return this.settings.slots === 'auto' && (this.kind === 'vllm' || this.kind === 'sglang');
  }

  get serviceMs(): number {
    return this.#serviceMs.value ?? defaultServiceMs;
  }

  /** Of one slot. */
  get tokensPerSecond(): number {
    return this.#tokensPerSecond.value ?? defaultTokensPerSecond;
  }

  /** Tokens of a prompt that it computes in a millisecond; `undefined` until it was observed. */
  get prefillPerMs(): number | undefined {
    return this.#prefillPerMs.value;
  }

  /** Gives where requests for that model run: one place for all, or one a model where slots are given by model. */
  station(model: string | undefined): Station {
    const key = typeof this.settings.slots === 'object' ? (model ?? '') : '';
    let station = this.#stations.get(key);
    if (station === undefined) {
      const id = key === '' ? this.id : `${this.id}/${key}`;
      station = new Station(id, this.#capacityOf(key), this.#isAdmitting && !this.isFull);
      this.#stations.set(key, station);
    }
    return station;
  }

  /** Brings its stations up to what is known; `isAdmitting` says whether requests may start. */
  refresh(isAdmitting: boolean): void {
    this.#isAdmitting = isAdmitting;
    for (const [key, station] of this.#stations) {
      station.capacity = this.#capacityOf(key);
      station.isOpen = isAdmitting && !this.isFull;
    }
  }

  /** Whether it may get requests, as far as it is not its breaker that decides. */
  get isWilling(): boolean {
    const { drain } = this.settings;
    return this.isSighted && !this.isLoading && !this.isStalled && !drain && !this.isRemoved;
  }

  /** Slots in use and in all, over its stations; all are `undefined` where they are not bounded. */
  get usage(): { used: number; capacity: number | undefined } {
    const stations = [...this.#stations.values()];
    const capacity = stations.reduce((sum, station) => sum + station.capacity, 0);
    return {
      used: stations.reduce((sum, { used }) => sum + used, 0),
      capacity: Number.isFinite(capacity) && stations.length > 0 ? capacity : this.slots,
    };
  }

  observe({ serviceMs, firstByteMs, computedTokens = 0, completionTokens = 0 }: Observation): void {
    this.#serviceMs.add(serviceMs);
    if (firstByteMs === undefined) return;
    if (computedTokens >= tellingPrefillTokens)
      this.#prefillPerMs.add(computedTokens / firstByteMs);
    if (completionTokens > 1) {
      this.#tokensPerSecond.add(((completionTokens - 1) * 1000) / (serviceMs - firstByteMs));
    }
  }

  /** Gives the way to it for one exchange. */
  connect(now: number): Connection {
    if (!reusesConnections(this.kind)) return closeAfterUse;
    const { session, release } = this.sessions.acquire(now);
    return { init: { session }, release };
  }

  #capacityOf(key: string): number {
    const { slots } = this.settings;
    if (typeof slots === 'number') return slots;
    const ofModel = typeof slots === 'object' && Object.hasOwn(slots, key) ? slots[key] : undefined;
    if (ofModel !== undefined) return ofModel;
    // A model that a mapping leaves out may have as many as the engine says that it has.
    return (slots !== 'unbounded' && this.slots) || Number.POSITIVE_INFINITY;
  }
}

const closeAfterUse: Connection = { init: { keepalive: false }, release: () => {} };

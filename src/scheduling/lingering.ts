/**
 * Slots whose requests have ended while their engine may still work for them: a slot comes back when the engine says
 * that it is idle, or when a bounded wait ends. It reads no clock, sets no timer and asks nothing by itself.
 */

/** A slot that is to come back. */
export interface Slot {
  readonly upstream: { readonly isHopeful: boolean };
  readonly units: number;
}

export interface DrainOptions<S extends Slot> {
  /** Longest wait for an engine's word, in milliseconds. */
  timeoutMs(): number;
  /** Asks the engine how busy it is, unless it was asked within that time; says whether it does. */
  askLoad(upstream: S['upstream'], pauseMs: number): boolean;
  /** Gives the slot back; called once for each. */
  release(slot: S): void;
}

/** How soon a slot that should be free is looked at: a stream that has begun ends with its next token. */
const firstLookMs = 20;
/** llama.cpp looks for clients that left after a second without any result, and an answer to a question is one. */
const nextLookMs = 1_500;

interface Draining<S> {
  readonly slot: S;
  readonly since: number;
  lookAt: number;
  /** How long until the look after the next. */
  pauseMs: number;
}

export class Drain<S extends Slot> {
  readonly #slots = new Set<Draining<S>>();
  readonly #options: DrainOptions<S>;

  constructor(options: DrainOptions<S>) {
    this.#options = options;
  }

  get size(): number {
    return this.#slots.size;
  }

  /** @param hasBegun whether the engine had begun to answer, so that it notices soon that nobody reads */
  add(slot: S, hasBegun: boolean, now: number): void {
    const pauseMs = hasBegun ? firstLookMs : nextLookMs;
    this.#slots.add({ slot, since: now, lookAt: now + firstLookMs, pauseMs });
  }

  /** Gives slots back whose engine did not say that they are idle in time, and has it asked while there is time. */
  look(now: number): void {
    for (const draining of this.#slots) {
      const { slot, since, lookAt, pauseMs } = draining;
      const isOver = now - since >= this.#options.timeoutMs();
      if (isOver || !slot.upstream.isHopeful) {
        this.#giveBack(draining);
      } else if (now >= lookAt && this.#options.askLoad(slot.upstream, firstLookMs)) {
        draining.lookAt = now + pauseMs;
        draining.pauseMs = Math.min(pauseMs * 2, nextLookMs);
      }
    }
  }

  /**
   * Takes an engine's word: gives back what it works for no more.
   * @param lingeringUnits slots in which it works for requests that have ended
   * @param askedAt when it was asked; what has ended later is not in its answer
   */
  loaded(upstream: S['upstream'], lingeringUnits: number, askedAt: number): void {
    let lingering = lingeringUnits;
    for (const draining of [...this.#slots].reverse()) {
      const { slot, since } = draining;
      if (slot.upstream !== upstream || since > askedAt) continue;
      if (lingering > 0) lingering -= slot.units;
      else this.#giveBack(draining);
    }
  }

  #giveBack(draining: Draining<S>): void {
    this.#slots.delete(draining);
    this.#options.release(draining.slot);
  }
}

/**
 * The right to send one request to an engine, until it is released. It ends once, and charges nothing by itself.
 */
import type { Probe } from '../engines/breaker.ts';
import type { Connection } from '../engines/connections.ts';
import type { SlotSet } from '../engines/slots.ts';
import type { Upstream } from '../engines/upstream.ts';
import type { Placed } from '../request/bag.ts';
import type { Job } from '../request/job.ts';
import type { Outcome } from '../request/settlement.ts';
import type { Tokens } from '../wire/tokens.ts';

/** How an exchange with an upstream ended. */
export interface LeaseEnd {
  /** unserved: it did not run, or the engine refused it. */
  outcome: Outcome | 'unserved';
  tokens: Tokens;
  /** From the engine having the request to the first byte of its answer. */
  firstByteMs: number | undefined;
  /** What an answer that began well says of its server; absent if it does not say, or its status has said it. */
  verdict?: 'well' | 'failing' | undefined;
}

/** New values of members of the body. */
export type Edits = Readonly<Record<string, unknown>>;

export interface LeaseOptions {
  job: Job;
  upstream: Upstream;
  slots: SlotSet;
  /** What was taken of the slots. */
  units: number;
  /** The model's own name, where it is known. */
  model: string | undefined;
  /** What has to be changed in the body; `undefined` when nothing has. */
  edits: Edits | undefined;
  /** Leading blocks of the prompt that the upstream is thought to hold. */
  matchedBlocks: number;
  probe: Probe | undefined;
  /** When it was granted, in milliseconds. */
  since: number;
  connection: Connection;
  /** Called once, when it is released. */
  ended(lease: Lease, end: LeaseEnd): void;
}

export class Lease implements Placed {
  /** Of the bag of all that are charged. */
  place = -1;
  /** Tokens that its caller was charged so far; only charges.ts writes them. */
  chargedPrompt = 0;
  chargedOutput = 0;
  #isEnded = false;
  readonly #options: LeaseOptions;

  constructor(options: LeaseOptions) {
    this.#options = options;
  }

  get job(): Job {
    return this.#options.job;
  }

  get upstream(): Upstream {
    return this.#options.upstream;
  }

  get slots(): SlotSet {
    return this.#options.slots;
  }

  get units(): number {
    return this.#options.units;
  }

  get model(): string | undefined {
    return this.#options.model;
  }

  get edits(): Edits | undefined {
    return this.#options.edits;
  }

  get matchedBlocks(): number {
    return this.#options.matchedBlocks;
  }

  get probe(): Probe | undefined {
    return this.#options.probe;
  }

  get since(): number {
    return this.#options.since;
  }

  /** What decides how `fetch` handles the connection. */
  get connection(): BunFetchRequestInit {
    return this.#options.connection.init;
  }

  /** Must be called when the exchange has ended; idempotent. */
  release(end: LeaseEnd): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#options.ended(this, end);
    this.#options.connection.release();
  }
}

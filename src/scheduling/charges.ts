/**
 * The leases in use and what their callers are charged for them: the prompt at once, the answer as it streams, the truth
 * at the end. It grants nothing, and learns from what engines say how long prompts are.
 */
import type { Job } from '../request/job.ts';
import type { Probe } from '../engines/breaker.ts';
import { blockBytes } from '../wire/prompt.ts';
import type { Station } from '../engines/slots.ts';
import type { Connection, Upstream } from '../engines/upstream.ts';
import type { Tokens } from '../wire/tokens.ts';
import type { Outcome } from '../request/settlement.ts';

/** How an exchange with an upstream ended. */
export interface LeaseEnd {
  /** unserved: it did not run, or the engine refused it. */
  outcome: Outcome | 'unserved';
  tokens: Tokens;
  /** From the engine having the request to the first byte of its answer. */
  firstByteMs: number | undefined;
}

/** New values of members of the body. */
export type Edits = Readonly<Record<string, unknown>>;

/** The right to send one request to an upstream. */
export interface Lease {
  readonly upstream: Upstream;
  /** The model's own name, where it is known. */
  readonly model: string | undefined;
  /** What has to be changed in the body; `undefined` where nothing has. */
  readonly edits: Edits | undefined;
  /** What decides how `fetch` handles the connection. */
  readonly connection: BunFetchRequestInit;
  /** Must follow when the exchange has ended; idempotent. */
  release(end: LeaseEnd): void;
}

/** What a lease is given out for. */
export interface LeaseTerms {
  readonly job: Job;
  readonly upstream: Upstream;
  readonly station: Station;
  /** What was taken of the station. */
  readonly units: number;
  readonly model: string | undefined;
  readonly edits: Edits | undefined;
  /** Leading blocks of the prompt that the upstream is thought to hold. */
  readonly matchedBlocks: number;
  readonly probe: Probe | undefined;
}

export interface ChargesOptions {
  /** Counts weighted tokens for a caller. */
  charge(principal: string, tokens: number): void;
  /** The exchange has ended: called once for each lease. Its charges are corrected by `settle` then. */
  ended(lease: Running, end: LeaseEnd, now: number): void;
  now(): number;
}

/** Output costs more engine time than reading a prompt; the ratio is that of the paper that queue.ts follows. */
const outputWeight = 2;
/** What is thought of prompts before any engine has said anything. */
const defaultPrompt = { tokens: 250, bytes: 1_000 };
/** How much what was known before a prompt still counts after it. */
const olderShare = 0.95;

/** A lease in use. */
export class Running implements Lease {
  readonly job: Job;
  readonly upstream: Upstream;
  readonly station: Station;
  readonly units: number;
  readonly model: string | undefined;
  readonly edits: Edits | undefined;
  readonly matchedBlocks: number;
  readonly probe: Probe | undefined;
  /** Tokens of the answer that were charged for. */
  output = 0;

  constructor(
    terms: LeaseTerms,
    readonly since: number,
    readonly chargedPrompt: number,
    private readonly way: Connection,
    private readonly charges: Charges,
  ) {
    this.job = terms.job;
    this.upstream = terms.upstream;
    this.station = terms.station;
    this.units = terms.units;
    this.model = terms.model;
    this.edits = terms.edits;
    this.matchedBlocks = terms.matchedBlocks;
    this.probe = terms.probe;
  }

  get connection(): BunFetchRequestInit {
    return this.way.init;
  }

  release(end: LeaseEnd): void {
    if (this.charges.end(this, end)) this.way.release();
  }
}

export class Charges {
  /** Sums over prompts, so that a long one counts for more than a short one, which is mostly template. */
  #promptTokens = defaultPrompt.tokens;
  #promptBytes = defaultPrompt.bytes;
  readonly #running = new Set<Running>();
  readonly #options: ChargesOptions;

  constructor(options: ChargesOptions) {
    this.#options = options;
  }

  /** How many leases are in use. */
  get size(): number {
    return this.#running.size;
  }

  /** Of prompts, as far as engines have told. */
  get tokensPerByte(): number {
    return this.#promptTokens / this.#promptBytes;
  }

  /** Gives the lease, and charges for what must be computed of its prompt. */
  begin(terms: LeaseTerms, now: number): Running {
    const { job, upstream, matchedBlocks } = terms;
    const computedBytes = job.promptBytes - matchedBlocks * blockBytes;
    const prompt = job.units === 0 ? 0 : Math.max(0, computedBytes) * this.tokensPerByte;
    const running = new Running(terms, now, prompt, upstream.connect(now), this);
    this.#running.add(running);
    if (prompt > 0) this.#options.charge(job.caller.principal, prompt);
    return running;
  }

  /** Ends a lease; `false` when it has ended before. */
  end(running: Running, end: LeaseEnd): boolean {
    if (!this.#running.delete(running)) return false;
    this.#options.ended(running, end, this.#options.now());
    return true;
  }

  /** Charges for what has been streamed since the last time. Gives the upstreams of which an answer has begun. */
  stream(now: number): Set<Upstream> {
    const begun = new Set<Upstream>();
    for (const running of this.#running) {
      const { job, upstream, since } = running;
      if (job.units === 0) continue;
      const served = job.served();
      if (served !== undefined && served > 0) begun.add(upstream);
      const output = served ?? ((now - since) / 1000) * upstream.tokensPerSecond;
      if (output <= running.output) continue;
      if (served !== undefined) upstream.progress.moved(now);
      this.#options.charge(job.caller.principal, (output - running.output) * outputWeight);
      running.output = output;
    }
    return begun;
  }

  /** Gives the units at an upstream that were taken before a time, in milliseconds. */
  unitsAt(upstream: Upstream, before: number): number {
    let units = 0;
    for (const running of this.#running) {
      if (running.upstream === upstream && running.since < before) units += running.units;
    }
    return units;
  }

  /** Corrects what was charged to what it truly was, and learns from it. */
  settle(running: Running, end: LeaseEnd, now: number): void {
    const { job, upstream, chargedPrompt, since } = running;
    if (job.units === 0) return;
    const { promptTokens, cachedTokens, completionTokens } = end.tokens;
    const output = completionTokens ?? job.served() ?? running.output;
    const computed =
      promptTokens === undefined ? chargedPrompt : promptTokens - (cachedTokens ?? 0);
    const truth = end.outcome === 'unserved' ? 0 : computed + output * outputWeight;
    const charged = chargedPrompt + running.output * outputWeight;
    this.#options.charge(job.caller.principal, truth - charged);
    if (end.outcome !== 'done') return;
    upstream.progress.moved(now);
    upstream.observe({
      serviceMs: now - since,
      firstByteMs: job.served() === undefined ? undefined : end.firstByteMs,
      computedTokens: promptTokens === undefined ? undefined : computed,
      completionTokens: output,
    });
    if (promptTokens === undefined || job.promptBytes === 0) return;
    this.#promptTokens = this.#promptTokens * olderShare + promptTokens;
    this.#promptBytes = this.#promptBytes * olderShare + job.promptBytes;
    if (cachedTokens === undefined || job.chain === undefined) return;
    const tokensPerBlock = (blockBytes * promptTokens) / job.promptBytes;
    upstream.index.learn(job.chain, running.matchedBlocks, cachedTokens, tokensPerBlock);
  }
}

/**
 * What callers are charged for the leases in use: the prompt at once, the answer as it streams, the truth at the end. It
 * grants nothing, and learns from what engines report how many tokens prompts have.
 */
import type { Lease, LeaseEnd } from './lease.ts';
import { Bag } from '../request/bag.ts';
import type { Upstream } from '../engines/upstream.ts';
import { blockBytes } from '../wire/prompt.ts';

export interface ChargesOptions {
  /** Counts weighted tokens for the caller of a lease. */
  charge(lease: Lease, tokens: number): void;
}

/** Output costs more engine time than reading a prompt; the ratio is that of the paper that queue.ts follows. */
const outputWeight = 2;
/** What is assumed of prompts before any engine has reported one. */
const defaultPrompt = { tokens: 250, bytes: 1_000 };
/** How much earlier prompts still count after another one. */
const olderShare = 0.95;

export class Charges {
  /** Sums over prompts, so that a long one counts for more than a short one, which is mostly template. */
  #promptTokens = defaultPrompt.tokens;
  #promptBytes = defaultPrompt.bytes;
  readonly #leases = new Bag<Lease>();
  readonly #options: ChargesOptions;

  constructor(options: ChargesOptions) {
    this.#options = options;
  }

  /** How many leases are in use. */
  get size(): number {
    return this.#leases.size;
  }

  /** Of prompts, as far as engines have reported them. */
  get tokensPerByte(): number {
    return this.#promptTokens / this.#promptBytes;
  }

  /** Charges for what must be computed of the prompt. */
  begin(lease: Lease): void {
    const { job, matchedBlocks } = lease;
    this.#leases.add(lease);
    if (job.units === 0) return;
    const computedBytes = Math.max(0, job.promptBytes - matchedBlocks * blockBytes);
    lease.chargedPrompt = computedBytes * this.tokensPerByte;
    if (lease.chargedPrompt > 0) this.#options.charge(lease, lease.chargedPrompt);
  }

  /** Charges for what was streamed since the last time. Returns the upstreams of which an answer has begun. */
  stream(now: number): Set<Upstream> {
    const begun = new Set<Upstream>();
    for (const lease of this.#leases) {
      const { job, upstream, since } = lease;
      if (job.units === 0) continue;
      const served = job.served();
      if (served !== undefined && served > 0) begun.add(upstream);
      const output = served ?? ((now - since) / 1000) * upstream.speed.tokensPerSecond;
      if (output <= lease.chargedOutput) continue;
      if (served !== undefined) upstream.progress.moved(now);
      this.#options.charge(lease, (output - lease.chargedOutput) * outputWeight);
      lease.chargedOutput = output;
    }
    return begun;
  }

  /** Returns the units at an upstream that were taken before a time, in milliseconds. */
  unitsAt(upstream: Upstream, before: number): number {
    let units = 0;
    for (const lease of this.#leases) {
      if (lease.upstream === upstream && lease.since < before) units += lease.units;
    }
    return units;
  }

  /** Corrects what was charged for a lease that has ended to what it truly was, and learns from it. */
  settle(lease: Lease, end: LeaseEnd, now: number): void {
    this.#leases.delete(lease);
    const { job, upstream, chargedPrompt, chargedOutput, since } = lease;
    if (job.units === 0) return;
    const { promptTokens, cachedTokens, completionTokens } = end.tokens;
    const output = completionTokens ?? job.served() ?? chargedOutput;
    const computed =
      promptTokens === undefined ? chargedPrompt : promptTokens - (cachedTokens ?? 0);
    const truth = end.outcome === 'unserved' ? 0 : computed + output * outputWeight;
    const charged = chargedPrompt + chargedOutput * outputWeight;
    this.#options.charge(lease, truth - charged);
    if (end.outcome !== 'done') return;
    upstream.progress.moved(now);
    upstream.speed.observe({
      serviceMs: now - since,
      firstByteMs: job.served() === undefined ? undefined : end.firstByteMs,
      computedTokens: promptTokens === undefined ? undefined : computed,
      completionTokens: output,
    });
    if (promptTokens === undefined || job.promptBytes === 0) return;
    // A token has a byte at least, whatever one engine says: the estimate is of every caller's prompts.
    const believed = Math.min(promptTokens, job.promptBytes);
    this.#promptTokens = this.#promptTokens * olderShare + believed;
    this.#promptBytes = this.#promptBytes * olderShare + job.promptBytes;
    if (cachedTokens === undefined || job.chain === undefined) return;
    const tokensPerBlock = (blockBytes * promptTokens) / job.promptBytes;
    upstream.index.learn(job.chain, lease.matchedBlocks, cachedTokens, tokensPerBlock);
  }
}

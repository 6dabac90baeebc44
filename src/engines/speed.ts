/**
 * How fast an engine is, learned from requests that have ended. Recent requests count most, and nothing is forgotten.
 */

/** A mean in which the latest samples count most. */
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

/** What is assumed until anything was observed. */
const defaultServiceMs = 2_000;
const defaultTokensPerSecond = 30;
/** A shorter computation says more about the network than about the engine. */
const tellingPrefillTokens = 32;

/** What an ended request showed; `undefined` where it did not. Times in milliseconds. */
export interface Observation {
  serviceMs: number;
  firstByteMs: number | undefined;
  computedTokens: number | undefined;
  completionTokens: number | undefined;
}

export class Speed {
  readonly #serviceMs = new Average();
  readonly #tokensPerSecond = new Average();
  readonly #prefillPerMs = new Average();

  /** How long a request takes, in milliseconds. */
  get serviceMs(): number {
    return this.#serviceMs.value ?? defaultServiceMs;
  }

  /** How many tokens of an answer one slot makes in a second. */
  get tokensPerSecond(): number {
    return this.#tokensPerSecond.value ?? defaultTokensPerSecond;
  }

  /** How many tokens of a prompt it computes in a millisecond; `undefined` until that was observed. */
  get prefillPerMs(): number | undefined {
    return this.#prefillPerMs.value;
  }

  observe({ serviceMs, firstByteMs, computedTokens = 0, completionTokens = 0 }: Observation): void {
    this.#serviceMs.add(serviceMs);
    if (firstByteMs === undefined) return;
    if (computedTokens >= tellingPrefillTokens) {
      this.#prefillPerMs.add(computedTokens / firstByteMs);
    }
    if (completionTokens > 1) {
      this.#tokensPerSecond.add(((completionTokens - 1) * 1000) / (serviceMs - firstByteMs));
    }
  }
}

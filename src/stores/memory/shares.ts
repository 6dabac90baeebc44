/**
 * The fairness counters of a gateway that is alone. One counter a caller, wherever it was served.
 */
import type { ShareStore } from '../../scheduling/sharestore.ts';
import type { Share } from '../../scheduling/waiter.ts';
import type { SlotSet } from '../../engines/slots.ts';

/** Callers that have nothing here and whose counters are remembered. */
const maxIdleCallers = 10_000;

export class MemoryShares implements ShareStore {
  readonly #shares = new Map<string, Share>();
  /** The callers that have nothing here; the one that was seen longest ago is first. */
  readonly #idle = new Set<Share>();
  #lastGranted: Share | undefined;

  find(principal: string): Share | undefined {
    return this.#shares.get(principal);
  }

  open(principal: string, weight: number): Share {
    let share = this.#shares.get(principal);
    if (share === undefined) {
      share = { principal, weight, counter: 0, running: 0, waiting: 0, lines: new Set() };
      this.#shares.set(principal, share);
    }
    this.#idle.delete(share);
    share.weight = weight;
    return share;
  }

  lift(share: Share, least: number): void {
    const floor = Number.isFinite(least) ? least : (this.#lastGranted?.counter ?? 0);
    share.counter = Math.max(share.counter, floor);
  }

  take(share: Share, units: number): void {
    share.running += units;
    this.#lastGranted = share;
  }

  release(share: Share, units: number): void {
    share.running -= units;
  }

  charge(_slots: SlotSet, principal: string, tokens: number): Share | undefined {
    const share = this.#shares.get(principal);
    // One NaN, from an engine's figures, would spoil the order for good.
    if (share === undefined || !Number.isFinite(tokens)) return undefined;
    share.counter += tokens / share.weight;
    return share;
  }

  settle(share: Share): void {
    if (share.waiting > 0 || share.running > 0) return;
    this.#idle.delete(share);
    this.#idle.add(share);
    if (this.#idle.size <= maxIdleCallers) return;
    const [oldest] = this.#idle;
    if (oldest === undefined) return;
    this.#idle.delete(oldest);
    this.#shares.delete(oldest.principal);
  }
}

/**
 * The fairness counters of a gateway that is alone.
 */
import type { ShareStore } from '../../scheduling/sharestore.ts';
import type { Holder, Share } from '../../scheduling/waiter.ts';
import type { Domain, Succession } from '../../engines/slots.ts';
import type { Priority } from '../../request/caller.ts';

/** Callers that have nothing here and whose counters are remembered. */
const maxIdleCallers = 10_000;

const priorities = ['interactive', 'batch'] as const;

/** What callers were served in one domain, in one class. */
class Scores {
  readonly shares = new Map<string, Share>();
  latest: Share | undefined;

  /** Returns the counter that says that nothing is owed. */
  floor(least: number): number {
    return Number.isFinite(least) ? least : (this.latest?.counter ?? 0);
  }
}

type ScoresByClass = Record<Priority, Scores>;

function newScores(): ScoresByClass {
  return { interactive: new Scores(), batch: new Scores() };
}

export class MemoryShares implements ShareStore {
  readonly #holders = new Map<string, Holder>();
  #domains = new Map<Domain, ScoresByClass>();
  /** The callers that have nothing here; the one that was seen longest ago is first. */
  readonly #idle = new Set<Holder>();
  #grants = 0;

  holder(principal: string): Holder | undefined {
    return this.#holders.get(principal);
  }

  open(domain: Domain, priority: Priority, principal: string, weight: number): Share {
    const { shares } = this.#scoresOf(domain)[priority];
    const share = shares.get(principal) ?? this.#newShare(domain, priority, principal);
    this.#idle.delete(share.holder);
    share.weight = weight;
    return share;
  }

  #scoresOf(domain: Domain): ScoresByClass {
    let scores = this.#domains.get(domain);
    if (scores === undefined) {
      scores = newScores();
      this.#domains.set(domain, scores);
    }
    return scores;
  }

  #newShare(domain: Domain, priority: Priority, principal: string): Share {
    let holder = this.#holders.get(principal);
    if (holder === undefined) {
      holder = { principal, running: 0, waiting: 0, shares: [] };
      this.#holders.set(principal, holder);
    }
    const share: Share = {
      holder,
      domain,
      priority,
      weight: 1,
      counter: 0,
      grantedAt: 0,
      lines: new Set(),
    };
    holder.shares.push(share);
    this.#scoresOf(domain)[priority].shares.set(principal, share);
    return share;
  }

  lift(share: Share, least: number): void {
    const floor = this.#scoresOf(share.domain)[share.priority].floor(least);
    share.counter = Math.max(share.counter, floor);
  }

  take(share: Share, units: number): void {
    share.holder.running += units;
    share.grantedAt = ++this.#grants;
    this.#scoresOf(share.domain)[share.priority].latest = share;
  }

  release(holder: Holder, units: number): void {
    holder.running -= units;
  }

  charge(domain: Domain, priority: Priority, principal: string, tokens: number): Share | undefined {
    const share = this.#domains.get(domain)?.[priority].shares.get(principal);
    // One NaN, from an engine's figures, would spoil the order for good.
    if (share === undefined || !Number.isFinite(tokens)) return undefined;
    share.counter += tokens / share.weight;
    return share;
  }

  settle(holder: Holder): void {
    if (holder.waiting > 0 || holder.running > 0) return;
    this.#idle.delete(holder);
    this.#idle.add(holder);
    if (this.#idle.size <= maxIdleCallers) return;
    const [oldest] = this.#idle;
    if (oldest !== undefined) this.#forget(oldest);
  }

  #forget(holder: Holder): void {
    this.#idle.delete(holder);
    this.#holders.delete(holder.principal);
    for (const { domain, priority } of holder.shares) {
      this.#domains.get(domain)?.[priority].shares.delete(holder.principal);
    }
  }

  succeed(
    domains: readonly Succession[],
    floorOf: (domain: Domain, priority: Priority) => number,
  ): void {
    const before = this.#domains;
    this.#domains = new Map();
    for (const { domain } of domains) {
      const same = before.get(domain);
      if (same !== undefined) this.#domains.set(domain, same);
    }
    for (const holder of this.#holders.values()) {
      holder.shares = holder.shares.filter((share) => this.#domains.has(share.domain));
    }
    for (const { domain, origins } of domains) {
      if (this.#domains.has(domain)) continue;
      for (const priority of priorities) {
        for (const origin of origins) {
          const scores = before.get(origin)?.[priority];
          if (scores === undefined) continue;
          this.#addLeads(domain, priority, scores, scores.floor(floorOf(origin, priority)));
        }
      }
    }
  }

  #addLeads(domain: Domain, priority: Priority, scores: Scores, floor: number): void {
    const { shares } = this.#scoresOf(domain)[priority];
    for (const [principal, { counter, weight }] of scores.shares) {
      const share = shares.get(principal) ?? this.#newShare(domain, priority, principal);
      share.weight = weight;
      share.counter += Math.max(0, counter - floor);
    }
  }
}

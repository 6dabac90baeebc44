/**
 * A LimitStore that answers every call late, as one that is shared by several gateways does, and fails when a test wants
 * it to.
 */
import type {
  Decision,
  Demand,
  LimitStore,
  Moment,
  Reservation,
  Spent,
} from '../../src/accounts/limits.ts';

/** Says whether a call fails; it is about several principals, or about all, where none is named. */
export type Failing = (call: keyof LimitStore, principal?: string) => boolean;

export class LateLimits implements LimitStore {
  /** Of open reservations. */
  readonly #principals = new Map<Reservation['id'], string>();

  constructor(
    private readonly inner: LimitStore,
    private readonly isFailing: Failing = () => false,
  ) {}

  async admit(demand: Demand, now: Moment): Promise<Decision> {
    await this.#later('admit', demand.principal);
    const decision = await this.inner.admit(demand, now);
    if (decision.isAdmitted) this.#principals.set(decision.reservation.id, demand.principal);
    await turn();
    // As it comes over a network: nothing but data.
    return JSON.parse(JSON.stringify(decision)) as Decision;
  }

  async settle(reservation: Reservation, usedTokens: number | undefined, now: Moment) {
    await this.#later('settle', this.#principals.get(reservation.id));
    await this.inner.settle(reservation, usedTokens, now);
    this.#principals.delete(reservation.id);
  }

  async count(spent: Spent, now: Moment): Promise<void> {
    await this.#later('count', spent.principal);
    await this.inner.count(spent, now);
  }

  async restore(spent: readonly Spent[], now: Moment): Promise<void> {
    await this.#later('restore');
    await this.inner.restore(spent, now);
  }

  async sweep(now: Moment): Promise<void> {
    await this.#later('sweep');
    await this.inner.sweep(now);
  }

  async #later(call: keyof LimitStore, principal?: string): Promise<void> {
    await turn();
    if (this.isFailing(call, principal)) throw new Error('connection lost');
  }
}

/** Resolves after the rest of the event loop has run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

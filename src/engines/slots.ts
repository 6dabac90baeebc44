/**
 * The slots of an engine, and what fits into them. It knows nothing of waiting requests, upstreams or other gateways.
 */

/**
 * Engines that requests compete for: all that are connected by any model that two of them serve. What a caller used in one
 * domain costs it nothing in another.
 */
export class Domain {
  /** @param id the same on every gateway with the same engines */
  constructor(readonly id: string) {}
}

/** A domain after what the engines serve has changed, and the domains that its engines belonged to before. */
export interface Succession {
  readonly domain: Domain;
  readonly origins: readonly Domain[];
}

/** The slots of one upstream, or of one of its models where slots are given by model. */
export class SlotSet {
  /** Units in use by this gateway; only the queue writes it. */
  used = 0;

  /**
   * @param capacity units that the engine runs at once; Infinity where that is not bounded, and less than `used` after
   *   it has shrunk
   * @param isOpen whether requests may start there
   * @param domain that of its engine; only the fleet changes it
   */
  constructor(
    readonly id: string,
    public capacity: number,
    public isOpen: boolean,
    public domain = new Domain(id),
  ) {}
}

/** The slot sets that may run a request, at least one, of one domain. Waiters for the same model share one object. */
export interface SlotGroup {
  readonly slotSets: readonly SlotSet[];
}

/**
 * Returns whether so many units can start there now. 0 units need an open slot set only; more than all need all of it.
 * @param held units of it that this gateway may use
 */
export function canRun({ used, isOpen }: SlotSet, units: number, held: number): boolean {
  if (!isOpen) return false;
  if (units === 0) return true;
  if (units >= held) return used === 0 && held > 0;
  return used + units <= held;
}

/**
 * Returns how many units must come back before so many fit; negative where there is more room than that.
 * @param held as for `canRun`
 */
export function shortage({ used }: SlotSet, units: number, held: number): number {
  return Math.min(units, held) - Math.max(0, held - used);
}

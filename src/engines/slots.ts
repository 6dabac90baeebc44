/**
 * The places where requests run, and what fits into one. It knows nothing of who waits or what an upstream is.
 */

/** Where requests run: an upstream, or one model of it. Only the queue writes `used`. */
export class Station {
  used = 0;

  /** @param capacity in units; Infinity where it is not bounded, and less than `used` after it has shrunk */
  constructor(
    readonly id: string,
    public capacity: number,
    public isOpen: boolean,
  ) {}

  get free(): number {
    return Math.max(0, this.capacity - this.used);
  }
}

/** The stations that may run a request; waiters for the same model share one object. */
export interface Group {
  readonly key: string;
  readonly stations: readonly Station[];
}

/** Says whether that many units can start there now: 0 needs an open station only, too many need all of it. */
export function canRun(station: Station, units: number): boolean {
  const { capacity, used, isOpen } = station;
  if (!isOpen) return false;
  if (units === 0) return true;
  if (units >= capacity) return used === 0 && capacity > 0;
  return used + units <= capacity;
}

/** Gives how many units must come back before that many fit; negative where there is more room than that. */
export function shortage(station: Station, units: number): number {
  return Math.min(units, station.capacity) - station.free;
}

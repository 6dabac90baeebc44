/**
 * A timer that is called off by what it returns; tests hand in one of their own.
 */

/** Calls back once after `ms` milliseconds. Returns a function that calls it off. */
export type SetTimer = (callback: () => void, ms: number) => () => void;

/** Calls back once, by the clock. */
export function setRealTimer(callback: () => void, ms: number): () => void {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
}

/**
 * Timers that are called off by what they return; tests hand in their own.
 */

/** Calls back after `ms` milliseconds. Returns a function that calls it off. */
export type SetTimer = (callback: () => void, ms: number) => () => void;

/** Calls back once, by the clock. */
export function setRealTimer(callback: () => void, ms: number): () => void {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
}

/** Calls back once, by the clock, and does not keep the process alive for that. */
export function setQuietTimer(callback: () => void, ms: number): () => void {
  const timer = setTimeout(callback, ms);
  timer.unref();
  return () => clearTimeout(timer);
}

/** Calls back again and again, by the clock, until that is called off. */
export function setRepeatingTimer(callback: () => void, ms: number): () => void {
  const timer = setInterval(callback, ms);
  return () => clearInterval(timer);
}

/** A clock that tests move by hand, with its timers. */
import type { SetTimer } from '../../src/request/timer.ts';

interface Timer {
  at: number;
  callback: () => void;
  everyMs: number | undefined;
}

export class HandClock {
  #now = 0;
  readonly #timers = new Set<Timer>();

  readonly now = (): number => this.#now;
  readonly setTimer: SetTimer = (callback, ms) => this.#add(callback, ms, undefined);
  readonly repeat: SetTimer = (callback, ms) => this.#add(callback, ms, ms);

  /** When its timers are due, the soonest first. */
  get due(): number[] {
    return [...this.#timers].map(({ at }) => at).sort((a, b) => a - b);
  }

  /** Lets time pass: timers fire in the order in which they are due, and their consequences run before time goes on. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms;
    await settled();
    for (;;) {
      const [next] = [...this.#timers].sort((a, b) => a.at - b.at);
      if (next === undefined || next.at > end) break;
      this.#now = next.at;
      if (next.everyMs === undefined) this.#timers.delete(next);
      else next.at += next.everyMs;
      next.callback();
      await settled();
    }
    this.#now = end;
  }

  #add(callback: () => void, ms: number, everyMs: number | undefined): () => void {
    const timer = { at: this.#now + ms, callback, everyMs };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }
}

/** Resolves when all work that needs neither time nor sockets is done. */
export async function settled(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve));
}

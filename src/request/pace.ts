/**
 * Shares the event loop: long work is done in slices, one slice for each turn of the loop in all, so that
 * sockets and timers are served in between. Short work never waits while nobody does long work.
 */

/** How long work may hold the loop before the next turn. */
const sliceMs = 4;

/** What a slice goes by; tests bring their own. */
export interface PaceOptions {
  now(): number;
  /** Calls back in the next turn of the event loop, after its sockets. */
  nextTurn(callback: () => void): void;
}

export class Pace {
  readonly #waiting: (() => void)[] = [];
  /** When the slice of this turn is used up; `undefined` while there is no slice. */
  #endsAt: number | undefined;

  constructor(private readonly options: PaceOptions) {}

  /** Returns whether the slice of this turn is used up, and begins one if there is none. Then the work must wait. */
  isUp(): boolean {
    return this.options.now() >= this.#slice();
  }

  /** Resolves when it is this work's turn, with a slice of its own. */
  async turn(): Promise<void> {
    this.#slice();
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /** Begins the slice of this turn if there is none. Returns when it ends. */
  #slice(): number {
    if (this.#endsAt === undefined) {
      this.#endsAt = this.options.now() + sliceMs;
      this.options.nextTurn(() => this.#turned());
    }
    return this.#endsAt;
  }

  #turned(): void {
    const next = this.#waiting.shift();
    if (next === undefined) {
      this.#endsAt = undefined;
      return;
    }
    this.#endsAt = this.options.now() + sliceMs;
    this.options.nextTurn(() => this.#turned());
    next();
  }
}

/** The pace of this process: it has one event loop. */
export const pace = new Pace({ now: () => performance.now(), nextTurn: setImmediate });

/**
 * Notices that this process stood still: a suspended machine, a stopped process, one long task. Then its timers fire late and
 * before its sockets are read, so that what looks like a late answer may lie there already. It reads no clock.
 */

/** A timer that is later than this tells of a pause; less is a busy moment. */
const lateMs = 200;

/** As many of the latest pauses are known. */
const maxPauses = 100;

interface Pause {
  readonly endedAt: number;
  readonly lostMs: number;
}

/** The pauses that one repeating timer has noticed. Every time is in milliseconds of one clock. */
export class Pauses {
  #beatAt = 0;
  #pauses: Pause[] = [];
  #isLate = false;
  #wasLate = false;

  /** @param everyMs how often the timer fires */
  constructor(private readonly everyMs: number) {}

  /** The timer begins. What happened before concerns nobody any more. */
  begin(now: number): void {
    this.#beatAt = now;
    this.#pauses = [];
    this.#isLate = false;
  }

  /** The timer fires. Returns how much time was lost since it last did. */
  beat(now: number): number {
    const late = now - this.#beatAt - this.everyMs;
    this.#beatAt = now;
    this.#wasLate = this.#isLate;
    this.#isLate = late >= lateMs;
    if (!this.#isLate) return 0;
    this.#pauses.push({ endedAt: now, lostMs: late });
    if (this.#pauses.length > maxPauses) this.#pauses.shift();
    return late;
  }

  /**
   * Whether what is late may be judged. Not at the first late beat, since nothing was read from the sockets yet; at the
   * next one it was, and on a machine where every beat is late something has to end.
   */
  get mayJudge(): boolean {
    return !this.#isLate || this.#wasLate;
  }

  /** Returns how much of the time since then was lost. */
  lostSince(since: number): number {
    let lost = 0;
    for (const pause of this.#pauses) if (pause.endedAt > since) lost += pause.lostMs;
    return lost;
  }
}

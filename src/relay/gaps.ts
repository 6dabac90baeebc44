/**
 * The gaps of an event stream: where nothing comes for a while, a frame that means nothing keeps proxies and clients from
 * giving up. It comes between two frames only; the frames of the stream pass unchanged.
 */
import { setRealTimer, type SetTimer } from '../request/timer.ts';
import type { Family } from '../wire/errors.ts';
import { FrameStage, isLastFrame } from '../wire/sse.ts';

type Result = { done: boolean; value?: Uint8Array | undefined };

export interface GapOptions {
  /** Reads the stream. */
  read(): Promise<Result>;
  /** How long a gap may be, in milliseconds. */
  everyMs: number;
  family: Family;
  setTimer?: SetTimer;
}

/**
 * Returns a frame that every client of the family passes over. Anthropic's clients wait for events.
 * @param said a comment of one line, without its line end
 */
export function idleFrame(family: Family, said: string): string {
  const event = family === 'anthropic' ? 'event: ping\ndata: {"type": "ping"}\n' : '';
  return `: ${said}\n${event}\n`;
}

/** Reads a stream with its gaps filled. */
export class FilledGaps {
  /** The read that is under way. */
  #reading: Promise<Result> | undefined;
  #isLast = false;
  readonly #stage = new FrameStage({
    observe: (bytes, start, end) => {
      this.#isLast ||= isLastFrame(bytes.subarray(start, end));
    },
  });

  constructor(private readonly options: GapOptions) {}

  /**
   * Resolves with what comes next: of the stream, or a frame for a gap. Rejects as the stream does. It must not be called
   * again before that.
   */
  async read(): Promise<Result> {
    const { read, family } = this.options;
    this.#reading ??= read();
    const mayFill = this.#stage.isAtBoundary && !this.#isLast;
    if (mayFill && !(await this.#comes(this.#reading))) {
      return { done: false, value: Buffer.from(idleFrame(family, 'waiting for the next token')) };
    }
    const result = await this.#reading;
    this.#reading = undefined;
    if (result.value !== undefined) this.#stage.push(result.value);
    return result;
  }

  /** Resolves with whether the read ends before the gap is too long. */
  async #comes(reading: Promise<Result>): Promise<boolean> {
    const { everyMs, setTimer = setRealTimer } = this.options;
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const callOff = setTimer(() => resolve(false), everyMs);
    const comes = () => resolve(true);
    reading.then(comes, comes);
    const isThere = await promise;
    callOff();
    return isThere;
  }
}

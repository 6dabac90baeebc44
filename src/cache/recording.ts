/**
 * An answer in the making: a copy of what goes to the client, for the response cache. It refuses what did not end well,
 * and what would not fit.
 */
import { failureInAnswer, type ToldFailure } from '../wire/failures.ts';
import { answerHeaders } from '../wire/headers.ts';
import { isLastFrame } from '../wire/sse.ts';
import type { Outcome } from '../request/settlement.ts';

/** An answer with status 200. */
export interface Kept {
  /** The engine's, without those of its connection. */
  readonly headers: Headers;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The end of an event stream, as the relay sees it. */
interface StreamEnding {
  readonly lastFrame: Uint8Array | undefined;
  readonly failure: ToldFailure | undefined;
}

const isEnded = ({ lastFrame }: StreamEnding) => lastFrame !== undefined && isLastFrame(lastFrame);

/** Whether the end of such a body can be told from a cut; encoded ones are not looked into. */
function isKeepable({ status, headers }: Response, ending: StreamEnding | undefined): boolean {
  if (status !== 200 || headers.has('content-encoding')) return false;
  if (headers.get('cache-control')?.toLowerCase().includes('no-store')) return false;
  if (headers.has('content-length') || headers.has('transfer-encoding')) return true;
  return (
    ending !== undefined || Boolean(headers.get('content-type')?.startsWith('application/json'))
  );
}

/** What came of an answer: itself; `left`: its client went away; `unkept`: it failed or cannot be kept. */
export type Result = Kept | 'left' | 'unkept';

/** How an answer in the making asks for memory and says what came of it. */
interface Keeper {
  /** Of one answer, in bytes. */
  maxBytes: number;
  /** Takes so many more bytes, or gives them back if negative. Returns `false` when there are no more. */
  reserve(bytes: number): boolean;
  /** Called once. */
  settled(result: Result): void;
}

const firstCapacityBytes = 4_096;

/** It collects a copy of what goes to the client. */
export class Recording {
  #headers: Headers | undefined;
  #ending: StreamEnding | undefined;
  /** The first `#length` bytes of a buffer that grows. */
  #held = new Uint8Array(0);
  #length = 0;
  #isOver = false;

  constructor(private readonly keeper: Keeper) {}

  /**
   * Takes the head of the engine's answer.
   * @param ending of an event stream that is not encoded
   */
  open(answer: Response, ending?: StreamEnding): void {
    if (!isKeepable(answer, ending)) return this.#settle('unkept');
    this.#headers = answerHeaders(answer);
    // It would be one client's session.
    this.#headers.delete('set-cookie');
    this.#ending = ending;
  }

  /** Takes the next bytes that go to the client. */
  add(bytes: Uint8Array): void {
    if (this.#isOver) return;
    const length = this.#length + bytes.length;
    if (length > this.#held.length && !this.#grow(length)) return this.#settle('unkept');
    this.#held.set(bytes, this.#length);
    this.#length = length;
  }

  /** Must follow when the request has ended, however; idempotent. */
  end(outcome: Outcome): void {
    if (this.#isOver) return;
    const ending = this.#ending;
    const bytes = this.#held.subarray(0, this.#length);
    const failure = ending ? ending.failure : failureInAnswer(bytes);
    // A client may leave as soon as it has seen the last frame: nothing is missing then.
    const isWhole = ending === undefined ? outcome === 'done' : isEnded(ending);
    // An empty answer answers nothing.
    if (isWhole && !failure && this.#headers !== undefined && bytes.length > 0) {
      return this.#settle({ headers: this.#headers, bytes: bytes.slice() });
    }
    this.#settle(outcome === 'aborted' ? 'left' : 'unkept');
  }

  #grow(length: number): boolean {
    const { maxBytes, reserve } = this.keeper;
    if (length > maxBytes) return false;
    const wanted = Math.max(firstCapacityBytes, 2 * this.#held.length, length);
    const capacity = Math.min(wanted, maxBytes);
    if (!reserve(capacity - this.#held.length)) return false;
    const grown = new Uint8Array(capacity);
    grown.set(this.#held);
    this.#held = grown;
    return true;
  }

  #settle(result: Result): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.keeper.reserve(-this.#held.length);
    this.#held = new Uint8Array(0);
    this.keeper.settled(result);
  }
}

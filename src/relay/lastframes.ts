/**
 * What is kept of an event stream while it passes: the few frames that say how it ended and what it cost, and the first
 * failure that one of its frames told.
 */
import { hasText } from '../wire/bytes.ts';
import { failureInStream, type ToldFailure } from '../wire/failures.ts';
import { isLastFrame, type FrameObserver } from '../wire/sse.ts';
import { readTokens, type Tokens } from '../wire/tokens.ts';

/** The frames that say how a stream ended and what it cost: the last few, and an opening that says what the prompt was. */
export class StreamEnds implements FrameObserver {
  /** Frames that carried data; comments are not among them. */
  frames = 0;
  /** Anthropic's `message_start`: it counts the prompt, and what it says of the answer is only a beginning. */
  opening: Uint8Array | undefined;
  #failure: ToldFailure | undefined;
  readonly #last: (Uint8Array | undefined)[] = [];

  observe(bytes: Uint8Array, start: number, end: number): void {
    // A copy, or a view where the stage has put the frame together: a subarray of the engine's own chunk would make an
    // ArrayBuffer for it, the dearest step of all here, and keep the whole chunk alive.
    const frame = bytes.slice(start, end);
    if (!hasData(frame)) return;
    this.frames++;
    if (this.frames === 1 && hasText(frame, '"message_start"')) this.opening = frame;
    else this.#last[this.frames % keptFrames] = frame;
    // Usage, comments and [DONE] can follow it, more of them than are kept.
    if (this.#failure === undefined && hasText(frame, 'error"')) {
      this.#failure = failureInStream(frame);
    }
  }

  leftOver(bytes: Uint8Array): void {
    // The engine's last words, without the line end behind them. No other frame counts without it.
    this.#failure ??= failureInStream(bytes);
  }

  /** The first failure that a frame told; `undefined` without one. */
  get failure(): ToldFailure | undefined {
    return this.#failure ?? failureInStream(this.lastFrames());
  }

  get lastFrame(): Uint8Array | undefined {
    return this.#last[this.frames % keptFrames];
  }

  /** Whether its last frame says that nothing is missing. */
  get isComplete(): boolean {
    const { lastFrame } = this;
    return lastFrame !== undefined && isLastFrame(lastFrame);
  }

  /** What it says that it cost. */
  tokens(): Tokens {
    return readTokens(this.lastFrames(), this.opening);
  }

  /** The last few in their order, as one text. */
  lastFrames(): Uint8Array {
    return Buffer.concat(this.kept());
  }

  /** The last few in their order. */
  kept(): Uint8Array[] {
    const oldest = this.frames + 1;
    const last = Array.from(
      { length: keptFrames },
      (_, i) => this.#last[(oldest + i) % keptFrames],
    );
    return last.filter((frame) => frame !== undefined);
  }
}

/** Most frames begin with their data; others have an event's name, an id or a comment in front of it. */
function hasData(frame: Uint8Array): boolean {
  if (frame[0] === 0x64 && frame[1] === 0x61) return true;
  return dataInside.some((text) => hasText(frame, text));
}

const dataInside = ['\ndata:', '\rdata:', '\uFEFFdata:'];

/** llama.cpp and vLLM send usage in the last frame before `[DONE]`, Anthropic in the last but one. */
const keptFrames = 3;

/**
 * Splits an event stream into frames, passes each to `observe`, and leaves out the frames that `drop` rejects. All
 * other bytes are passed on unchanged.
 * Source: the event stream format of the HTML standard, section 9.2.6 (lines end in LF, CR LF or CR).
 */
import { decode } from './bytes.ts';

export interface FrameObserver {
  /** Whether each line is a frame, as in Ollama's streams; else a blank line ends one. */
  readonly hasLines?: boolean;
  /**
   * Is called with each complete frame, including its blank line, as `bytes[start, end)`. If the blank line is CR LF,
   * only its CR is included: the frame is complete before the LF arrives. The bytes may be kept but not changed.
   */
  observe(bytes: Uint8Array, start: number, end: number): void;
  /** Returns whether to leave out a frame. If `drop` is given, unfinished frames are held until they end. */
  drop?(bytes: Uint8Array, start: number, end: number): boolean;
  /** Is called at the end of the stream with what came of a frame that has no blank line. It may be cut. */
  leftOver?(bytes: Uint8Array): void;
}

const LF = 10;
const CR = 13;
/** A longer frame is passed on without being observed: an engine that never ends a frame must not fill the memory. */
const maxFrameBytes = 4 * 1024 * 1024;

/** The buffer of every stream that holds nothing. */
const nothing = new Uint8Array(0);

export class FrameStage {
  /** A growing buffer. Its first `#heldLength` bytes are the frame that has not ended yet. */
  #held = nothing;
  #heldLength = 0;
  /** Whether the frame that has not ended yet is longer than `maxFrameBytes`. */
  #isTooLong = false;
  /** Whether the current line has no byte yet. */
  #lineIsEmpty = true;
  /** Whether the last byte was a CR: an LF right after it belongs to the same line end. */
  #afterCr = false;
  /** Whether the last ended frame was passed on; an LF that still belongs to it is treated the same. */
  #wasKept = true;

  constructor(private readonly observer: FrameObserver) {}

  /** Whether every frame so far has ended, so that the gateway may insert its own frame here. */
  get isAtBoundary(): boolean {
    return this.#heldLength === 0 && !this.#isTooLong;
  }

  /** Takes the next chunk and returns the bytes to pass on, `undefined` if there are none yet. */
  push(chunk: Uint8Array): Uint8Array | undefined {
    const canDrop = this.observer.drop !== undefined;
    // The parts of the chunk to pass on; `undefined` for the whole chunk, the common case, which needs no copy.
    let kept: Uint8Array[] | undefined = canDrop && this.#heldLength > 0 ? [] : undefined;
    let start = 0;
    for (let i = 0; i < chunk.length; i++) {
      const byte = chunk[i];
      if (byte !== LF && byte !== CR) {
        this.#lineIsEmpty = false;
        this.#afterCr = false;
        continue;
      }
      const continuesCr = byte === LF && this.#afterCr;
      this.#afterCr = byte === CR;
      if (continuesCr) {
        // The LF of a blank line whose CR has already ended a frame: passed on or dropped like that frame.
        if (i === start && this.isAtBoundary) {
          start = i + 1;
          if (this.#wasKept) kept?.push(chunk.subarray(i, start));
          else kept ??= [chunk.subarray(0, i)];
        }
        continue;
      }
      if (!this.#lineIsEmpty) {
        this.#lineIsEmpty = true;
        if (byte === CR || this.observer.hasLines !== true) continue;
      }
      this.#wasKept = this.#endFrame(chunk, start, i + 1, kept);
      if (!this.#wasKept) kept ??= [chunk.subarray(0, start)];
      start = i + 1;
    }
    if (start < chunk.length) {
      const passed = this.#hold(chunk.subarray(start));
      if (canDrop) {
        kept ??= [chunk.subarray(0, start)];
        if (passed !== undefined) kept.push(passed);
      }
    }
    if (kept === undefined) return chunk;
    const passed = Buffer.concat(kept);
    return passed.length === 0 ? undefined : passed;
  }

  /** Returns the bytes still held when the stream has ended in the middle of a frame; `undefined` if there are none. */
  end(): Uint8Array | undefined {
    if (this.#heldLength === 0) return undefined;
    const held = this.#held.slice(0, this.#heldLength);
    this.observer.leftOver?.(held);
    return this.observer.drop === undefined ? undefined : held;
  }

  /**
   * Observes the frame that ends at `end` of the chunk. Returns whether it is passed on, and adds it to `kept` if so.
   */
  #endFrame(
    chunk: Uint8Array,
    start: number,
    end: number,
    kept: Uint8Array[] | undefined,
  ): boolean {
    if (this.#isTooLong) {
      this.#isTooLong = false;
      kept?.push(chunk.subarray(start, end));
      return true;
    }
    let bytes = chunk;
    if (this.#heldLength > 0) {
      const held = this.#held.subarray(0, this.#heldLength);
      bytes = Buffer.concat([held, chunk.subarray(start, end)]);
      [start, end] = [0, bytes.length];
      this.#heldLength = 0;
    }
    this.observer.observe(bytes, start, end);
    if (this.observer.drop?.(bytes, start, end)) return false;
    kept?.push(bytes.subarray(start, end));
    return true;
  }

  /** Holds the beginning of a frame until its end arrives. Returns the held bytes once the frame is too long. */
  #hold(part: Uint8Array): Uint8Array | undefined {
    if (this.#isTooLong) return part;
    const length = this.#heldLength + part.length;
    if (length > this.#held.length) {
      const grown = new Uint8Array(Math.max(2 * this.#held.length, length));
      grown.set(this.#held.subarray(0, this.#heldLength));
      this.#held = grown;
    }
    this.#held.set(part, this.#heldLength);
    this.#heldLength = length;
    if (length <= maxFrameBytes) return undefined;
    const passed = this.#held.subarray(0, length);
    this.#isTooLong = true;
    this.#held = nothing;
    this.#heldLength = 0;
    return passed;
  }
}

/**
 * Returns whether a stream is complete after this frame: `[DONE]`, `message_stop`, the end of a response,
 * `"stop":true` of llama.cpp's native format, the `done` of audio, or an error.
 */
export function isLastFrame(frame: Uint8Array): boolean {
  return lastFrame.test(decode(frame, 'latin1'));
}

const lastFrame =
  /^data: ?\[DONE\]|^event: ?(message_stop|error|response\.(completed|failed|incomplete))\s*$|^data: ?\{.*"stop": ?true[,}]|^data: ?\{"error": ?["{]|^data: ?\{"type": ?"(speech\.audio|transcript\.text)\.done"/m;

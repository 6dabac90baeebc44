/**
 * The stage of an event stream: it finds where frames end, shows each to `observe`, and leaves out the ones that
 * `drop` asks for. It never changes a byte of a frame; what is not dropped leaves as it came.
 * Source: the event stream format of the HTML standard, section 9.2.6 (lines end in LF, CR LF or CR).
 */
import { decode } from './bytes.ts';

export interface FrameObserver {
  /**
   * Sees each whole frame, its blank line included, as `bytes[start, end)`; of a last CR LF only the CR, since nobody
   * can wait for that LF to call the frame whole. The bytes may be kept, never written.
   */
  observe(bytes: Uint8Array, start: number, end: number): void;
  /** Where given, says which frames the client does not get. Unfinished frames then wait for their end. */
  drop?(bytes: Uint8Array, start: number, end: number): boolean;
}

const LF = 10;
const CR = 13;
/** A frame longer than this is passed on unseen: an engine that never ends one must not fill the memory. */
const maxFrameBytes = 4 * 1024 * 1024;

/** Shared by all streams that hold nothing. */
const nothing = new Uint8Array(0);

export class FrameStage {
  /** The bytes of the frame that has not ended yet: the first `#heldLength` of a buffer that grows. */
  #held = nothing;
  #heldLength = 0;
  /** Whether the frame that has not ended yet is too long to be seen. */
  #isTooLong = false;
  /** Whether the current line has no byte yet. */
  #lineIsEmpty = true;
  /** Whether the last byte was a CR, so that an LF next to it ends no further line. */
  #afterCr = false;
  /** Whether the last frame that ended was passed on, and so would be an LF that still belongs to it. */
  #wasKept = true;

  constructor(private readonly observer: FrameObserver) {}

  /** Whether every frame so far has ended, so that a frame of the gateway's own would be read as one. */
  get isAtBoundary(): boolean {
    return this.#heldLength === 0 && !this.#isTooLong;
  }

  /** Takes the next chunk as it arrived; gives the bytes to pass on, `undefined` for none yet. */
  push(chunk: Uint8Array): Uint8Array | undefined {
    const canDrop = this.observer.drop !== undefined;
    // What passes of the chunk; `undefined` for all of it as it is, which is so for most, and costs nothing.
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
        // The LF of a blank line whose CR has ended a frame already: it goes where that frame went.
        if (i === start && this.isAtBoundary) {
          start = i + 1;
          if (this.#wasKept) kept?.push(chunk.subarray(i, start));
          else kept ??= [chunk.subarray(0, i)];
        }
        continue;
      }
      if (!this.#lineIsEmpty) {
        this.#lineIsEmpty = true;
        continue;
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

  /** Gives what is still held when the stream has ended in the middle of a frame. */
  end(): Uint8Array | undefined {
    if (this.observer.drop === undefined || this.#heldLength === 0) return undefined;
    return this.#held.slice(0, this.#heldLength);
  }

  /** Shows the frame that ends at `end` of the chunk, and says whether it passes; puts it into `kept`, where that is. */
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

  /** Keeps the beginning of a frame until its end comes; gives it back where it has become too long. */
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
 * Says whether a frame is the last one of its family, after which a stream is complete: `[DONE]`, `message_stop`,
 * the end of a response, `"stop":true` of llama.cpp's native format, the `done` of audio, or an error.
 */
export function isLastFrame(frame: Uint8Array): boolean {
  return lastFrame.test(decode(frame, 'latin1'));
}

const lastFrame =
  /^data: ?\[DONE\]|^event: ?(message_stop|error|response\.(completed|failed|incomplete))\s*$|^data: ?\{.*"stop": ?true[,}]|^data: ?\{"error": ?\{|^data: ?\{"type": ?"(speech\.audio|transcript\.text)\.done"/m;

/**
 * Who reads the answer of a request. What is computed for a request and who reads it are two things: they meet here
 * alone, so that a reader whose leaving ends nothing needs no other chain.
 */
import type { ErrorCode } from '../wire/errors.ts';

/** The part of a request in flight that a reader may touch. */
export interface Abortable {
  abort(code: ErrorCode): void;
}

/** A reader knows by itself when it leaves, and decides what that means for the request. */
export interface Reader {
  /** Whether it is known to have left. */
  readonly hasLeft: boolean;
  /** Begins to read that request. Called once, when the request begins. */
  attend(request: Abortable): void;
  /**
   * The reader has stopped reading: does to the request what follows. Where nothing does, somebody else must read the
   * answer to its end. May be called more than once.
   */
  left(): void;
  /** The request takes long: keeps the reader's connection open although nothing is sent. */
  holdOpen(): void;
  /** The request is about to end: takes back what `holdOpen` did. Called before the last byte is sent. */
  letGo(): void;
}

/**
 * Passes an engine's answer on to the client: bytes as they come, read only as fast as the client takes them, with an
 * ending that is true. A stream that breaks ends with its family's error event if a client can read that as one, else
 * with a reset. A cut body looks whole only if nothing could tell: bytes that end by the closing of the connection.
 */
import type { StreamEnds } from './lastframes.ts';
import { errorFrame, GatewayError, type Family } from '../wire/errors.ts';
import { lastValueOf } from '../wire/json.ts';
import type { JsonEnd } from '../wire/jsonend.ts';
import type { ChunkReader } from '../wire/shortbody.ts';
import { FrameStage } from '../wire/sse.ts';
import { outcomeOf, type Outcome } from '../request/settlement.ts';

/** An answer that is passed on, and what is reported of it. */
export interface Passage {
  readonly family: Family;
  /** Watches the frames; `undefined` for a body that is no event stream or is encoded. */
  readonly ends: StreamEnds | undefined;
  /** Watches JSON whose end nothing else tells; `undefined` for any other body. */
  readonly json?: JsonEnd | undefined;
  /** Whether only the closing of the connection ends the body, so that its content must tell whether it is whole. */
  readonly isCloseDelimited: boolean;
  /** Aborted when the exchange with the engine has been ended from outside. */
  readonly signal: AbortSignal;
  /** So many bytes have come from the engine. */
  received(bytes: number): void;
  /** These of the engine's bytes go to the client. */
  passed(bytes: Uint8Array): void;
  /** Turns what the reader threw into the error that the client is told. */
  explain(error: unknown): GatewayError;
  /** The client reads the answer no more; this may abort the exchange. */
  left(): void;
  /** Called once, before the body ends. */
  finished(outcome: Outcome, error?: GatewayError): void;
}

/**
 * Returns the body of the answer to the client.
 * @param first the first chunk, already read
 */
export function relay(
  reader: ChunkReader,
  first: Uint8Array,
  passage: Passage,
): ReadableStream<Uint8Array> {
  return new ReadableStream(new Relay(reader, first, passage), { highWaterMark: 0 });
}

type Controller = ReadableStreamDefaultController<Uint8Array>;

/** A class, since a closure for each of its parts would cost every open stream more than the stream itself. */
class Relay {
  readonly #reader: ChunkReader;
  readonly #passage: Passage;
  readonly #stage: FrameStage | undefined;
  #first: Uint8Array | undefined;
  /** Whether a read is under way, which then fails by itself when the exchange is ended. */
  #isPulling = false;
  #hasFinished = false;

  constructor(reader: ChunkReader, first: Uint8Array, passage: Passage) {
    this.#reader = reader;
    this.#first = first;
    this.#passage = passage;
    this.#stage = passage.ends && new FrameStage(passage.ends);
  }

  start(controller: Controller): void {
    const { signal } = this.#passage;
    signal.addEventListener('abort', () => {
      // A client that stopped reading never triggers `pull`, so its request must be ended here.
      if (this.#isPulling || this.#hasFinished) return;
      this.#finishAborted();
      controller.error();
    });
  }

  async pull(controller: Controller): Promise<void> {
    this.#isPulling = true;
    try {
      for (;;) {
        let chunk = this.#first;
        this.#first = undefined;
        if (chunk === undefined) {
          const { done, value } = await this.#reader.read();
          if (done || value === undefined) break;
          chunk = value;
        }
        const kept = this.#stage === undefined ? chunk : this.#stage.push(chunk);
        this.#passage.received(chunk.length);
        if (kept === undefined) continue;
        this.#passage.passed(kept);
        controller.enqueue(kept);
        return;
      }
    } catch (error) {
      return await this.#fail(controller, this.#passage.explain(error));
    } finally {
      this.#isPulling = false;
    }
    const { ends, json, isCloseDelimited } = this.#passage;
    const isCut = json?.isWhole === false || (ends !== undefined && !this.#isComplete());
    if (isCloseDelimited && isCut) {
      return await this.#fail(controller, new GatewayError('upstream_reset'));
    }
    if (this.#hasFinished) return;
    const rest = this.#stage?.end();
    if (rest !== undefined) {
      this.#passage.passed(rest);
      controller.enqueue(rest);
    }
    this.#finish('done');
    controller.close();
  }

  cancel(): void {
    this.#passage.left();
    if (this.#passage.signal.aborted && !this.#hasFinished) this.#finishAborted();
  }

  #finishAborted(): void {
    const error = this.#passage.explain(this.#passage.signal.reason);
    this.#finish(outcomeOf(error), error);
  }

  #finish(outcome: Outcome, error?: GatewayError): void {
    this.#hasFinished = true;
    this.#passage.finished(outcome, error);
  }

  #isComplete(): boolean {
    return this.#passage.ends?.isComplete === true;
  }

  async #fail(controller: Controller, error: GatewayError): Promise<void> {
    if (this.#hasFinished) return;
    const { ends, family } = this.#passage;
    const hasLeft = error.code === 'client_closed_request';
    const isAtBoundary = this.#stage?.isAtBoundary === true;
    // The engine had said its last word before anything broke: nothing is missing.
    if (!hasLeft && isAtBoundary && this.#isComplete()) {
      this.#finish('done');
      controller.close();
      return;
    }
    this.#finish(outcomeOf(error), error);
    if (hasLeft) {
      controller.error();
      return;
    }
    if (isAtBoundary) {
      const sequence = ends?.lastFrame && lastValueOf(ends.lastFrame, 'sequence_number');
      const next = typeof sequence === 'number' ? sequence + 1 : 0;
      controller.enqueue(Buffer.from(errorFrame(error, family, next)));
      controller.close();
      return;
    }
    // An error in the same turn as an enqueue drops that chunk, and a microtask is not enough.
    await Bun.sleep(0);
    // Without an argument: with one, Bun prints it with the engine's URL.
    controller.error();
  }
}

/**
 * Passes an engine's answer on to the client: bytes as they come, read only as fast as the client takes them, with an
 * ending that is true. A stream that breaks ends with its family's error event where that can be read as one, and with
 * a reset everywhere else. What was cut looks whole only where nothing could tell: bytes that just end by closing.
 */
import { hasText } from './bytes.ts';
import { errorFrame, GatewayError, type Family } from './errors.ts';
import { lastValueOf } from './json.ts';
import { outcomeOf, type Outcome } from './live.ts';
import { FrameStage, isLastFrame, type FrameObserver } from './sse.ts';

/** The frames that say how a stream ended and what it cost: the last few, and an opening that says what the prompt was. */
export class StreamEnds implements FrameObserver {
  /** Frames that carried data; comments are not among them. */
  frames = 0;
  /** Anthropic's `message_start`: it counts the prompt, and what it says of the answer is only a beginning. */
  opening: Uint8Array | undefined;
  readonly #last: (Uint8Array | undefined)[] = [];

  observe(bytes: Uint8Array, start: number, end: number): void {
    // A copy, or a view where the stage has put the frame together: a subarray of the engine's own chunk would make an
    // ArrayBuffer for it, the dearest step of all here, and keep the whole chunk alive.
    const frame = bytes.slice(start, end);
    if (!hasData(frame)) return;
    this.frames++;
    if (this.frames === 1 && hasText(frame, '"message_start"')) this.opening = frame;
    else this.#last[this.frames % keptFrames] = frame;
  }

  get lastFrame(): Uint8Array | undefined {
    return this.#last[this.frames % keptFrames];
  }

  /** The last few in their order, as one text. */
  lastFrames(): Uint8Array {
    const oldest = this.frames + 1;
    const last = Array.from(
      { length: keptFrames },
      (_, i) => this.#last[(oldest + i) % keptFrames],
    );
    return Buffer.concat(last.filter((frame) => frame !== undefined));
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

export interface RelayOptions {
  reader: { read(): Promise<{ done: boolean; value?: Uint8Array | undefined }> };
  /** The first chunk, already read. */
  first: Uint8Array;
  family: Family;
  /** Watches the frames; `undefined` for a body that is no event stream or is encoded. */
  ends: StreamEnds | undefined;
  /** Whether only the closing of the connection ends the body, so that its last frame must tell whether it is whole. */
  isCloseDelimited: boolean;
  onChunk(bytes: number): void;
  /** Sees those of the engine's bytes that go to the client. */
  onPassed?(bytes: Uint8Array): void;
  /** Turns what the reader threw into the error that the client is told. */
  explain(error: unknown): GatewayError;
  /** The client has cancelled. */
  onCancel(): void;
  /** Aborted when the exchange with the engine has been ended from outside. */
  signal: AbortSignal;
  /** Called once, before the body ends. */
  finish(outcome: Outcome, error?: GatewayError): void;
}

/** Makes the body of the answer to the client. */
export function relay(options: RelayOptions): ReadableStream<Uint8Array> {
  const { reader, family, ends, isCloseDelimited, onChunk, onPassed, explain, onCancel, signal } =
    options;
  const stage = ends && new FrameStage(ends);
  let first: Uint8Array | undefined = options.first;
  /** Whether a read is under way, which then fails by itself when the exchange is ended. */
  let isPulling = false;
  let hasFinished = false;

  function finish(outcome: Outcome, error?: GatewayError): void {
    hasFinished = true;
    options.finish(outcome, error);
  }

  function isComplete(): boolean {
    return ends?.lastFrame !== undefined && isLastFrame(ends.lastFrame);
  }

  async function fail(
    controller: ReadableStreamDefaultController<Uint8Array>,
    error: GatewayError,
  ): Promise<void> {
    if (hasFinished) return;
    const hasLeft = error.code === 'client_closed_request';
    // The engine had said its last word before anything broke: nothing is missing.
    if (!hasLeft && stage?.isAtBoundary && isComplete()) {
      finish('done');
      controller.close();
      return;
    }
    finish(outcomeOf(error), error);
    if (hasLeft) {
      controller.error();
      return;
    }
    if (stage?.isAtBoundary) {
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

  return new ReadableStream<Uint8Array>(
    {
      start(controller) {
        signal.addEventListener('abort', () => {
          // A client that does not read asks for nothing, and would hold its ended request for as long as it likes.
          if (isPulling || hasFinished) return;
          const error = explain(signal.reason);
          finish(outcomeOf(error), error);
          controller.error();
        });
      },
      async pull(controller) {
        isPulling = true;
        try {
          for (;;) {
            let chunk = first;
            first = undefined;
            if (chunk === undefined) {
              const { done, value } = await reader.read();
              if (done || value === undefined) break;
              chunk = value;
            }
            const passed = stage === undefined ? chunk : stage.push(chunk);
            onChunk(chunk.length);
            if (passed === undefined) continue;
            onPassed?.(passed);
            controller.enqueue(passed);
            return;
          }
        } catch (error) {
          return await fail(controller, explain(error));
        } finally {
          isPulling = false;
        }
        if (isCloseDelimited && ends !== undefined && !isComplete()) {
          return await fail(controller, new GatewayError('upstream_reset'));
        }
        if (hasFinished) return;
        const rest = stage?.end();
        if (rest !== undefined) {
          onPassed?.(rest);
          controller.enqueue(rest);
        }
        finish('done');
        controller.close();
      },
      cancel() {
        onCancel();
        if (!hasFinished) finish('aborted', new GatewayError('client_closed_request'));
      },
    },
    { highWaterMark: 0 },
  );
}

/**
 * A body on its way to an engine. A large one is handed to `fetch` in pieces that give way to everybody else: whole, it
 * would be copied at once.
 */
import { pace } from './pace.ts';

/** A body up to this size is handed over whole. */
const wholeBytes = 1024 * 1024;
const pieceBytes = 256 * 1024;

/** What `fetch` gets as a body. */
export interface Upload {
  body: Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>;
  /** The header that a stream needs, so that it goes out with its length; `undefined` for a body that is whole. */
  contentLength: string | undefined;
}

/** Returns the parts one after another as one body. */
export function uploadOf(parts: readonly Uint8Array[]): Upload {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  if (length > wholeBytes) return { body: streamOf(parts), contentLength: String(length) };
  const [only] = parts;
  const body = parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
  return { body: body as Uint8Array<ArrayBuffer>, contentLength: undefined };
}

function streamOf(parts: readonly Uint8Array[]): ReadableStream<Uint8Array> {
  const rest = parts.filter(({ length }) => length > 0);
  let at = 0;
  async function pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    if (pace.isUp()) await pace.turn();
    const part = rest[0] as Uint8Array;
    const piece = part.subarray(at, at + pieceBytes);
    at += piece.length;
    if (at === part.length) {
      rest.shift();
      at = 0;
    }
    controller.enqueue(piece);
    if (rest.length === 0) controller.close();
  }
  return new ReadableStream({ pull }, { highWaterMark: 0 });
}

/**
 * Bodies that are read only as far as they are short.
 */

/** Returns the chunks of a body one after another. */
export interface ChunkReader {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
}

/** Reads until the body ends or more than `maxBytes` are there; `isEnd` says which. Rejects with what the reader does. */
export async function readUpTo(
  reader: ChunkReader,
  maxBytes: number,
): Promise<{ bytes: Uint8Array; isEnd: boolean }> {
  const parts: Uint8Array[] = [];
  for (let length = 0; length <= maxBytes;) {
    const { done, value } = await reader.read();
    if (done || value === undefined) return { bytes: Buffer.concat(parts), isEnd: true };
    parts.push(value);
    length += value.length;
  }
  return { bytes: Buffer.concat(parts), isEnd: false };
}

/**
 * Reads an answer to its end if it announces at most `maxBytes`. Returns its body, and the answer with a body that can
 * still be read; `undefined` of a longer answer, or one of unknown length, whose body is untouched.
 */
export async function readShort(
  answer: Response,
  maxBytes: number,
): Promise<{ bytes: Uint8Array; answer: Response } | undefined> {
  const length = Number(answer.headers.get('content-length') ?? Number.NaN);
  if (!(length <= maxBytes)) return undefined;
  const bytes = await answer.bytes();
  const { status, headers } = answer;
  return { bytes, answer: new Response(bytes, { status, headers }) };
}

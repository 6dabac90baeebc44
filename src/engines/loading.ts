/**
 * What an engine says while it loads its model: llama.cpp's 503 "Loading model", and nothing else. Nothing ran then, so
 * the request may be sent again.
 */
import { valueAt } from './endpoints.ts';
import { lastValueOf } from '../wire/json.ts';
import { readShort } from '../wire/shortbody.ts';

/** The engine's own answer has about 80 bytes. */
const maxLoadingBytes = 1_024;
/** A longer 503 is not read: no engine needs as much to say that it is loading. */
const maxNoticeBytes = 4_096;

/** Returns whether an answer with that JSON says that the model is being loaded. */
export function saysLoading(status: number, json: unknown): boolean {
  return status === 503 && valueAt(json, 'error', 'message') === 'Loading model';
}

/** Returns the same of a body that was not parsed; `false` where that is long. */
function isLoadingModel(status: number, body: Uint8Array): boolean {
  if (status !== 503 || body.length > maxLoadingBytes) return false;
  return saysLoading(status, { error: lastValueOf(body, 'error') });
}

/** A 503, whose body can still be read, and whether it says that the model is being loaded. */
export interface Unavailable {
  answer: Response;
  isLoading: boolean;
}

/** Reads a 503 to its end, where it is short. */
export async function readUnavailable(answer: Response): Promise<Unavailable> {
  const short = await readShort(answer, maxNoticeBytes);
  if (short === undefined) return { answer, isLoading: false };
  return { answer: short.answer, isLoading: isLoadingModel(answer.status, short.bytes) };
}

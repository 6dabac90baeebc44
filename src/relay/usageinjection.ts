/**
 * How an engine is made to count the tokens of a stream, and how the client is spared the frame that only the gateway has
 * asked for.
 */
import { hasText } from '../wire/bytes.ts';
import { isRecord, lastValueOf, type Fields } from '../wire/json.ts';
import type { EngineKind } from '../wire/kinds.ts';
import { pathAt, type Route } from '../wire/routes.ts';
import { readShort } from '../wire/shortbody.ts';
import { StreamEnds } from './lastframes.ts';

export type UsageEdit = Readonly<{ stream_options: object }>;

/** Paths of engines whose streams count their tokens only when they are asked to, but for llama.cpp's, which always does. */
const countsOnDemand = new Set(['/v1/completions', '/v1/chat/completions']);

/**
 * Returns what has to be in a body so that its stream counts its tokens; `undefined` where it does so by itself or the
 * client has asked already.
 * @param kind of the engine; one of an unknown kind is asked for nothing that it may not know
 */
export function usageEdit(route: Route, fields: Fields, kind: EngineKind): UsageEdit | undefined {
  if (kind === 'unknown' || kind === 'llama.cpp') return undefined;
  if (!countsOnDemand.has(pathAt(route, kind))) return undefined;
  if (fields['stream'] !== true) return undefined;
  const options = fields['stream_options'];
  if (options !== undefined && options !== null && !isRecord(options)) return undefined;
  if (options?.['include_usage'] === true) return undefined;
  return { stream_options: { ...options, include_usage: true } };
}

/** Some engines repeat what they refuse. */
const maxRefusalBytes = 65_536;

/** A refusal, whose body can still be read, and whether it names the field that asks for usage. */
export interface UsageRefusal {
  answer: Response;
  namesField: boolean;
}

/** Returns whether an engine may refuse a request like this for a field that it does not know. */
export function mayRefuseField({ status }: Response): boolean {
  return status === 400 || status === 422;
}

/** Reads a 400 or 422 to its end, where it is short. */
export async function readRefusal(answer: Response): Promise<UsageRefusal> {
  const short = await readShort(answer, maxRefusalBytes);
  if (short === undefined) return { answer, namesField: false };
  return { answer: short.answer, namesField: hasText(short.bytes, 'stream_options') };
}

/** Returns whether the frame `[start, end)` is the one that comes only because usage was asked for: no choices, and counts. */
function isUsageFrame(bytes: Uint8Array, start = 0, end = bytes.length): boolean {
  // Most chunks are one frame. A view of a part costs an ArrayBuffer, a search beyond it the rest of the chunk each time.
  const isWhole = start === 0 && end === bytes.length;
  const frame = isWhole ? bytes : bytes.subarray(start, end);
  if (!hasText(frame, '"usage"')) return false;
  const usage = lastValueOf(frame, 'usage');
  const choices = lastValueOf(frame, 'choices');
  return isRecord(usage) && Array.isArray(choices) && choices.length === 0;
}

/** Returns whether the last frames of a stream have one that is about usage alone. */
export function hasUsageFrame(ends: StreamEnds): boolean {
  return ends.kept().some((frame) => isUsageFrame(frame));
}

/**
 * Returns what watches the frames of a stream.
 * @param hidesUsage whether `usageEdit` asked for a frame that the client did not ask for
 */
export function endsOf(hidesUsage: boolean): StreamEnds {
  return hidesUsage ? new EndsWithoutUsage() : new StreamEnds();
}

/** Keeps from the client the frame that only the gateway has asked for. */
class EndsWithoutUsage extends StreamEnds {
  drop(bytes: Uint8Array, start: number, end: number): boolean {
    return isUsageFrame(bytes, start, end);
  }
}

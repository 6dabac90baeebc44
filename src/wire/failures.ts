/**
 * Failures that an engine tells inside an answer with status 200, because its status had gone out already: an error
 * event of each family's streams, vLLM's with `[DONE]` behind it, a finish reason, a response that failed. Pure.
 */
import { decode, hasText } from './bytes.ts';
import { isRecord, spans, textOf } from './json.ts';

/** What an engine tells of its failure. */
export interface ToldFailure {
  /** Whether it says that the request is at fault, as a 4xx does. */
  isRefusal: boolean;
  /** The engine's own code, or else its type; `undefined` if that is no short word or number. */
  code: string | undefined;
}

/** Every failure has one of these words. Looking for them costs a plain answer next to nothing. */
const words = ['error', 'failed', '"abort"'];
/** Text of the model cannot contain these: its quotes are escaped. What does contain one is parsed. */
const member =
  /(?<!\\)"(error"\s*:\s*["{]|(object|type)"\s*:\s*"(error|response\.failed)"|finish_reason"\s*:\s*"(error|abort)")/;
const failureEvent = /^event: ?(error|response\.failed)\s*$/m;
const inStream = new RegExp(`${failureEvent.source}|${member.source}`, 'm');
const inAnswer = new RegExp(`"status"\\s*:\\s*"failed"|${member.source}`);

/** @param frames the last frames of an event stream, with their blank lines */
export function failureInStream(frames: Uint8Array): ToldFailure | undefined {
  if (!words.some((word) => hasText(frames, word))) return undefined;
  const text = decode(frames, 'latin1');
  if (!inStream.test(text)) return undefined;
  for (const [, data = ''] of text.matchAll(/^data: ?(\{.*)$/gm)) {
    const failure = failureIn(data);
    if (failure !== undefined) return failure;
  }
  // The event's name says so, whatever its data is.
  return failureEvent.test(text) ? { isRefusal: false, code: undefined } : undefined;
}

/**
 * @param body a whole answer in JSON, which had to fit into memory
 * @param isProblem whether its type says that it describes a failure
 */
export function failureInAnswer(body: Uint8Array, isProblem = false): ToldFailure | undefined {
  if (isProblem) return failureIn(textOf(body), true);
  if (!words.some((word) => hasText(body, word))) return undefined;
  const text = decode(body, 'latin1');
  return inAnswer.test(text) ? failureIn(text) : undefined;
}

/** How often the end of a long answer is tried as the last member of the whole. */
const maxTries = 8;

/**
 * Looks at the two ends of an answer in JSON that is too long to keep: an `error` is its first member or its last, and a
 * finish reason stands behind the text.
 */
export function failureInEdges(head: Uint8Array, tail: Uint8Array): ToldFailure | undefined {
  const members = spans(head).map(({ key, start, end }) => [key, parsed(textOf(head, start, end))]);
  const atHead = failureOf(Object.fromEntries(members));
  if (atHead !== undefined) return atHead;
  const text = decode(tail, 'latin1');
  let at = text.length;
  for (let tries = 0; tries < maxTries; tries++) {
    at = text.lastIndexOf('"error"', at - 1);
    // What is whole from there to the end is a member of the answer itself.
    const atTail = at === -1 ? undefined : failureIn(`{${text.slice(at)}`);
    if (atTail !== undefined) return atTail;
    if (at <= 0) break;
  }
  return finished.test(text) ? { isRefusal: false, code: undefined } : undefined;
}

const finished = /(?<!\\)"finish_reason"\s*:\s*"(error|abort)"/;

function failureIn(json: string, isProblem = false): ToldFailure | undefined {
  return failureOf(parsed(json), isProblem);
}

function failureOf(message: unknown, isProblem = false): ToldFailure | undefined {
  const told = toldIn(message) ?? (isProblem && isRecord(message) ? message : undefined);
  return told && { isRefusal: isRefusal(told), code: codeIn(told) };
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined; // Cut, or no JSON: it tells nothing.
  }
}

type Told = Record<string, unknown>;

/** Returns the object that describes the failure; `undefined` where the message tells of none. */
function toldIn(message: unknown): Told | undefined {
  if (!isRecord(message)) return undefined;
  const { error, object, type, response, status, choices } = message;
  // The Responses API has events about the failure of a tool, after which the answer goes on.
  if (typeof type === 'string' && /^response\.(?!failed$)/.test(type)) return undefined;
  if (isRecord(error)) return error;
  if (typeof error === 'string' && error !== '') return message;
  if (object === 'error' || type === 'error') return message;
  if (type === 'response.failed') return toldIn(response) ?? {};
  if (status === 'failed') return {};
  if (!Array.isArray(choices)) return undefined;
  const failed = choices.find((choice) => {
    return isRecord(choice) && /^(error|abort)$/.test(String(choice['finish_reason']));
  }) as Told | undefined;
  return failed && (isRecord(failed['error']) ? failed['error'] : {});
}

/** The names of a 4xx, where it is not told as a number. */
const refusal =
  /^(invalid_|bad_?request|authentication|permission|not_?found|request_too_large|rate_limit|(exceed_)?context_|content_(policy|filter)|unsupported|unprocessable)/i;

function isRefusal({ code, status, status_code, type }: Told): boolean {
  const number = [code, status, status_code].map(Number).find((each) => each >= 400 && each < 600);
  if (number !== undefined) return number < 500;
  return [code, type].some((name) => typeof name === 'string' && refusal.test(name));
}

function codeIn({ code, type }: Told): string | undefined {
  const words = [code, type].filter((each) => typeof each === 'string' || typeof each === 'number');
  return words.map(String).find((word) => /^[\w.-]{1,64}$/.test(word));
}

/**
 * Tells the client of a stream that it waits: comments with its place in the queue until the answer is there, and in each
 * gap of it. From the first of them on the status is 200, so that every failure comes as its family's error event. It
 * decides nothing about the queue.
 */
import { readUpTo, type ChunkReader } from '../wire/shortbody.ts';
import { FilledGaps, idleFrame } from './gaps.ts';
import { viewOf } from '../wire/bytes.ts';
import { errorFrame, GatewayError, type Family } from '../wire/errors.ts';
import { isRecord } from '../wire/json.ts';
import { setRealTimer, type SetTimer } from '../request/timer.ts';

export interface FeedbackOptions {
  /** What the client would have got without feedback. */
  answer: Promise<Response>;
  /**
   * How long nothing is sent, and how often a comment is sent from then on at the most, in milliseconds; a gap of the answer
   * is no longer than `everyMs`.
   */
  afterMs: number;
  everyMs: number;
  /**
   * The place in the queue, how long the wait may still be, and what of its own holds the request, as the end of a sentence;
   * `undefined` for a request that has left the queue.
   */
  report(): { place: number; waitSeconds: number | undefined; reason: string } | undefined;
  family: Family;
  /** The gateway's own headers; those of an event stream are added. */
  headers: Readonly<Record<string, string>>;
  /** Called once when the client has left before the answer was there. */
  onCancel(): void;
  setTimer?: SetTimer;
}

type Body = ReadableStream<Uint8Array>;
type Controller = ReadableStreamDefaultController<Uint8Array>;
/** The part of a stream's reader that is used here. */
interface Reader extends ChunkReader {
  closed: Promise<unknown>;
  cancel(): Promise<void>;
}
type Settled = { response: Response } | { error: unknown };

/** More of an engine's error is not read. */
const maxErrorBytes = 64 * 1024;
/** An engine's error in which no message is found is quoted up to this length. */
const maxQuotedChars = 500;

/**
 * Returns the answer itself when it comes within `afterMs`, with its gaps filled, or throws what it throws; else an event
 * stream that begins with comments and goes on with the answer.
 */
export async function withFeedback(options: FeedbackOptions): Promise<Response> {
  const wait = new Wait(options.answer, options.setTimer ?? setRealTimer);
  if ((await wait.atMost(options.afterMs)) !== undefined) {
    const answer = await options.answer;
    if (!isEventStream(answer)) return answer;
    const { status, headers } = answer;
    return new Response(bodyOf(wait, options), { status, headers });
  }
  return new Response(bodyOf(wait, options), {
    headers: {
      ...options.headers,
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    },
  });
}

/** A wait for the answer, for one while after the other. */
class Wait {
  settled: Settled | undefined;
  #end: (() => void) | undefined;

  constructor(
    answer: Promise<Response>,
    private readonly setTimer: SetTimer,
  ) {
    answer.then(
      (response) => this.#settle({ response }),
      (error: unknown) => this.#settle({ error }),
    );
  }

  #settle(settled: Settled): void {
    this.settled = settled;
    this.end();
  }

  /** Resolves when the answer is there or has failed, when `ms` milliseconds have passed, or at `end`. */
  async atMost(ms: number): Promise<Settled | undefined> {
    if (this.settled === undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#end = resolve;
      const callOff = this.setTimer(resolve, ms);
      await promise;
      callOff();
    }
    return this.settled;
  }

  end(): void {
    this.#end?.();
  }
}

/** Makes the body: comments, read only as fast as the client takes them, and the answer from its first byte on. */
function bodyOf(wait: Wait, options: FeedbackOptions): Body {
  const { answer, everyMs, family, report, onCancel, setTimer } = options;
  let reader: Reader | undefined;
  let gaps: FilledGaps | undefined;
  let hasBegun = false;
  let pauseMs = everyMs;
  let isOver = false;

  async function fail(controller: Controller): Promise<void> {
    if (isOver) return;
    isOver = true;
    // An error in the same turn as an enqueue drops that chunk, and a microtask is not enough.
    await Bun.sleep(0);
    // Without an argument: with one, Bun prints it.
    controller.error();
  }

  /** Writes that it still waits, or opens the answer. */
  async function proceed(controller: Controller): Promise<void> {
    // The first comment does not wait: the headers leave with it.
    const settled = hasBegun ? await wait.atMost(pauseMs) : wait.settled;
    hasBegun = true;
    if (isOver) return;
    if (settled === undefined) {
      const reported = report();
      pauseMs = pauseAfter(reported, everyMs);
      controller.enqueue(Buffer.from(idleFrame(family, comment(reported))));
      return;
    }
    const body = await eventsOf(settled, family);
    if (isOver) return discard(body);
    if (body === undefined) return await fail(controller);
    const opened: Reader = body.getReader();
    reader = opened;
    const filled = new FilledGaps({
      read: () => opened.read(),
      everyMs,
      family,
      ...(setTimer && { setTimer }),
    });
    gaps = filled;
    // An answer can break while the client does not read, and must not be held until it does.
    reader.closed.catch(async () => {
      // What was read before is passed on first.
      await Bun.sleep(0);
      await fail(controller);
    });
    await pass(filled, controller);
  }

  async function pass(from: FilledGaps, controller: Controller): Promise<void> {
    try {
      const { done, value } = await from.read();
      if (isOver) return;
      if (!done && value !== undefined) return controller.enqueue(value);
      isOver = true;
      controller.close();
    } catch {
      await fail(controller);
    }
  }

  return new ReadableStream<Uint8Array>(
    {
      pull: (controller) => (gaps ? pass(gaps, controller) : proceed(controller)),
      cancel() {
        isOver = true;
        if (reader !== undefined) return discard(reader);
        wait.end();
        onCancel();
        answer.then(
          ({ body }) => body?.locked === false && discard(body),
          () => {}, // Nobody is left to be told.
        );
      },
    },
    { highWaterMark: 0 },
  );
}

/** So much of a long wait goes by between two comments, and so many times `everyMs` at most. */
const pauseShare = 0.1;
const longestPause = 5;

/** Returns how long to wait until the next comment, in milliseconds: longer in a long wait, of which less changes. */
function pauseAfter(report: ReturnType<FeedbackOptions['report']>, everyMs: number): number {
  const waitMs = (report?.waitSeconds ?? 0) * 1_000;
  return Math.min(Math.max(everyMs, waitMs * pauseShare || 0), longestPause * everyMs);
}

function comment(report: ReturnType<FeedbackOptions['report']>): string {
  if (report === undefined) return 'waiting for the first token';
  const { place, waitSeconds, reason } = report;
  const isKnown = waitSeconds !== undefined && Number.isFinite(waitSeconds);
  const about = isKnown ? `, about ${Math.max(1, Math.ceil(waitSeconds))} s` : '';
  return `queued, place ${place}${about}${reason}`;
}

function discard(body: { cancel(): Promise<void> } | undefined): void {
  body?.cancel().catch(() => {}); // It has failed already, and is not wanted.
}

/** Returns what came of the wait as the rest of an event stream; `undefined` where the client has left. */
async function eventsOf(settled: Settled, family: Family): Promise<Body | undefined> {
  if ('error' in settled) {
    const { error } = settled;
    const isOurs = error instanceof GatewayError;
    if (isOurs && error.code === 'client_closed_request') return undefined;
    return bodyWith(errorFrame(isOurs ? error : new GatewayError('internal_error'), family));
  }
  const { response } = settled;
  if (isEventStream(response)) return response.body as Body;
  const { ok, status, headers } = response;
  const body = response.body as Body | null;
  const type = headers.get('content-type') ?? '';
  if (body === null) return bodyWith(ok ? '' : engineErrorFrame(status, '', family));
  const isReadable = (headers.get('content-encoding') ?? 'identity') === 'identity';
  if (!ok) return bodyWith(engineErrorFrame(status, isReadable ? await textOf(body) : '', family));
  if (isReadable && /^(text\/|application\/json)/.test(type)) return asOneFrame(body);
  discard(body);
  const message =
    'The inference server answered with something that does not fit into an event stream. Ask again without queue feedback.';
  return bodyWith(errorFrame(new GatewayError('upstream_malformed', { message }), family));
}

/** Whether an answer can be read as an event stream. */
function isEventStream({ headers, body }: Response): boolean {
  const isReadable = (headers.get('content-encoding') ?? 'identity') === 'identity';
  return (
    isReadable &&
    (headers.get('content-type') ?? '').startsWith('text/event-stream') &&
    body !== null
  );
}

function bodyWith(text: string): Body {
  return new ReadableStream<Uint8Array>({
    start(controller) {
      if (text !== '') controller.enqueue(Buffer.from(text));
      controller.close();
    },
  });
}

const LF = 10;
const CR = 13;
const SPACE = 32;

/** Puts a plain answer into one `data:` line. In JSON a line break is a space between values. */
function asOneFrame(body: Body): Body {
  return body.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>({
      start(controller) {
        controller.enqueue(Buffer.from('data: '));
      },
      transform(chunk, controller) {
        controller.enqueue(chunk.map((byte) => (byte === LF || byte === CR ? SPACE : byte)));
      },
      flush(controller) {
        controller.enqueue(Buffer.from('\n\n'));
      },
    }),
  );
}

/** Reads an engine's error, as far as it comes and is not too long. */
async function textOf(body: Body): Promise<string> {
  const reader = body.getReader();
  try {
    const { bytes, isEnd } = await readUpTo(reader, maxErrorBytes);
    if (isEnd) return viewOf(bytes).toString();
  } catch {
    return ''; // It broke off: the status says that it was an error all the same.
  }
  discard(reader);
  return '';
}

function textIn(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined; // No JSON: then its text is the message.
  }
}

/** Returns an engine's error as an event: as it is where the family's clients know it as one, else wrapped. */
function engineErrorFrame(status: number, text: string, family: Family): string {
  const body = parse(text);
  const line = text.trim().replace(/[\r\n]+/g, ' ');
  const name = family === 'openai' ? '' : 'event: error\n';
  const isOpenai = family === 'openai' && Boolean(body?.['error']);
  const isAnthropic = body?.['type'] === 'error' && isRecord(body['error']);
  if (isOpenai || (family === 'anthropic' && isAnthropic)) return `${name}data: ${line}\n\n`;

  // vLLM had no envelope for long, Ollama has a text in it, FastAPI a "detail".
  const said = isRecord(body?.['error']) ? body['error'] : (body ?? {});
  const message =
    textIn(said['message']) ??
    textIn(said['error']) ??
    textIn(said['detail']) ??
    textIn(line.slice(0, maxQuotedChars)) ??
    `The inference server answered with status ${status}.`;
  const serverError = family === 'anthropic' ? 'api_error' : 'server_error';
  const type = textIn(said['type']) ?? (status < 500 ? 'invalid_request_error' : serverError);
  const param = textIn(said['param']) ?? null;
  const code = textIn(said['code']) ?? null;
  const data = {
    openai: { error: { message, type, param, code } },
    anthropic: { type: 'error', error: { type, message } },
    ollama: { error: message },
    // No place for the type: llama.cpp says in it what others say in the code.
    responses: { type: 'error', code: code ?? type, message, param, sequence_number: 0 },
  }[family];
  return `${name}data: ${JSON.stringify(data)}\n\n`;
}

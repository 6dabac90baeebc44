/**
 * One request in flight: phase, tokens, age, and the one place from which it can be ended. It neither reads a clock nor
 * sets a timer.
 */
import { costOf, type Cost } from './cost.ts';
import { GatewayError, type ErrorCode } from '../wire/errors.ts';
import { answersInTokens, type Route } from '../wire/routes.ts';
import type { ToldFailure } from '../wire/failures.ts';
import type { Tokens } from '../wire/tokens.ts';
import type { Caller, Priority } from './caller.ts';
import type { Reader } from './reader.ts';
import type { Outcome, Settlement } from './settlement.ts';

/**
 * body: the client is sending. queued: it waits for a slot. prefill: an engine has it and has sent no byte of an answer.
 * decode: the answer is coming.
 */
export type Phase = 'body' | 'queued' | 'prefill' | 'decode';

/** What a request was given to run. */
interface SentTo {
  upstream: {
    readonly id: string;
    readonly provenAt: number;
    readonly contextTokens?: number | undefined;
  };
  /** As the engine knows it. */
  model: string | undefined;
  /** How many answers it asks for; 0 where it generates nothing. */
  units: number;
  /** Whether the engine will count the tokens of one of several answers only. */
  isPartial: boolean;
  /** The most tokens that one answer may have, as the request asked; `undefined` without a maximum. */
  maxTokens: number | undefined;
}

/** One request in flight. Its methods are its transitions: they alone write, a phase and its times in one step. */
class Live {
  /** Of the bag of all of them. */
  place = -1;
  phase: Phase = 'body';
  /** What people are told: the name that the client used, or else the model that it gets. */
  model: string | undefined;
  /** The name that the client used. */
  askedModel: string | undefined;
  /** The model as its engine knows it; before that, the model that it waits for if the client named none. */
  servedModel: string | undefined;
  /** The class in which it waits; `undefined` before its body is read. */
  priority: Priority | undefined;
  /** Where it runs, and when that last proved that it takes connections. */
  upstream: SentTo['upstream'] | undefined;
  /** Whether the client asked for a stream, or the engine answers with one. */
  stream = false;
  status = 0;
  /** When the engine was asked, and when it sent its first and its latest byte; 0 while it has not. */
  sentAt = 0;
  firstByteAt = 0;
  lastByteAt = 0;
  /** How long its body took to arrive. */
  bodyMs = 0;
  /** When it first began to wait for a slot; 0 while it has not. */
  queuedAt = 0;
  /** How long it has waited, up to the wait that it may be in. */
  queuedMs = 0;
  bytesIn = 0;
  /** The memory that has been taken for its body. */
  bodyHeld = 0;
  bytesOut = 0;
  /** Frames of the answer that carried data, as an estimate of its tokens. */
  frames = 0;
  tokens: Tokens = {};
  /** How many tokens a byte of text is thought to be, and so those of the prompt; 0 where there is no prompt. */
  tokensPerByte = 0;
  promptEstimate = 0;
  /** How many answers it asked for, of which the engine counts one; 1 where the engine counts all. */
  answers = 1;
  /** The most tokens that all its answers may have together. */
  mostTokens = Infinity;
  /** The W3C trace context: the client's, or that of the gateway's own span, which the engine gets. */
  traceparent: string | undefined;
  /** What the engine told of its failure inside an answer that had begun well; `undefined` where it told none. */
  failure: ToldFailure | undefined;
  /** Whether the answer comes from the response cache. */
  isCacheHit = false;
  /** Whether the engine is known to have sent headers, which proves the connection. */
  hasHeaders = false;
  /** Whether it has been open for long. */
  isLong = false;
  /** Why it was ended from outside; `undefined` while nobody has. */
  code: ErrorCode | undefined;
  /** The same as an error, with its text for the client. */
  endedBy: GatewayError | undefined;
  /** When the wait that it is in began. */
  #waitsFrom = 0;
  #reader: Reader | undefined;
  #onAbort: ((error: GatewayError) => void) | undefined;
  readonly #controller = new AbortController();

  /**
   * @param id what its client calls it; two requests may have one
   * @param uniqueId what no other request is called; the engine gets it
   */
  constructor(
    readonly id: string,
    readonly route: Route,
    readonly caller: Caller,
    readonly startedAt: number,
    readonly uniqueId = id,
  ) {}

  /** From now on `reader` reads its answer, and may abort it. */
  readBy(reader: Reader): void {
    this.#reader = reader;
    reader.attend(this);
  }

  /** Its trace context is this one. */
  traced(traceparent: string | undefined): void {
    this.traceparent = traceparent;
  }

  /** So many bytes of its body have arrived in all, or were announced. */
  bodyCounted(bytes: number): void {
    this.bytesIn = bytes;
  }

  /** So much memory is taken for its body. */
  bodyHolds(bytes: number): void {
    this.bodyHeld = bytes;
  }

  /** Its body is whole, or it has none. */
  bodyRead(now: number): void {
    this.bodyMs = now - this.startedAt;
  }

  /** Its body asks for that model, and for a stream or not. */
  asks(model: string | undefined, stream: boolean): void {
    this.model = model;
    this.askedModel = model;
    this.stream = stream;
  }

  /** It would get that model, where its body names none. */
  wouldGet(model: string | undefined): void {
    if (this.model !== undefined) return;
    this.model = model;
    this.servedModel = model;
  }

  /** It waits in that class. */
  ranked(priority: Priority): void {
    this.priority = priority;
  }

  /** Its prompt has about so many bytes, each of them about so many tokens. */
  estimated(promptBytes: number, tokensPerByte: number): void {
    this.tokensPerByte = tokensPerByte;
    this.promptEstimate = Math.ceil(promptBytes * tokensPerByte);
  }

  /** It begins to wait for a slot, or again when no engine has run it. */
  queued(now: number): void {
    this.phase = 'queued';
    this.queuedAt ||= now;
    this.#waitsFrom = now;
    this.sentAt = 0;
    this.upstream = undefined;
  }

  /** It has waited until now, for an answer that another request was getting. */
  waited(now: number): void {
    this.queuedMs += now - this.#waitsFrom;
    this.#waitsFrom = now;
  }

  /** Its answer comes from the response cache. */
  reused(now: number): void {
    this.phase = 'prefill';
    this.sentAt = now;
    this.isCacheHit = true;
    this.hasHeaders = true;
  }

  /** An engine gets it now. */
  sent({ upstream, model, units, isPartial, maxTokens }: SentTo, now: number): void {
    this.waited(now);
    this.phase = 'prefill';
    this.sentAt = now;
    this.upstream = upstream;
    this.model = this.askedModel ?? model;
    this.servedModel = model;
    this.answers = isPartial ? units : 1;
    this.mostTokens = (maxTokens ?? Infinity) * Math.max(1, units);
    // No engine reads more than its context, however much of a body is no text.
    const most = (upstream.contextTokens ?? Infinity) * Math.max(1, units);
    this.promptEstimate = Math.min(this.promptEstimate, most);
  }

  /** The head of an answer is there, which will go to the client. */
  answered(status: number): void {
    this.hasHeaders = true;
    this.status = status;
  }

  /** The first byte of the answer's body is there. */
  began(now: number, stream: boolean): void {
    this.phase = 'decode';
    this.firstByteAt = now;
    this.lastByteAt = now;
    this.stream ||= stream;
  }

  /** So many more bytes of the answer are there. */
  received(bytes: number, now: number): void {
    if (this.firstByteAt === 0) this.began(now, false);
    this.lastByteAt = now;
    this.bytesOut += bytes;
  }

  /** So many frames of a stream carried data. */
  counted(frames: number): void {
    this.frames = frames;
  }

  /** The answer says what it cost; of all its parts, where it has several. */
  told(tokens: Tokens, ofAll = false): void {
    this.tokens = tokens;
    if (ofAll) this.answers = 1;
  }

  /** Its answer, which had begun well, tells of that failure, or of none. */
  toldFailure(failure: ToldFailure | undefined): void {
    this.failure = failure;
  }

  /** Its client gets that error in place of an answer. */
  failed({ status }: GatewayError): void {
    this.status = status;
  }

  /** It has been open for long and goes on. */
  becameLong(): void {
    this.isLong = true;
    this.#reader?.holdOpen();
  }

  /** Calls `callback` once at an abort, for a wait that takes no signal; `undefined` when that wait is over. */
  onAbort(callback: ((error: GatewayError) => void) | undefined): void {
    this.#onAbort = callback;
  }

  /**
   * Ends the exchange with the engine; the reason of the abort is a GatewayError with the first code given.
   * @param message what its client is told in place of the text that the code usually has
   */
  abort(code: ErrorCode, message?: string): void {
    if (this.code !== undefined) return;
    this.code = code;
    const error = new GatewayError(code, message === undefined ? {} : { message });
    this.endedBy = error;
    this.#onAbort?.(error);
    this.#controller.abort(error);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** What its tokens are thought to be: nothing where no engine ran. */
  #cost(outcome: Outcome): Cost {
    if (this.isCacheHit || this.sentAt === 0) return { tokensAre: undefined };
    const answers = answersInTokens(this.route);
    return costOf({
      said: this.tokens,
      answers: this.answers,
      mostTokens: this.mostTokens,
      outcome,
      tellsFailure: this.failure !== undefined,
      isRefused: this.status >= 400 && outcome === 'done',
      stream: this.stream,
      frames: this.frames,
      promptEstimate: this.promptEstimate,
      answerEstimate: answers ? Math.ceil(this.bytesOut * this.tokensPerByte) : 0,
    });
  }

  /** Returns the record of a request that has ended. */
  settlement(outcome: Outcome, code: ErrorCode | undefined, now: number): Settlement {
    return {
      requestId: this.id,
      uniqueId: this.uniqueId,
      caller: this.caller,
      route: this.route.path,
      model: this.model,
      askedModel: this.askedModel,
      servedModel: this.servedModel,
      priority: this.priority,
      upstream: this.upstream?.id,
      status: this.status,
      code,
      outcome,
      stream: this.stream,
      bodyMs: this.bodyMs,
      // Who leaves while it waits has waited, too.
      queuedMs: this.phase === 'queued' ? now - this.queuedAt : this.queuedMs,
      firstByteMs:
        this.firstByteAt === 0 || this.isCacheHit ? undefined : this.firstByteAt - this.sentAt,
      engineMs: this.sentAt === 0 || this.isCacheHit ? 0 : now - this.sentAt,
      totalMs: now - this.startedAt,
      ...this.#cost(outcome),
      bytesIn: this.bytesIn,
      bytesOut: this.bytesOut,
      isCacheHit: this.isCacheHit,
      traceparent: this.traceparent,
    };
  }
}

/** A request in flight as others see it: its fields can be read only, its methods are its transitions. */
export type LiveRequest = Readonly<Live>;
export const LiveRequest: new (...made: ConstructorParameters<typeof Live>) => LiveRequest = Live;

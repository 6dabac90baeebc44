/**
 * The requests in flight: phase, tokens, age, and the one place from which each can be ended. It decides which deadline
 * has passed; it neither reads a clock nor sets a timer.
 */
import { costOf, type Cost } from './cost.ts';
import { GatewayError, type ErrorCode } from '../wire/errors.ts';
import { answersInTokens, type Route } from '../wire/routes.ts';
import type { Tokens } from '../wire/tokens.ts';
import type { Caller } from './caller.ts';
import type { Outcome, Settlement } from './settlement.ts';

/** body: the client is sending. queued: waits for a slot. waiting: the engine has it. streaming: it answers. */
export type Phase = 'body' | 'queued' | 'waiting' | 'streaming';

/** One request in flight. The proxy writes its fields; everybody else reads them and may call `abort`. */
export class LiveRequest {
  phase: Phase = 'body';
  model: string | undefined;
  /** Where it runs, and when that last proved that it takes connections. */
  upstream: { readonly id: string; readonly provenAt: number } | undefined;
  /** Whether the client asked for a stream, or the engine answers with one. */
  stream = false;
  status = 0;
  /** When the engine was asked, and when it sent its first and its latest byte; 0 while it has not. */
  sentAt = 0;
  firstByteAt = 0;
  lastByteAt = 0;
  /** How long its body took to arrive. */
  bodyMs = 0;
  /** When it began to wait for a slot; 0 while it has not. */
  queuedAt = 0;
  queuedMs = 0;
  bytesIn = 0;
  bytesOut = 0;
  /** Frames of the answer that carried data, as an estimate of its tokens. */
  frames = 0;
  tokens: Tokens = {};
  /** How many tokens a byte of text is thought to be, and so those of the prompt; 0 where there is no prompt. */
  tokensPerByte = 0;
  promptEstimate = 0;
  /** Whether the engine speaks of one of several answers only. */
  isPartial = false;
  /** Whether the gateway has asked for a frame with the usage, which the client did not want. */
  hidesUsage = false;
  /** The W3C trace context: the client's, or that of the gateway's own span, which the engine gets. */
  traceparent: string | undefined;
  /** Whether the answer comes from the response cache. */
  isCacheHit = false;
  /** Whether the engine is known to have sent headers, which proves the connection. */
  hasHeaders = false;
  /** Whether it has been open for long. */
  isLong = false;
  /** Called once when it has been open for long. */
  onLong: (() => void) | undefined;
  /** Why it was ended from outside; `undefined` while nobody has. */
  code: ErrorCode | undefined;
  /** Called once by `abort`, for a wait that does not take a signal. */
  onAbort: ((error: GatewayError) => void) | undefined;
  readonly #controller = new AbortController();

  constructor(
    readonly id: string,
    readonly route: Route,
    readonly caller: Caller,
    readonly startedAt: number,
  ) {}

  /** Ends the exchange with the engine; the reason of the abort is a GatewayError with the first code given. */
  abort(code: ErrorCode): void {
    if (this.code !== undefined) return;
    this.code = code;
    const error = new GatewayError(code);
    this.onAbort?.(error);
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
      isPartial: this.isPartial,
      outcome,
      isRefused: this.status >= 400 && outcome === 'done',
      stream: this.stream,
      frames: this.frames,
      promptEstimate: this.promptEstimate,
      answerEstimate: answers ? Math.ceil(this.bytesOut * this.tokensPerByte) : 0,
    });
  }

  /** Gives the record of a request that has ended. */
  settlement(outcome: Outcome, code: ErrorCode | undefined, now: number): Settlement {
    return {
      requestId: this.id,
      caller: this.caller,
      route: this.route.path,
      model: this.model,
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
      clientGone: code === 'client_closed_request',
      isCacheHit: this.isCacheHit,
      traceparent: this.traceparent,
    };
  }
}

/** Every request in flight. */
export class LiveRequests implements Iterable<LiveRequest> {
  readonly #requests = new Set<LiveRequest>();
  readonly #openOf = new Map<string, number>();
  #whenEmpty: (() => void)[] = [];

  get size(): number {
    return this.#requests.size;
  }

  [Symbol.iterator](): Iterator<LiveRequest> {
    return this.#requests[Symbol.iterator]();
  }

  has(request: LiveRequest): boolean {
    return this.#requests.has(request);
  }

  /** How many requests of a principal are in flight. */
  openOf(principal: string): number {
    return this.#openOf.get(principal) ?? 0;
  }

  add(request: LiveRequest): void {
    this.#requests.add(request);
    this.#count(request, 1);
  }

  #count({ caller: { principal } }: LiveRequest, change: 1 | -1): void {
    const open = this.openOf(principal) + change;
    if (open > 0) this.#openOf.set(principal, open);
    else this.#openOf.delete(principal);
  }

  /** Takes a request out; `false` when it was not in any more, so that whoever ends it does so once. */
  remove(request: LiveRequest): boolean {
    const wasIn = this.#requests.delete(request);
    if (wasIn) this.#count(request, -1);
    if (this.#requests.size === 0) {
      for (const resolve of this.#whenEmpty) resolve();
      this.#whenEmpty = [];
    }
    return wasIn;
  }

  abortAll(code: ErrorCode): void {
    for (const request of this.#requests) request.abort(code);
  }

  /** Resolves when no request is in flight. */
  async empty(): Promise<void> {
    if (this.#requests.size > 0)
      await new Promise<void>((resolve) => this.#whenEmpty.push(resolve));
  }
}

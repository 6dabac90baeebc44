/**
 * What a request holds while it is in flight: memory for its body, a lease, a reservation of its caller's limits, the
 * cached answer in the making. It is all given back here, and the request is settled here, once.
 */
import type { LimitStore, Moment, Reservation } from '../accounts/limits.ts';
import { usedTokens } from '../accounts/quota.ts';
import type { Recording } from '../cache/recording.ts';
import type { BodyMemory } from '../request/bodymemory.ts';
import type { LiveRequests } from '../request/inflight.ts';
import type { LiveRequest } from '../request/live.ts';
import type { RequestObserver } from '../request/observer.ts';
import type { Reader } from '../request/reader.ts';
import type { Outcome, Settlement } from '../request/settlement.ts';
import type { Lease, LeaseEnd } from '../scheduling/lease.ts';
import { errorBody, GatewayError } from '../wire/errors.ts';
import type { ToldFailure } from '../wire/failures.ts';

export interface HoldingOptions {
  live: LiveRequests;
  limits: LimitStore;
  bodyMemory: BodyMemory;
  observer: RequestObserver;
  /** Milliseconds: of a clock that never goes back, and since the epoch. */
  now: () => number;
  epochNow: () => number;
}

export class Holdings {
  #lease: Lease | undefined;
  #reservation: Reservation | undefined;
  #recording: Recording | undefined;

  /** @param isHead whether the client wants the headers of its answer alone */
  constructor(
    private readonly options: HoldingOptions,
    private readonly request: LiveRequest,
    private readonly reader: Reader,
    private readonly isHead: boolean,
  ) {}

  /** Collects the answer for the response cache; `undefined` if that does not keep it. */
  get recording(): Recording | undefined {
    return this.#recording;
  }

  reserved(reservation: Reservation): void {
    this.#reservation = reservation;
  }

  leased(lease: Lease): void {
    this.#lease = lease;
  }

  collects(recording: Recording): void {
    this.#recording = recording;
  }

  /** Ends the lease, if one is held. */
  giveBack(outcome: LeaseEnd['outcome']): void {
    const { tokens, firstByteAt, sentAt } = this.request;
    const firstByteMs = firstByteAt && firstByteAt - sentAt;
    this.#lease?.release({
      outcome,
      tokens,
      firstByteMs,
      verdict: verdictOn(this.request, outcome),
    });
    this.#lease = undefined;
  }

  /** Returns the memory of the body, which nobody needs any more. */
  dropBody(): void {
    const { bodyHeld, caller } = this.request;
    if (bodyHeld === 0) return;
    this.options.bodyMemory.giveBack(caller.keyId, bodyHeld);
    this.request.bodyHolds(0);
  }

  /** The moment on both clocks. */
  moment(): Moment {
    const { now, epochNow } = this.options;
    return { ms: now(), epochMs: epochNow() };
  }

  /**
   * Gives everything back and settles the request; does nothing the second time.
   * @param told what the reader is told, or would have been
   */
  settle(ended: Outcome, told?: GatewayError): void {
    const { request } = this;
    const { live, observer, now } = this.options;
    if (!live.remove(request)) return;
    // Whatever came after the engine's own word of its failure, such as a client that left.
    const error = request.failure ? failedWithin(request.failure) : told;
    const outcome = request.failure ? 'failed' : ended;
    this.dropBody();
    this.reader.letGo();
    this.#recording?.end(outcome);
    this.giveBack(outcome === 'done' && request.status >= 400 ? 'unserved' : outcome);
    if (error !== undefined && request.status === 0) request.failed(error);
    const record = request.settlement(outcome, error?.code, now());
    // Nothing has gone out: the client gets the envelope, which counts for no token.
    if (error !== undefined && record.bytesOut === 0) record.bytesOut = this.#envelopeBytes(error);
    this.#settleLimits(record);
    observer.settled(record, error?.cause);
  }

  /** Corrects what was reserved to what was used. If that fails, the store ends the reservation by itself. */
  #settleLimits(record: Settlement): void {
    if (this.#reservation === undefined) return;
    const used = usedTokens(record);
    try {
      const settling = this.options.limits.settle(this.#reservation, used, this.moment());
      // The request has ended; a store that fails says so itself.
      if (settling !== undefined) settling.catch(() => {});
    } catch {
      // As above.
    }
  }

  /** The length in bytes of the answer that tells of the error. */
  #envelopeBytes(error: GatewayError): number {
    const isUnread = error.code === 'client_closed_request' || this.isHead;
    return isUnread ? 0 : Buffer.byteLength(errorBody(error, this.request.route.family));
  }
}

/** Returns the error of a request whose engine told of a failure inside its answer; the log gets the engine's code. */
function failedWithin({ code }: ToldFailure): GatewayError {
  const cause = code === undefined ? undefined : Object.assign(new Error(code), { code });
  return new GatewayError('upstream_failed', { cause });
}

/** Returns what an answer that began well says of its server in the end; `undefined` where it does not say. */
function verdictOn(request: LiveRequest, outcome: LeaseEnd['outcome']): LeaseEnd['verdict'] {
  const { status, failure, bytesOut } = request;
  if (status < 200 || status >= 300) return undefined;
  if (failure !== undefined) return failure.isRefusal ? 'well' : 'failing';
  const isEnough = outcome === 'done' || (outcome === 'aborted' && bytesOut > 0);
  return isEnough ? 'well' : undefined;
}

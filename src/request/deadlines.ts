/**
 * Which deadline a request has passed. It neither reads a clock nor sets a timer.
 */
import { errorTable } from '../wire/errors.ts';
import type { LiveRequest } from './live.ts';

/** How long each wait may take, in milliseconds; 0 is no deadline. */
export interface Deadlines {
  connectTimeoutMs: number;
  firstByteTimeoutMs: number;
  idleTimeoutMs: number;
  totalTimeoutMs: number;
  queueTimeoutMs: number;
  requestBodyTimeoutMs: number;
}

const nothingLost = () => 0;

/** Milliseconds on the clock of the request's times. */
interface Moment {
  now: number;
  /** Returns how much of the time since then this process stood still. */
  lostSince(since: number): number;
}

function hasPassed(since: number, limitMs: number, { now, lostSince }: Moment): boolean {
  // Most often nothing has passed, and nobody need look for pauses.
  return limitMs > 0 && now - since >= limitMs && now - since - lostSince(since) >= limitMs;
}

/** Whether nothing has shown yet that the engine takes connections since it was asked. */
export function isUnproven(request: LiveRequest): boolean {
  const provenAt = request.upstream?.provenAt ?? 0;
  return request.phase === 'prefill' && !request.hasHeaders && provenAt < request.sentAt;
}

/**
 * Pure decision: the code of the deadline that this request has passed, if any.
 * Until the connection is proven, its own deadline counts, so that an address that swallows packets does not cost a
 * prefill-sized wait.
 * @param now milliseconds on the clock of the request's times
 * @param lostSince how much of the time since then this process stood still, which counts for no deadline
 */
export function overdue(
  request: LiveRequest,
  deadlines: Deadlines,
  now: number,
  lostSince: (since: number) => number = nothingLost,
): Overdue | undefined {
  const at: Moment = { now, lostSince };
  if (request.phase === 'queued') {
    return hasPassed(request.queuedAt, deadlines.queueTimeoutMs, at) ? 'queue_timeout' : undefined;
  }
  if (request.phase === 'body') {
    const isLate = hasPassed(request.startedAt, deadlines.requestBodyTimeoutMs, at);
    return isLate ? 'request_body_timeout' : undefined;
  }
  if (isUnproven(request)) {
    if (hasPassed(request.sentAt, deadlines.connectTimeoutMs, at)) return 'connect_timeout';
  }
  if (hasPassed(request.sentAt, deadlines.totalTimeoutMs, at)) return 'total_timeout';
  // A plain answer is silent until it is whole.
  if (!request.stream) return undefined;
  if (request.firstByteAt === 0) {
    const isLate = hasPassed(request.sentAt, deadlines.firstByteTimeoutMs, at);
    return isLate ? 'first_byte_timeout' : undefined;
  }
  return hasPassed(request.lastByteAt, deadlines.idleTimeoutMs, at) ? 'idle_timeout' : undefined;
}

const deadlineOf = {
  connect_timeout: 'connectTimeoutMs',
  first_byte_timeout: 'firstByteTimeoutMs',
  idle_timeout: 'idleTimeoutMs',
  total_timeout: 'totalTimeoutMs',
  queue_timeout: 'queueTimeoutMs',
  request_body_timeout: 'requestBodyTimeoutMs',
} as const;

/** A code that `overdue` returns. */
export type Overdue = keyof typeof deadlineOf;

/** Returns the text for the client of a request that has passed its deadline: that of the code, with the figure. */
export function overdueText(code: Overdue, deadlines: Deadlines): string {
  return errorTable[code].message.replace('_MS)', `_MS is ${deadlines[deadlineOf[code]]} ms)`);
}

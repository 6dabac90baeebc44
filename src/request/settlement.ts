/**
 * The record of one request that has ended.
 */
import type { GatewayError, ErrorCode } from '../wire/errors.ts';
import type { Tokens } from '../wire/tokens.ts';
import type { Caller, Priority } from './caller.ts';

export type Outcome = 'done' | 'failed' | 'aborted';

/** Returns the outcome of a request that ended with this error. */
export function outcomeOf({ code }: GatewayError): Outcome {
  return code === 'client_closed_request' ? 'aborted' : 'failed';
}

/** The record of one request that has ended; written exactly once. Times in milliseconds. */
export interface Settlement extends Tokens {
  /** What its client calls it, and what no other request is called. */
  requestId: string;
  uniqueId: string;
  caller: Caller;
  route: string;
  /** What people are told: `askedModel`, or else `servedModel`. */
  model: string | undefined;
  /** The name that the client used. */
  askedModel: string | undefined;
  /** The model as the latest engine knew it; if none had it and the client named none, the model that it waited for. */
  servedModel: string | undefined;
  /** The class in which it waited; `undefined` if it ended before its body was read. */
  priority: Priority | undefined;
  upstream: string | undefined;
  /**
   * What the client got, or would have got: 499 when it had left before the answer began. With feedback of the queue,
   * which begins with a 200, the status that the end would have had.
   */
  status: number;
  code: ErrorCode | undefined;
  outcome: Outcome;
  stream: boolean;
  /** How long the client took to send its body. */
  bodyMs: number;
  queuedMs: number;
  /**
   * From the engine having the request to the first byte of its answer; `undefined` without one. Of a stream that began
   * well that byte brings the first token: its firstTokenMs in the ledger and time_to_first_token_seconds are this.
   */
  firstByteMs: number | undefined;
  /** From the engine having the request to its end; 0 where no engine had it. */
  engineMs: number;
  totalMs: number;
  tokensAre: 'exact' | 'estimated' | undefined;
  bytesIn: number;
  bytesOut: number;
  /** Whether the answer came from the response cache: no engine has run for it. */
  isCacheHit: boolean;
  traceparent: string | undefined;
}

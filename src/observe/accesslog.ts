/**
 * The log's view of requests: a line when one starts, one when it has been open for long, one when it has ended. It
 * writes names, numbers and codes; never a prompt, a completion, or the body of an engine's error, which can echo one.
 */
import { errorTable, type ErrorCode, type GatewayError } from '../wire/errors.ts';
import { hintOfIssued, issuedIdOf } from '../accounts/keys.ts';
import { type LiveRequest } from '../request/live.ts';
import type { Log } from '../log/log.ts';
import { maskKey } from '../log/masking.ts';
import { outcomeOf, type Settlement } from '../request/settlement.ts';
import type { RequestObserver } from '../request/observer.ts';

type Level = 'info' | 'warn' | 'error';

/** Returns the level of a request that ended with this code. */
function levelOf(code: ErrorCode | undefined): Level {
  if (code === undefined) return 'info';
  const { status } = errorTable[code];
  if (status === 500 || status === 502) return 'error';
  return status === 401 || status === 403 || status === 408 || status > 502 ? 'warn' : 'info';
}

/** What a model may be called without being known; text that was put there by mistake has blanks or is longer. */
const plainName = /^[\w.:/@+-]{1,64}$/;
const maxPathLength = 200;

/** Returns whether some engine serves a model under that name. */
type IsServed = (model: string) => boolean;

function nameOf(model: string | undefined, isServed: IsServed): string | undefined {
  if (model === undefined || plainName.test(model) || isServed(model)) return model;
  return 'unknown';
}

/** Returns what may be shown of the key that a request presents, right or wrong. */
function hintOf(presented: string | undefined): string | undefined {
  if (presented === undefined) return undefined;
  const id = issuedIdOf(presented);
  return id === undefined ? maskKey(presented) : hintOfIssued(id);
}

/** Returns the id that the engine got, where it is another one than the client's. */
function otherId(id: string, uniqueId: string): string | undefined {
  return uniqueId === id ? undefined : uniqueId;
}

/** A small body is counted when it is whole: how much of one came that never was is not known. */
function bytesInOf({ bytesIn, bodyMs }: Settlement): number | undefined {
  return bytesIn === 0 && bodyMs === 0 ? undefined : bytesIn;
}

function rounded(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : Math.round(milliseconds * 10) / 10;
}

/** Names a failure of the connection by its code alone: messages can hold what a log must not. */
function causeOf(cause: unknown): string | undefined {
  if (!(cause instanceof Error)) return undefined;
  return 'code' in cause ? String(cause.code) : cause.name;
}

/** A request that was refused before it had a caller, or that no route takes. */
export interface Refused {
  requestId: string;
  /** The key that it presents. */
  presented: string | undefined;
  method: string;
  path: string;
  /** As the app lists it; `undefined` where there is none. */
  route: string | undefined;
  error: GatewayError;
  bytesOut: number;
  /** `undefined` where it is not known. */
  totalMs: number | undefined;
}

/** Logs a refused request. */
export function logRefusal(log: Log, refusal: Refused): void {
  const { requestId, presented, method, path, route, error, bytesOut, totalMs } = refusal;
  const { status, code } = error;
  log[levelOf(code)](
    {
      requestId,
      caller: hintOf(presented),
      method,
      path: path.slice(0, maxPathLength),
      route,
      status,
      outcome: outcomeOf(error),
      code,
      bytesOut,
      totalMs: rounded(totalMs),
    },
    'refused',
  );
}

/**
 * Makes the observer that logs.
 * @param isServed tells a name that looks like none from text that was put there by mistake
 */
export function accessLog(log: Log, isServed: IsServed = () => false): RequestObserver {
  function opening(request: LiveRequest) {
    const { id: requestId, caller, route, model } = request;
    return {
      requestId,
      uniqueId: otherId(requestId, request.uniqueId),
      caller: caller.hint,
      principal: caller.principal,
      route: route.path,
      model: nameOf(model, isServed),
    };
  }

  return {
    started(request) {
      if (log.isLevelEnabled('debug')) log.debug(opening(request), 'request started');
    },
    isLong(request) {
      log.info({ ...opening(request), phase: request.phase }, 'request is still open');
    },
    settled(record, cause) {
      log[levelOf(record.code)](
        {
          requestId: record.requestId,
          uniqueId: otherId(record.requestId, record.uniqueId),
          caller: record.caller.hint,
          principal: record.caller.principal,
          route: record.route,
          model: nameOf(record.model, isServed),
          upstream: record.upstream,
          status: record.status,
          outcome: record.outcome,
          code: record.code,
          cause: causeOf(cause),
          stream: record.stream,
          bytesIn: bytesInOf(record),
          bytesOut: record.bytesOut,
          queuedMs: rounded(record.queuedMs),
          firstByteMs: rounded(record.firstByteMs),
          totalMs: rounded(record.totalMs),
          promptTokens: record.promptTokens,
          cachedTokens: record.cachedTokens,
          completionTokens: record.completionTokens,
          tokensAre: record.tokensAre,
        },
        'request ended',
      );
    },
  };
}

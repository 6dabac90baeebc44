/**
 * The log's view of requests: a line when one starts, one when it has been open for long, one when it has ended. It
 * writes names, numbers and codes; never a prompt, a completion, or the body of an engine's error, which can echo one.
 */
import { errorTable, type ErrorCode } from './errors.ts';
import type { LiveRequest, RequestObserver } from './live.ts';
import type { Log } from './log.ts';

type Level = 'info' | 'warn' | 'error';

/** Gives the level of a request that ended with this code. */
export function levelOf(code: ErrorCode | undefined): Level {
  if (code === undefined) return 'info';
  const { status } = errorTable[code];
  if (status === 500 || status === 502) return 'error';
  return status === 401 || status === 403 || status === 408 || status > 502 ? 'warn' : 'info';
}

/** The client names the model, at whatever length. */
function shortened(model: string | undefined): string | undefined {
  return model?.slice(0, 200);
}

function rounded(milliseconds: number | undefined): number | undefined {
  return milliseconds === undefined ? undefined : Math.round(milliseconds * 10) / 10;
}

/** Names a failure of the connection by its code alone: messages can hold what a log must not. */
function causeOf(cause: unknown): string | undefined {
  if (!(cause instanceof Error)) return undefined;
  return 'code' in cause ? String(cause.code) : cause.name;
}

function opening(request: LiveRequest) {
  const { id: requestId, caller, route, model } = request;
  return {
    requestId,
    caller: caller.hint,
    principal: caller.principal,
    route: route.path,
    model: shortened(model),
  };
}

/** Makes the observer that logs. */
export function accessLog(log: Log): RequestObserver {
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
          caller: record.caller.hint,
          principal: record.caller.principal,
          route: record.route,
          model: shortened(record.model),
          upstream: record.upstream,
          status: record.status,
          outcome: record.outcome,
          code: record.code,
          cause: causeOf(cause),
          stream: record.stream,
          bytesIn: record.bytesIn,
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

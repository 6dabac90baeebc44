/**
 * The contract of logs, metrics, traces and the ledger: each is told of every request.
 */
import type { LiveRequest } from './live.ts';
import type { Settlement } from './settlement.ts';

/** Is told of every request; must not throw. */
export interface RequestObserver {
  started(request: LiveRequest): void;
  /** It has been open for long and goes on. */
  isLong(request: LiveRequest): void;
  /** @param cause what lay under the failure, for the log alone */
  settled(record: Settlement, cause: unknown): void;
}

/** Returns one observer that tells several, in that order. */
export function observedBy(...observers: readonly RequestObserver[]): RequestObserver {
  return {
    started(request) {
      for (const observer of observers) observer.started(request);
    },
    isLong(request) {
      for (const observer of observers) observer.isLong(request);
    },
    settled(record, cause) {
      for (const observer of observers) observer.settled(record, cause);
    },
  };
}

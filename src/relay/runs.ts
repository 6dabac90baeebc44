/**
 * Starts runs: a run takes one request through the chain, for any asker and any reader. One timer checks the deadlines of
 * all of them; it is off while no request is in flight.
 */
import { isUnproven, overdue, overdueText, type Deadlines } from '../request/deadlines.ts';
import { LiveRequest } from '../request/live.ts';
import { Pauses } from '../request/pauses.ts';
import type { Reader } from '../request/reader.ts';
import { Exchange, type ExchangeOptions, type RequestInput } from './exchange.ts';

export interface RunOptions extends ExchangeOptions {
  deadlines: Deadlines;
}

/** How often deadlines are looked at, and when a request is worth a line in the log and a connection worth a doubt. */
const sweepMs = 100;
const longMs = 2_000;
const doubtMs = 500;

export class Runs {
  #sweeping: ReturnType<typeof setInterval> | undefined;
  readonly #pauses = new Pauses(sweepMs);
  readonly #lostSince = (since: number) => this.#pauses.lostSince(since);

  constructor(private readonly options: RunOptions) {}

  /**
   * Starts one. Resolves with the answer when its first byte is there; throws what its reader is to be told.
   * @param reader reads the answer, and may abort the run
   */
  start(input: RequestInput, reader: Reader): Promise<Response> {
    const { id, route, caller, uniqueId } = input;
    const request = new LiveRequest(id, route, caller, this.options.now(), uniqueId);
    if (this.#sweeping === undefined) {
      this.#pauses.begin(request.startedAt);
      this.#sweeping = setInterval(() => this.beat(), sweepMs);
    }
    return new Exchange(this.options, request, input, reader).answer();
  }

  /** Looks at all requests, unless this process stood still: then first what lies in its sockets is read. */
  beat(): void {
    this.#pauses.beat(this.options.now());
    if (this.#pauses.mayJudge) this.sweep();
  }

  /** Looks at every request in flight: ends what is overdue, reports what is long, has doubtful connections proven. */
  sweep(): void {
    const { health, live, deadlines, observer, now } = this.options;
    const { connectTimeoutMs } = deadlines;
    const doubtsAfterMs = Math.min(doubtMs, connectTimeoutMs / 2);
    const at = now();
    for (const request of live) {
      const code = overdue(request, deadlines, at, this.#lostSince);
      if (code !== undefined) {
        request.abort(code, overdueText(code, deadlines));
        continue;
      }
      if (!request.isLong && at - request.startedAt >= longMs) {
        request.becameLong();
        observer.isLong(request);
      }
      if (connectTimeoutMs > 0 && isUnproven(request) && at - request.sentAt >= doubtsAfterMs) {
        health.proveByConnecting(request.upstream?.id ?? '', connectTimeoutMs);
      }
    }
    if (live.size > 0) return;
    clearInterval(this.#sweeping);
    this.#sweeping = undefined;
  }
}

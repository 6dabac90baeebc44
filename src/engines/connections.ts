/**
 * Connections that are used again, but never after they have been idle for long: an engine that closes idle connections
 * makes a POST on a stale socket fail, and a failed POST cannot be told from one that ran. A socket lives within one
 * session, and a session takes new requests for one epoch only, so the idle age of what it hands out is bounded.
 */
import type { EngineKind } from '../wire/kinds.ts';

/** The part of Bun.FetchSession that is used here. */
export interface Session {
  close(): void;
}

/** Uvicorn and llama.cpp close idle connections after 5 s; half of that leaves room for a busy event loop. */
const epochMs = 2_500;

interface Epoch<S> {
  session: S;
  since: number;
  open: number;
}

export class Sessions<S extends Session> {
  #current: Epoch<S> | undefined;

  constructor(private readonly create: () => S) {}

  /**
   * Returns a session for one request; `release` must follow when the body of the answer has ended, and is idempotent.
   * @param now milliseconds
   */
  acquire(now: number): { session: S; release: () => void } {
    let epoch = this.#current;
    if (epoch === undefined || now - epoch.since >= epochMs) {
      if (epoch?.open === 0) epoch.session.close();
      epoch = { session: this.create(), since: now, open: 0 };
      this.#current = epoch;
    }
    const taken = epoch;
    taken.open++;
    let isReleased = false;
    const release = () => {
      if (isReleased) return;
      isReleased = true;
      if (--taken.open === 0 && taken !== this.#current) taken.session.close();
    };
    return { session: taken.session, release };
  }
}

/** A connection for one exchange. */
export interface Connection {
  /** What decides how `fetch` handles it. */
  readonly init: BunFetchRequestInit;
  /** Must be called when the exchange has ended; idempotent. */
  readonly release: () => void;
}

const closeAfterUse: Connection = { init: { keepalive: false }, release: () => {} };

/**
 * Returns whether connections to that kind may be used again. llama.cpp gives each idle one a thread of its few; nothing
 * is known of an unknown engine, so it gets the safe way.
 */
function reusesConnections(kind: EngineKind): boolean {
  return kind !== 'llama.cpp' && kind !== 'unknown';
}

/** Returns a connection to an engine of that kind; `now` in milliseconds. */
export function connectionOf(
  kind: EngineKind,
  sessions: Sessions<Bun.FetchSession>,
  now: number,
): Connection {
  if (!reusesConnections(kind)) return closeAfterUse;
  const { session, release } = sessions.acquire(now);
  return { init: { session }, release };
}

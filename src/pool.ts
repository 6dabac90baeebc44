/**
 * The upstreams: which there are, what is known of them, and the lease under which a request may use one. It never
 * probes with generations, and it takes an engine for away only when no connection to it can be made.
 */
import {
  isUnreachable,
  reusesConnections,
  sightEngine,
  type EngineKind,
  type EngineSighting,
} from './engine.ts';
import type { Outcome } from './live.ts';
import type { Log } from './log.ts';
import { Sessions } from './sessions.ts';

/** `up`: it answered last. `away`: no connection could be made last. */
export type UpstreamState = 'unknown' | 'up' | 'away';

export interface Upstream {
  readonly id: string;
  /** The base of its URLs, without a slash at the end. */
  readonly url: string;
  readonly apiKey: string | undefined;
  kind: EngineKind;
  slots: number | undefined;
  state: UpstreamState;
  /** When it last proved that it takes connections. */
  provenAt: number;
}

/** The right to send one request to an upstream. */
export interface Lease {
  readonly upstream: Upstream;
  /** What decides how `fetch` handles the connection. */
  readonly connection: BunFetchRequestInit;
  /** Must follow when the exchange has ended; idempotent. */
  release(outcome: Outcome): void;
}

/** An endpoint that answers slower than this says nothing about the kind. */
const askTimeoutMs = 2_000;
const firstRetryMs = 500;
const longestRetryMs = 5_000;

const closeAfterUse: BunFetchRequestInit = { keepalive: false };

export class Pool {
  readonly upstream: Upstream;
  readonly #sessions = new Sessions(() => new Bun.FetchSession());
  readonly #fixedKind: EngineKind | undefined;
  readonly #log: Log;
  readonly #now: () => number;
  #retryMs = firstRetryMs;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #isSighting = false;
  #isProving = false;
  #isClosed = false;

  constructor(options: {
    url: string;
    apiKey: string | undefined;
    kind: EngineKind | 'auto';
    log: Log;
    now: () => number;
  }) {
    const { url, apiKey, kind } = options;
    this.#fixedKind = kind === 'auto' ? undefined : kind;
    this.#log = options.log;
    this.#now = options.now;
    this.upstream = {
      id: 'engine',
      url,
      apiKey,
      kind: this.#fixedKind ?? 'unknown',
      slots: undefined,
      state: 'unknown',
      provenAt: Number.NEGATIVE_INFINITY,
    };
  }

  /** Gives the right to send one request; every request is admitted at once. */
  async lease(_signal: AbortSignal): Promise<Lease> {
    const { upstream } = this;
    if (!reusesConnections(upstream.kind)) {
      return { upstream, connection: closeAfterUse, release: () => {} };
    }
    const { session, release } = this.#sessions.acquire(this.#now());
    return { upstream, connection: { session }, release };
  }

  /** Whether a request has a chance. */
  isUsable(): boolean {
    return this.upstream.state !== 'away';
  }

  /** Takes note that the upstream took a connection or answered. */
  prove(upstream: Upstream): void {
    upstream.provenAt = this.#now();
    if (upstream.state === 'up') return;
    const wasAway = upstream.state === 'away';
    upstream.state = 'up';
    if (!wasAway) return;
    this.#log.info({ upstream: upstream.id }, 'upstream is back');
    // It may be another engine by now.
    void this.sight();
  }

  /** Takes note that no connection could be made, and looks after the upstream until one can. */
  missed(upstream: Upstream): void {
    if (upstream.state !== 'away') {
      upstream.state = 'away';
      this.#log.error({ upstream: upstream.id, url: upstream.url }, 'upstream cannot be reached');
    }
    this.#lookAgain();
  }

  /** Asks the upstream what it is; while it is away or unknown, again later. */
  async sight(): Promise<void> {
    if (this.#isSighting || this.#isClosed) return;
    this.#isSighting = true;
    try {
      this.#learn(await sightEngine((path) => this.#ask(path)));
    } catch {
      this.missed(this.upstream);
    } finally {
      this.#isSighting = false;
    }
  }

  /**
   * Tries a bare TCP connection, beside requests that have waited for headers: fetch cannot tell an address that
   * swallows packets from an engine that is busy.
   */
  proveByConnecting(upstream: Upstream, timeoutMs: number): void {
    if (this.#isProving) return;
    this.#isProving = true;
    const done = () => {
      this.#isProving = false;
    };
    const { hostname, port, protocol } = new URL(upstream.url);
    setTimeout(done, timeoutMs).unref();
    Bun.connect({
      hostname: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port) || (protocol === 'https:' ? 443 : 80),
      socket: {
        open: (socket) => {
          socket.terminate();
          upstream.provenAt = this.#now();
          done();
        },
        data: () => {},
        connectError: done,
      },
    }).catch(done); // Refused: the request itself fails with that.
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#retry);
  }

  #learn(sighting: EngineSighting | undefined): void {
    const { upstream } = this;
    this.#retryMs = firstRetryMs;
    if (sighting !== undefined) {
      const kind = this.#fixedKind ?? sighting.kind;
      const { slots } = sighting;
      if (kind !== upstream.kind) {
        this.#log.info({ upstream: upstream.id, kind, slots }, 'upstream kind found');
      }
      upstream.kind = kind;
      upstream.slots = slots;
    }
    // It may be busy, be loading its model, or be a proxy whose engine is not there yet.
    const { kind, state, slots } = upstream;
    const isUnclear = kind === 'unknown' || (kind === 'llama.cpp' && slots === undefined);
    if (isUnclear || state === 'away') {
      this.#lookAgain(longestRetryMs);
    }
  }

  #lookAgain(afterMs = this.#retryMs): void {
    if (this.#isClosed || this.#retry !== undefined) return;
    const again = () => {
      this.#retry = undefined;
      void this.sight();
    };
    this.#retry = setTimeout(again, afterMs * (0.75 + Math.random() / 2));
    this.#retry.unref();
    this.#retryMs = Math.min(afterMs * 2, longestRetryMs);
  }

  async #ask(path: string) {
    const { url, apiKey } = this.upstream;
    const response = await fetch(url + path, {
      keepalive: false,
      redirect: 'manual',
      signal: AbortSignal.timeout(askTimeoutMs),
      headers: apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` },
    }).catch((error: unknown) => {
      // Slow is not away, nor is one that resets what it does not know: only a connection that was never made is.
      if (!isUnreachable(error)) return undefined;
      throw error;
    });
    if (response === undefined) return undefined;
    this.prove(this.upstream);
    const json: unknown = response.ok ? await response.json().catch(() => undefined) : undefined;
    if (!response.ok) await response.body?.cancel();
    return { json, headers: response.headers };
  }
}

/**
 * What is in flight at this moment, as the operator sees it, once and as a feed of events. It shows who asks what of which
 * model, and nothing of a prompt or an answer.
 */
import { GatewayError } from '../wire/errors.ts';
import type { LiveRequest } from '../request/live.ts';
import type { Upstream } from '../engines/upstream.ts';

/** One request in flight, as the operator sees it. Times in milliseconds. */
function requestView(request: LiveRequest, mask: (text: string) => string, now: number) {
  const { id, uniqueId, caller, route, model, phase, frames } = request;
  const { firstByteAt, queuedAt, stream } = request;
  const seconds = (now - firstByteAt) / 1000;
  return {
    id: uniqueId,
    requestId: id,
    keyId: caller.keyId,
    name: caller.name,
    principal: mask(caller.principal),
    route: route.path,
    model: model === undefined ? null : mask(model),
    phase,
    tokens: frames,
    // The first one is there at the first byte.
    tokensPerSecond:
      frames > 1 && seconds > 0 ? Math.round(((frames - 1) / seconds) * 10) / 10 : null,
    ageMs: Math.round(now - request.startedAt),
    queuedMs: Math.round(phase === 'queued' ? now - queuedAt : request.queuedMs),
    upstream: request.upstream?.id ?? null,
    stream,
  };
}

function byAge(a: LiveRequest, b: LiveRequest): number {
  return a.startedAt - b.startedAt;
}

/**
 * Returns the requests in flight, oldest first, and the upstreams that they run on. Pure.
 * @param mask takes keys out of what clients have named
 * @param now milliseconds, of the clock of the requests
 */
export function liveView(
  live: Iterable<LiveRequest>,
  {
    upstreams,
    queued,
    mask,
  }: { upstreams: readonly Upstream[]; queued: number; mask: (text: string) => string },
  now: number,
) {
  return {
    requests: [...live].sort(byAge).map((request) => requestView(request, mask, now)),
    upstreams: upstreams.map(({ id, kind, state, occupancy, models }) => {
      const slots = occupancy.capacity ?? null;
      return { id, kind, state, slots, usedSlots: occupancy.used, models: models ?? [] };
    }),
    queued,
  };
}

/** How often those who watch are told. */
const tickMs = 1_000;

/** Shows everybody who watches the same, at one beat; it stands still while nobody does. */
export class LiveFeed {
  #timer: ReturnType<typeof setInterval> | undefined;
  #isClosed = false;
  readonly #viewers = new Set<ReadableStreamDefaultController<Uint8Array>>();

  /** @param view returns what is to be shown now */
  constructor(private readonly view: () => object) {}

  get viewers(): number {
    return this.#viewers.size;
  }

  /**
   * Returns a stream of events; the first is there at once. Throws `shutting_down` once it is closed.
   * @param gone aborted when the viewer has left
   */
  open(gone: AbortSignal): ReadableStream<Uint8Array> {
    if (this.#isClosed) throw new GatewayError('shutting_down');
    let viewer: ReadableStreamDefaultController<Uint8Array>;
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        viewer = controller;
        if (gone.aborted) return controller.close();
        gone.addEventListener('abort', () => this.#leave(controller) && controller.close());
        this.#viewers.add(controller);
        controller.enqueue(this.#event());
        this.#timer ??= setInterval(() => this.tick(), tickMs);
      },
      cancel: () => void this.#leave(viewer),
    });
  }

  /** Shows it to all who have read what they were shown before; the others miss this one. */
  tick(): void {
    const event = this.#event();
    for (const viewer of this.#viewers) {
      if ((viewer.desiredSize ?? 0) > 0) viewer.enqueue(event);
    }
  }

  /** Ends the streams of all who watch, for good. */
  close(): void {
    this.#isClosed = true;
    for (const viewer of this.#viewers) if (this.#leave(viewer)) viewer.close();
  }

  #event(): Uint8Array {
    return Buffer.from(`event: live\ndata: ${JSON.stringify(this.view())}\n\n`);
  }

  /** Returns whether it was still watching. */
  #leave(viewer: ReadableStreamDefaultController<Uint8Array>): boolean {
    const wasThere = this.#viewers.delete(viewer);
    if (this.#viewers.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
    return wasThere;
  }
}

/**
 * What is in flight at this moment, as the operator sees it, once and as a feed of events. It shows who asks what of which
 * model, and nothing of a prompt or an answer.
 */
import { GatewayError } from '../wire/errors.ts';
import type { LiveRequest } from '../request/live.ts';
import type { Upstream } from '../engines/upstream.ts';
import type { Wait } from '../scheduling/waits.ts';

/** Returns in words why a request waits. */
function whyItWaits({ held, units, maxUnits, running, slots, ahead }: Wait, users: Users): string {
  const where = slots.join(', ');
  if (held === 'cap') {
    return `its caller uses ${running} of the ${maxUnits} slots that it may have at once (MAX_SLOTS_PER_CALLER)`;
  }
  if (held === 'away') return `${where}: takes no requests now`;
  const inUse = slots.flatMap((id) => {
    const names = [...(users.get(id) ?? [])].map(([name, count]) => `${name} ${count}`);
    return names.length > 0 ? `${id}: ${names.join(', ')}` : [];
  });
  const size = held === 'size' ? `needs ${units} slots at once` : `waits for a slot of ${where}`;
  const first = ahead.map(({ name, servedLess }) => `${name} (${servedLess} tokens fewer served)`);
  return [
    size,
    ...(inUse.length > 0 ? [`in use: ${inUse.join('; ')}`] : []),
    ...(first.length > 0 ? [`ahead: ${first.join(', ')}`] : []),
  ].join('; ');
}

/** How many requests each name runs, by upstream. */
type Users = ReadonlyMap<string, ReadonlyMap<string, number>>;

function usersOf(live: Iterable<LiveRequest>): Users {
  const users = new Map<string, Map<string, number>>();
  for (const { upstream, caller, phase } of live) {
    if (upstream === undefined || phase === 'queued') continue;
    const names = users.get(upstream.id) ?? new Map<string, number>();
    names.set(caller.name, (names.get(caller.name) ?? 0) + 1);
    users.set(upstream.id, names);
  }
  return users;
}

/** What a request waits for, as the operator sees it. */
function waitView(wait: Wait, users: Users, mask: (text: string) => string) {
  const { place, waitSeconds, held } = wait;
  const ahead = wait.ahead.map((each) => ({ ...each, principal: mask(each.principal) }));
  return {
    place,
    seconds: Number.isFinite(waitSeconds) ? Math.ceil(waitSeconds) : null,
    held,
    why: whyItWaits(wait, users),
    ahead,
  };
}

interface RowOptions {
  wait: Wait | undefined;
  users: Users;
  /** Takes keys out of a text. */
  mask: (text: string) => string;
  now: number;
}

/** One request in flight, as the operator sees it. Times in milliseconds. */
function requestView(request: LiveRequest, { wait, users, mask, now }: RowOptions) {
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
    wait: wait === undefined ? null : waitView(wait, users, mask),
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
  live: readonly LiveRequest[],
  {
    upstreams,
    waits,
    mask,
  }: {
    upstreams: readonly Upstream[];
    waits: ReadonlyMap<string, Wait>;
    mask: (text: string) => string;
  },
  now: number,
) {
  const users = usersOf(live);
  return {
    requests: live.toSorted(byAge).map((request) => {
      return requestView(request, { wait: waits.get(request.uniqueId), users, mask, now });
    }),
    upstreams: upstreams.map(({ id, kind, state, occupancy, models }) => {
      const slots = occupancy.capacity ?? null;
      return { id, kind, state, slots, usedSlots: occupancy.used, models: models ?? [] };
    }),
    queued: waits.size,
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

  /** What those who watch are shown now. */
  get current(): object {
    return this.view();
  }

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

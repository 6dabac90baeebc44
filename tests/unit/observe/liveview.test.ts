/**
 * The operator's view of the requests in flight: the members of each request and upstream, and the feed.
 */
import { describe, expect, spyOn, test } from 'bun:test';
import { GatewayError } from '../../../src/wire/errors.ts';
import type { Wait } from '../../../src/scheduling/waits.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import { LiveFeed, liveView } from '../../../src/observe/liveview.ts';
import { routes } from '../../../src/wire/routes.ts';
import { caller } from '../../support/samples.ts';

const [route] = routes;
if (route === undefined) throw new Error('there is no route');
const chat = route;

const pool = {
  waits: new Map<string, Wait>(),
  upstreams: [
    {
      id: 'a',
      kind: 'llama.cpp' as const,
      state: 'up' as const,
      occupancy: { used: 1, capacity: 2 },
      models: ['m'],
    },
    {
      id: 'b',
      kind: 'vllm' as const,
      state: 'away' as const,
      occupancy: { used: 0, capacity: undefined },
      models: undefined,
    },
  ],
  mask: (text: string) => text.replaceAll('secret', '***'),
} as unknown as Parameters<typeof liveView>[1]; // The view reads no other members of an upstream.

/** Makes a request that came at 4,000. */
function inFlight(id: string, fields: Partial<LiveRequest> = {}): LiveRequest {
  return Object.assign(new LiveRequest(id, chat, caller, 4_000), fields);
}

describe('the view of what is in flight', () => {
  test('shows what each request does', () => {
    const upstream = { id: 'a', provenAt: 0 };
    const live = [
      inFlight('r1', { phase: 'body' }),
      inFlight('r2', { phase: 'queued', queuedAt: 7_500, queuedMs: 1, model: 'm', stream: true }),
      inFlight('r3', { phase: 'prefill', queuedMs: 12.4, upstream }),
      inFlight('r4', {
        phase: 'decode',
        frames: 41,
        firstByteAt: 6_000,
        upstream,
        stream: true,
      }),
    ];
    const { requests } = liveView(live, pool, 10_000);
    const [body, queued, prefill, decode] = requests;
    expect(requests).toHaveLength(4);
    expect(body).toEqual({
      id: 'r1',
      requestId: 'r1',
      keyId: '00112233',
      name: 'alice',
      principal: '00112233/eva',
      route: chat.path,
      model: null,
      phase: 'body',
      tokens: 0,
      tokensPerSecond: null,
      ageMs: 6_000,
      queuedMs: 0,
      upstream: null,
      stream: false,
      wait: null,
    });
    expect(queued).toMatchObject({ phase: 'queued', queuedMs: 2_500, model: 'm', stream: true });
    expect(prefill).toMatchObject({ phase: 'prefill', queuedMs: 12, upstream: 'a', tokens: 0 });
    expect(decode).toMatchObject({ phase: 'decode', tokens: 41, tokensPerSecond: 10 });
  });

  test('distinguishes two requests with the same client id', () => {
    const at = (unique: string) => new LiveRequest('job', chat, caller, 1, unique);
    const { requests } = liveView([at('job-1'), at('job-2')], pool, 10_000);
    expect(requests).toMatchObject([
      { id: 'job-1', requestId: 'job' },
      { id: 'job-2', requestId: 'job' },
    ]);
  });

  test('has the oldest first, in whatever order they are handed over', () => {
    const at = (id: string, startedAt: number) => new LiveRequest(id, chat, caller, startedAt);
    const { requests } = liveView([at('b', 2), at('c', 3), at('a', 1)], pool, 10_000);
    expect(requests.map(({ id }) => id)).toEqual(['a', 'b', 'c']);
  });

  test('shows no key that its client has named a model or itself', () => {
    const user = { ...caller, principal: `${caller.keyId}/secret` };
    const [view] = liveView(
      [inFlight('r1', { model: 'a secret', caller: user })],
      pool,
      10_000,
    ).requests;
    expect(view).toMatchObject({ model: 'a ***', principal: `${caller.keyId}/***` });
  });

  test('has no rate before there are two tokens and some time', () => {
    const live = [
      inFlight('r1', { phase: 'decode', frames: 1, firstByteAt: 6_000 }),
      inFlight('r2', { phase: 'decode', frames: 9, firstByteAt: 10_000 }),
    ];
    for (const { tokensPerSecond } of liveView(live, pool, 10_000).requests) {
      expect(tokensPerSecond).toBeNull();
    }
  });

  describe('shows why a request waits:', () => {
    const wait: Wait = {
      place: 3,
      waitSeconds: 11.2,
      held: 'turn',
      units: 2,
      maxUnits: 2,
      running: 2,
      slots: ['a', 'b'],
      ahead: [
        { name: 'bob', principal: 'k2', servedLess: 1_200 },
        { name: 'eve', principal: 'k3', servedLess: 0 },
      ],
    };
    const named = (name: string) => ({ ...caller, name });
    const running = (id: string, name: string, at: string) =>
      Object.assign(new LiveRequest(id, chat, named(name), 1_000), {
        phase: 'decode' as const,
        upstream: { id: at, provenAt: 0 },
      });
    const live = [
      running('r1', 'bob', 'a'),
      running('r2', 'bob', 'a'),
      running('r3', 'carol', 'b'),
      running('r4', 'dave', 'elsewhere'),
      inFlight('r5', { phase: 'queued' }),
    ];
    function shown(change: Partial<Wait> = {}) {
      const waits = new Map([['r5', { ...wait, ...change }]]);
      const view = liveView(live, { ...pool, waits }, 10_000);
      expect(view.queued).toBe(1);
      expect(view.requests.slice(0, 4).map((row) => row.wait)).toEqual([null, null, null, null]);
      return view.requests[4]?.wait;
    }

    test('who has the slots, and who is ahead', () => {
      expect(shown()).toEqual({
        place: 3,
        seconds: 12,
        held: 'turn',
        why: 'waits for a slot of a, b; in use: a: bob 2; b: carol 1; ahead: bob (1200 tokens fewer served), eve (0 tokens fewer served)',
        ahead: [...wait.ahead],
      });
      expect(shown({ ahead: [], slots: ['c'] })?.why).toBe('waits for a slot of c');
      expect(shown({ waitSeconds: Infinity })?.seconds).toBeNull();
    });

    test('its size', () => {
      const { why } = shown({ held: 'size', ahead: [], slots: ['b'] }) ?? {};
      expect(why).toBe('needs 2 slots at once; in use: b: carol 1');
    });

    test('the cap of its caller, or servers that are away', () => {
      expect(shown({ held: 'cap' })?.why).toBe(
        'its caller uses 2 of the 2 slots that it may have at once (MAX_SLOTS_PER_CALLER)',
      );
      expect(shown({ held: 'away' })?.why).toBe('a, b: takes no requests now');
    });
  });

  test('shows the state and the slots of each upstream', () => {
    expect(liveView([], pool, 0)).toEqual({
      requests: [],
      upstreams: [
        { id: 'a', kind: 'llama.cpp', state: 'up', slots: 2, usedSlots: 1, models: ['m'] },
        { id: 'b', kind: 'vllm', state: 'away', slots: null, usedSlots: 0, models: [] },
      ],
      queued: 0,
    });
  });
});

/** Returns what a stream has now, as text; `undefined` at its end. */
async function next(reader: {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
}) {
  const { done, value } = await reader.read();
  return done ? undefined : Buffer.from(value ?? []).toString();
}

describe('the feed', () => {
  test('shows the first event at once, then one at every tick', async () => {
    let shown = 0;
    const feed = new LiveFeed(() => ({ shown: shown++ }));
    const reader = feed.open(new AbortController().signal).getReader();
    expect(await next(reader)).toBe('event: live\ndata: {"shown":0}\n\n');
    feed.tick();
    expect(await next(reader)).toBe('event: live\ndata: {"shown":1}\n\n');
    await reader.cancel();
  });

  test('keeps one event at most for a viewer that does not read', async () => {
    let shown = 0;
    const feed = new LiveFeed(() => ({ shown: shown++ }));
    const reader = feed.open(new AbortController().signal).getReader();
    for (let i = 0; i < 100; i++) feed.tick();
    expect(await next(reader)).toContain('{"shown":0}');
    feed.tick();
    expect(await next(reader)).toContain(`{"shown":${shown - 1}}`);
    await reader.cancel();
  });

  test('makes an event once for all viewers', async () => {
    let shown = 0;
    const feed = new LiveFeed(() => ({ shown: shown++ }));
    const readers = [1, 2, 3].map(() => feed.open(new AbortController().signal).getReader());
    for (const reader of readers) await next(reader);
    feed.tick();
    const events = await Promise.all(readers.map(next));
    expect(new Set(events)).toEqual(new Set(['event: live\ndata: {"shown":3}\n\n']));
    for (const reader of readers) await reader.cancel();
  });

  test('runs one timer while anybody watches and none after', async () => {
    const starts = spyOn(globalThis, 'setInterval');
    const stops = spyOn(globalThis, 'clearInterval');
    try {
      const feed = new LiveFeed(() => ({}));
      const gone = new AbortController();
      const first = feed.open(gone.signal).getReader();
      const second = feed.open(new AbortController().signal).getReader();
      expect(feed.viewers).toBe(2);
      expect(starts).toHaveBeenCalledTimes(1);
      gone.abort();
      await next(first);
      expect(await next(first)).toBeUndefined();
      expect(feed.viewers).toBe(1);
      await second.cancel();
      expect(feed.viewers).toBe(0);
      expect(stops).toHaveBeenCalledTimes(1);
      expect<unknown>(stops.mock.calls[0]?.[0]).toBe(starts.mock.results[0]?.value);
      const third = feed.open(new AbortController().signal).getReader();
      expect(starts).toHaveBeenCalledTimes(2);
      await third.cancel();
    } finally {
      starts.mockRestore();
      stops.mockRestore();
    }
  });

  test('ends at once for a viewer that has left already', async () => {
    const feed = new LiveFeed(() => ({}));
    const reader = feed.open(AbortSignal.abort()).getReader();
    expect(await next(reader)).toBeUndefined();
    expect(feed.viewers).toBe(0);
  });

  test('ends for all when it is closed, and opens no more', async () => {
    const feed = new LiveFeed(() => ({}));
    const readers = [1, 2].map(() => feed.open(new AbortController().signal).getReader());
    feed.close();
    expect(feed.viewers).toBe(0);
    for (const reader of readers) {
      await next(reader);
      expect(await next(reader)).toBeUndefined();
    }
    feed.tick();
    expect(() => feed.open(new AbortController().signal)).toThrow(GatewayError);
  });

  test('can be closed before and after a viewer has left', async () => {
    const feed = new LiveFeed(() => ({}));
    const gone = new AbortController();
    const reader = feed.open(gone.signal).getReader();
    feed.close();
    gone.abort();
    feed.close();
    await next(reader);
    expect(await next(reader)).toBeUndefined();
  });
});

/**
 * A stand-in for the gateway behind the dashboard: the page itself, and the part of the HTTP API that it uses, with
 * data that a test sets. It records the requests to the API.
 */
import { Elysia } from 'elysia';
import { dashboard } from '../../src/pages/dashboard.ts';
import type {
  Engine,
  KeyView,
  LiveRow,
  NewKey,
  UsageRow,
} from '../../src/pages/dashboard/types.d.ts';

export const adminKey = 'sk-admin-7f3Kq';
export const clientKey = 'sk-client-9Xw2';

type Json = Record<string, unknown>;

export interface StandIn {
  url: string;
  /** The data of the live view; a change is sent with its next event. */
  live: { requests: LiveRow[]; upstreams: Engine[]; queued: number };
  keys: KeyView[];
  usage: (by: string[], sinceMs: number, now: number) => UsageRow[];
  /** Method, path and body of every request to the API. */
  asked: { method: string; path: string; body: unknown }[];
  /** Returns how many live views are open. */
  viewers(): number;
  /** Ends every live view, as a restart does. */
  cut(): void;
  setRefusing(isRefusing: boolean): void;
  stop(): Promise<void>;
}

export function request(change: Partial<LiveRow> = {}): LiveRow {
  return {
    id: 'req-1',
    requestId: 'req-1',
    keyId: 'k1',
    name: 'alice',
    principal: 'k1',
    route: '/v1/chat/completions',
    model: 'llama-3.1-8b',
    phase: 'decode',
    tokens: 12,
    tokensPerSecond: 31.4,
    ageMs: 2_000,
    queuedMs: 0,
    upstream: 'engine-a',
    stream: true,
    wait: null,
    ...change,
  };
}

export function keyView(change: Partial<KeyView> = {}): KeyView {
  return {
    id: 'k1',
    name: 'alice',
    hint: 'sk-gw-k1-…',
    createdAt: '2026-11-01T09:00:00.000Z',
    expiresAt: null,
    revokedAt: null,
    models: null,
    weight: 1,
    priority: 'interactive',
    userHeader: null,
    limits: {},
    state: 'active',
    replacedUntil: null,
    ...change,
  };
}

const spansMs: Record<string, number> = { minute: 60_000, hour: 3_600_000 };

/** Returns the usage of one group with `values`: a row for each span of time, or one row if `by` names no span. */
export function usageRows(
  by: readonly string[],
  since: number,
  values: Partial<UsageRow> = {},
): UsageRow[] {
  const span = by.find((column) => column in spansMs);
  const size = spansMs[span ?? ''] ?? 0;
  return Array.from({ length: span === undefined ? 1 : 50 }, (_, index) => ({
    ...(span ? { [span]: new Date(Math.ceil(since / size + index) * size).toISOString() } : {}),
    key: 'k1',
    name: 'alice',
    model: 'llama-3.1-8b',
    requests: 6,
    refused: 0,
    failed: index % 3,
    cancelled: 1,
    cacheHits: 2,
    promptTokens: 1200,
    cachedTokens: 700,
    completionTokens: 340,
    estimated: 1,
    engineSeconds: 12.5,
    firstTokenMsP50: 84,
    firstTokenMsP95: 320,
    queuedMsP50: 0,
    queuedMsP95: 210,
    ...values,
  }));
}

function refusal(status: number, message: string): Response {
  return Response.json({ error: { message, type: 'permission_error' } }, { status });
}

const beatMs = 200;

/** Starts the stand-in on a free port of 127.0.0.1. */
export function startStandIn(): StandIn {
  const encoder = new TextEncoder();
  const viewers = new Set<ReadableStreamDefaultController<Uint8Array>>();
  let isRefusing = false;
  let made = 0;

  const standIn: Omit<StandIn, 'url' | 'stop'> = {
    live: { requests: [], upstreams: [], queued: 0 },
    keys: [],
    usage: () => [],
    asked: [],
    viewers: () => viewers.size,
    cut() {
      for (const viewer of viewers) viewer.close();
      viewers.clear();
    },
    setRefusing: (value) => (isRefusing = value),
  };

  function event(): Uint8Array {
    const live = JSON.stringify({ at: new Date().toISOString(), ...standIn.live });
    return encoder.encode(`event: live\ndata: ${live}\n\n`);
  }
  const beat = setInterval(() => {
    for (const viewer of viewers) viewer.enqueue(event());
  }, beatMs);

  function watch(signal: AbortSignal): ReadableStream<Uint8Array> {
    return new ReadableStream({
      start(controller) {
        viewers.add(controller);
        controller.enqueue(event());
        signal.addEventListener('abort', () => viewers.delete(controller));
      },
    });
  }

  function issue(asked: Partial<KeyView>): NewKey {
    made += 1;
    const id = `new${made}`;
    const { expiresAt: _, ...policy } = asked;
    const limits = Object.entries(policy.limits ?? {});
    const view = keyView({
      ...policy,
      id,
      hint: `sk-gw-${id}-…`,
      weight: policy.weight ?? 1,
      limits: Object.fromEntries(limits.filter(([, value]) => value !== null)),
    });
    standIn.keys.push(view);
    return { ...view, key: `sk-gw-${id}-s3cretS3cretS3cretS3cretS3cret` };
  }

  async function answerAdmin(method: string, path: string, incoming: Request, body: Json) {
    if (incoming.headers.get('authorization') !== `Bearer ${adminKey}` || isRefusing) {
      return refusal(403, 'Invalid API key.');
    }
    const { pathname, searchParams } = new URL(`http://gateway${path}`);
    const [, , what, id, action] = pathname.split('/').map(decodeURIComponent);
    if (what === 'live') {
      return new Response(watch(incoming.signal), {
        headers: { 'content-type': 'text/event-stream' },
      });
    }
    if (what === 'requests') {
      const { live } = standIn;
      const isKnown = live.requests.some((row) => row.id === id);
      live.requests = live.requests.filter((row) => row.id !== id);
      return isKnown ? new Response(null, { status: 204 }) : refusal(404, 'No such request.');
    }
    if (what === 'usage') {
      const hours = { '1h': 1, '24h': 24, '7d': 168 }[searchParams.get('since') ?? ''] ?? 1;
      const now = Date.now();
      const by = (searchParams.get('by') ?? '').split(',');
      const since = now - hours * 3_600_000;
      const [sinceIso, until] = [since, now].map((at) => new Date(at).toISOString());
      return Response.json({ since: sinceIso, until, data: standIn.usage(by, since, now) });
    }
    const key = standIn.keys.find((each) => each.id === id);
    if (id === undefined) {
      if (method === 'GET') return Response.json({ data: standIn.keys });
      if (body['name'] === 'bad') return refusal(400, 'name: found "bad"\nweight: found -1');
      return Response.json(issue(body), { status: 201 });
    }
    if (key === undefined) return refusal(404, 'No such key.');
    if (action === 'rotate') {
      key.replacedUntil = '2026-11-30T09:00:00.000Z';
      return Response.json({ ...key, key: `sk-gw-${id}-anotherS3cretAnotherS3cret` });
    }
    if (method === 'PATCH') Object.assign(key, body);
    if (method === 'DELETE') {
      Object.assign(key, { state: 'revoked', revokedAt: new Date().toISOString() });
    }
    return Response.json(key);
  }

  /** Returns a stream of words that ends after the last one, or never if `isEndless`. */
  function chat(isEndless: boolean, signal: AbortSignal): ReadableStream<Uint8Array> {
    const data = (value: unknown) => encoder.encode(`data: ${JSON.stringify(value)}\n\n`);
    const delta = (value: object) => data({ choices: [{ delta: value }] });
    return new ReadableStream({
      async start(controller) {
        controller.enqueue(encoder.encode(': queued, place 1, about 2 s\n\n'));
        controller.enqueue(delta({ reasoning_content: 'Let me see.' }));
        for (const word of ['Hello', ' from', ' <b>the</b>', ' engine.']) {
          controller.enqueue(delta({ content: word }));
          await Bun.sleep(10);
        }
        while (isEndless && !signal.aborted) {
          controller.enqueue(delta({ content: ' more' }));
          await Bun.sleep(20);
        }
        if (signal.aborted) return;
        controller.enqueue(data({ choices: [], usage: { completion_tokens: 4 } }));
        controller.enqueue(encoder.encode('data: [DONE]\n\n'));
        controller.close();
      },
    });
  }

  function answerClient(path: string, incoming: Request, body: Json): Response {
    if (incoming.headers.get('authorization') !== `Bearer ${clientKey}`) {
      return refusal(403, 'Invalid API key.');
    }
    if (path === '/v1/models') {
      return Response.json({ data: [{ id: 'llama-3.1-8b' }, { id: 'qwen3-32b' }] });
    }
    const isEndless = JSON.stringify(body['messages']).includes('for ever');
    return new Response(chat(isEndless, incoming.signal), {
      headers: { 'content-type': 'text/event-stream' },
    });
  }

  async function answer(incoming: Request): Promise<Response> {
    const path = incoming.url.slice(new URL(incoming.url).origin.length);
    const { method } = incoming;
    const text = await incoming.text();
    const body: Json = text === '' ? {} : JSON.parse(text);
    standIn.asked.push({ method, path, body: text === '' ? undefined : body });
    if (path.startsWith('/admin/')) return await answerAdmin(method, path, incoming, body);
    return answerClient(path, incoming, body);
  }

  const app = new Elysia()
    .use(dashboard())
    .all('/admin/*', ({ request: incoming }) => answer(incoming), { parse: 'none' })
    .all('/v1/*', ({ request: incoming }) => answer(incoming), { parse: 'none' })
    .listen({ hostname: '127.0.0.1', port: 0, reusePort: false, idleTimeout: 60 });

  async function stop(): Promise<void> {
    clearInterval(beat);
    standIn.cut();
    await app.stop(true);
  }
  return Object.assign(standIn, { url: `http://127.0.0.1:${app.server?.port}`, stop });
}

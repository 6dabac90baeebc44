/**
 * The random clients of a soak: streams, plain answers, clients that leave in every phase, wrong keys, batch, feedback,
 * large bodies, forms, faults that the engine is asked for. Each visit is one connection and must come to an end.
 */
import { faults } from '../../src/demo/faults.ts';
import { requestBytes, RawClient, type Asked } from '../support/rawclient.ts';
import type { Random } from '../support/random.ts';

/** Keys of the visitors, by what they may do. */
export interface Keys {
  free: string;
  limited: string;
  operator: string;
}

export interface Visit {
  /** What it was, for the counts. */
  kind: string;
  /** Status of the answer; 0 without one. */
  status: number;
}

const routes = ['/v1/completions', '/v1/chat/completions', '/v1/messages', '/v1/responses'];
/** Faults that end by themselves or by the gateway's deadlines; `refuse` closes the engine for everybody. */
const safeFaults = Object.keys(faults).filter((name) => !['refuse', 'huge', 'drip'].includes(name));

function words(random: Random, count: number): string {
  return Array.from({ length: count }, () => `w${random.below(5_000)}`).join(' ');
}

/** Returns a generating request of a random family. */
function generating(random: Random, more: Record<string, unknown> = {}): Asked {
  const path = random.pick(routes);
  const text = words(random, 1 + random.below(200));
  const max = 1 + random.below(60);
  const stream = random.oneIn(2);
  const model = random.pick(['demo', 'other', undefined]);
  const prompts: Record<string, object> = {
    '/v1/completions': { prompt: text, max_tokens: max },
    '/v1/responses': { input: text, max_output_tokens: max },
  };
  const chat = { messages: [{ role: 'user', content: text }], max_tokens: max };
  return { path, body: { ...(prompts[path] ?? chat), model, stream, ...more } };
}

/** What a visitor asks for; its key and its fault come on top. */
const wishes: Record<string, (random: Random) => Asked> = {
  generate: (random) => generating(random),
  batch: (random) => ({ ...generating(random), headers: { 'X-Priority': 'batch' } }),
  feedback: (random) => ({
    ...generating(random, { stream: true }),
    headers: { 'X-Queue-Feedback': 'true' },
  }),
  cached: (random) => generating(random, { temperature: 0, seed: random.below(3) }),
  several: (random) => ({
    path: '/v1/completions',
    body: {
      prompt: ['a b', 'c d'],
      n: 1 + random.below(3),
      max_tokens: 5,
      stream: random.oneIn(2),
    },
  }),
  big: (random) => ({
    path: '/v1/embeddings',
    body: { input: 'word '.repeat(100_000 + random.below(500_000)) },
  }),
  broken: () => ({ path: '/v1/chat/completions', body: '{"messages": [' }),
  embed: (random) => ({ path: '/v1/embeddings', body: { input: words(random, 20) } }),
  tokenize: (random) => ({ path: '/tokenize', body: { content: words(random, 20) } }),
  models: () => ({ path: '/v1/models' }),
  usage: () => ({ path: '/usage?by=model' }),
  health: () => ({ path: '/health' }),
  form: () => ({
    path: '/v1/audio/transcriptions',
    headers: { 'Content-Type': 'multipart/form-data; boundary=B' },
    body:
      '--B\r\nContent-Disposition: form-data; name="model"\r\n\r\ndemo\r\n' +
      `--B\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n${'x'.repeat(5_000)}\r\n--B--\r\n`,
  }),
};

function faultOf(random: Random): string {
  return `${random.pick(safeFaults)}=${random.pick([0, 1, 3, 503])}`;
}

/** Makes one visit of a random kind. Rejects when the gateway leaves it hanging. */
export async function visit(url: string, keys: Keys, random: Random): Promise<Visit> {
  if (random.oneIn(30)) return await watchLive(url, keys, random);
  const wish = random.oneIn(2) ? 'generate' : random.pick(Object.keys(wishes));
  const asked = (wishes[wish] as (random: Random) => Asked)(random);
  const key = random.oneIn(20) ? 'sk-wrong' : random.pick([keys.free, keys.free, keys.limited]);
  const headers = {
    ...asked.headers,
    Authorization: `Bearer ${key}`,
    ...(random.oneIn(6) && { 'X-Demo-Fault': faultOf(random) }),
  };
  const bytes = requestBytes({ ...asked, headers });
  using client = await RawClient.open(url);
  const leaving = random.oneIn(3)
    ? random.pick(['in the body', 'at once', 'later', 'at the first byte', 'in the answer'])
    : undefined;
  if (leaving === undefined) {
    void client.write(bytes);
    await client.ended();
    return { kind: wish, status: client.status };
  }
  const leave = () => (random.oneIn(2) ? client.leaveByFin() : client.leaveByReset());
  if (leaving === 'in the body') {
    await client.write(bytes.subarray(0, random.below(bytes.length)));
    await Bun.sleep(random.below(200));
  } else {
    void client.write(bytes);
    const count = leaving === 'at the first byte' ? 1 : 300 + random.below(3_000);
    if (leaving === 'later') await Bun.sleep(random.below(1_000));
    else if (leaving !== 'at once') {
      await client.until(
        'there is enough',
        () => client.length >= count || client.ending !== 'open',
      );
    }
  }
  leave();
  await client.closed;
  return { kind: `leaves ${leaving}`, status: client.status };
}

/** Watches the operator's feed for a moment, or stops a request that it shows. */
async function watchLive(url: string, { operator }: Keys, random: Random): Promise<Visit> {
  using client = await RawClient.open(url);
  const headers = { Authorization: `Bearer ${operator}`, Accept: 'text/event-stream' };
  void client.write(requestBytes({ path: '/admin/live', headers }));
  await client.hasText('event: live');
  await Bun.sleep(random.below(3_000));
  const id = /"id":"([^"]+)","requestId"/.exec(client.text)?.[1];
  client.leave();
  if (id === undefined) return { kind: 'watches', status: 200 };
  using other = await RawClient.open(url);
  const stop = { method: 'DELETE', path: `/admin/requests/${id}`, headers };
  void other.write(requestBytes(stop));
  await other.ended();
  return { kind: 'stops a request', status: other.status };
}

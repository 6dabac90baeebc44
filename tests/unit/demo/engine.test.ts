/** The simulated engine over HTTP: every route, slots and their queue, the cache, and clients that leave. */
import { afterEach, describe, expect, test } from 'bun:test';
import type { DemoEngine, DemoOptions } from '../../../src/demo/engine.ts';
import { startDemoEngine } from '../../../src/demo/engine.ts';
import { isServedBy, routes } from '../../../src/wire/routes.ts';
import { holdPort } from '../../support/heldport.ts';
import { RawClient, requestBytes } from '../../support/rawclient.ts';

type Json = Record<string, unknown>;

/** Returns the value at a path of a JSON value; `undefined` if there is none. */
function at(value: unknown, path: string): unknown {
  return path.split('.').reduce((inner: unknown, key) => (inner as Json | undefined)?.[key], value);
}

/** Returns the value at a path of each value. */
function each(values: unknown, path: string): unknown[] {
  return (values as unknown[]).map((value) => at(value, path));
}

const engines: DemoEngine[] = [];

function start(options: DemoOptions = {}): DemoEngine {
  const engine = startDemoEngine(options);
  engines.push(engine);
  return engine;
}

afterEach(async () => {
  await Promise.all(engines.splice(0).map((engine) => engine.stop()));
});

/** Resolves when the condition is true. */
async function until(engine: DemoEngine, holds: () => boolean): Promise<void> {
  while (!holds()) await engine.changed();
}

function ask(engine: DemoEngine, path: string, body: unknown, init: RequestInit = {}) {
  return fetch(engine.url + path, { method: 'POST', body: JSON.stringify(body), ...init });
}

async function askJson(engine: DemoEngine, path: string, body: unknown): Promise<Json> {
  return (await (await ask(engine, path, body)).json()) as Json;
}

/** Returns the data of every event, parsed; `[DONE]` as text. */
async function askStream(engine: DemoEngine, path: string, body: Json): Promise<Json[]> {
  const response = await ask(engine, path, { ...body, stream: true });
  expect(response.headers.get('content-type')).toBe('text/event-stream');
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith('data: '));
  return lines.map((line) => (line === 'data: [DONE]' ? line : JSON.parse(line.slice(6))));
}

const messages = [{ role: 'user', content: 'Привет! Как дела?' }];

/** A body that every JSON route accepts. */
const anyBody = {
  prompt: 'Hello',
  messages,
  input: 'Hello',
  content: 'Hello',
  tokens: [112],
  query: 'red fox',
  documents: ['a blue whale', 'a red fox'],
  text_1: 'red fox',
  text_2: ['a red fox'],
  input_prefix: 'a',
  input_suffix: 'b',
  max_tokens: 5,
};

function audioForm(fields: Record<string, string> = {}): FormData {
  const form = new FormData();
  form.set('file', new File([new Uint8Array(300)], 'speech.wav'));
  for (const name in fields) form.set(name, fields[name] as string);
  return form;
}

describe('the routes', () => {
  // The gateway itself looks a model up, in the engine's list.
  const proxied = routes.filter(
    (route) => !route.path.endsWith('*') && isServedBy(route, 'llama.cpp'),
  );

  test.each(proxied.map(({ method, path, body }) => [method, path, body] as const))(
    '%s %s is answered',
    async (method, path, body) => {
      const engine = start();
      const payload = body === 'multipart' ? audioForm() : JSON.stringify(anyBody);
      const init = method === 'GET' ? {} : { method, body: payload };
      const response = await fetch(engine.url + path, init);
      expect(response.status).toBe(200);
      expect(response.headers.get('server')).toBe('llama.cpp');
      expect((await response.bytes()).length).toBeGreaterThan(10);
      expect(engine.requests.map((request) => request.state)).toEqual(['done']);
      expect(engine.busySlots()).toBe(0);
    },
  );

  test('completions: a plain answer has text, usage and timings', async () => {
    const answer = await askJson(start(), '/v1/completions', { prompt: 'Hi you', max_tokens: 5 });
    expect(answer).toMatchObject({
      object: 'text_completion',
      model: 'demo',
      choices: [{ index: 0, finish_reason: 'length' }],
      usage: { prompt_tokens: 2, completion_tokens: 5, total_tokens: 7 },
      timings: { cache_n: 0, prompt_n: 2, predicted_n: 5 },
    });
    expect(at(answer, 'choices.0.text')).toStartWith('🤖 Симу');
  });

  test('completions: a stream has the same text, usage in the last chunk, then [DONE]', async () => {
    const body = { prompt: 'Hi you', max_tokens: 5 };
    const plain = await askJson(start(), '/v1/completions', body);
    const events = await askStream(start(), '/v1/completions', body);
    expect(events).toHaveLength(5 + 2);
    const texts = each(events.slice(0, -1), 'choices.0.text');
    expect(texts.join('')).toBe(at(plain, 'choices.0.text') as string);
    expect(events.at(-2)).toMatchObject({ usage: plain['usage'], timings: plain['timings'] });
    expect(events.at(-1) as unknown).toBe('data: [DONE]');
  });

  test('without a limit the answer has 64 tokens and the finish reason stop', async () => {
    const answer = await askJson(start(), '/v1/completions', { prompt: 'Hi' });
    expect(at(answer, 'usage.completion_tokens')).toBe(64);
    expect(at(answer, 'choices.0.finish_reason')).toBe('stop');
    expect(at(answer, 'choices.0.text')).toContain('simulated engine without a model');
  });

  test('completions: a list of prompts and n set the number of choices, also in a stream', async () => {
    const engine = start({ slots: 2 });
    const body = { prompt: ['Hi', 'you'], n: 2, max_tokens: 3 };
    const plain = await askJson(engine, '/v1/completions', body);
    expect(each(plain['choices'], 'index')).toEqual([0, 1, 2, 3]);
    expect(at(plain, 'usage.completion_tokens')).toBe(12);
    const events = await askStream(engine, '/v1/completions', body);
    const ends = events.filter((event) => at(event, 'choices.0.finish_reason'));
    expect(each(ends, 'choices.0.index').sort()).toEqual([0, 1, 2, 3]);
    expect(engine.busySlots()).toBe(0);
  });

  test('chat: the usage chunk is sent only on request', async () => {
    const engine = start();
    const body = { messages, max_tokens: 3 };
    const without = await askStream(engine, '/v1/chat/completions', body);
    expect(without.some((event) => event['usage'])).toBe(false);
    expect(without.at(-2)).toMatchObject({
      choices: [{ finish_reason: 'length' }],
      timings: { predicted_n: 3 },
    });
    const options = { ...body, stream_options: { include_usage: true } };
    const asked = await askStream(engine, '/v1/chat/completions', options);
    expect(asked.at(-2)).toMatchObject({
      choices: [],
      usage: { completion_tokens: 3 },
      timings: { predicted_n: 3 },
    });
    expect(asked.at(-1) as unknown).toBe('data: [DONE]');
  });

  test('responses: events are numbered without a gap and the last has the complete answer', async () => {
    const body = { input: 'Hi', instructions: 'Be short', max_output_tokens: 3 };
    const events = await askStream(start(), '/v1/responses', body);
    expect(each(events, 'sequence_number')).toEqual([...events.keys()]);
    expect(events.at(0)).toMatchObject({ type: 'response.created' });
    const deltas = events.filter((event) => event['type'] === 'response.output_text.delta');
    expect(deltas).toHaveLength(3);
    const whole = await askJson(start(), '/v1/responses', body);
    expect(events.at(-1)).toMatchObject({ type: 'response.completed', response: whole });
    expect(each(deltas, 'delta').join('')).toBe(at(whole, 'output.0.content.0.text') as string);
  });

  test('messages: Anthropic’s events, in order', async () => {
    const engine = start();
    const body = { system: 'Be short', messages, max_tokens: 2 };
    const events = await askStream(engine, '/v1/messages', body);
    expect(each(events, 'type')).toEqual([
      'message_start',
      'content_block_start',
      'content_block_delta',
      'content_block_delta',
      'content_block_stop',
      'message_delta',
      'message_stop',
    ]);
    const counted = await askJson(engine, '/v1/messages/count_tokens', body);
    const input_tokens = Number(counted['input_tokens']);
    const begun = { input_tokens, output_tokens: 0 };
    expect(events[0]).toMatchObject({ message: { usage: begun } });
    const plain = await askJson(engine, '/v1/messages', body);
    expect(plain).toMatchObject({ type: 'message', stop_reason: 'max_tokens' });
    const usage = { input_tokens: 1, cache_read_input_tokens: input_tokens - 1, output_tokens: 2 };
    expect(plain['usage']).toEqual(usage);
  });

  test('the native format ends with stop and timings, without [DONE]', async () => {
    const events = await askStream(start(), '/completion', { prompt: 'Hi', n_predict: 2 });
    expect(each(events, 'stop')).toEqual([false, false, true]);
    expect(events.at(-1)).toMatchObject({ tokens_predicted: 2, timings: { predicted_n: 2 } });
  });

  test('transcriptions have their own events in a stream', async () => {
    const form = audioForm({ stream: 'true' });
    const init = { method: 'POST', body: form };
    const response = await fetch(`${start().url}/v1/audio/transcriptions`, init);
    const text = await response.text();
    expect(text).toContain('"type":"transcript.text.delta"');
    expect(text.trimEnd().split('\n').at(-1)).toStartWith('data: {"type":"transcript.text.done"');
    expect(text).toContain('300');
  });

  test('speech is a WAV file with every byte value', async () => {
    const response = await ask(start(), '/v1/audio/speech', { input: 'Hi' });
    expect(response.headers.get('content-type')).toBe('audio/wav');
    expect(new Set(await response.bytes()).size).toBe(256);
  });

  test('tokens turn back into their text', async () => {
    const engine = start();
    const { tokens } = await askJson(engine, '/tokenize', { content: 'Привет, 🙂!' });
    expect(await askJson(engine, '/detokenize', { tokens })).toEqual({ content: 'Привет, 🙂!' });
    const pieces = await askJson(engine, '/tokenize', { content: 'a b', with_pieces: true });
    expect(each(pieces['tokens'], 'piece')).toEqual(['a', ' b']);
  });

  test('a prompt may be tokens, or tokens and texts mixed, with the same answer as for its text', async () => {
    const engine = start({ cacheTokens: 0 });
    const { tokens } = await askJson(engine, '/tokenize', { content: 'one two' });
    const asText = await askJson(engine, '/v1/completions', { prompt: 'one two' });
    expect(await askJson(engine, '/v1/completions', { prompt: tokens })).toEqual(asText);
    const [first] = tokens as number[];
    const mixed = await askJson(engine, '/v1/completions', { prompt: [first, ' two'] });
    expect(mixed).toEqual(asText);
  });

  test('the content of a message may be a list of parts', async () => {
    const engine = start({ cacheTokens: 0 });
    const parts = [
      { type: 'text', text: 'Hello ' },
      { type: 'image_url', image_url: { url: 'data:image/png;base64,AAAA' } },
      { type: 'text', text: 'there' },
    ];
    const answers = [parts, 'Hello there'].map((content) => {
      return askJson(engine, '/v1/chat/completions', { messages: [{ role: 'user', content }] });
    });
    const [fromParts, fromText] = await Promise.all(answers);
    expect(fromParts).toEqual(fromText as Json);
  });

  test('embeddings are vectors of length 1, with the same values in base64', async () => {
    const engine = start();
    const input = ['one', 'two'];
    const { data } = await askJson(engine, '/v1/embeddings', { input });
    expect(data).toHaveLength(2);
    const vector = at(data, '1.embedding') as number[];
    expect(Math.hypot(...vector)).toBeCloseTo(1);
    const packed = await askJson(engine, '/v1/embeddings', { input, encoding_format: 'base64' });
    const bytes = Uint8Array.from(Buffer.from(String(at(packed, 'data.1.embedding')), 'base64'));
    expect([...new Float32Array(bytes.buffer)]).toEqual([...Float32Array.from(vector)]);
  });

  test('rerank puts the document with the words of the query first', async () => {
    const { results } = await askJson(start(), '/v1/rerank', anyBody);
    expect(each(results, 'index')).toEqual([1, 0]);
  });

  test('looks like llama-server with its slots to a probe', async () => {
    const engine = start({ slots: 3, contextTokens: 512, models: ['tiny', 'other'] });
    const props = (await (await fetch(`${engine.url}/props`)).json()) as Json;
    expect(props).toMatchObject({ total_slots: 3, model_alias: 'tiny' });
    const models = (await (await fetch(`${engine.url}/v1/models`)).json()) as Json;
    expect(models['data']).toMatchObject([
      { id: 'tiny', object: 'model' },
      { id: 'other', object: 'model' },
    ]);
    const slots = (await (await fetch(`${engine.url}/slots`)).json()) as Json[];
    expect(each(slots, 'n_ctx')).toEqual([512, 512, 512]);
  });
});

describe('errors', () => {
  const bad: [string, string, string][] = [
    ['/v1/completions', '{nope', 'parse error: the body is not JSON'],
    ['/v1/completions', '[]', 'the body is not a JSON object'],
    ['/v1/completions', '{}', "key 'prompt' not found"],
    ['/v1/completions', '{"prompt":[]}', '0 answers requested; 1 to 128 are possible'],
    ['/v1/completions', '{"prompt":"x","n":129}', '129 answers requested; 1 to 128 are possible'],
    ['/v1/chat/completions', '{}', "'messages' is required"],
    ['/v1/audio/transcriptions', '{}', 'the body is not multipart/form-data'],
  ];

  test.each(bad)('%s with %s is a 400', async (path, body, message) => {
    const response = await fetch(start().url + path, { method: 'POST', body });
    expect(response.status).toBe(400);
    const error = { code: 400, message, type: 'invalid_request_error' };
    expect(await response.json()).toEqual({ error });
  });

  test('a form without a file is a 400', async () => {
    const body = new FormData();
    body.set('model', 'whisper');
    const response = await fetch(`${start().url}/v1/audio/transcriptions`, {
      method: 'POST',
      body,
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { message: "'file' is required" } });
  });

  test('a prompt that does not fit gets llama-server’s error', async () => {
    const engine = start({ contextTokens: 10 });
    const response = await ask(engine, '/v1/completions', { prompt: 'word '.repeat(10) });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      error: { type: 'exceed_context_size_error', n_prompt_tokens: 20, n_ctx: 10 },
    });
    const fits = await askJson(engine, '/v1/completions', { prompt: 'word '.repeat(4) });
    expect(at(fits, 'usage.total_tokens')).toBe(10);
    expect(at(fits, 'choices.0.finish_reason')).toBe('length');
  });

  test('an unknown path is a 404 for every method', async () => {
    const engine = start();
    for (const [method, path] of [
      ['GET', '/nope'],
      ['GET', '/v1/completions'],
      ['POST', '/props'],
    ] as const) {
      const response = await fetch(engine.url + path, { method });
      expect(response.status).toBe(404);
      expect(await response.json()).toMatchObject({ error: { type: 'not_found_error' } });
    }
  });

  test('with a key set, every route except /health needs it', async () => {
    const engine = start({ apiKey: 'sk-engine' });
    const statusOf = async (path: string, headers = {}): Promise<number> => {
      return (await fetch(engine.url + path, { headers })).status;
    };
    expect(await statusOf('/health')).toBe(200);
    expect(await statusOf('/v1/models')).toBe(401);
    expect(await statusOf('/v1/models', { authorization: 'Bearer wrong' })).toBe(401);
    expect(await statusOf('/v1/models', { authorization: 'Bearer sk-engine' })).toBe(200);
    expect(await statusOf('/v1/models', { 'x-api-key': 'sk-engine' })).toBe(200);
  });
});

describe('slots', () => {
  /** A request that does not end by itself during a test. */
  const slow = { slots: 1, tokensPerSecond: 0.01 };

  test('a request waits when none is free, and runs when one is', async () => {
    const engine = start(slow);
    const first = await RawClient.open(engine.url);
    first.write(requestBytes({ body: { prompt: 'one', stream: true } }));
    await first.receives((text) => text.includes('data: '));
    const second = ask(engine, '/v1/completions', { prompt: 'two', max_tokens: 1 });
    await until(engine, () => engine.waiting() === 1);
    expect(engine.busySlots()).toBe(1);
    expect(engine.requests.map((request) => request.state)).toEqual(['running', 'waiting']);
    const slots = (await (await fetch(`${engine.url}/slots`)).json()) as Json[];
    expect(slots).toMatchObject([{ is_processing: true, next_token: [{ n_decoded: 1 }] }]);
    first.leave();
    expect((await second).status).toBe(200);
    expect(engine.requests.map((request) => request.state)).toEqual(['aborted', 'done', 'done']);
  });

  test('waiting requests are served in the order in which they came', async () => {
    const engine = start(slow);
    const clients = [];
    for (const prompt of ['a', 'b', 'c', 'd']) {
      const client = await RawClient.open(engine.url);
      client.write(requestBytes({ body: { prompt } }));
      clients.push(client);
      await until(engine, () => engine.busySlots() + engine.waiting() === clients.length);
    }
    const states = () => engine.requests.map((request) => request.state).join(' ');
    expect(states()).toBe('running waiting waiting waiting');
    clients[0]?.leave();
    await until(engine, () => states() === 'aborted running waiting waiting');
    clients[1]?.leave();
    await until(engine, () => states() === 'aborted aborted running waiting');
    expect(Buffer.from(engine.requests[2]?.body ?? []).toString()).toBe('{"prompt":"c"}');
  });

  test('each choice of an answer takes one slot', async () => {
    const engine = start({ ...slow, slots: 3 });
    const client = await RawClient.open(engine.url);
    client.write(requestBytes({ body: { prompt: ['a', 'b'], n: 2, stream: true } }));
    await until(engine, () => engine.waiting() === 1);
    expect(engine.busySlots()).toBe(3);
    client.leave();
    await until(engine, () => engine.busySlots() === 0);
    expect(engine.waiting()).toBe(0);
  });

  const phases: [string, DemoOptions, string][] = [
    ['in the prefill', { firstTokenMs: 60_000 }, '/v1/completions'],
    ['while it decodes', { tokensPerSecond: 0.01 }, '/v1/completions'],
    ['while it embeds', { firstTokenMs: 60_000 }, '/v1/embeddings'],
  ];

  test.each(phases)('a client that leaves %s frees its slot', async (_phase, options, path) => {
    const engine = start(options);
    for (const stream of [false, true]) {
      const client = await RawClient.open(engine.url);
      client.write(requestBytes({ path, body: { ...anyBody, stream } }));
      await until(engine, () => engine.busySlots() === 1);
      client.leave();
      await until(engine, () => engine.busySlots() === 0);
      await until(engine, () => engine.requests.at(-1)?.state === 'aborted');
    }
  });

  test('a request whose client left the queue never runs', async () => {
    const engine = start(slow);
    const first = await RawClient.open(engine.url);
    first.write(requestBytes({ body: { prompt: 'one' } }));
    await until(engine, () => engine.busySlots() === 1);
    const second = await RawClient.open(engine.url);
    second.write(requestBytes({ body: { prompt: 'two' } }));
    await until(engine, () => engine.waiting() === 1);
    second.leave();
    await until(engine, () => engine.waiting() === 0);
    await until(engine, () => engine.requests[1]?.state === 'aborted');
    expect(engine.requests[0]?.state).toBe('running');
  });

  test('a client that half-closes the connection counts as gone', async () => {
    const engine = start(slow);
    const socket = await Bun.connect({
      hostname: engine.hostname,
      port: engine.port,
      allowHalfOpen: true,
      socket: { data() {} },
    });
    socket.write(requestBytes({ body: { prompt: 'one' } }));
    await until(engine, () => engine.busySlots() === 1);
    socket.shutdown();
    await until(engine, () => engine.requests[0]?.state === 'aborted');
    socket.terminate();
  });
});

describe('the prefix cache', () => {
  const cachedOf = (answer: Json): number => {
    return Number(at(answer, 'usage.prompt_tokens_details.cached_tokens'));
  };
  const promptOf = (answer: Json): number => Number(at(answer, 'usage.prompt_tokens'));

  test('a prompt that was computed before is reported as cached, except its last token', async () => {
    const engine = start();
    const body = { prompt: 'one two three', max_tokens: 1 };
    expect(cachedOf(await askJson(engine, '/v1/completions', body))).toBe(0);
    const again = await askJson(engine, '/v1/completions', body);
    expect(cachedOf(again)).toBe(promptOf(again) - 1);
    expect(again['timings']).toMatchObject({ prompt_n: 1, cache_n: cachedOf(again) });
  });

  test('a prompt is in the cache as soon as it is computed, even if its client then left', async () => {
    const engine = start({ tokensPerSecond: 0.01 });
    const client = await RawClient.open(engine.url);
    client.write(requestBytes({ body: { prompt: 'one two three', stream: true } }));
    await client.receives((text) => text.includes('data: '));
    client.leave();
    const body = { prompt: 'one two three', max_tokens: 1 };
    const answer = await askJson(engine, '/v1/completions', body);
    expect(cachedOf(answer)).toBe(promptOf(answer) - 1);
  });

  test('the next turn of a chat finds all of the previous one, including the answer', async () => {
    const engine = start();
    const first = await askJson(engine, '/v1/chat/completions', { messages, max_tokens: 40 });
    const answer = at(first, 'choices.0.message');
    const next = [...messages, answer, { role: 'user', content: 'Ещё?' }];
    const second = await askJson(engine, '/v1/chat/completions', { messages: next });
    expect(cachedOf(second)).toBeGreaterThanOrEqual(Number(at(first, 'usage.total_tokens')));
  });

  test('cached tokens take no prefill time', async () => {
    const engine = start({ prefillTokensPerSecond: 1000 });
    const body = { prompt: 'one two three', max_tokens: 1 };
    const cold = await askJson(engine, '/v1/completions', body);
    const warm = await askJson(engine, '/v1/completions', body);
    expect(at(cold, 'timings.prompt_ms')).toBe(promptOf(cold));
    expect(at(warm, 'timings.prompt_ms')).toBe(1);
  });

  test('without a cache the same request has the same answer, byte for byte', async () => {
    const engine = start({ cacheTokens: 0 });
    const body = { messages, max_tokens: 20, stream: true };
    const first = await (await ask(engine, '/v1/chat/completions', body)).text();
    const second = await (await ask(engine, '/v1/chat/completions', body)).text();
    expect(second).toBe(first);
  });
});

describe('the engine itself', () => {
  test('keeps received requests: method, path, headers and the bytes of the body', async () => {
    const engine = start();
    const body = '{"prompt": "x",  "temperature": 1.0}';
    await fetch(`${engine.url}/v1/completions?a=1`, {
      method: 'POST',
      body,
      headers: { 'X-Given': 'as is' },
    });
    const [request] = engine.requests;
    expect(request).toMatchObject({ method: 'POST', path: '/v1/completions?a=1', state: 'done' });
    expect(request?.headers['x-given']).toBe('as is');
    expect(Buffer.from(request?.body ?? []).toString()).toBe(body);
  });

  test('keeps only complete requests', async () => {
    const engine = start();
    const client = await RawClient.open(engine.url);
    client.write(requestBytes({ body: { prompt: 'one' } }).subarray(0, -3));
    await fetch(`${engine.url}/health`);
    client.leave();
    await fetch(`${engine.url}/health`);
    expect(engine.requests.map((request) => request.path)).toEqual(['/health', '/health']);
  });

  test('while loading, every path answers llama-server’s 503', async () => {
    const engine = start();
    engine.setLoading(true);
    const error = { message: 'Loading model', type: 'unavailable_error', code: 503 };
    for (const path of ['/health', '/props', '/slots', '/v1/models', '/metrics']) {
      const response = await fetch(engine.url + path);
      expect(response.status).toBe(503);
      expect(await response.json()).toEqual({ error });
    }
    expect((await ask(engine, '/v1/completions', anyBody)).status).toBe(503);
    engine.setLoading(false);
    expect((await fetch(`${engine.url}/health`)).status).toBe(200);
    expect((await ask(engine, '/v1/completions', anyBody)).status).toBe(200);
  });

  test('while failing, only paths that take a slot answer the status', async () => {
    const engine = start();
    engine.setFailing(500);
    const statusOf = async (path: string) => (await ask(engine, path, anyBody)).status;
    expect(await statusOf('/v1/chat/completions')).toBe(500);
    expect(await statusOf('/v1/embeddings')).toBe(500);
    expect(await statusOf('/tokenize')).toBe(200);
    expect((await fetch(`${engine.url}/health`)).status).toBe(200);
    engine.setFailing(undefined);
    expect(await statusOf('/v1/chat/completions')).toBe(200);
  });

  test('an engine that is started again on the same port has an empty cache', async () => {
    using held = holdPort();
    const { port } = held;
    const engine = start({ port });
    const body = { prompt: 'one two three', max_tokens: 1 };
    await askJson(engine, '/v1/completions', body);
    await engine.stop();
    const answer = await askJson(start({ port }), '/v1/completions', body);
    expect(at(answer, 'timings.cache_n')).toBe(0);
  });

  test('stop ends every request, and the port is free for the next engine', async () => {
    using held = holdPort();
    const { port } = held;
    const engine = start({ slots: 1, firstTokenMs: 60_000, port });
    const running = await RawClient.open(`http://127.0.0.1:${port}`);
    running.write(requestBytes({ body: { prompt: 'one' } }));
    await until(engine, () => engine.busySlots() === 1);
    const waiting = await RawClient.open(`http://127.0.0.1:${port}`);
    waiting.write(requestBytes({ body: { prompt: 'two' } }));
    await until(engine, () => engine.waiting() === 1);
    await engine.stop();
    expect([engine.busySlots(), engine.waiting()]).toEqual([0, 0]);
    await Promise.all([running.closed, waiting.closed]);
    const next = start({ port });
    expect((await fetch(`${next.url}/health`)).status).toBe(200);
  });

  test('throws if the port is taken', () => {
    const { port } = start();
    expect(() => startDemoEngine({ port })).toThrow('listen');
  });

  test('a process that has stopped its engine exits by itself', async () => {
    const script = `
      import { startDemoEngine } from './src/demo/engine.ts';
      const engine = startDemoEngine({ firstTokenMs: 600_000, keepAliveSeconds: 600 });
      const body = JSON.stringify({ prompt: 'x' });
      const lost = fetch(engine.url + '/v1/completions', { method: 'POST', body }).catch(() => 0);
      while (engine.busySlots() === 0) await engine.changed();
      await engine.stop();
      await lost;
      console.log('stopped');
    `;
    const child = Bun.spawn(['bun', '-e', script], { cwd: `${import.meta.dir}/../../..` });
    expect(await child.stdout.text()).toBe('stopped\n');
    expect(await child.exited).toBe(0);
  });
});

/**
 * What a waiting stream gets: comments until its answer is there, then the answer unchanged, and every failure as
 * an event. Timers are moved by hand; the official clients read the streams without a socket.
 */
import Anthropic from '@anthropic-ai/sdk';
import { describe, expect, test } from 'bun:test';
import OpenAI from 'openai';
import { errorFrame, GatewayError, type Family } from '../../../src/wire/errors.ts';
import { withFeedback, type FeedbackOptions } from '../../../src/relay/queuefeedback.ts';
import { forSeeds } from '../../support/random.ts';
import { RawClient } from '../../support/rawclient.ts';

const decoder = new TextDecoder();

/** Lets all pending work run. */
async function turn(): Promise<void> {
  for (let i = 0; i < 3; i++) await Bun.sleep(0);
}

/** Timers that fire when a test says so. */
function timers() {
  const open: { callback: () => void; ms: number }[] = [];
  return {
    /** How long each open timer waits. */
    waits: () => open.map(({ ms }) => ms),
    setTimer(callback: () => void, ms: number) {
      const timer = { callback, ms };
      open.push(timer);
      return () => {
        if (open.includes(timer)) open.splice(open.indexOf(timer), 1);
      };
    },
    fire: () => open.shift()?.callback(),
  };
}

/** A body that a test feeds, with a record of what happens to it. */
function source() {
  const seen = { pulls: 0, cancels: 0 };
  let control: ReadableStreamDefaultController<Uint8Array> | undefined;
  const body = new ReadableStream<Uint8Array>(
    {
      start: (controller) => void (control = controller),
      pull: () => void seen.pulls++,
      cancel: () => void seen.cancels++,
    },
    { highWaterMark: 0 },
  );
  return {
    body,
    seen,
    send: (data: string | Uint8Array) => control?.enqueue(Buffer.from(data as string)),
    end: () => control?.close(),
    break: () => control?.error(),
  };
}

const eventStream = { headers: { 'content-type': 'text/event-stream' } };
const json = { 'content-type': 'application/json' };

type Report = ReturnType<FeedbackOptions['report']>;

/** A request that waits. */
function waiting(more: Partial<FeedbackOptions> = {}) {
  const clock = timers();
  const answer = Promise.withResolvers<Response>();
  const seen = { cancels: 0, reports: 0 };
  const told: { report: Report } = { report: undefined };
  const given = withFeedback({
    answer: answer.promise,
    afterMs: 1_000,
    everyMs: 2_000,
    report() {
      seen.reports++;
      return told.report;
    },
    family: 'openai',
    headers: { 'x-request-id': 'r1' },
    onCancel: () => void seen.cancels++,
    setTimer: clock.setTimer,
    ...more,
  });
  return { clock, answer, seen, told, given };
}

/** A request that has waited so long that feedback has begun. */
async function told(more: Partial<FeedbackOptions> = {}) {
  const stage = waiting(more);
  stage.clock.fire();
  const response = await stage.given;
  return { ...stage, response, reader: readerOf(response) };
}

function readerOf({ body }: Response) {
  const reader = (body as ReadableStream<Uint8Array>).getReader();
  return {
    async read(): Promise<string | undefined> {
      const { value } = await reader.read();
      return value && decoder.decode(value);
    },
    /** Reads to the end; `isCut` if the stream breaks off. */
    async rest(): Promise<{ text: string; isCut: boolean }> {
      const chunks: Uint8Array[] = [];
      try {
        for (;;) {
          const { done, value } = await reader.read();
          if (done) return { text: Buffer.concat(chunks).toString(), isCut: false };
          chunks.push(value);
        }
      } catch {
        return { text: Buffer.concat(chunks).toString(), isCut: true };
      }
    },
    cancel: () => reader.cancel(),
    closed: reader.closed,
  };
}

async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
}

/** Returns the text after the one comment when the wait ends like this. */
async function after(settle: Response | GatewayError | Error, family: Family = 'openai') {
  const { answer, reader } = await told({ family });
  await reader.read();
  if (settle instanceof Error) answer.reject(settle);
  else answer.resolve(settle);
  return await reader.rest();
}

describe('an answer that comes in time', () => {
  test('has its gaps filled where it is a stream', async () => {
    const { answer, given, clock } = waiting({ family: 'anthropic' });
    const inner = source();
    const headers = { 'content-type': 'text/event-stream', 'x-of-engine': '1' };
    answer.resolve(new Response(inner.body, { headers }));
    const response = await given;
    expect(response.headers.get('x-of-engine')).toBe('1');
    const reader = readerOf(response);
    inner.send('event: a\ndata: {}\n\n');
    expect(await reader.read()).toBe('event: a\ndata: {}\n\n');
    const next = reader.read();
    await turn();
    clock.fire();
    expect(await next).toContain('event: ping\n');
    inner.end();
    expect(await reader.rest()).toEqual({ text: '', isCut: false });
  });

  test('is given as it is', async () => {
    const { answer, given, clock } = waiting();
    const response = new Response('{}', { status: 404 });
    answer.resolve(response);
    expect(await given).toBe(response);
    expect(clock.waits()).toEqual([]);
  });

  test('fails as it fails', async () => {
    const { answer, given, clock } = waiting();
    const error = new GatewayError('queue_full');
    answer.reject(error);
    expect(await failureOf(given)).toBe(error);
    expect(clock.waits()).toEqual([]);
  });

  test('may use the whole time', () => {
    expect(waiting().clock.waits()).toEqual([1_000]);
  });
});

test('uses real timers unless others are given', async () => {
  const answer = Promise.withResolvers<Response>();
  const response = await withFeedback({
    answer: answer.promise,
    afterMs: 0,
    everyMs: 1,
    report: () => undefined,
    family: 'openai',
    headers: {},
    onCancel() {},
  });
  const reader = readerOf(response);
  const comment = ': waiting for the first token\n\n';
  expect([await reader.read(), await reader.read()]).toEqual([comment, comment]);
  await reader.cancel();
});

describe('while it waits', () => {
  test('the client gets an event stream with the given headers', async () => {
    const { response } = await told();
    expect(response.status).toBe(200);
    expect(response.headers.toJSON()).toEqual({
      'cache-control': 'no-cache',
      'content-type': 'text/event-stream; charset=utf-8',
      'x-accel-buffering': 'no',
      'x-request-id': 'r1',
    });
  });

  test('a comment comes at once and then each time that the timer fires', async () => {
    const { clock, reader, told: now } = await told();
    now.report = { place: 3, waitSeconds: 11.2, reason: '' };
    expect(await reader.read()).toBe(': queued, place 3, about 12 s\n\n');
    expect(clock.waits()).toEqual([]);
    for (const place of [2, 1]) {
      const next = reader.read();
      await turn();
      expect(clock.waits()).toEqual([2_000]);
      now.report = { place, waitSeconds: 0, reason: '' };
      clock.fire();
      expect(await next).toBe(`: queued, place ${place}, about 1 s\n\n`);
    }
  });

  test('comments come less often in a long wait, up to a fifth as often', async () => {
    for (const [waitSeconds, pause] of [
      [11, 2_000],
      [40, 4_000],
      [1_000, 10_000],
      [Number.POSITIVE_INFINITY, 10_000],
      [Number.NaN, 2_000],
      [undefined, 2_000],
    ] as const) {
      const { clock, reader, told: now } = await told();
      now.report = { place: 9, waitSeconds, reason: '' };
      await reader.read();
      void reader.read();
      await turn();
      expect(clock.waits()).toEqual([pause]);
    }
  });

  test('a comment ends with what of its own holds the request', async () => {
    const { reader, told: now } = await told();
    now.report = { place: 1, waitSeconds: 5, reason: ', it needs 2 slots at once' };
    expect(await reader.read()).toBe(': queued, place 1, about 5 s, it needs 2 slots at once\n\n');
  });

  test('a wait of unknown length has no estimate', async () => {
    for (const waitSeconds of [undefined, Number.POSITIVE_INFINITY, Number.NaN]) {
      const { reader, told: now } = await told();
      now.report = { place: 1, waitSeconds, reason: '' };
      expect(await reader.read()).toBe(': queued, place 1\n\n');
    }
  });

  test('a request that has left the queue waits for its first token', async () => {
    const { reader } = await told();
    expect(await reader.read()).toBe(': waiting for the first token\n\n');
  });

  test('nothing is written for a client that does not read', async () => {
    const { clock, reader } = await told();
    await reader.read();
    await turn();
    expect(clock.waits()).toEqual([]);
  });
});

describe('the answer', () => {
  test('follows the comments byte for byte, however it is cut', async () => {
    await forSeeds(30, async (random) => {
      const { answer, reader, clock } = await told();
      const inner = source();
      const text = 'data: {"a":"😀é"}\r\n\r\n: theirs\n\ndata: [DONE]\n\n';
      const bytes = Buffer.from(text);
      await reader.read();
      answer.resolve(new Response(inner.body, eventStream));
      const rest = reader.rest();
      for (let at = 0; at < bytes.length;) {
        const end = Math.min(bytes.length, at + 1 + random.below(9));
        inner.send(bytes.subarray(at, end));
        at = end;
        if (random.oneIn(3)) await turn();
        clock.fire();
      }
      inner.end();
      const { text: received, isCut } = await rest;
      const sent = received.replaceAll(': waiting for the next token\n\n', '');
      expect({ sent, isCut }).toEqual({ sent: text, isCut: false });
    });
  });

  test('ends the comments, also within a frame that has no end yet', async () => {
    const { answer, reader, clock } = await told();
    const inner = source();
    const chunks = [await reader.read()];
    const second = reader.read();
    await turn();
    answer.resolve(new Response(inner.body, eventStream));
    inner.send('data: {"half":');
    chunks.push(await second);
    const third = reader.read();
    await turn();
    expect(clock.waits()).toEqual([]);
    inner.send('1}\n\n');
    chunks.push(await third);
    expect(chunks.slice(1).join('')).toBe('data: {"half":1}\n\n');
  });

  test('is read only as fast as the client reads', async () => {
    const { answer, reader } = await told();
    const inner = source();
    await reader.read();
    answer.resolve(new Response(inner.body, eventStream));
    const next = reader.read();
    await turn();
    expect(inner.seen.pulls).toBe(1);
    inner.send('a');
    await next;
    await turn();
    expect(inner.seen.pulls).toBe(1);
  });

  test('that breaks off does not end in order, and what came before it arrives', async () => {
    const { answer, reader } = await told();
    const inner = source();
    await reader.read();
    answer.resolve(new Response(inner.body, eventStream));
    const first = reader.read();
    inner.send('data: {"half":');
    expect(await first).toBe('data: {"half":');
    const rest = reader.rest();
    inner.break();
    expect(await rest).toEqual({ text: '', isCut: true });
  });

  test('that breaks off while the client does not read is not held until it does', async () => {
    const { answer, reader } = await told();
    const inner = source();
    await reader.read();
    answer.resolve(new Response(inner.body, eventStream));
    const first = reader.read();
    inner.send('data: 1\n\n');
    await first;
    inner.break();
    // No read is open, and none is needed.
    await failureOf(reader.closed);
    expect(await reader.rest()).toEqual({ text: '', isCut: true });
  });

  test('that is no stream becomes one frame, its numbers as they were', async () => {
    const body = '{\r\n  "a": 1.0,\n  "b": 12345678901234567890\n}\n';
    const { text, isCut } = await after(new Response(body, { headers: json }));
    expect(isCut).toBe(false);
    expect(text).toBe('data: {    "a": 1.0,   "b": 12345678901234567890 } \n\n');
  });

  test('that is no stream and breaks off is cut', async () => {
    const { answer, reader } = await told();
    const inner = source();
    await reader.read();
    answer.resolve(new Response(inner.body, { headers: json }));
    const rest = reader.rest();
    inner.send('{"a":');
    await turn();
    inner.break();
    expect((await rest).isCut).toBe(true);
  });

  test('that is neither text nor readable is refused and let go', async () => {
    const formats = [
      { 'content-type': 'audio/wav' },
      { 'content-type': 'text/event-stream', 'content-encoding': 'br' },
    ];
    for (const headers of formats) {
      const inner = source();
      const { text } = await after(new Response(inner.body, { headers }));
      expect(text).toContain('"code":"upstream_malformed"');
      expect(inner.seen.cancels).toBe(1);
    }
  });

  test('without a body ends the stream', async () => {
    const rest = await after(new Response(null, { status: 204 }));
    expect(rest).toEqual({ text: '', isCut: false });
  });
});

describe("the gateway's own error", () => {
  test.each(['openai', 'anthropic', 'responses'] as const)('is an event (%s)', async (family) => {
    const error = new GatewayError('queue_timeout');
    const rest = await after(error, family);
    expect(rest).toEqual({ text: errorFrame(error, family), isCut: false });
  });

  test('does not show an unexpected error', async () => {
    const { text } = await after(new TypeError('secret'));
    expect(text).toContain('"code":"internal_error"');
    expect(text).not.toContain('secret');
  });

  test('is not sent if the client has left', async () => {
    const rest = await after(new GatewayError('client_closed_request'));
    expect(rest).toEqual({ text: '', isCut: true });
  });
});

describe("the engine's own error", () => {
  const llama =
    '{"error":\n{"code":400,"message":"too long","type":"exceed_context_size_error","n_ctx":256.0}}';
  const refused = (body: string, status = 400) => new Response(body, { status, headers: json });
  const dataOf = (text: string): unknown => JSON.parse(/^data: (.*)\n\n$/m.exec(text)?.[1] ?? '');

  test('passes as it is to a client of the same family', async () => {
    const { text } = await after(refused(llama));
    expect(text).toBe(
      'data: {"error": {"code":400,"message":"too long","type":"exceed_context_size_error","n_ctx":256.0}}\n\n',
    );
    const anthropic =
      '{"type":"error","error":{"type":"not_found_error","message":"no"},"request_id":"a"}';
    const native = await after(refused(anthropic, 404), 'anthropic');
    expect(native.text).toBe(`event: error\ndata: ${anthropic}\n\n`);
  });

  test('is wrapped for the other families', async () => {
    const { text } = await after(refused(llama), 'anthropic');
    expect(text).toStartWith('event: error\ndata: ');
    expect(dataOf(text)).toEqual({
      type: 'error',
      error: { type: 'exceed_context_size_error', message: 'too long' },
    });
    const responses = await after(refused(llama), 'responses');
    expect(responses.text).toStartWith('event: error\ndata: ');
    expect(dataOf(responses.text)).toEqual({
      type: 'error',
      code: 'exceed_context_size_error',
      message: 'too long',
      param: null,
      sequence_number: 0,
    });
  });

  test.each([
    ['{"object":"error","message":"bare","type":"BadRequestError","param":"n","code":400}', 'bare'],
    ['{"detail":"not here"}', 'not here'],
    ['{"detail":[{"msg":"wrong"}]}', '{"detail":[{"msg":"wrong"}]}'],
    ['upstream\ntimed out', 'upstream timed out'],
    ['["no object"]', '["no object"]'],
    ['', 'The inference server answered with status 500.'],
    ['x'.repeat(600), 'x'.repeat(500)],
    ['x'.repeat(70_000), 'The inference server answered with status 500.'],
  ])('without an envelope gets one (%#)', async (body, message) => {
    const { text, isCut } = await after(refused(body, 500));
    expect(isCut).toBe(false);
    expect(dataOf(text)).toMatchObject({ error: { message } });
    const anthropic = await after(refused(body, 500), 'anthropic');
    expect(dataOf(anthropic.text)).toMatchObject({ type: 'error', error: { message } });
  });

  test('in a text instead of an object passes to OpenAI clients and is wrapped for others', async () => {
    const ollama = '{"error":"no such model"}';
    expect((await after(refused(ollama, 404))).text).toBe(`data: ${ollama}\n\n`);
    const { text } = await after(refused(ollama, 404), 'anthropic');
    expect(dataOf(text)).toEqual({
      type: 'error',
      error: { type: 'invalid_request_error', message: 'no such model' },
    });
  });

  test('without a body, and one that breaks off, is an error all the same', async () => {
    const message = 'The inference server answered with status 502.';
    const empty = await after(new Response(null, { status: 502 }));
    expect(dataOf(empty.text)).toMatchObject({ error: { message, type: 'server_error' } });
    const inner = source();
    inner.send('{"error":');
    const broken = after(new Response(inner.body, { status: 502, headers: json }));
    await turn();
    inner.break();
    expect(dataOf((await broken).text)).toMatchObject({ error: { message } });
  });

  test('is read only up to a bound', async () => {
    const inner = source();
    const long = after(new Response(inner.body, { status: 500, headers: json }));
    for (let i = 0; i < 66; i++) inner.send('x'.repeat(1_024));
    expect((await long).text).toContain('status 500');
    expect(inner.seen.cancels).toBe(1);
  });

  test('that is an event stream passes as it is', async () => {
    const frame = 'event: error\ndata: {}\n\n';
    const rest = await after(new Response(frame, { status: 500, ...eventStream }));
    expect(rest).toEqual({ text: frame, isCut: false });
  });
});

describe('a client that leaves', () => {
  test('while it waits is told of once, and no timer stays', async () => {
    const { answer, reader, clock, seen } = await told();
    await reader.read();
    const next = reader.read();
    await turn();
    await reader.cancel();
    expect(await next).toBeUndefined();
    await turn();
    expect(clock.waits()).toEqual([]);
    expect(seen).toEqual({ cancels: 1, reports: 1 });
    answer.reject(new GatewayError('client_closed_request'));
    await turn();
    expect(seen.cancels).toBe(1);
  });

  test('before its answer comes has that cancelled', async () => {
    const { answer, reader, seen } = await told();
    const inner = source();
    await reader.read();
    await reader.cancel();
    answer.resolve(new Response(inner.body, eventStream));
    await turn();
    expect(inner.seen.cancels).toBe(1);
    expect(seen.cancels).toBe(1);
  });

  test('while its answer streams cancels it, with a read open or none', async () => {
    for (const isReading of [true, false]) {
      const { answer, reader, seen } = await told();
      const inner = source();
      await reader.read();
      answer.resolve(new Response(inner.body, eventStream));
      const first = reader.read();
      inner.send('data: 1\n\n');
      await first;
      const next = isReading ? reader.read() : undefined;
      await turn();
      await reader.cancel();
      expect(await next).toBeUndefined();
      expect(inner.seen.cancels).toBe(1);
      expect(seen.cancels).toBe(0);
    }
  });

  test("while the engine's error is read gets no more of it", async () => {
    const { answer, reader, seen } = await told();
    const inner = source();
    await reader.read();
    answer.resolve(new Response(inner.body, { status: 500, headers: json }));
    const next = reader.read();
    await turn();
    await reader.cancel();
    inner.end();
    expect(await next).toBeUndefined();
    expect(seen.cancels).toBe(1);
  });
});

describe('on a connection', () => {
  /** A server that answers everything with feedback on what a test settles. */
  function served() {
    const clock = timers();
    const answer = Promise.withResolvers<Response>();
    const left = Promise.withResolvers<void>();
    const server = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      fetch() {
        const given = withFeedback({
          answer: answer.promise,
          afterMs: 0,
          everyMs: 1,
          report: () => ({ place: 1, waitSeconds: undefined, reason: '' }),
          family: 'openai',
          headers: {},
          onCancel: () => left.resolve(),
          setTimer: clock.setTimer,
        });
        clock.fire();
        return given;
      },
    });
    return { answer, left: left.promise, server, stop: () => server.stop(true) };
  }

  async function ask(port: number) {
    const client = await RawClient.open(`http://127.0.0.1:${port}`);
    client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await client.receives((text) => text.includes(': queued, place 1\n\n'));
    return client;
  }

  test('the first comment leaves at once, and a stream ends with its last chunk', async () => {
    const { answer, server, stop } = served();
    const client = await ask(server.port as number);
    answer.resolve(new Response('data: [DONE]\n\n', eventStream));
    const text = await client.receives((received) => received.endsWith('0\r\n\r\n'));
    expect(text).toContain('data: [DONE]\n\n');
    client.leave();
    await stop();
  });

  test('an answer that breaks off resets it, behind what had come', async () => {
    const { answer, server, stop } = served();
    const client = await ask(server.port as number);
    const inner = source();
    answer.resolve(new Response(inner.body, eventStream));
    await turn();
    inner.send('data: {"half":');
    inner.break();
    await client.receives((text) => text.includes('{"half":'));
    expect(await client.closed).toBe('reset');
    expect(client.received).not.toContain('0\r\n\r\n');
    await stop();
  });

  test('a client that leaves is noticed while it waits', async () => {
    const { left, server, stop } = served();
    const client = await ask(server.port as number);
    client.leave();
    await left;
    await stop();
  });
});

describe('the official clients', () => {
  const messages = [{ role: 'user' as const, content: 'x' }];
  const chunk =
    'data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n';

  /** Returns a `fetch` whose stream begins with a comment, after which the wait ends. */
  function fetchOf(settle: Response | GatewayError, family: Family) {
    return async () => {
      const stage = waiting({
        family,
        report() {
          if (settle instanceof Error) stage.answer.reject(settle);
          else stage.answer.resolve(settle);
          return { place: 2, waitSeconds: 4, reason: '' };
        },
      });
      stage.clock.fire();
      return await stage.given;
    };
  }

  const openai = (settle: Response | GatewayError, family: Family = 'openai') =>
    new OpenAI({ apiKey: 'x', maxRetries: 0, fetch: fetchOf(settle, family) });
  const anthropic = (settle: Response | GatewayError) =>
    new Anthropic({ apiKey: 'x', maxRetries: 0, fetch: fetchOf(settle, 'anthropic') });

  async function chat(client: OpenAI): Promise<string> {
    let text = '';
    const stream = await client.chat.completions.create({ model: 'm', messages, stream: true });
    for await (const { choices } of stream) text += choices[0]?.delta.content ?? '';
    return text;
  }

  async function message(client: Anthropic): Promise<string[]> {
    const types: string[] = [];
    const asked = { model: 'm', max_tokens: 1, messages, stream: true } as const;
    for await (const { type } of await client.messages.create(asked)) types.push(type);
    return types;
  }

  async function respond(client: OpenAI): Promise<string[]> {
    const types: string[] = [];
    const stream = await client.responses.create({ model: 'm', input: 'x', stream: true });
    for await (const { type } of stream) types.push(type);
    return types;
  }

  test('read past the comments', async () => {
    expect(await chat(openai(new Response(`${chunk}data: [DONE]\n\n`, eventStream)))).toBe('hi');
    const stop = 'event: message_stop\ndata: {"type":"message_stop"}\n\n';
    expect(await message(anthropic(new Response(stop, eventStream)))).toEqual(['message_stop']);
    const done = 'event: response.completed\ndata: {"type":"response.completed"}\n\n';
    const responses = openai(new Response(done, eventStream), 'responses');
    expect(await respond(responses)).toEqual(['response.completed']);
  });

  const ours = () => new GatewayError('queue_timeout', { message: 'too late' });
  const theirs = () =>
    new Response('{"error":{"code":400,"message":"too long","type":"t"}}', {
      status: 400,
      headers: json,
    });

  test("throw the gateway's error and the engine's", async () => {
    for (const [settle, text] of [
      [ours, 'too late'],
      [theirs, 'too long'],
    ] as const) {
      const chatted = await failureOf(chat(openai(settle())));
      expect(chatted).toBeInstanceOf(OpenAI.APIError);
      expect(String(chatted)).toContain(text);
      const responded = await failureOf(respond(openai(settle(), 'responses')));
      expect(responded).toBeInstanceOf(OpenAI.APIError);
      expect(String(responded)).toContain(text);
      const messaged = await failureOf(message(anthropic(settle())));
      expect(messaged).toBeInstanceOf(Anthropic.APIError);
      expect(String(messaged)).toContain(text);
    }
  });
});

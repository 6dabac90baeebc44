/**
 * The answer that is made of an engine's: its headers, whether it is read whole, and what its request is told of it.
 */
import { describe, expect, test } from 'bun:test';
import { answerClient, type AnswerOptions } from '../../../src/relay/answer.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import type { Outcome } from '../../../src/request/settlement.ts';
import type { GatewayError } from '../../../src/wire/errors.ts';
import { routes } from '../../../src/wire/routes.ts';
import { readerThat } from '../../support/runstage.ts';
import { caller } from '../../support/samples.ts';

/** A request that waited 20 ms and was sent at 100; now is 150. */
function start(more: Partial<AnswerOptions> = {}, path = '/v1/chat/completions') {
  const route = routes.find((each) => each.path === path);
  if (route === undefined) throw new Error(`no route ${path}`);
  const request = new LiveRequest('id-1', route, caller, 0);
  request.queued(80);
  const upstream = { id: 'engine', provenAt: 0 };
  request.sent({ upstream, model: 'm', units: 1, isPartial: false, maxTokens: Infinity }, 100);
  const settled: { outcome: Outcome; code: string | undefined }[] = [];
  const options: AnswerOptions = {
    request,
    reader: readerThat(),
    holdings: {
      recording: undefined,
      settle: (outcome: Outcome, error?: GatewayError) =>
        void settled.push({ outcome, code: error?.code }),
    },
    corsHeaders: {},
    moreHeaders: {},
    pick: undefined,
    isHead: false,
    hidesUsage: false,
    watchedUsage: undefined,
    now: () => 150,
    ...more,
  };
  return { request, options, settled };
}

const json = '{"usage":{"prompt_tokens":3,"completion_tokens":2}}';

/** An answer with a length, as engines send them. */
function engineAnswer(
  body: string | ReadableStream<Uint8Array> | null,
  headers: Record<string, string> = {},
  status = 200,
): Response {
  const length = typeof body === 'string' ? { 'content-length': `${Buffer.byteLength(body)}` } : {};
  const all = { 'content-type': 'application/json', ...length, ...headers };
  return new Response(body, { status, headers: all });
}

/** A body that is sent chunk by chunk and breaks at the end where it is told to. */
function chunked(parts: string[], failure?: Error): ReadableStream<Uint8Array> {
  return new ReadableStream({
    pull(controller) {
      const part = parts.shift();
      if (part !== undefined) controller.enqueue(Buffer.from(part));
      else if (failure === undefined) controller.close();
      else controller.error(failure);
    },
  });
}

const inChunks = { 'transfer-encoding': 'chunked' };
const reset = Object.assign(new Error('reset'), { code: 'ECONNRESET' });

describe('an answer with a length', () => {
  test('is read whole, and settled before its client has it', async () => {
    const { request, options, settled } = start();
    const answer = await answerClient(engineAnswer(json), options);
    expect(settled).toEqual([{ outcome: 'done', code: undefined }]);
    expect(await answer.text()).toBe(json);
    expect(request).toMatchObject({
      status: 200,
      tokens: { promptTokens: 3, completionTokens: 2 },
      bytesOut: json.length,
      firstByteAt: 150,
      phase: 'decode',
    });
  });

  test('that breaks fails before anything has gone out', async () => {
    const { options, settled } = start();
    const body = chunked(['{"half'], reset);
    const answer = answerClient(engineAnswer(body, { 'content-length': '100' }), options);
    expect(await Promise.resolve(answer).catch((thrown: unknown) => thrown)).toBe(reset);
    expect(settled).toEqual([]);
  });

  test('is a stream where it is large: its client reads it as it comes', async () => {
    const { options, settled } = start();
    const large = { 'content-length': `${2 * 1024 * 1024}` };
    const answer = await answerClient(engineAnswer(chunked(['a', 'b']), large), options);
    expect(settled).toEqual([]);
    expect(await answer.text()).toBe('ab');
    expect(settled).toEqual([{ outcome: 'done', code: undefined }]);
  });

  test('of several parts counts all of them', async () => {
    const { request, options } = start();
    const upstream = { id: 'engine', provenAt: 0 };
    request.sent({ upstream, model: 'm', units: 2, isPartial: true, maxTokens: Infinity }, 100);
    await answerClient(engineAnswer('[{"content":"a"},{"content":"b"}]'), options);
    expect(request.answers).toBe(1);
  });
});

describe('a failure inside an answer with status 200', () => {
  const failed = '{"error":{"message":"m","code":500}}';
  const failure = { isRefusal: false, code: '500' };

  test('is told of a whole answer in JSON, and changes no byte', async () => {
    const { request, options } = start();
    const answer = await answerClient(engineAnswer(failed), options);
    expect(request.failure).toEqual(failure);
    expect(await answer.text()).toBe(failed);
  });

  test.each([
    ['of another type', engineAnswer(failed, { 'content-type': 'text/plain' })],
    ['whose status tells it', engineAnswer(failed, {}, 500)],
  ])('is none in an answer %s', async (_, answer) => {
    const { request, options } = start();
    await answerClient(answer, options);
    expect(request.failure).toBeUndefined();
  });

  test('is told of a stream before it is settled, and changes no byte', async () => {
    const { request, options } = start();
    const seen: unknown[] = [];
    options.holdings.settle = () => void seen.push(request.failure);
    const text = `data: ${failed}\n\ndata: [DONE]\n\n`;
    const headers = { 'content-type': 'text/event-stream', ...inChunks };
    const answer = await answerClient(engineAnswer(chunked([text]), headers), options);
    expect(await answer.text()).toBe(text);
    expect(seen).toEqual([failure]);
  });
});

describe('an answer that only its closing ends', () => {
  test('is whole where its JSON is', async () => {
    const { options } = start();
    const answer = await answerClient(engineAnswer(chunked([json])), options);
    expect(await answer.text()).toBe(json);
  });

  test.each([
    ['JSON that is cut', chunked(['{"a":']), {}],
    ['a stream without a byte', chunked([]), { 'content-type': 'text/event-stream' }],
  ])('is a failure of the engine: %s', async (_, body, headers) => {
    const { options, settled } = start();
    const answer = Promise.resolve(answerClient(engineAnswer(body, headers), options));
    expect(await answer.catch((thrown: unknown) => thrown)).toMatchObject({
      code: 'upstream_reset',
    });
    expect(settled).toEqual([]);
  });
});

describe('a stream', () => {
  const events = { 'content-type': 'text/event-stream', ...inChunks };
  const frames = ['data: {"choices":[{"text":"a"}]}\n\n', 'data: [DONE]\n\n'];

  test('begins when its first byte is there, and is counted as it passes', async () => {
    const { request, options, settled } = start();
    const answer = await answerClient(engineAnswer(chunked([...frames]), events), options);
    expect(request).toMatchObject({ phase: 'decode', stream: true, firstByteAt: 150, frames: 0 });
    expect(answer.headers.get('x-accel-buffering')).toBe('no');
    expect(answer.headers.get('cache-control')).toBe('no-cache');
    expect(await answer.text()).toBe(frames.join(''));
    expect(request).toMatchObject({ frames: 2, bytesOut: frames.join('').length });
    expect(settled).toEqual([{ outcome: 'done', code: undefined }]);
  });

  test("keeps the engine's own word on caching", async () => {
    const { options } = start();
    const headers = { ...events, 'cache-control': 'no-transform' };
    const answer = await answerClient(engineAnswer(chunked([...frames]), headers), options);
    expect(answer.headers.get('cache-control')).toBe('no-transform');
  });

  test('that breaks ends with an event that says so', async () => {
    const { options, settled } = start();
    const body = chunked([frames[0] as string], reset);
    const answer = await answerClient(engineAnswer(body, events), options);
    expect(await answer.text()).toContain('"code":"upstream_reset"');
    expect(settled).toEqual([{ outcome: 'failed', code: 'upstream_reset' }]);
  });

  test('whose body is cancelled tells its reader, who decides', async () => {
    for (const [isMissed, expected] of [
      [true, [{ outcome: 'aborted', code: 'client_closed_request' }]],
      [false, []],
    ] as const) {
      const reader = readerThat(isMissed);
      const { request, options, settled } = start({ reader });
      request.readBy(reader);
      const answer = await answerClient(engineAnswer(chunked([...frames]), events), options);
      await answer.body?.cancel();
      expect(reader.heard).toEqual(['attend', 'left']);
      expect<unknown>(settled).toEqual(expected);
    }
  });
});

describe('without a body', () => {
  test.each([204, 304])('a %p is settled at once', (status) => {
    const { options, settled } = start();
    const answer = answerClient(new Response(null, { status }), options);
    expect(answer).toBeInstanceOf(Response);
    expect((answer as Response).status).toBe(status);
    expect(settled).toEqual([{ outcome: 'done', code: undefined }]);
  });

  test('only the headers of an answer go to who asks for them', async () => {
    const { request, options } = start({ isHead: true });
    await answerClient(engineAnswer(json), options);
    expect(request.bytesOut).toBe(0);
  });
});

test.each([
  [401, 'upstream_auth_failed'],
  [403, 'upstream_auth_failed'],
])(
  'the engine refuses the key of the gateway (%p): its client did nothing wrong',
  (status, code) => {
    const { options, settled } = start();
    expect(() => answerClient(engineAnswer('{}', {}, status), options)).toThrow(
      expect.objectContaining({ code }),
    );
    expect(settled).toEqual([]);
  },
);

describe('the headers', () => {
  async function headersOf(
    more: Partial<AnswerOptions>,
    headers: Record<string, string> = {},
    path?: string,
  ): Promise<Headers> {
    const { options } = start(more, path);
    return (await answerClient(engineAnswer(json, headers), options)).headers;
  }

  test("are the engine's, and the gateway's own", async () => {
    const headers = await headersOf({ moreHeaders: { 'x-more': '1' } }, { 'x-engine': 'yes' });
    expect(Object.fromEntries(headers)).toEqual({
      'content-type': 'application/json',
      'x-engine': 'yes',
      'x-more': '1',
      'x-request-id': 'id-1',
      'x-gateway-queue-ms': '20',
    });
  });

  test('about origins join what varies already', async () => {
    const corsHeaders = { 'access-control-allow-origin': 'https://a', vary: 'Origin' };
    const headers = await headersOf({ corsHeaders }, { vary: 'Accept' });
    expect(headers.get('vary')).toBe('Accept, Origin');
    expect(headers.get('access-control-allow-origin')).toBe('https://a');
  });

  test("have Anthropic's id of the request where its clients look for one", async () => {
    const path = '/v1/messages';
    expect((await headersOf({}, {}, path)).get('request-id')).toBe('id-1');
    expect((await headersOf({}, { 'request-id': 'own' }, path)).get('request-id')).toBe('own');
  });

  test('of a list that was read do not call it encoded', async () => {
    const pick = (list: Uint8Array) => list.subarray(0, 1);
    const { options } = start({ pick });
    const answer = await answerClient(engineAnswer(json, { 'content-encoding': 'gzip' }), options);
    expect(answer.headers.has('content-encoding')).toBe(false);
    expect(await answer.text()).toBe('{');
  });
});

describe('JSON that ends by the closing of its connection', () => {
  const large = `{"a":"${'x'.repeat(1_100_000)}"}`;
  /** One without a length, as a closing connection gives it. */
  const closing = (parts: string[]) =>
    new Response(chunked(parts), { headers: { 'content-type': 'application/json' } });

  test('is passed on when it is large, and read to its end by its brackets', async () => {
    const { options, settled } = start();
    const answer = await answerClient(
      closing([large.slice(0, 1_050_000), large.slice(1_050_000)]),
      options,
    );
    expect(settled).toEqual([]);
    expect(await answer.text()).toBe(large);
    expect(settled).toEqual([{ outcome: 'done', code: undefined }]);
  });

  test('is reset when it is large and cut', async () => {
    const { options, settled } = start();
    const answer = await answerClient(closing([large.slice(0, -1)]), options);
    expect(await answer.text().catch(() => 'reset')).toBe('reset');
    expect(settled).toEqual([{ outcome: 'failed', code: 'upstream_reset' }]);
  });

  test('is a 502 when it is small and cut', async () => {
    const { options } = start();
    const failed = Promise.resolve(answerClient(closing(['{"a":']), options));
    expect(await failed.catch((error: unknown) => error)).toMatchObject({ code: 'upstream_reset' });
  });
});

test('a list of models is read no further than any list is long', async () => {
  let pulls = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      pulls++;
      controller.enqueue(Buffer.alloc(1024 * 1024, ' '));
    },
  });
  const { options } = start({ pick: (list) => list }, '/v1/models');
  const answer = Promise.resolve(answerClient(engineAnswer(endless), options));
  expect(await answer.catch((error: unknown) => error)).toMatchObject({
    code: 'upstream_malformed',
  });
  expect(pulls).toBeLessThan(9);
});

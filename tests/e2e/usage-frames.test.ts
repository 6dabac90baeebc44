/**
 * The gateway asks engines that count the tokens of a stream only on request, and a client that did not ask does not
 * see the added frame. Every other byte stays the same, and a setting turns it off. The first stream of an engine is
 * sent unchanged, to find out whether the engine counts unasked.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { ask } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import {
  chunk,
  lastChunk,
  plain,
  startUpstream,
  streamHead,
  type Upstream,
  type Wire,
} from '../support/rawengine.ts';

const token = 'data: {"id":"1","choices":[{"index":0,"delta":{"content":"Hé"}}],"usage":null}\n\n';
const other = 'data: {"id":"1","choices":[],"prompt_filter_results":[]}\n\n';
const usage =
  'data: {"id":"1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}\n\n';
const done = 'data: [DONE]\n\n';

const messages = '"messages":[{"role":"user","content":"Hi"}]';

let engine: Upstream;
const gateways: Record<string, Gateway> = {};
/** How the stream is cut into chunks. */
let pieceBytes = 1_000;

beforeAll(async () => {
  engine = await startUpstream(({ body }, wire) => {
    const asked: unknown = JSON.parse(String(body)).stream_options?.include_usage;
    const bytes = Buffer.from(token + other + (asked === true ? usage : '') + done);
    wire.write(streamHead);
    for (let at = 0; at < bytes.length; at += pieceBytes) {
      wire.write(chunk(bytes.subarray(at, at + pieceBytes)));
    }
    wire.write(lastChunk);
  });
  const env = { LLM_SERVER_URL: engine.url };
  gateways['openai'] = await startGateway({ ...env, LLM_SERVER_KIND: 'openai' });
  gateways['llama.cpp'] = await startGateway({ ...env, LLM_SERVER_KIND: 'llama.cpp' });
  // The first stream is not counted.
  await stream(`{"stream":true,${messages}}`);
  gateways['off'] = await startGateway({
    ...env,
    LLM_SERVER_KIND: 'openai',
    INJECT_USAGE: 'off',
  });
});

afterAll(async () => {
  for (const gateway of Object.values(gateways)) await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

async function stream(body: string, name = 'openai', path = '/v1/chat/completions') {
  const gateway = gateways[name] as Gateway;
  const requestId = crypto.randomUUID();
  const headers = { 'x-request-id': requestId };
  const exchange = await ask(gateway.url, { path, body, headers });
  const line = await gateway.logged(
    (each) => each['requestId'] === requestId && each['msg'] === 'request ended',
  );
  return { text: String(exchange.body), sent: String(engine.requests.at(-1)?.body), line };
}

describe('a stream of an engine that counts on demand', () => {
  test.each([1_000, 7, 1])(
    'is counted, in chunks of %d bytes, and looks as before',
    async (size) => {
      pieceBytes = size;
      const { text, line } = await stream(`{"stream":true,${messages}}`);
      pieceBytes = 1_000;
      expect(text).toBe(token + other + done);
      expect(line).toMatchObject({ promptTokens: 7, completionTokens: 2, tokensAre: 'exact' });
    },
  );

  test('gets a request with one more member; the other bytes are those of the client', async () => {
    const { sent } = await stream(`{ "stream" : true, "temperature":1.0,${messages}}`);
    expect(sent).toBe(
      `{"stream_options":{"include_usage":true}, "stream" : true, "temperature":1.0,${messages}}`,
    );
  });

  test('keeps the other options of the stream', async () => {
    const options = '{"include_usage":false,"continuous_usage_stats":true}';
    const { sent, text } = await stream(`{"stream_options":${options},"stream":true,${messages}}`);
    const asked = '{"include_usage":true,"continuous_usage_stats":true}';
    expect(sent).toBe(`{"stream_options":${asked},"stream":true,${messages}}`);
    expect(text).not.toContain('total_tokens');
  });

  test('passes the frame on to a client that asked for it, and leaves the request as it was', async () => {
    const body = `{"stream_options":{"include_usage":true},"stream":true,${messages}}`;
    const { sent, text } = await stream(body);
    expect(sent).toBe(body);
    expect(text).toBe(token + other + usage + done);
  });

  test('is asked on /v1/completions too, and on no other route', async () => {
    const completion = await stream('{"stream":true,"prompt":"Hi"}', 'openai', '/v1/completions');
    expect(completion.sent).toContain('include_usage');
    const message = await stream(`{"stream":true,${messages}}`, 'openai', '/v1/messages');
    expect(message.sent).toBe(`{"stream":true,${messages}}`);
  });
});

test.each(['llama.cpp', 'off'])('nothing is asked where %s', async (name) => {
  const body = `{"stream":true,${messages}}`;
  const { sent, text } = await stream(body, name);
  expect(sent).toBe(body);
  expect(text).toBe(token + other + done);
});

test('a request without a stream stays as it is', async () => {
  const { sent } = await stream(`{${messages}}`);
  expect(sent).toBe(`{${messages}}`);
});

/** Answers streams by itself, and returns what the client got and whether the engine was asked to count. */
async function stageOf(answer: (isAsked: boolean, wire: Wire) => void, refusal?: string) {
  const stack = new AsyncDisposableStack();
  const own = stack.use(
    await startUpstream(({ body }, wire) => {
      const isAsked = String(body).includes('include_usage');
      if (isAsked && refusal !== undefined) return wire.write(plain(refusal, {}, 422));
      answer(isAsked, wire);
    }),
  );
  const env = { LLM_SERVER_URL: own.url, LLM_SERVER_KIND: 'openai' };
  const gateway = stack.use(await startGateway(env));
  const ask1 = async (content = 'Hi') => {
    const before = own.requests.length;
    const body = JSON.stringify({ stream: true, messages: [{ role: 'user', content }] });
    const { status, text } = await ask(gateway.url, { path: '/v1/chat/completions', body });
    const asked = own.requests.slice(before).map((each) => String(each.body).includes('_usage"'));
    return { status, text, asked };
  };
  return { ask: ask1, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

function whole(text: string) {
  return (_: boolean, wire: Wire) => {
    wire.write(streamHead);
    wire.write(chunk(Buffer.from(text)));
    wire.write(lastChunk);
  };
}

test('an engine that counts unasked is noticed, and its frames pass as they come', async () => {
  await using stage = await stageOf(whole(token + usage + done));
  const seen = { status: 200, text: token + usage + done, asked: [false] };
  expect(await stage.ask()).toEqual(seen);
  expect(await stage.ask()).toEqual(seen);
});

test('an engine that refuses to be asked is asked once without it, which is remembered', async () => {
  const refusal = '{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"]}]}';
  await using stage = await stageOf(whole(token + done), refusal);
  const text = token + done;
  expect(await stage.ask()).toEqual({ status: 200, text, asked: [false] });
  expect(await stage.ask()).toEqual({ status: 200, text, asked: [true, false] });
  expect(await stage.ask()).toEqual({ status: 200, text, asked: [false] });
});

test('a refusal for something else reaches the client, and nothing is remembered', async () => {
  const refusal = '{"error":"no such thing"}';
  await using stage = await stageOf(whole(token + done), refusal);
  await stage.ask();
  for (let i = 0; i < 2; i++) {
    expect(await stage.ask()).toEqual({ status: 422, text: refusal, asked: [true] });
  }
});

test('a refusal that repeats a prompt with the word does not turn the counting off', async () => {
  const refusal = '{"error":"bad prompt: stream_options"}';
  let isBad = false;
  await using stage = await stageOf((_, wire) => {
    if (isBad) wire.write(plain(refusal, {}, 400));
    else whole(token + done)(false, wire);
  });
  await stage.ask();
  isBad = true;
  expect(await stage.ask('stream_options')).toMatchObject({ status: 400, asked: [true, false] });
  isBad = false;
  expect(await stage.ask()).toMatchObject({ status: 200, asked: [true] });
});

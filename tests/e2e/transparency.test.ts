/**
 * The client gets what the engine sends, byte for byte, and the engine gets what the client sends; only those headers
 * change that the documentation names. Tested on every route, streamed and not, with an engine made of raw bytes.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { pathAt, routes, searchOf, type Route } from '../../src/wire/routes.ts';
import { ask, type Asked, type RawClient } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { transcripts } from '../support/transcripts.ts';
import {
  chunk,
  headOf,
  lastChunk,
  plain,
  startUpstream,
  streamHead,
  type Received,
  type Upstream,
} from '../support/rawengine.ts';

setDefaultTimeout(30_000);

/** What a rewriting gateway would change: unknown and double keys, their order, numbers, escapes, white space. */
const oddJson = (more: string) =>
  `\r\n{ "zeta":[ ],"prompt" : "Привет 👋🏽 \\u00e9\\/\\ud83d",${more}\n\t"temperature":1.0, "seed":12345678901234567890,` +
  `"tiny":1E-7 ,"minus":-0,"alpha":{"b":1,"a":2},"twice":1,"twice":2,"model":null }\n `;
const oddAnswer = Buffer.from(
  '{"id" : "x","n":1.0,"big":12345678901234567890,\r\n"text":"é\\u00e9 👋🏽\\ud83d","twice":1,"twice":2 }\r\n',
);
const everyByte = Buffer.from(Array.from({ length: 256 * 300 }, (_, i) => i % 256));
const form = Buffer.concat([
  Buffer.from('--b\r\nContent-Disposition: form-data; name="file"; filename="ä.wav"\r\n\r\n'),
  everyByte,
  Buffer.from('\r\n--b\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n--b--\r\n'),
]);
const emoji =
  'data: {"choices":[{"text":"👨‍👩‍👧‍👦 日本語 ё"}]}\r\n\r\n: note\r\n\r\nid: 7\r\ndata: [DONE]\r\n\r\n';

let answer: (request: Received) => readonly (string | Uint8Array)[] = () => [];
/** Whether the engine ends the connection behind its answer. */
let closes = false;
let engine: Upstream;
let gateway: Gateway;

beforeAll(async () => {
  engine = await startUpstream((request, wire) => {
    for (const bytes of answer(request)) wire.write(bytes);
    if (closes) wire.end();
  });
  gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    LLM_SERVER_KIND: 'openai',
    INJECT_USAGE: 'off',
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

/** Sends one request to an engine that answers with these bytes; returns both sides of it. */
async function relayed(
  asked: Asked,
  bytes: readonly (string | Uint8Array)[],
  thenCloses = false,
): Promise<{ exchange: RawClient; request: Received }> {
  answer = () => bytes;
  closes = thenCloses;
  const exchange = await ask(gateway.url, asked);
  return { exchange, request: engine.requests.at(-1) as Received };
}

function bodyFor(route: Route, isStream: boolean): Asked {
  const path = `${route.path}?n=1.0&q=%D0%BF%20a+b&q=`;
  const { method } = route;
  if (route.body === 'none') return { method, path };
  if (route.body === 'json') return { path, body: oddJson(isStream ? '"stream" : true,' : '') };
  return { path, body: form, headers: { 'Content-Type': 'multipart/form-data; boundary="b"' } };
}

describe('bodies, on every route', () => {
  // One model is found in the list, and the lists of several Ollamas are made one: tests/e2e/ollama.
  const isMade = ({ method, family }: Route) => method === 'GET' && family === 'ollama';
  for (const route of routes.filter((each) => !each.path.endsWith('/*') && !isMade(each))) {
    test(`${route.method} ${route.path}`, async () => {
      const asked = bodyFor(route, false);
      const { exchange, request } = await relayed(asked, [plain(oddAnswer)]);
      expect([exchange.status, exchange.ending]).toEqual([200, 'whole']);
      expect(exchange.body).toEqual(oddAnswer);
      expect(exchange.header('content-length')).toBe(String(oddAnswer.length));
      const path = pathAt(route, 'openai') + searchOf(asked.path as string);
      expect([request.method, request.path]).toEqual([route.method, path]);
      expect(request.body).toEqual(Buffer.from((asked.body ?? '') as string));
      if (route.body === 'none') return;
      expect(request.headers['content-length']).toBe(String(request.body.length));
      expect(request.headers['transfer-encoding']).toBeUndefined();

      const streamed = bodyFor(route, true);
      const pieces = [...Buffer.from(emoji)].map((byte) => chunk([byte] as unknown as Uint8Array));
      const { exchange: stream, request: second } = await relayed(streamed, [
        streamHead,
        ...pieces,
        lastChunk,
      ]);
      expect([stream.status, stream.ending]).toEqual([200, 'whole']);
      expect(stream.text).toBe(emoji);
      expect(second.body).toEqual(Buffer.from(streamed.body as string));
    });
  }

  test('GET /v1/models/{id} returns the bytes of the model from the list', async () => {
    const model = '{"id":"org/Modèle:7b" ,"n":1.0, "big":12345678901234567890}';
    const list = `{"object":"list","data":[ {"id":"other"} ,\n${model}]}`;
    const path = `/v1/models/${encodeURIComponent('org/Modèle:7b')}`;
    for (const asked of [path, path.replace('%2F', '/')]) {
      const { exchange, request } = await relayed({ path: asked }, [plain(list)]);
      expect(exchange.text).toBe(model);
      expect(request.path).toBe('/v1/models');
    }
  });
});

test("an id in the body that some engines take for unique gets the request's suffix, and no other byte changes", async () => {
  const sent = '{"rid" : "mine", "prompt":1.0 , "rid":"mine"}';
  const seen = new Set<string>();
  for (let i = 0; i < 2; i++) {
    const { request } = await relayed({ body: sent, path: '/v1/completions' }, [plain('{}')]);
    const { body, headers } = request;
    const suffix = String(headers['x-request-id']).slice(-8);
    expect(body.toString()).toBe(sent.replaceAll('mine', `mine-${suffix}`));
    seen.add(suffix);
  }
  expect(seen.size).toBe(2);
});

describe('answers', () => {
  const asked: Asked = { body: { prompt: 'x' } };
  const head = (headers: Record<string, string>) => headOf({ 'X-Engine': 'yes', ...headers });
  const chunked = { 'Transfer-Encoding': 'chunked' };

  for (const { name, frames } of transcripts) {
    test(`an event stream: ${name}`, async () => {
      const bytes = Buffer.from(frames.join(''));
      const pieces = frames.map((frame) => chunk(frame));
      const { exchange } = await relayed(asked, [streamHead, ...pieces, lastChunk]);
      expect(exchange.ending).toBe('whole');
      expect(exchange.body).toEqual(bytes);
    });
  }

  test('an event stream is marked as not to be buffered or cached, unless the engine says how to cache it', async () => {
    const { exchange } = await relayed(asked, [streamHead, chunk(emoji), lastChunk]);
    expect(exchange.header('content-type')).toBe('text/event-stream');
    expect(exchange.header('x-accel-buffering')).toBe('no');
    expect(exchange.header('cache-control')).toBe('no-cache');
    const own = { 'Content-Type': 'text/event-stream; charset=utf-8', 'Cache-Control': 'no-store' };
    const { exchange: other } = await relayed(asked, [
      head({ ...own, ...chunked }),
      chunk(emoji),
      lastChunk,
    ]);
    expect(other.header('content-type')).toBe('text/event-stream; charset=utf-8');
    expect(other.header('cache-control')).toBe('no-store');
  });

  test('gzip passes as it is, plain and streamed', async () => {
    const packed = gzipSync(oddAnswer);
    const gzip = { 'Content-Encoding': 'gzip' };
    const { exchange } = await relayed(asked, [plain(packed, gzip)]);
    expect(exchange.header('content-encoding')).toBe('gzip');
    expect(exchange.header('content-length')).toBe(String(packed.length));
    expect(exchange.body).toEqual(packed);

    const type = { 'Content-Type': 'text/event-stream' };
    const stream = gzipSync(emoji);
    const halves = [chunk(stream.subarray(0, 30)), chunk(stream.subarray(30))];
    const streamed = await relayed(asked, [
      head({ ...type, ...gzip, ...chunked }),
      ...halves,
      lastChunk,
    ]);
    expect(streamed.exchange.header('content-encoding')).toBe('gzip');
    expect(gunzipSync(streamed.exchange.body).toString()).toBe(emoji);
  });

  test('gzip passes where the connection ends the body', async () => {
    const packed = gzipSync(oddAnswer);
    const headers = { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' };
    const { exchange } = await relayed(asked, [head(headers), packed], true);
    expect(exchange.status).toBe(200);
    expect(exchange.body).toEqual(packed);
  });

  const big = Buffer.concat(Array.from({ length: 30 }, () => everyByte));
  const audio = { 'Content-Type': 'audio/mpeg' };
  const framings = [
    ['with a length', false, (body: Buffer) => [plain(body, audio)]],
    [
      'in chunks',
      false,
      (body: Buffer) => [head({ ...audio, ...chunked }), chunk(body), lastChunk],
    ],
    ['up to the end of the connection', true, (body: Buffer) => [head(audio), body]],
  ] as const;
  for (const [name, thenCloses, bytesOf] of framings) {
    test(`binary bodies ${name}, of 77 KB and of 2.3 MB`, async () => {
      for (const body of [everyByte, big]) {
        const { exchange } = await relayed(asked, bytesOf(body), thenCloses);
        expect(exchange.ending).toBe('whole');
        expect(exchange.body.equals(body)).toBe(true);
        expect(exchange.header('content-type')).toBe('audio/mpeg');
      }
    });
  }

  test('a large JSON body, with a length and up to the end of the connection', async () => {
    const body = Buffer.from(`{"text":"${'ё'.repeat(800_000)}"}`);
    const type = { 'Content-Type': 'application/json' };
    const answers = [[plain(body)], [head(type), body]];
    for (const [i, bytes] of answers.entries()) {
      const { exchange } = await relayed(asked, bytes, i === 1);
      expect(exchange.ending).toBe('whole');
      expect(exchange.body.equals(body)).toBe(true);
    }
  });

  test('statuses pass with their bodies', async () => {
    const statuses = [200, 201, 202, 206, 400, 402, 404, 405, 408, 409, 413, 418];
    for (const status of [...statuses, 422, 429, 499, 500, 501, 502, 503, 504, 529, 599]) {
      const more = { 'Retry-After': '7', Location: '/elsewhere' };
      const { exchange } = await relayed(asked, [plain(oddAnswer, more, status)]);
      expect(exchange.status).toBe(status);
      expect(exchange.body).toEqual(oddAnswer);
      expect(exchange.header('retry-after')).toBe('7');
      expect(exchange.header('location')).toBe('/elsewhere');
      expect(exchange.header('x-gateway-error')).toBeUndefined();
    }
  });

  test('204 and 304 have no body', async () => {
    for (const status of [204, 304]) {
      const { exchange } = await relayed(asked, [headOf({ ETag: '"a"' }, status)]);
      expect([exchange.status, exchange.length, exchange.ending]).toEqual([status, 0, 'whole']);
      expect(exchange.header('etag')).toBe('"a"');
    }
  });

  test('interim answers are no answer', async () => {
    const early = headOf({ Link: '</a>' }, 103);
    const { exchange } = await relayed(asked, [headOf({}, 100), early, plain(oddAnswer)]);
    expect(exchange.status).toBe(200);
    expect(exchange.body).toEqual(oddAnswer);
  });
});

describe('headers', () => {
  test('of the request pass, except those of the connection, credentials, and those that would mislead the engine', async () => {
    const { request } = await relayed(
      {
        body: { prompt: 'x' },
        headers: {
          'User-Agent': 'curl/8',
          Accept: 'text/event-stream',
          'Content-Type': 'application/json; charset=utf-8',
          'X-Custom': 'Ünïcode; a="b", c',
          Traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
          'Accept-Encoding': 'gzip, br, zstd',
          Connection: 'keep-alive, X-Hop-One , x-hop-two',
          'X-Hop-One': '1',
          'X-Hop-Two': '2',
          'Keep-Alive': 'timeout=5',
          TE: 'trailers',
          'Proxy-Authorization': 'Basic x',
          'Proxy-Connection': 'keep-alive',
          'X-Api-Key': 'sk-test-key-1',
          Cookie: 'a=b',
          Origin: 'http://page.example',
          'X-Conversation-Id': 'c1',
          'X-Request-Id': 'mine-1',
        },
      },
      [plain('{}')],
    );
    const { headers } = request;
    expect(headers['user-agent']).toBe('curl/8');
    expect(headers['accept']).toBe('text/event-stream');
    expect(headers['content-type']).toBe('application/json; charset=utf-8');
    expect(Buffer.from(String(headers['x-custom']), 'latin1').toString()).toBe('Ünïcode; a="b", c');
    expect(headers['traceparent']).toBe('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01');
    expect(headers['accept-encoding']).toBe('identity');
    expect(headers['x-request-id']).toMatch(/^mine-1-[0-9a-f]{8}$/);
    expect(headers['host']).toBe(`127.0.0.1:${engine.port}`);
    expect(Object.keys(headers).sort()).toEqual([
      'accept',
      'accept-encoding',
      'connection',
      'content-length',
      'content-type',
      'host',
      'traceparent',
      'user-agent',
      'x-custom',
      'x-request-id',
    ]);
  });

  test('of the answer pass, except those of the connection and of CORS', async () => {
    const { exchange } = await relayed(
      { body: { prompt: 'x' }, headers: { 'X-Request-Id': 'r1' } },
      [
        plain('{}', {
          Server: 'engine/1',
          Date: 'Tue, 24 Nov 2020 06:43:25 GMT',
          ETag: 'W/"1"',
          Vary: 'Accept',
          'Openai-Processing-Ms': '12',
          'X-Ratelimit-Remaining-Requests': '9',
          'X-Request-Id': 'of-the-engine',
          Connection: 'keep-alive, X-Hop',
          'X-Hop': '1',
          'Keep-Alive': 'timeout=5',
          Trailer: 'X-After',
          'Proxy-Authenticate': 'Basic',
          'Access-Control-Allow-Origin': 'http://page.example',
          'Access-Control-Allow-Credentials': 'true',
        }),
      ],
    );
    const names = exchange.headers.map(([name]) => name).sort();
    expect(names).toEqual([
      'content-length',
      'content-type',
      'date',
      'etag',
      'openai-processing-ms',
      'server',
      'vary',
      'x-gateway-queue-ms',
      'x-ratelimit-remaining-requests',
      'x-request-id',
    ]);
    expect(exchange.header('server')).toBe('engine/1');
    expect(exchange.header('date')).toBe('Tue, 24 Nov 2020 06:43:25 GMT');
    expect(exchange.header('x-request-id')).toBe('r1');
  });

  test('two cookies of an answer stay two', async () => {
    const cookies = {
      'Set-Cookie': 'a=1; Path=/\r\nSet-Cookie: b=2; Expires=Tue, 24 Nov 2026 06:00:00 GMT',
    };
    const { exchange } = await relayed({ body: { prompt: 'x' } }, [plain('{}', cookies)]);
    expect(exchange.header('set-cookie')).toBe(
      'a=1; Path=/ | b=2; Expires=Tue, 24 Nov 2026 06:00:00 GMT',
    );
  });
});

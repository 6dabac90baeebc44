/**
 * The body of a request: bounded, whole or nothing, and refused only if no engine could answer it. Everything else
 * reaches the engine byte for byte, and the engine judges it.
 */
import { afterAll, beforeEach, describe, expect, test } from 'bun:test';
import * as zlib from 'node:zlib';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { key, startGateway } from '../support/gatewayprocess.ts';
import { RawClient } from '../support/rawclient.ts';

const maxBytes = 1000;
const engine = startDemoEngine();
const gateway = await startGateway({ LLM_SERVER_URL: engine.url, LOG_LEVEL: 'DEBUG' });
const small = await startGateway({
  LLM_SERVER_URL: engine.url,
  LOG_LEVEL: 'DEBUG',
  MAX_BODY_BYTES: String(maxBytes),
  REQUEST_BODY_TIMEOUT_MS: '300',
});
await gateway.logged((line) => 'kind' in line);
await small.logged((line) => 'kind' in line);

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await small[Symbol.asyncDispose]();
  await engine.stop();
});

beforeEach(() => {
  engine.requests.length = 0;
});

const withKey = { authorization: `Bearer ${key}` };

function post(
  url: string,
  body: NonNullable<RequestInit['body']>,
  headers: Record<string, string> = {},
): Promise<Response> {
  return fetch(url, { method: 'POST', headers: { ...withKey, ...headers }, body });
}

/** Returns the head of a POST on a raw connection. */
function headOf(headers: string, path = '/v1/completions'): string {
  return `POST ${path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer ${key}\r\n${headers}\r\n`;
}

const getHealth = 'GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n';

function chunkOf(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

/** Returns a body of exactly so many bytes that the engine answers. */
function bodyOf(bytes: number): string {
  const start = '{"prompt":"a","max_tokens":1,"image":"';
  return `${start}${'A'.repeat(bytes - start.length - 2)}"}`;
}

function inPieces(text: string): ReadableStream<Uint8Array> {
  const bytes = Buffer.from(text);
  let offset = 0;
  return new ReadableStream({
    pull(controller) {
      controller.enqueue(bytes.subarray(offset, (offset += 300_000)));
      if (offset >= bytes.length) controller.close();
    },
  });
}

describe('a body of 20 MB', () => {
  const body = bodyOf(20 * 1024 * 1024);
  const digest = Bun.hash(body);

  test.each([
    ['with its length', body],
    ['in chunks', inPieces(body)],
  ])('reaches the engine, sent %s', async (_how, sent) => {
    const answer = await post(`${gateway.url}/v1/completions`, sent);
    expect(answer.status).toBe(200);
    const received = engine.requests.at(-1);
    expect(Bun.hash(received?.body ?? '')).toBe(digest);
    // One form for the engine, however the client sent it.
    expect(received?.headers['content-length']).toBe(String(body.length));
    expect(received?.headers).not.toContainKey('transfer-encoding');
  });
});

describe('the bound', () => {
  const chunked = `Transfer-Encoding: chunked\r\n`;

  test('lets a body of just that size pass, with its length and in chunks', async () => {
    const body = bodyOf(maxBytes);
    expect((await post(`${small.url}/v1/completions`, body)).status).toBe(200);
    using connection = await RawClient.open(small.url);
    const { status } = await connection.ask(`${headOf(chunked)}${chunkOf(body)}0\r\n\r\n`);
    expect(status).toBe(200);
    expect(engine.requests.map((request) => request.body.length)).toEqual([maxBytes, maxBytes]);
  });

  test.each([
    ['/v1/completions', { error: { type: 'invalid_request_error', code: 'body_too_large' } }],
    ['/v1/responses', { error: { type: 'invalid_request_error', code: 'body_too_large' } }],
    ['/v1/messages', { type: 'error', error: { type: 'invalid_request_error' } }],
    ['/v1/audio/transcriptions', { error: { code: 'body_too_large' } }],
  ])('refuses one byte more, in the envelope of %s', async (path, envelope) => {
    const answer = await post(small.url + path, bodyOf(maxBytes + 1));
    expect(answer.status).toBe(413);
    expect(answer.headers.get('x-gateway-error')).toBe('body_too_large');
    expect(await answer.json()).toMatchObject(envelope);
    expect(engine.requests).toEqual([]);
  });

  test('refuses one byte more in chunks', async () => {
    using connection = await RawClient.open(small.url);
    const body = bodyOf(maxBytes + 1);
    const answer = await connection.ask(`${headOf(chunked)}${chunkOf(body)}0\r\n\r\n`);
    expect(answer.status).toBe(413);
    expect(JSON.parse(answer.body.toString())).toMatchObject({ error: { code: 'body_too_large' } });
    expect(engine.requests).toEqual([]);
  });

  test('refuses a declared length before any of the body has come', async () => {
    using connection = await RawClient.open(small.url);
    const answer = await connection.ask(headOf(`Content-Length: ${maxBytes + 1}\r\n`));
    expect(answer.status).toBe(413);
  });

  test('refuses chunks as soon as they are too many, and not at their end', async () => {
    using connection = await RawClient.open(small.url);
    const answer = await connection.ask(headOf(chunked) + chunkOf('x'.repeat(maxBytes + 1)));
    expect(answer.status).toBe(413);
  });

  test.each([10_000_000, 1_000_000_000, 1e15])(
    'refuses a declared length of %d with its envelope too',
    async (length) => {
      using connection = await RawClient.open(small.url);
      const answer = await connection.ask(headOf(`Content-Length: ${length}\r\n`));
      expect(answer.status).toBe(413);
      expect(answer.header('x-gateway-error')).toBe('body_too_large');
      expect(JSON.parse(answer.body.toString())).toMatchObject({
        error: { code: 'body_too_large' },
      });
    },
  );

  test('refuses chunks without end with its envelope too', async () => {
    using connection = await RawClient.open(small.url);
    await connection.write(headOf(chunked));
    for (let sent = 0; sent < 60; sent++) await connection.write(chunkOf('x'.repeat(100_000)));
    const answer = await connection.next();
    expect(answer.status).toBe(413);
    expect(answer.header('x-gateway-error')).toBe('body_too_large');
  });

  const smuggled = `GET /smuggled HTTP/1.1\r\nHost: gateway\r\n\r\n`;
  const rest = smuggled.padEnd(maxBytes * 2, 'x');
  test.each([
    ['with its length', `Content-Length: ${rest.length}\r\n`, rest],
    ['in chunks', chunked, `${chunkOf(rest)}0\r\n\r\n`],
  ])('leaves the connection in order after a body sent %s', async (_how, header, body) => {
    using connection = await RawClient.open(small.url);
    expect((await connection.ask(headOf(header) + body)).status).toBe(413);
    // What was refused is never read as a request.
    const next = await connection.ask(getHealth);
    expect(next.status).toBe(200);
    expect(JSON.parse(next.body.toString())).toMatchObject({ status: 'ok', inFlight: 0 });
    expect(engine.requests).toEqual([]);
  });
});

describe('a body that is not whole', () => {
  const half = '{"prompt":"a",';

  test.each([
    ['with its length', 'Content-Length: 100\r\n', half],
    ['in chunks', 'Transfer-Encoding: chunked\r\n', chunkOf(half)],
    [
      'in chunks, whole as JSON but for the last',
      'Transfer-Encoding: chunked\r\n',
      chunkOf('{"prompt":"a"}'),
    ],
  ])('never reaches the engine, sent %s', async (how, header, body) => {
    const id = `half-${Bun.hash(how)}`;
    const ofThis = (msg: string) => (line: Record<string, unknown>) =>
      line['requestId'] === id && line['msg'] === msg;
    {
      using connection = await RawClient.open(gateway.url);
      await connection.write(headOf(`${header}X-Request-Id: ${id}\r\n`) + body);
      await gateway.logged(ofThis('request started'));
    }
    const line = await gateway.logged(ofThis('request ended'));
    expect(line).toMatchObject({ outcome: 'aborted', status: 499, code: 'client_closed_request' });
    expect(engine.requests).toEqual([]);
  });

  test.each([
    ['/v1/completions', { error: { type: 'invalid_request_error', code: 'request_body_timeout' } }],
    ['/v1/messages', { type: 'error', error: { type: 'invalid_request_error' } }],
  ])('and stalls is 408 on %s', async (path, envelope) => {
    using connection = await RawClient.open(small.url);
    const answer = await connection.ask(headOf('Content-Length: 100\r\n', path) + half);
    expect(answer.status).toBe(408);
    expect(answer.header('x-gateway-error')).toBe('request_body_timeout');
    expect(JSON.parse(answer.body.toString())).toMatchObject(envelope);
    expect(engine.requests).toEqual([]);
  });

  test('and stalls in chunks is 408', async () => {
    using connection = await RawClient.open(small.url);
    const answer = await connection.ask(headOf('Transfer-Encoding: chunked\r\n') + chunkOf(half));
    expect(answer.status).toBe(408);
    expect(engine.requests).toEqual([]);
  });

  test('is never read as a request when the rest comes after the 408', async () => {
    using connection = await RawClient.open(small.url);
    const rest = `GET /smuggled HTTP/1.1\r\nHost: gateway\r\n\r\n`;
    const length = half.length + rest.length;
    const answer = await connection.ask(headOf(`Content-Length: ${length}\r\n`) + half);
    expect(answer.status).toBe(408);
    void connection.write(rest + getHealth);
    // The connection goes on behind the body, or is over.
    const next = await connection.next().catch(() => undefined);
    expect(next?.status ?? 200).toBe(200);
    expect(engine.requests).toEqual([]);
  });
});

describe('the gateway refuses', () => {
  const noObject: Record<string, string> = {
    'an empty body': '',
    'no JSON': 'prompt=a',
    'half of an object': '{"prompt":"a"',
    'more than one object': '{"prompt":"a"}{"prompt":"b"}',
    'a trailing comma': '{"prompt":"a",}',
    'a list': '[{"prompt":"a"}]',
    'an empty list': '[]',
    'a string': '"prompt"',
    'a number': '1',
    null: 'null',
    true: 'true',
  };
  const families = ['/v1/completions', '/v1/responses', '/v1/messages', '/tokenize'];
  const cases = Object.entries(noObject).flatMap(([what, body]) =>
    families.map((path) => [what, path, body] as const),
  );
  test.each(cases)('%s on %s: 400 invalid_json', async (_what, path, body) => {
    const answer = await post(gateway.url + path, body);
    expect(answer.status).toBe(400);
    expect(answer.headers.get('x-gateway-error')).toBe('invalid_json');
    const error = { type: 'invalid_request_error', message: expect.any(String) };
    expect(await answer.json()).toEqual(
      path === '/v1/messages'
        ? { type: 'error', error }
        : { error: { ...error, param: null, code: 'invalid_json' } },
    );
    expect(engine.requests).toEqual([]);
  });

  const models = ['1', '1.5', 'true', 'false', '{}', '[]', '["a"]', '{"id":"a"}'];
  const wrong = models.flatMap((model) => families.map((path) => [model, path] as const));
  test.each(wrong)('a model of %s on %s: 400 invalid_field', async (model, path) => {
    const answer = await post(gateway.url + path, `{"prompt":"a","model":${model}}`);
    expect(answer.status).toBe(400);
    expect(answer.headers.get('x-gateway-error')).toBe('invalid_field');
    const error = { type: 'invalid_request_error', message: expect.stringContaining('"model"') };
    expect(await answer.json()).toEqual(
      path === '/v1/messages'
        ? { type: 'error', error }
        : { error: { ...error, param: 'model', code: 'invalid_field' } },
    );
    expect(engine.requests).toEqual([]);
  });

  test.each(['{}', '{"model":"a"}', '{"messages":[]}', '{"Prompt":"a"}', '{"input":"a"}'])(
    '%s on /v1/completions, which has no prompt: 400 missing_field',
    async (body) => {
      const answer = await post(`${gateway.url}/v1/completions`, body);
      expect(answer.status).toBe(400);
      expect(await answer.json()).toEqual({
        error: {
          message: expect.stringMatching(/"prompt" or "prompt_embeds"/),
          type: 'invalid_request_error',
          param: 'prompt',
          code: 'missing_field',
        },
      });
      expect(engine.requests).toEqual([]);
    },
  );
});

describe('the engine judges', () => {
  const bodies = [
    '{"prompt":"a"}',
    '{"model":null,"prompt":"a"}',
    '{"model":"","prompt":"a"}',
    '{"model":"of nobody","prompt":"a"}',
    '{"prompt":null}',
    '{"prompt":1}',
    '{"prompt":[]}',
    '{"prompt":[1,2.0,3]}',
    '{"prompt":["a","b"]}',
    '{"prompt_embeds":"AAAA"}',
    '{"prompt":"a","max_tokens":-1}',
    '{"prompt":"a","max_tokens":"many"}',
    '{"prompt":"a","temperature":1.0,"seed":12345678901234567890,"top_p":1e-3}',
    '{"prompt":"a","stream":"yes"}',
    '{"prompt":"a","unknown":{"deep":[{}]},"":0}',
    '{"prompt":"a","prompt":"b"}',
    ' \r\n\t{ "prompt" : "\\u0430\\/\\ud83d\\ude00" } \n',
    '{"prompt":"Привет 😀 世界"}',
    '{"prompt":"lone \\ud83d"}',
  ];
  test.each(bodies)('%s, and gets it byte for byte', async (body) => {
    const answer = await post(`${gateway.url}/v1/completions`, body);
    expect(answer.headers.has('x-gateway-error')).toBe(false);
    await answer.bytes();
    expect(engine.requests.map((request) => Buffer.from(request.body).toString())).toEqual([body]);
  });

  test.each(['/v1/chat/completions', '/v1/messages', '/v1/responses', '/v1/embeddings', '/infill'])(
    'an empty object on %s',
    async (path) => {
      const answer = await post(gateway.url + path, '{}');
      expect(answer.headers.has('x-gateway-error')).toBe(false);
      await answer.bytes();
      expect(engine.requests.map((request) => request.path)).toEqual([path]);
    },
  );

  test('text that is not UTF-8, and gets it byte for byte', async () => {
    const body = Buffer.from('{"prompt":"\xff\xfe\x80"}', 'latin1');
    await (await post(`${gateway.url}/v1/completions`, body)).bytes();
    expect(Buffer.from(engine.requests.at(-1)?.body ?? []).equals(body)).toBe(true);
  });

  test('a byte order mark, and gets it byte for byte', async () => {
    const body = '\ufeff{"prompt":"a","max_tokens":1}';
    const answer = await post(`${gateway.url}/v1/completions`, body);
    expect([answer.status, await answer.json()]).toMatchObject([200, { choices: [{}] }]);
    expect(Buffer.from(engine.requests.at(-1)?.body ?? []).toString()).toBe(body);
  });

  test('the content type, and gets the one of the client', async () => {
    const type = 'application/json; charset=UTF-8; odd="a b"';
    await post(`${gateway.url}/v1/completions`, '{"prompt":"a"}', { 'content-type': type });
    expect(engine.requests.at(-1)?.headers['content-type']).toBe(type);
  });
});

describe('a multipart body', () => {
  const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
  const body = Buffer.concat([
    Buffer.from(
      'preamble\r\n--b d\r\nContent-Disposition: form-data; name="model"\r\n\r\nmodèle\r\n',
    ),
    Buffer.from(
      '--b d\r\nContent-Disposition: form-data; name="file"; filename="a\u{1f600}.wav"\r\n',
    ),
    Buffer.from('Content-Type: audio/wav\r\nX-Odd:  1\r\n\r\n'),
    every,
    Buffer.from('\r\n--b d--\r\nepilogue'),
  ]);
  const type = 'multipart/form-data; boundary="b d"';

  test.each(['/v1/audio/transcriptions', '/v1/audio/translations', '/audio/transcriptions'])(
    'reaches the engine byte for byte on %s',
    async (path) => {
      const answer = await post(gateway.url + path, body, { 'content-type': type });
      expect(answer.headers.has('x-gateway-error')).toBe(false);
      await answer.bytes();
      const received = engine.requests.at(-1);
      expect(received?.headers['content-type']).toBe(type);
      expect(Buffer.from(received?.body ?? []).equals(body)).toBe(true);
    },
  );

  test('is not looked at, even where it is none', async () => {
    const answer = await post(`${gateway.url}/v1/audio/transcriptions`, 'nothing of that');
    expect(answer.headers.has('x-gateway-error')).toBe(false);
    expect(engine.requests).toHaveLength(1);
  });
});

describe('a coded body', () => {
  const text = Buffer.from('{"prompt":"hi","max_tokens":1,  "extra": [1.0]}');
  const codings = [
    ['gzip', () => zlib.gzipSync(text)],
    ['deflate', () => zlib.deflateSync(text)],
    ['br', () => zlib.brotliCompressSync(text)],
    ['zstd', () => zlib.zstdCompressSync(text)],
  ] as const;

  test.each(codings)(
    'in %s reaches the engine decoded, with its length',
    async (coding, encode) => {
      const headers = { 'content-encoding': coding, 'content-type': 'application/json' };
      const answer = await post(`${gateway.url}/v1/completions`, encode(), headers);
      expect(answer.status).toBe(200);
      const [request] = engine.requests;
      expect(request?.body.toString()).toBe(text.toString());
      expect(request?.headers['content-encoding']).toBeUndefined();
      expect(request?.headers['content-length']).toBe(String(text.length));
    },
  );

  test('that is a form reaches the engine as a form', async () => {
    const form = new FormData();
    form.append('model', 'demo');
    form.append('file', new Blob(['sound']), 'a.wav');
    const plain = new Response(form);
    const headers = {
      'content-encoding': 'gzip',
      'content-type': plain.headers.get('content-type') ?? '',
    };
    const body = Bun.gzipSync(await plain.arrayBuffer());
    const answer = await post(`${gateway.url}/v1/audio/transcriptions`, body, headers);
    expect(answer.status).toBe(200);
    expect(engine.requests[0]?.body.toString()).toContain('sound');
  });

  test('that unpacks to more than a body may have is refused', async () => {
    const headers = { 'content-encoding': 'gzip' };
    const body = Bun.gzipSync(bodyOf(maxBytes + 1));
    expect(body.length).toBeLessThan(maxBytes);
    const answer = await post(`${small.url}/v1/completions`, body, headers);
    expect([answer.status, answer.headers.get('x-gateway-error')]).toEqual([413, 'body_too_large']);
    expect(engine.requests).toEqual([]);
  });

  test('of a coding that is not known is refused with those that are', async () => {
    const headers = { 'content-encoding': 'compress' };
    const answer = await post(`${gateway.url}/v1/completions`, text, headers);
    expect(answer.status).toBe(415);
    expect(answer.headers.get('accept-encoding')).toBe('gzip, deflate, br, zstd');
    expect(await answer.json()).toMatchObject({ error: { code: 'unsupported_content_encoding' } });
  });

  test.each(codings)('in %s that was cut short is refused', async (coding, encode) => {
    const headers = { 'content-encoding': coding };
    const cut = encode().subarray(0, -1);
    const answer = await post(`${gateway.url}/v1/completions`, cut, headers);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ error: { code: 'invalid_content_encoding' } });
    expect(engine.requests).toEqual([]);
  });
});

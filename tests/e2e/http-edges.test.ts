/**
 * HTTP as clients really send it: odd but valid requests are served, and a request that a proxy in front could read
 * otherwise than the gateway is refused, so that nothing can be smuggled past it to the engine.
 */
import { afterAll, beforeEach, describe, expect, test } from 'bun:test';
import { key } from '../support/gatewayprocess.ts';
import { RawClient } from '../support/rawclient.ts';
import { startStage } from '../support/stage.ts';
import { until } from '../support/wait.ts';

const stage = await startStage();
const { engine, gateway } = stage;
afterAll(() => stage[Symbol.asyncDispose]());

beforeEach(() => {
  engine.requests.length = 0;
});

const authorization = `Authorization: Bearer ${key}\r\n`;
const body = '{"prompt":"a","messages":[{"role":"user","content":"a"}],"max_tokens":1}';
const length = `Content-Length: ${body.length}\r\n`;

function received(): string[] {
  return engine.requests.map(({ method, path }) => `${method} ${path}`);
}

describe('is served', () => {
  const get = (target: string, headers = 'Host: a\r\n', http = 'HTTP/1.1') =>
    `GET ${target} ${http}\r\n${headers}${authorization}\r\n`;
  const post = (target: string, headers = 'Host: a\r\n', http = 'HTTP/1.1') =>
    `POST ${target} ${http}\r\n${headers}${authorization}${length}\r\n${body}`;

  const cases: Record<string, [request: string, reaches: string]> = {
    'a Host of one letter': [get('/v1/models'), 'GET /v1/models'],
    'a Host of one letter, with a body': [post('/v1/completions'), 'POST /v1/completions'],
    'an empty Host': [get('/v1/models', 'Host:\r\n'), 'GET /v1/models'],
    'a Host that looks like a path': [get('/v1/models', 'Host: a/slots\r\n'), 'GET /v1/models'],
    'a Host given twice alike': [get('/v1/models', 'Host: a\r\nHost: a\r\n'), 'GET /v1/models'],
    'a Host with a port': [get('/v1/models?a=1', 'Host: a:1\r\n'), 'GET /v1/models?a=1'],
    'a Host of IPv6': [get('/v1/models', 'Host: [::1]:12000\r\n'), 'GET /v1/models'],
    'a short route and a short Host': [get('/models'), 'GET /models'],
    'HTTP/1.0 without Host': [get('/v1/models?a=1', '', 'HTTP/1.0'), 'GET /v1/models?a=1'],
    'HTTP/1.0 without Host, with a body': [
      post('/v1/completions', '', 'HTTP/1.0'),
      'POST /v1/completions',
    ],
    // Behind the wrong slash, this path would be another route.
    'HTTP/1.0 without Host, on a longer path': [
      post('/v1/chat/completions', '', 'HTTP/1.0'),
      'POST /v1/chat/completions',
    ],
    'a model over HTTP/1.0 without Host': [
      get('/v1/models/demo', '', 'HTTP/1.0'),
      'GET /v1/models',
    ],
    'an absolute target': [get('http://elsewhere.example/v1/models'), 'GET /v1/models'],
    'an absolute target with a query': [
      post('http://elsewhere.example:81/v1/completions?a=http://b/?c'),
      'POST /v1/completions?a=http://b/?c',
    ],
    'names of headers in any case': [
      `POST /v1/completions HTTP/1.1\r\nhOST: a\r\nAUTHORIZATION: bearer ${key}\r\ncontent-LENGTH: ${body.length}\r\n\r\n${body}`,
      'POST /v1/completions',
    ],
    'a query of odd signs': [get('/v1/models?%zz&a[]=1&b=%00&c=é'), 'GET /v1/models?'],
    'chunks with extensions': [
      `POST /v1/completions HTTP/1.1\r\nHost: a\r\n${authorization}Transfer-Encoding: chunked\r\n\r\n` +
        `${body.length.toString(16)};a=b\r\n${body}\r\n0;c="d"\r\n\r\n`,
      'POST /v1/completions',
    ],
    'a length given twice alike': [
      `POST /v1/completions HTTP/1.1\r\nHost: a\r\n${authorization}${length}${length}\r\n${body}`,
      'POST /v1/completions',
    ],
  };
  test.each(Object.entries(cases))('%s', async (_what, [request, reaches]) => {
    using connection = await RawClient.open(gateway.url);
    const answer = await connection.ask(request);
    expect(answer.status).toBe(200);
    const [first = '', ...others] = received();
    expect(first).toStartWith(reaches);
    expect(others).toEqual([]);
    expect(engine.requests[0]?.headers['host']).toBe(new URL(engine.url).host);
  });

  test('Expect: 100-continue, which is answered before the body comes', async () => {
    using connection = await RawClient.open(gateway.url);
    const go = await connection.ask(
      `POST /v1/completions HTTP/1.1\r\nHost: a\r\n${authorization}${length}Expect: 100-continue\r\n\r\n`,
      { hasBody: false },
    );
    expect(go.status).toBe(100);
    expect((await connection.ask(body)).status).toBe(200);
    expect(engine.requests[0]?.headers).not.toContainKey('expect');
  });

  test('a request whose bytes come one by one', async () => {
    using connection = await RawClient.open(gateway.url);
    for (const byte of Buffer.from(post('/v1/completions'))) {
      await connection.write(Uint8Array.of(byte));
    }
    expect((await connection.next()).status).toBe(200);
  });

  test('several requests of every kind, one after the other on one connection', async () => {
    using connection = await RawClient.open(gateway.url);
    const streamed = '{"prompt":"a","max_tokens":2,"stream":true}';
    const stream = post('/v1/completions')
      .replace(length, `Content-Length: ${streamed.length}\r\n`)
      .replace(body, streamed);
    const requests: [request: string, status: number][] = [
      [get('/v1/models'), 200],
      [post('/v1/completions'), 200],
      [stream, 200],
      [get('/slots'), 404],
      [post('/v1/completions'), 200],
      [post('/slots'), 404],
      [post('/v1/models'), 405],
      [post('/v1/completions').replace(body, body.replace('{', '[')), 400],
      [post('/v1/completions').replace(key, 'sk-wrong'), 403],
      [stream, 200],
      [get('/health'), 200],
    ];
    for (const [request, status] of requests) {
      const answer = await connection.ask(request);
      expect(answer.status).toBe(status);
    }
    expect(received()).toHaveLength(5);
  });

  test('a GET with a body, which is not read as a request', async () => {
    using connection = await RawClient.open(gateway.url);
    const smuggled = `GET /slots HTTP/1.1\r\nHost: a\r\n\r\n`;
    const withBody = get('/v1/models', `Host: a\r\nContent-Length: ${smuggled.length}\r\n`);
    expect((await connection.ask(withBody + smuggled)).status).toBe(200);
    expect((await connection.ask(get('/health'))).status).toBe(200);
    expect(received()).toEqual(['GET /v1/models']);
  });

  test('Connection: close, and the connection is over', async () => {
    using connection = await RawClient.open(gateway.url);
    const answer = await connection.ask(get('/v1/models', 'Host: a\r\nConnection: close\r\n'));
    expect(answer.status).toBe(200);
    expect((await connection.rest()).length).toBe(0);
  });
});

describe('is refused', () => {
  const start = `POST /v1/completions HTTP/1.1\r\nHost: a\r\n${authorization}`;
  const chunks = `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
  const cases: Record<string, string> = {
    'a length and chunks': `${start}${length}Transfer-Encoding: chunked\r\n\r\n${chunks}`,
    'chunks and a length': `${start}Transfer-Encoding: chunked\r\n${length}\r\n${chunks}`,
    'two lengths': `${start}${length}Content-Length: 1\r\n\r\n${body}`,
    'two lengths in a line': `${start}Content-Length: ${body.length}, 1\r\n\r\n${body}`,
    'a length with a sign': `${start}Content-Length: +${body.length}\r\n\r\n${body}`,
    'a length below nothing': `${start}Content-Length: -1\r\n\r\n`,
    'a length in hexadecimal': `${start}Content-Length: 0x1d\r\n\r\n${body}`,
    'a length of words': `${start}Content-Length: many\r\n\r\n${body}`,
    'a folded header': `${start}${length}X-Folded: a\r\n b\r\n\r\n${body}`,
    'a folded Transfer-Encoding': `${start}Transfer-Encoding:\r\n chunked\r\n\r\n${chunks}`,
    'a space before the colon': `${start}Transfer-Encoding : chunked\r\n\r\n${chunks}`,
    'a coding that is not known': `${start}Transfer-Encoding: xchunked\r\n\r\n${chunks}`,
    'a coding behind chunked': `${start}Transfer-Encoding: chunked, identity\r\n\r\n${chunks}`,
    'chunked twice': `${start}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`,
    'a NUL in a header': `${start}${length}X-Nul: a\0b\r\n\r\n${body}`,
    'a size of a chunk that is no number': `${start}Transfer-Encoding: chunked\r\n\r\nzz\r\n${body}\r\n0\r\n\r\n`,
    'two different Hosts': `GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n${authorization}\r\n`,
    'two Hosts in a line': `GET /health HTTP/1.1\r\nHost: a, b\r\nConnection: close\r\n\r\n`,
    'HTTP/1.1 without Host': `GET /v1/models HTTP/1.1\r\n${authorization}\r\n`,
    'a target without a slash': `GET v1/models HTTP/1.1\r\nHost: a\r\n${authorization}\r\n`,
    'no HTTP at all': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n',
  };
  test.each(Object.entries(cases))('%s', async (_what, request) => {
    using connection = await RawClient.open(gateway.url);
    const answer = await connection.ask(request);
    expect(answer.status).toBe(400);
    // The next bytes of this connection could be anything, so the gateway closes it.
    expect((await connection.rest()).length).toBe(0);
    expect(received()).toEqual([]);
  });

  test.each([
    ['one header', `X-Large: ${'a'.repeat(20_000)}\r\n`],
    ['many headers', Array.from({ length: 2_000 }, (_, i) => `X-${i}: aaaaaaaa\r\n`).join('')],
    ['a key', `X-Api-Key: ${'a'.repeat(100_000)}\r\n`],
  ])('a head of more than 16 KB: %s', async (_what, header) => {
    using connection = await RawClient.open(gateway.url);
    const answer = await connection.ask(`${start}${header}${length}\r\n${body}`);
    expect(answer.status).toBe(431);
    expect(received()).toEqual([]);
  });

  test('a target of more than 16 KB', async () => {
    using connection = await RawClient.open(gateway.url);
    const answer = await connection.ask(
      `GET /v1/models?${'a'.repeat(20_000)} HTTP/1.1\r\nHost: a\r\n${authorization}\r\n`,
    );
    expect([414, 431]).toContain(answer.status);
    expect(received()).toEqual([]);
  });

  test.each(['X-Trailer: 1', 'GET /slots HTTP/1.1\r\nHost: a'])(
    'a trailer, which Bun takes for the next request: %j',
    async (trailer) => {
      using connection = await RawClient.open(gateway.url);
      const [whole] = chunks.split('\r\n\r\n');
      const answer = await connection.ask(
        `${start}X-Request-Id: trailer\r\nTransfer-Encoding: chunked\r\n\r\n${whole}\r\n${trailer}\r\n\r\n`,
      );
      expect(answer.status).toBe(400);
      expect((await connection.rest()).length).toBe(0);
      // The engine may have the request already; then nobody waits for its answer.
      await until('nothing runs', async () => {
        const health = await (await fetch(`${gateway.url}/health`)).json();
        return (health as { inFlight: number }).inFlight === 0;
      });
    },
  );

  test('and the gateway goes on', async () => {
    expect((await fetch(`${gateway.url}/health`)).status).toBe(200);
    expect(gateway.output).toEqual([]);
  });
});

describe('a client that half-closes', () => {
  test('while the engine works has left: the engine is stopped', async () => {
    using connection = await RawClient.open(gateway.url);
    await connection.write(
      `POST /v1/completions HTTP/1.1\r\nHost: a\r\n${authorization}X-Request-Id: half-closed\r\n` +
        `x-demo-fault: hang\r\n${length}\r\n${body}`,
    );
    await until('the engine works', () => engine.requests[0]?.state === 'running');
    connection.leaveByFin();
    await until('the engine is stopped', () => engine.requests[0]?.state === 'aborted');
    const line = await gateway.logged(
      ({ requestId, msg }) => requestId === 'half-closed' && msg === 'request ended',
    );
    expect(line).toMatchObject({ status: 499, outcome: 'aborted' });
  });

  test('within its body has left: the engine hears nothing', async () => {
    using connection = await RawClient.open(gateway.url);
    await connection.write(
      `POST /v1/completions HTTP/1.1\r\nHost: a\r\n${authorization}X-Request-Id: half-body\r\n` +
        `Content-Length: 100\r\n\r\n${body}`,
    );
    connection.leaveByFin();
    const line = await gateway.logged(
      ({ requestId, msg }) => requestId === 'half-body' && msg === 'request ended',
    );
    expect(line).toMatchObject({ status: 499, outcome: 'aborted' });
    expect(received()).toEqual([]);
  });

  test('between two requests leaves nothing behind', async () => {
    using connection = await RawClient.open(gateway.url);
    await connection.ask(`GET /health HTTP/1.1\r\nHost: a\r\n\r\n`);
    connection.leaveByFin();
    await connection.closed;
    expect(await (await fetch(`${gateway.url}/health`)).json()).toMatchObject({ inFlight: 0 });
  });
});

test('a connection that is idle for as long as the setting says is closed, and no other', async () => {
  await using impatient = await startStage({ KEEP_ALIVE_TIMEOUT_MS: '1000' });
  const get = 'GET /health HTTP/1.1\r\nHost: a\r\n\r\n';
  using patient = await RawClient.open(gateway.url);
  await patient.ask(get);
  using connection = await RawClient.open(impatient.gateway.url);
  await connection.ask(get);
  await connection.closed;
  expect((await patient.ask(get)).status).toBe(200);
}, 60_000);

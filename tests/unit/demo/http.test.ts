/** How the simulated engine frames HTTP/1.1, seen on raw sockets. */
import { afterEach, describe, expect, test } from 'bun:test';
import type { DemoEngine, DemoOptions } from '../../../src/demo/engine.ts';
import { startDemoEngine } from '../../../src/demo/engine.ts';
import { bodyOf, chunksOf, RawClient, requestBytes } from '../../support/rawclient.ts';

let engine: DemoEngine;
const clients: RawClient[] = [];

async function open(options: DemoOptions = {}): Promise<RawClient> {
  engine = startDemoEngine(options);
  return another();
}

async function another(): Promise<RawClient> {
  const client = await RawClient.open(engine.url);
  clients.push(client);
  return client;
}

afterEach(async () => {
  for (const client of clients.splice(0)) client.leave();
  await engine.stop();
});

const hasPlainAnswers = (count: number) => (text: string) => {
  return text.split('"prompt_tokens_details"').length > count && text.endsWith('}');
};
const plain = { prompt: 'Hi', max_tokens: 1 };

describe('answers', () => {
  test('a plain answer has content-length', async () => {
    const client = await open();
    client.write(requestBytes({ body: plain }));
    const answer = await client.receives(hasPlainAnswers(1));
    expect(answer).toStartWith('HTTP/1.1 200 OK\r\nServer: llama.cpp\r\n');
    expect(answer).toContain(`\r\nContent-Length: ${bodyOf(answer).length}\r\n`);
    expect(answer).not.toContain('Transfer-Encoding');
  });

  test('a streamed answer is chunked, one event per chunk, and ends with the last chunk', async () => {
    const client = await open();
    client.write(requestBytes({ body: { ...plain, max_tokens: 3, stream: true } }));
    const answer = await client.receives((text) => text.endsWith('0\r\n\r\n'));
    expect(answer).toContain('\r\nTransfer-Encoding: chunked\r\n');
    const chunks = chunksOf(bodyOf(answer));
    expect(chunks).toHaveLength(3 + 3);
    for (const chunk of chunks.slice(0, -1)) expect(chunk).toMatch(/^data: .*\n\n$/);
    expect(chunks.at(-1)).toBe('');
  });

  test('fetch reads an answer that is longer than a socket’s buffer', async () => {
    engine = startDemoEngine();
    const content = 'Привет 🙂 '.repeat(100_000);
    const body = JSON.stringify({ content });
    const tokens = await fetch(`${engine.url}/tokenize`, { method: 'POST', body });
    const back = { method: 'POST', body: await tokens.text() };
    const answer = await fetch(`${engine.url}/detokenize`, back);
    expect(((await answer.json()) as { content: string }).content === content).toBe(true);
  });
});

describe('connections', () => {
  test('serve one request after the other, including pipelined ones', async () => {
    const client = await open();
    client.write(requestBytes({ body: plain }));
    await client.receives(hasPlainAnswers(1));
    client.write(Buffer.concat([requestBytes({ body: plain }), requestBytes({ body: plain })]));
    await client.receives(hasPlainAnswers(3));
    expect(engine.requests.map((request) => request.connection)).toEqual([1, 1, 1]);
    const { sentBytes } = engine.requests[0] as { sentBytes: number };
    expect(sentBytes).toBe(client.received.indexOf('HTTP/1.1', 1));
  });

  test.each([
    ['Connection: close', 'HTTP/1.1', { Connection: 'close' }],
    ['HTTP/1.0', 'HTTP/1.0', {}],
  ] as const)('end after the answer with %s', async (_name, version, headers) => {
    const client = await open();
    const request = requestBytes({ headers, body: plain }).toString('latin1');
    client.write(request.replace('HTTP/1.1', version));
    expect(await client.closed).toBe('fin');
    expect(client.received).toContain('\r\nConnection: close\r\n');
    expect(hasPlainAnswers(1)(client.received)).toBe(true);
  });

  test('end after being idle for the configured time', async () => {
    const client = await open({ keepAliveSeconds: 0.5 });
    client.write(requestBytes({ body: plain }));
    const answer = await client.receives(hasPlainAnswers(1));
    expect(answer).toContain('\r\nKeep-Alive: timeout=0.5\r\n');
    expect(await client.closed).toBe('fin');
  });

  test('the idle time does not end a request that is being answered', async () => {
    const client = await open({ keepAliveSeconds: 0.5, firstTokenMs: 700 });
    client.write(requestBytes({ body: plain }));
    await client.receives(hasPlainAnswers(1));
    expect(engine.requests[0]?.state).toBe('done');
  });
});

describe('requests', () => {
  test('may arrive one byte at a time', async () => {
    const client = await open();
    for (const byte of requestBytes({ body: plain })) {
      client.write(Uint8Array.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.receives(hasPlainAnswers(1));
    expect(Buffer.from(engine.requests[0]?.body ?? []).toString()).toBe(JSON.stringify(plain));
  });

  test('may be chunked, with extensions and trailers', async () => {
    const client = await open();
    client.write(
      'POST /tokenize HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n' +
        'b;name=value\r\n{"content":\r\nA\r\n"a b c d"}\r\n0\r\nTrailer: x\r\n\r\n' +
        'GET /health HTTP/1.1\r\nHost: x\r\n\r\n',
    );
    await client.receives((text) => text.endsWith('{"status":"ok"}'));
    expect(Buffer.from(engine.requests[0]?.body ?? []).toString()).toBe('{"content":"a b c d"}');
  });

  test('of 25 MB arrive completely', async () => {
    engine = startDemoEngine();
    const prompt_embeds = Buffer.alloc(25_000_000, 'every byte in its place').toString();
    const body = JSON.stringify({ ...plain, prompt_embeds });
    const answer = await fetch(`${engine.url}/v1/completions`, { method: 'POST', body });
    expect(answer.status).toBe(200);
    expect(Buffer.from(body).equals(engine.requests[0]?.body ?? Buffer.of())).toBe(true);
  });

  test('with Expect get 100 Continue before they send their body', async () => {
    const client = await open();
    const request = requestBytes({ headers: { Expect: '100-continue' }, body: plain });
    const bodyAt = request.indexOf('{');
    client.write(request.subarray(0, bodyAt));
    expect(await client.receives((text) => text.length > 0)).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    client.write(request.subarray(bodyAt));
    await client.receives(hasPlainAnswers(1));
  });

  test.each([
    ['nonsense', 'nonsense\r\n\r\n'],
    ['another version of HTTP', 'GET /health HTTP/2\r\n\r\n'],
    ['no length', 'POST /tokenize HTTP/1.1\r\nContent-Length: many\r\n\r\n'],
    ['no chunk', 'POST /tokenize HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n'],
    ['a head without an end', `GET /${'x'.repeat(70_000)}`],
  ])('that are not valid end the connection: %s', async (_name, text) => {
    const client = await open();
    client.write(text);
    await client.closed;
    expect(client.received).toBe('');
    expect(engine.requests).toEqual([]);
  });

  test('on two connections do not wait for each other', async () => {
    const slow = await open({ tokensPerSecond: 0.01 });
    slow.write(requestBytes({ body: { ...plain, max_tokens: 2 } }));
    const client = await another();
    client.write(requestBytes({ body: plain }));
    await client.receives(hasPlainAnswers(1));
    expect(engine.requests.map((request) => request.state)).toEqual(['running', 'done']);
  });
});

/** Each fault of the simulated engine, as it looks on the wire and as fetch sees it. */
import { afterEach, beforeEach, describe, expect, test } from 'bun:test';
import { gunzipSync } from 'node:zlib';
import type { FaultName } from '../../../src/demo/faults.ts';
import { faults } from '../../../src/demo/faults.ts';
import type { DemoEngine } from '../../../src/demo/engine.ts';
import { startDemoEngine } from '../../../src/demo/engine.ts';
import { until as eventually } from '../../support/wait.ts';
import { bodyOf, chunksOf, RawClient, requestBytes } from '../../support/rawclient.ts';

const body = { prompt: 'Привет', max_tokens: 6 };
const lastChunk = '0\r\n\r\n';
const done = 'data: [DONE]\n\n';

let engine: DemoEngine;
const clients: RawClient[] = [];

beforeEach(() => {
  engine = startDemoEngine({ cacheTokens: 0 });
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.leave();
  await engine.stop();
});

interface Asked {
  stream?: boolean;
  path?: string;
  headers?: Record<string, string>;
}

/** Sends a request on a raw socket. */
async function ask(fault: string, asked: Asked = {}) {
  const { stream = false, path = '/v1/completions', headers } = asked;
  const client = await RawClient.open(engine.url);
  clients.push(client);
  const all = { 'X-Demo-Fault': fault, ...headers };
  client.write(requestBytes({ path, headers: all, body: { ...body, stream } }));
  return client;
}

function fetched(fault: string, stream = false): Promise<Response> {
  return fetch(`${engine.url}/v1/completions`, {
    method: 'POST',
    body: JSON.stringify({ ...body, stream }),
    headers: { 'x-demo-fault': fault },
  });
}

/** The answer to the same request without a fault. */
async function wholeBody(stream: boolean): Promise<string> {
  return (await fetched('', stream)).text();
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await engine.changed();
}

/** Closes the connection, and waits until the engine notices. */
async function leave(client: RawClient): Promise<void> {
  client.leave();
  await until(() => engine.requests[0]?.state === 'aborted');
  expect(engine.busySlots()).toBe(0);
}

/** Sends the engine a few other requests, so that it has had every opportunity to continue the one under test. */
async function letItGoOn(): Promise<void> {
  for (let i = 0; i < 10; i++) await (await fetch(`${engine.url}/health`)).bytes();
}

function tokensIn(text: string): number {
  return text.split('"finish_reason":null').length - 1;
}

describe('before the head', () => {
  test.each([true, false])('hang takes a slot and never answers, stream: %p', async (stream) => {
    const client = await ask('hang', { stream });
    await until(() => engine.busySlots() === 1);
    await letItGoOn();
    expect(client.received).toBe('');
    expect(engine.requests[0]?.state).toBe('running');
    await leave(client);
  });

  test.each(['/tokenize', '/v1/embeddings'])('hang works at %s', async (path) => {
    const client = await ask('hang', { path });
    await until(() => engine.requests[0]?.state === 'running');
    await letItGoOn();
    expect(client.received).toBe('');
    await leave(client);
  });

  test('reset', async () => {
    const client = await ask('reset');
    expect(await client.closed).toBe('reset');
    expect(client.received).toBe('');
    await until(() => engine.requests[0]?.state === 'done');
  });

  test('refuse resets the connection, refuses new ones, and does not end other open ones', async () => {
    const earlier = await ask('stall=2', { stream: true });
    await earlier.receives((text) => tokensIn(text) === 2);
    const client = await ask('refuse=60000');
    expect(await client.closed).toBe('reset');
    expect(client.received).toBe('');
    await expect(fetched('')).rejects.toThrow('ECONNREFUSED');
    expect(engine.requests[0]?.state).toBe('running');
    await leave(earlier);
  });

  test('refuse ends after the given time', async () => {
    await ask('refuse=1');
    const answered = () =>
      fetched('').then(
        (answer) => answer.ok,
        () => false,
      );
    await eventually('the engine takes connections again', answered);
  });

  test('empty-close', async () => {
    const client = await ask('empty-close');
    expect(await client.closed).toBe('fin');
    expect(client.received).toBe('');
  });

  test('not-http', async () => {
    const client = await ask('not-http');
    expect(await client.closed).toBe('fin');
    expect(client.received).toContain('this is not HTTP');
    await expect(fetched('not-http')).rejects.toMatchObject({ code: 'Malformed_HTTP_Response' });
  });
});

describe('in a stream', () => {
  test('hang-body sends the head alone', async () => {
    const client = await ask('hang-body', { stream: true });
    await client.receives((text) => text.endsWith('\r\n\r\n'));
    await letItGoOn();
    expect(bodyOf(client.received)).toBe('');
    expect(client.received).toContain('text/event-stream');
    await leave(client);
  });

  test.each([0, 3, 6])('reset-mid=%d', async (tokens) => {
    const client = await ask(`reset-mid=${tokens}`, { stream: true });
    expect(await client.closed).toBe('reset');
    expect(tokensIn(client.received)).toBe(tokens);
    expect(client.received).not.toContain('[DONE]');
    await until(() => engine.requests[0]?.state === 'done');
    expect(engine.busySlots()).toBe(0);
  });

  test.each([0, 3, 6])('cut=%d', async (tokens) => {
    const client = await ask(`cut=${tokens}`, { stream: true });
    expect(await client.closed).toBe('fin');
    expect(tokensIn(client.received)).toBe(tokens);
    expect(client.received).not.toContain(lastChunk);
    expect(client.received).not.toContain('[DONE]');
    expect(client.received).toStartWith('HTTP/1.1 200 OK\r\n');
    const read = fetched(`cut=${tokens}`, true).then((response) => response.text());
    await expect(read).rejects.toThrow();
  });

  test('cut-frame=2 ends within the third event', async () => {
    const client = await ask('cut-frame=2', { stream: true });
    expect(await client.closed).toBe('fin');
    const chunks = chunksOf(bodyOf(client.received));
    expect(chunks).toHaveLength(3);
    expect(chunks[1]).toEndWith('\n\n');
    expect(chunks[2]).toMatch(/^data: \{.*[^}\n]$/);
  });

  test('stall=2 sends two tokens and keeps the connection open', async () => {
    const client = await ask('stall=2', { stream: true });
    await client.receives((text) => tokensIn(text) === 2);
    await letItGoOn();
    expect(tokensIn(client.received)).toBe(2);
    expect(engine.busySlots()).toBe(1);
    await leave(client);
  });

  test('malformed=2 sends an event that is not JSON and continues', async () => {
    const text = await (await fetched('malformed=2', true)).text();
    const events = text.split('\n\n');
    expect(() => JSON.parse(events[2]?.slice('data: '.length) ?? '')).toThrow();
    expect(events.toSpliced(2, 1).join('\n\n')).toBe(await wholeBody(true));
  });

  test('a cut stream ends every choice, including queued ones', async () => {
    const client = await RawClient.open(engine.url);
    clients.push(client);
    const many = { ...body, n: 8, stream: true };
    client.write(requestBytes({ headers: { 'X-Demo-Fault': 'cut=1' }, body: many }));
    expect(await client.closed).toBe('fin');
    await until(() => engine.requests[0]?.state === 'done');
    expect([engine.busySlots(), engine.waiting()]).toEqual([0, 0]);
  });

  test('the stream is complete if it has fewer tokens than the fault’s number', async () => {
    expect(await (await fetched('cut=7', true)).text()).toBe(await wholeBody(true));
  });
});

describe('in a plain body', () => {
  test('hang-body sends the head alone', async () => {
    const client = await ask('hang-body');
    await client.receives((text) => text.endsWith('\r\n\r\n'));
    await letItGoOn();
    expect(bodyOf(client.received)).toBe('');
    await leave(client);
  });

  test.each(['cut-plain', 'cut=3', 'cut-frame=3', 'reset-mid=3'])(
    '%s sends half of it',
    async (fault) => {
      const client = await ask(fault);
      expect(await client.closed).toBe(fault === 'reset-mid=3' ? 'reset' : 'fin');
      const whole = await wholeBody(false);
      const length = Buffer.byteLength(whole);
      expect(client.received).toContain(`\r\nContent-Length: ${length}\r\n`);
      const sent = bodyOf(client.received);
      expect(sent.length).toBeLessThan(length);
      expect(sent.length).toBeGreaterThan(10);
      await expect(fetched(fault).then((response) => response.text())).rejects.toThrow();
    },
  );

  test('stall sends half of it and keeps the connection open', async () => {
    const client = await ask('stall');
    await client.receives((text) => bodyOf(text).length > 10);
    await letItGoOn();
    expect(bodyOf(client.received).length).toBeLessThan((await wholeBody(false)).length);
    await leave(client);
  });
});

describe('framing', () => {
  test.each([true, false])(
    'close-delimited sends the complete body, stream: %p',
    async (stream) => {
      const client = await ask('close-delimited', { stream });
      expect(await client.closed).toBe('fin');
      expect(client.received).not.toMatch(/content-length|transfer-encoding/i);
      expect(client.received).toContain('\r\nConnection: close\r\n');
      expect(Buffer.from(bodyOf(client.received), 'latin1').toString()).toBe(
        await wholeBody(stream),
      );
    },
  );

  test('close-delimited-cut=2 ends without the last event', async () => {
    const client = await ask('close-delimited-cut=2', { stream: true });
    expect(await client.closed).toBe('fin');
    expect(client.received).not.toMatch(/content-length|transfer-encoding/i);
    expect(tokensIn(client.received)).toBe(2);
    expect(client.received).toEndWith('\n\n');
    expect(client.received).not.toContain('[DONE]');
  });

  test('split-utf8 sends every byte of a stream as a separate chunk', async () => {
    const client = await ask('split-utf8', { stream: true });
    await client.receives((text) => text.endsWith(lastChunk));
    const chunks = chunksOf(bodyOf(client.received));
    expect(chunks.pop()).toBe('');
    expect(chunks.every((chunk) => chunk.length === 1)).toBe(true);
    const whole = await wholeBody(true);
    expect(Buffer.from(chunks.join(''), 'latin1').toString()).toBe(whole);
    expect(whole).toContain('🤖');
    expect(await (await fetched('split-utf8', true)).text()).toBe(whole);
  });

  test('drip waits after each byte', async () => {
    const client = await ask('drip=60000', { stream: true });
    await client.receives((text) => bodyOf(text).length > 0);
    await letItGoOn();
    expect(bodyOf(client.received)).toBe('1\r\nd\r\n');
    await leave(client);
  });

  test('drip ends with a complete body', async () => {
    const client = await ask('drip=1', { path: '/tokenize', headers: { Connection: 'close' } });
    expect(await client.closed).toBe('fin');
    expect(bodyOf(client.received)).toBe('{"tokens":[]}');
  });

  test('a client that leaves between two bytes ends every choice that is being decoded', async () => {
    await engine.stop();
    engine = startDemoEngine({ tokensPerSecond: 0.01 });
    const client = await RawClient.open(engine.url);
    clients.push(client);
    const many = { ...body, n: 2, stream: true };
    client.write(requestBytes({ headers: { 'X-Demo-Fault': 'split-utf8' }, body: many }));
    await client.receives((text) => bodyOf(text).length > 0);
    expect(engine.busySlots()).toBe(2);
    await leave(client);
  });

  test('split-utf8 sends a plain body byte by byte, with content-length', async () => {
    const whole = await wholeBody(false);
    const response = await fetched('split-utf8');
    expect(response.headers.get('content-length')).toBe(String(Buffer.byteLength(whole)));
    expect(await response.text()).toBe(whole);
  });

  test('faults can be combined', async () => {
    const client = await ask('close-delimited, split-utf8', { stream: true });
    expect(await client.closed).toBe('fin');
    expect(Buffer.from(bodyOf(client.received), 'latin1').toString()).toBe(await wholeBody(true));
  });

  test('gzip encodes a plain body', async () => {
    const client = await ask('gzip', { headers: { Connection: 'close' } });
    await client.closed;
    expect(client.received).toContain('\r\nContent-Encoding: gzip\r\n');
    const encoded = Buffer.from(bodyOf(client.received), 'latin1');
    expect(client.received).toContain(`\r\nContent-Length: ${encoded.length}\r\n`);
    expect(gunzipSync(encoded).toString()).toBe(await wholeBody(false));
  });

  test('gzip encodes a stream, one event per chunk', async () => {
    const client = await ask('gzip', { stream: true });
    await client.receives((text) => text.endsWith(lastChunk));
    const chunks = chunksOf(bodyOf(client.received));
    const whole = await wholeBody(true);
    expect(chunks.length).toBeGreaterThanOrEqual(whole.split('\n\n').length - 1);
    expect(gunzipSync(Buffer.from(chunks.join(''), 'latin1')).toString()).toBe(whole);
    expect(await (await fetched('gzip', true)).text()).toBe(whole);
  });

  test('gzip lets the client decode each event when it is sent, not when the stream ends', async () => {
    const response = await fetched('gzip, stall=2', true);
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    let text = '';
    while (tokensIn(text) < 2) text += (await reader?.read())?.value ?? '';
    await reader?.cancel();
    expect(text).not.toContain('[DONE]');
  });
});

describe('huge', () => {
  const bytes = 60_000_000;

  test('a plain body has the given number of bytes, and is JSON', async () => {
    const response = await fetched(`huge=${bytes}`);
    expect(response.headers.get('content-length')).toBe(String(bytes));
    const text = await response.text();
    expect(text.length).toBe(bytes);
    expect(JSON.parse(text)).toHaveLength(bytes - 2);
  });

  test('a stream has at least the given number of bytes, and is complete', async () => {
    const text = await (await fetched(`huge=${bytes}`, true)).text();
    expect(text.length).toBeGreaterThanOrEqual(bytes);
    expect(text.length).toBeLessThan(bytes + 200_000);
    expect(text).toEndWith(done);
  });

  test.each([true, false])('stops when the client does not read, stream: %p', async (stream) => {
    const client = await RawClient.open(engine.url);
    clients.push(client);
    client.pause();
    const fault = { 'X-Demo-Fault': `huge=${bytes}` };
    client.write(requestBytes({ headers: fault, body: { ...body, stream } }));
    await until(() => engine.busySlots() === 1);
    const [request] = engine.requests;
    let sent: number | undefined;
    while (sent !== request?.sentBytes) {
      sent = request?.sentBytes;
      await letItGoOn();
    }
    expect(sent).toBeGreaterThan(10_000);
    expect(sent).toBeLessThan(bytes / 2);
    client.resume();
    await until(() => request?.state === 'done');
    expect(request?.sentBytes).toBeGreaterThan(bytes);
  });

  test.each([
    ['a plain answer', body],
    ['a stream', { ...body, stream: true }],
  ])('a client that leaves %s unread frees its slot', async (_name, asked) => {
    const client = await RawClient.open(engine.url);
    clients.push(client);
    client.pause();
    client.write(requestBytes({ headers: { 'X-Demo-Fault': `huge=${bytes}` }, body: asked }));
    await until(() => engine.busySlots() > 0);
    await letItGoOn();
    await leave(client);
  });
});

describe('error answers', () => {
  test.each([
    ['error-500', 500, 'server_error', 'Simulated failure'],
    ['error-503-loading', 503, 'unavailable_error', 'Loading model'],
    ['error-429', 429, 'rate_limit_error', 'Simulated: too many requests'],
    ['error-401', 401, 'authentication_error', 'Invalid API Key'],
    ['status=418', 418, 'server_error', 'Simulated status 418'],
  ])('%s', async (fault, code, type, message) => {
    const response = await fetched(fault, true);
    expect(response.status).toBe(code);
    expect(await response.json()).toEqual({ error: { code, message, type } });
    expect(response.headers.get('retry-after')).toBe(fault === 'error-429' ? '7' : null);
  });

  test.each([199, 600, 999])('status=%d is sent, valid or not', async (status) => {
    const client = await ask(`status=${status}`, { headers: { Connection: 'close' } });
    await client.closed;
    expect(client.received).toStartWith(`HTTP/1.1 ${status} `);
  });

  test('status=204 has no body', async () => {
    const response = await fetched('status=204');
    expect([response.status, await response.text()]).toEqual([204, '']);
  });

  test('cors answers an origin as llama.cpp does', async () => {
    const headers = { Origin: 'http://page.example' };
    const init = { headers: { 'x-demo-fault': 'cors', ...headers } };
    const response = await fetch(`${engine.url}/v1/models`, init);
    expect(response.headers.get('access-control-allow-origin')).toBe('http://page.example');
    expect(response.headers.get('access-control-allow-credentials')).toBe('true');
    const without = await fetched('cors');
    expect(without.headers.get('access-control-allow-origin')).toBe('http://engine.example');
  });

  test.each(['stal=2', 'cut=x', 'cut=-1', 'toString'])(
    '%s is not a fault: a 400 lists all faults',
    async (fault) => {
      const response = await fetched(fault);
      expect(response.status).toBe(400);
      const message = await response.text();
      for (const name of Object.keys(faults) as FaultName[]) expect(message).toContain(name);
    },
  );
});

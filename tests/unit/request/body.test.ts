/**
 * The body of a client's request: read whole and bounded, over real sockets, and looked at once.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { connect } from 'node:net';
import { assertQueryWithoutModel, inspect, readBody, readJson } from '../../../src/request/body.ts';
import type { Caller } from '../../../src/request/caller.ts';
import { BodyMemory } from '../../../src/request/bodymemory.ts';
import { GatewayError } from '../../../src/wire/errors.ts';
import { JsonBody } from '../../../src/wire/jsonbody.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { until } from '../../support/wait.ts';
import { caller } from '../../support/samples.ts';

function routeOf(path: string): Route {
  const route = routes.find((candidate) => candidate.path === path);
  if (route === undefined) throw new Error(`no route ${path}`);
  return route;
}

function liveRequest(path = '/v1/completions'): LiveRequest {
  return new LiveRequest('id-1', routeOf(path), caller, 0);
}

/** Twice what is read at once. */
const maxBytes = 2 * 1024 * 1024;

/** What became of the body that came in last. */
interface Reading {
  inFlight: LiveRequest;
  result: Promise<Uint8Array>;
}

describe('readBody', () => {
  let server: ReturnType<typeof Bun.serve>;
  let readings: Reading[] = [];
  let wake = () => {};
  const memory = new BodyMemory({ maxBytes: 8 * maxBytes, maxBytesPerKey: 4 * maxBytes });

  beforeAll(() => {
    server = Bun.serve({
      port: 0,
      hostname: '127.0.0.1',
      maxRequestBodySize: 10 * maxBytes,
      async fetch(request) {
        const inFlight = liveRequest();
        const result = readBody(request, request.headers, inFlight, { maxBytes, memory });
        readings.push({ inFlight, result });
        wake();
        try {
          return new Response(Buffer.from(await result));
        } catch (error) {
          const isOurs = error instanceof GatewayError;
          return new Response(String(error), {
            status: isOurs ? error.status : 500,
          });
        } finally {
          memory.giveBack(caller.keyId, inFlight.bodyHeld);
        }
      },
    });
  });
  afterAll(() => server.stop(true));

  /** Resolves with the next reading that begins. */
  function nextReading(): Promise<Reading> {
    readings = [];
    return new Promise((resolve) => {
      wake = () => resolve(readings[0] as Reading);
    });
  }

  async function send(body: RequestInit['body']) {
    const began = nextReading();
    const answer = await fetch(server.url, { method: 'POST', body: body ?? null });
    return { answer, inFlight: (await began).inFlight };
  }

  function streamOf(...parts: Uint8Array[]): ReadableStream<Uint8Array> {
    return new ReadableStream({
      pull(controller) {
        const part = parts.shift();
        if (part === undefined) controller.close();
        else controller.enqueue(part);
      },
    });
  }

  const bytes = Buffer.alloc(maxBytes / 2, crypto.getRandomValues(new Uint8Array(65_521)));
  const full = Buffer.concat([bytes, bytes]);

  test('gives the bytes as they came, and counts them', async () => {
    const { answer, inFlight } = await send(bytes);
    expect(Buffer.compare(await answer.bytes(), bytes)).toBe(0);
    expect(inFlight.bytesIn).toBe(bytes.length);
    inFlight.abort('total_timeout'); // Nothing waits for it any more.
  });

  test('gives a chunked body as it came, and counts it', async () => {
    const { answer, inFlight } = await send(streamOf(bytes, bytes));
    expect(Buffer.compare(await answer.bytes(), full)).toBe(0);
    expect(inFlight.bytesIn).toBe(full.length);
  });

  test('takes a body of just the bound, declared or chunked', async () => {
    expect((await send(full)).answer.status).toBe(200);
    expect((await send(streamOf(full))).answer.status).toBe(200);
  });

  test('takes no body at all', async () => {
    const { answer, inFlight } = await send(null);
    expect(answer.status).toBe(200);
    expect(inFlight.bytesIn).toBe(0);
  });

  test('refuses a byte more, declared or chunked, and names the bound', async () => {
    for (const body of [Buffer.concat([full, Buffer.of(1)]), streamOf(full, Buffer.of(1))]) {
      const answer = await fetch(server.url, { method: 'POST', body });
      expect(answer.status).toBe(413);
      expect(await answer.text()).toContain(`${maxBytes} bytes (MAX_BODY_BYTES)`);
    }
  });

  test('takes the memory of a body before it reads, and of a chunked one as it comes', async () => {
    const { reading, socket } = await sendHalf('content-length: 1500000', 'begun');
    expect(reading.inFlight.bodyHeld).toBe(1_500_000);
    socket.destroy();
    await codeOf(reading);
    const { inFlight: chunked } = await send(
      streamOf(Buffer.alloc(100_000), Buffer.alloc(200_000)),
    );
    expect(chunked.bodyHeld).toBeGreaterThanOrEqual(300_000);
    expect(chunked.bodyHeld).toBeLessThanOrEqual(maxBytes);
  });

  test('decodes a coded body, and takes memory and counts by what is decoded', async () => {
    const text = Buffer.alloc(maxBytes, 'hello');
    const began = nextReading();
    const answer = await fetch(server.url, {
      method: 'POST',
      headers: { 'content-encoding': 'gzip' },
      body: Bun.gzipSync(text),
    });
    expect(Buffer.compare(await answer.bytes(), text)).toBe(0);
    const { inFlight } = await began;
    expect([inFlight.bytesIn, inFlight.bodyHeld]).toEqual([maxBytes, maxBytes]);
  });

  test('unpacks a coded body no further than the bound', async () => {
    const began = nextReading();
    const bomb = Bun.gzipSync(Buffer.alloc(50 * maxBytes));
    const headers = { 'content-encoding': 'gzip' };
    const answer = await fetch(server.url, { method: 'POST', headers, body: bomb });
    expect(answer.status).toBe(413);
    expect((await began).inFlight.bytesIn).toBeLessThan(2 * maxBytes);
  });

  test('refuses a body that memory is short of, whole or chunked', async () => {
    const others = 4 * maxBytes - 1_000_000;
    memory.take(caller.keyId, others);
    for (const body of [full, streamOf(full)]) {
      const answer = await fetch(server.url, { method: 'POST', body });
      expect([answer.status, await answer.text()]).toEqual([
        503,
        expect.stringContaining('MAX_BODY_BYTES_TOTAL'),
      ]);
    }
    memory.giveBack(caller.keyId, others);
  });

  /** Returns the code of the error with which a reading ends. `expect(…).rejects` would hold up the sockets meanwhile. */
  async function codeOf({ result }: Reading): Promise<unknown> {
    try {
      return `${(await result).length} bytes`;
    } catch (error) {
      return error instanceof GatewayError ? error.code : error;
    }
  }

  /** Sends a head and the beginning of a body on a raw socket. */
  async function sendHalf(head: string, body: string | Buffer = '') {
    const began = nextReading();
    const socket = connect(server.port as number, '127.0.0.1');
    socket.write(`POST / HTTP/1.1\r\nHost: x\r\n${head}\r\n\r\n`);
    socket.write(body);
    return { socket, reading: await began };
  }

  const halves: [string, string][] = [
    ['Content-Length: 10', 'half'],
    ['Transfer-Encoding: chunked', '4\r\nhalf'],
    ['Transfer-Encoding: chunked', '4\r\nhalf\r\n'],
  ];

  test('refuses a declared length above the bound before the body has come', async () => {
    const { socket, reading } = await sendHalf(`Content-Length: ${maxBytes + 1}`);
    expect(await codeOf(reading)).toBe('body_too_large');
    expect(reading.inFlight.bytesIn).toBe(maxBytes + 1);
    socket.destroy();
  });

  test('refuses a chunked body as soon as it is above the bound, not when it ends', async () => {
    const size = (maxBytes + 1).toString(16);
    const { socket, reading } = await sendHalf('Transfer-Encoding: chunked', `${size}\r\n`);
    socket.write(Buffer.alloc(maxBytes + 1));
    expect(await codeOf(reading)).toBe('body_too_large');
    expect(reading.inFlight.bytesIn).toBe(maxBytes + 1);
    socket.destroy();
  });

  test.each(halves)(
    'ends with the code of an abort while it waits for the rest: %j, %j',
    async (head, body) => {
      const { socket, reading } = await sendHalf(head, body);
      reading.inFlight.abort('request_body_timeout');
      expect(await codeOf(reading)).toBe('request_body_timeout');
      socket.destroy();
    },
  );

  test.each([
    ['Transfer-Encoding: chunked', 'fa00\r\n'],
    [`Content-Length: ${maxBytes}`, ''],
  ])('counts what has come of a body that is never whole: %j', async (head, before) => {
    const part = 64_000;
    const body = Buffer.concat([Buffer.from(before), Buffer.alloc(part)]);
    const { socket, reading } = await sendHalf(head, body);
    await until('the half is here', () => reading.inFlight.bytesIn === part);
    socket.destroy();
    await codeOf(reading);
    expect(reading.inFlight.bytesIn).toBe(part);
  });

  test.each(halves)(
    'never gives half a body when the client leaves: %j, %j',
    async (head, body) => {
      const { socket, reading } = await sendHalf(head, body);
      const outcome = reading.result.then(
        () => 'read',
        () => 'failed',
      );
      socket.destroy();
      expect(await outcome).toBe('failed');
    },
  );
});

describe('readJson', () => {
  const long = 'x'.repeat(200_000);
  const bytesOf = (text: string) => new Uint8Array(Buffer.from(text));

  test('parses a small body at once', () => {
    const json = readJson(bytesOf('{"model":"m","of":{"mine":[1]}}'), liveRequest());
    expect(json).toMatchObject({ fields: { model: 'm', of: { mine: [1] } } });
  });

  test.each([0, 20_000, 300_000])('refuses what is no JSON, with %d bytes more', async (length) => {
    for (const text of ['', '[]', '{"a":1', '{"a":1}}']) {
      const bytes = bytesOf(text + ' '.repeat(length));
      const reading = new Promise((resolve) => resolve(readJson(bytes, liveRequest())));
      expect(await reading.catch((error: unknown) => error)).toMatchObject({
        code: 'invalid_json',
        status: 400,
      });
    }
  });

  test('finds the members of a large body without parsing what is large', async () => {
    const text = `{"model":"a","prompt":["${long}","b"],"n":1.0,"model":"m","__proto__":1}`;
    const { fields, members } = await readJson(bytesOf(text), liveRequest());
    expect(Object.keys(fields)).toEqual(['model', 'prompt', 'n', '__proto__']);
    expect(fields).toMatchObject({ model: 'm', prompt: { kind: 'list', items: 2 }, n: 1 });
    expect(members.map(({ key }) => key)).toEqual(['model', 'prompt', 'n', 'model', '__proto__']);
  });

  test('lets the event loop turn while it reads a large body', async () => {
    let turns = 0;
    const turn = setInterval(() => turns++, 0);
    await readJson(bytesOf(`{"a":[${'[],'.repeat(4_000_000)}1]}`), liveRequest());
    clearInterval(turn);
    expect(turns).toBeGreaterThan(1);
  });

  test('stops when the request is aborted', async () => {
    const inFlight = liveRequest();
    const reading = readJson(bytesOf(`{"a":[${'[],'.repeat(4_000_000)}1]}`), inFlight);
    inFlight.abort('client_closed_request');
    expect(await Promise.resolve(reading).catch((error: unknown) => error)).toMatchObject({
      code: 'client_closed_request',
    });
  });
});

function jsonOf(text: string): JsonBody {
  return JsonBody.parse(Buffer.from(text));
}

describe('inspect', () => {
  function look(body: unknown, path = '/v1/completions'): LiveRequest {
    const inFlight = liveRequest(path);
    inspect(inFlight.route, jsonOf(JSON.stringify(body)), inFlight);
    return inFlight;
  }

  test('takes the model and whether a stream is wanted', () => {
    expect(look({ prompt: 'x', model: 'm', stream: true })).toMatchObject({
      model: 'm',
      stream: true,
    });
    expect(look({ prompt: 'x' })).toMatchObject({ model: undefined, stream: false });
    expect(look({ prompt: 'x', model: null }).model).toBeUndefined();
  });

  test.each(['true', 1, null, {}])(
    'takes %j for no wish to stream: the engine judges it',
    (stream) => {
      expect(look({ prompt: 'x', stream }).stream).toBe(false);
    },
  );

  test.each([[0], [1], [true], [{}], [['m']]])('refuses a model that is %j', (model) => {
    expect(() => look({ prompt: 'x', model })).toThrow(
      expect.objectContaining({ code: 'invalid_field', status: 400, param: 'model' }),
    );
  });

  test.each([{}, { model: 'm' }, { Prompt: 'x' }, { messages: [] }])(
    'refuses a completion without a prompt: %j',
    (body) => {
      expect(() => look(body)).toThrow(
        expect.objectContaining({ code: 'missing_field', status: 400, param: 'prompt' }),
      );
    },
  );

  test.each([
    { prompt: 'x' },
    { prompt: '' },
    { prompt: [1] },
    { prompt: null },
    { prompt_embeds: 'x' },
  ])('leaves it to the engine to judge %j', (body) => {
    expect(() => look(body)).not.toThrow();
  });

  test('asks nothing of other routes', () => {
    expect(() => look({}, '/v1/chat/completions')).not.toThrow();
  });
});

describe('a caller that may not use every model', () => {
  const limited = { ...caller, models: ['a'] };
  const route = routeOf('/v1/completions');
  const look = (body: object, by: Caller) =>
    inspect(route, jsonOf(JSON.stringify(body)), new LiveRequest('id', route, by, 0));

  test.each(['Model', 'model[]', 'models', 'fallbacks', 'Lora_Path'])(
    'may not send the member %j, which can name another',
    (name) => {
      const body = { prompt: 'x', model: 'a', [name]: null };
      expect(() => look(body, limited)).toThrow(
        expect.objectContaining({ code: 'invalid_field', status: 400 }),
      );
      expect(() => look(body, caller)).not.toThrow();
    },
  );

  test('may not name a model that null takes back: Go reads null as nothing new', () => {
    const json = jsonOf('{"prompt":"x","mod\\u0065l":"b","model":null}');
    const send = (by: Caller) => inspect(route, json, new LiveRequest('id', route, by, 0));
    expect(() => send(limited)).toThrow(
      expect.objectContaining({ code: 'invalid_field', status: 400, param: 'model' }),
    );
    expect(() => send(caller)).not.toThrow();
    expect(() => look({ prompt: 'x', model: null }, limited)).not.toThrow();
  });

  test('may not name a model in the query', () => {
    const refusal = expect.objectContaining({ code: 'invalid_field', param: 'model' });
    expect(() => assertQueryWithoutModel('/tokenize?model=a', limited)).toThrow(refusal);
    expect(() => assertQueryWithoutModel('http://x/tokenize?a=model', limited)).not.toThrow();
    expect(() => assertQueryWithoutModel('/tokenize?model=a', caller)).not.toThrow();
  });
});

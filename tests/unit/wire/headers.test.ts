/**
 * Which headers cross the gateway, in both directions, and the request id.
 */
import { describe, expect, test } from 'bun:test';
import {
  answerHeaders,
  givenIdOf,
  upstreamHeaders,
  watchAgent,
  withoutValues,
} from '../../../src/wire/headers.ts';

const hopByHop = {
  connection: 'keep-alive',
  'keep-alive': 'timeout=5',
  'proxy-authenticate': 'Basic',
  'proxy-authorization': 'Basic eDp5',
  'proxy-connection': 'keep-alive',
  te: 'trailers',
  trailer: 'expires',
  'transfer-encoding': 'chunked',
  upgrade: 'h2c',
};

describe('upstreamHeaders', () => {
  const none = { 'accept-encoding': 'identity', 'x-request-id': 'id-1' };

  test('passes names and values on unchanged', () => {
    const passing = {
      'content-type': 'application/json; charset="UTF-8"',
      accept: 'text/event-stream, */*;q=0.1',
      'user-agent': 'curl/8.5',
      'openai-beta': 'a=1,  b=2',
      'anthropic-version': '2023-06-01',
      traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
      'x-forwarded-for': '192.0.2.1',
      'x-unknown': '\xe9',
    };
    expect(
      upstreamHeaders(
        new Headers(passing),
        { uniqueId: 'id-1', traceparent: undefined },
        undefined,
      ),
    ).toEqual({
      ...passing,
      ...none,
    });
  });

  test.each(Object.entries(hopByHop))('drops the hop-by-hop header %s', (name, value) => {
    expect(
      upstreamHeaders(
        new Headers({ [name]: value }),
        { uniqueId: 'id-1', traceparent: undefined },
        undefined,
      ),
    ).toEqual(none);
  });

  test.each([
    ['host', 'gateway.example'],
    ['content-length', '7'],
    ['expect', '100-continue'],
    ['authorization', 'Bearer sk-client-key'],
    ['x-api-key', 'sk-client-key'],
    ['api-key', 'sk-client-key'],
    ['x-goog-api-key', 'sk-client-key'],
    ['cookie', 'session=1'],
    ['x-priority', 'batch'],
    ['x-queue-feedback', 'true'],
    ['origin', 'https://chat.example'],
    ['referer', 'https://chat.example/?key=sk-client-key'],
    ['x-conversation-id', 'c-1'],
  ])('drops %s', (name, value) => {
    expect(
      upstreamHeaders(
        new Headers({ [name]: value }),
        { uniqueId: 'id-1', traceparent: undefined },
        undefined,
      ),
    ).toEqual(none);
  });

  test.each([
    { authorization: 'Bearer sk-client-key' },
    { 'x-api-key': 'sk-client-key' },
    { 'api-key': 'sk-other-key,sk-client-key' },
    { authorization: 'Bearer sk-stale-key, Bearer sk-client-key' },
  ])('drops a key that stands elsewhere as well: %j', (credentials) => {
    const headers = {
      ...(credentials as Record<string, string>),
      'x-auth-token': 'sk-client-key',
      forwarded: 'for=a;key="sk-client-key"',
      accept: 'a/b, Bearer',
    };
    const sent = { uniqueId: 'id-1', traceparent: undefined };
    expect(upstreamHeaders(new Headers(headers), sent, undefined)).toEqual({
      accept: 'a/b, Bearer',
      ...none,
    });
  });

  test('drops the headers that the Connection header names', () => {
    const headers = {
      connection: 'close, X-Private ,x-other',
      'x-private': '1',
      'x-other': '2',
      'x-kept': '3',
    };
    expect(
      upstreamHeaders(
        new Headers(headers),
        { uniqueId: 'id-1', traceparent: undefined },
        undefined,
      ),
    ).toEqual({
      'x-kept': '3',
      ...none,
    });
  });

  test('keeps the headers that the gateway sets when the Connection header names them', () => {
    const headers = { connection: 'authorization, x-request-id, accept-encoding' };
    expect(
      upstreamHeaders(
        new Headers(headers),
        { uniqueId: 'id-1', traceparent: undefined },
        'engine-key',
      ),
    ).toEqual({
      ...none,
      authorization: 'Bearer engine-key',
    });
  });

  test("sets the gateway's id, encoding and key instead of the client's", () => {
    const headers = {
      'x-request-id': 'of the client',
      'accept-encoding': 'gzip, br',
      'content-encoding': 'gzip',
      authorization: 'Bearer sk-client-key',
    };
    expect(
      upstreamHeaders(
        new Headers(headers),
        { uniqueId: 'id-1', traceparent: undefined },
        'engine-key',
      ),
    ).toEqual({
      ...none,
      authorization: 'Bearer engine-key',
    });
  });
});

test('the trace context is that of the gateway where it has one, else that of the client', () => {
  const client = new Headers({ traceparent: 'of the client' });
  const of = (traceparent: string | undefined) =>
    upstreamHeaders(client, { uniqueId: 'id-1', traceparent }, undefined)['traceparent'];
  expect([of('of the gateway'), of(undefined)]).toEqual(['of the gateway', 'of the client']);
});

test('the probes of the gateway have its own user agent', () => {
  expect(watchAgent).toStartWith('llm-gateway');
});

test('headers with a key in them are left out, whatever their names; a word too short for a key is none', () => {
  const headers = new Headers({ a: 'for sk-test-key-1;', b: 'x', c: 'sk-test-key-2' });
  const left = withoutValues(headers, ['sk-test-key-1', 'x']);
  expect<unknown>(left.toJSON()).toEqual({ b: 'x', c: 'sk-test-key-2' });
  expect(headers.has('a')).toBe(true);
});

describe('answerHeaders', () => {
  const of = (headers: Headers | Record<string, string>, url = '') =>
    answerHeaders({ headers: new Headers(headers), url }).toJSON();

  test('passes names and values on unchanged, with every cookie as a separate header', () => {
    const headers = new Headers({
      'content-type': 'text/event-stream; charset=utf-8',
      'content-encoding': 'gzip',
      'retry-after': '7',
      'x-envoy': '\xe9',
    });
    headers.append('set-cookie', 'a=1, b');
    headers.append('set-cookie', 'c=2');
    expect<unknown>(of(headers)).toEqual({
      'content-type': 'text/event-stream; charset=utf-8',
      'content-encoding': 'gzip',
      'retry-after': '7',
      'x-envoy': '\xe9',
      'set-cookie': ['a=1, b', 'c=2'],
    });
  });

  test.each([
    ...Object.entries(hopByHop),
    ['content-length', '7'],
    ['x-request-id', 'of the engine'],
    ['x-gateway-error', 'upstream_reset'],
    ['access-control-allow-origin', '*'],
    ['access-control-allow-credentials', 'true'],
    ['via', '1.1 proxy.internal:3128'],
    ['alt-svc', 'h3=":8443"'],
    ['x-served-by', 'node-7'],
    ['location', 'http://10.1.2.3:8000/v1/files/1'],
    ['location', '//10.1.2.3/v1/files/1'],
    ['location', '/\\\\10.1.2.3/v1'],
    ['content-location', 'HTTPS:10.1.2.3/v1'],
    ['link', '</v1?page=2>; rel=next, <http://engine/v1>; rel=first'],
    ['refresh', '0; url=http://engine/'],
  ])('drops %s: %s', (name, value) => {
    expect(of({ [name]: value })).toEqual({});
  });

  test.each([
    ['location', '/v1/files/1?a=b:c'],
    ['content-location', 'files/1'],
    ['link', '</v1?page=2>; rel=next'],
    ['server', 'uvicorn'],
    ['x-docs', 'https://example.com/a'],
  ])('passes %s: %s', (name, value) => {
    expect(of({ [name]: value }, 'http://10.1.2.3:8000/v1/x')).toEqual({ [name]: value });
  });

  test.each([
    ['http://10.1.2.3:8000/v1/x', 'tcp 10.1.2.3:8000'],
    ['http://10.1.2.3:8000', 'tcp 10.1.2.3:8000'],
    ['https://engine/v1/x', 'at https://engine/docs'],
    ['http://[::1]:8000/v1/x', '[::1]:8000'],
  ])('drops any header that names the engine at %s', (url, value) => {
    const headers = { 'x-node': value, 'x-kept': 'engine' };
    expect(of(headers, url)).toEqual({ 'x-kept': 'engine' });
    expect(of(headers)).toEqual(headers);
  });

  test('drops the headers that the Connection header names', () => {
    const headers = new Headers({ connection: 'X-Private', 'x-private': '1', 'x-kept': '2' });
    expect(of(headers)).toEqual({ 'x-kept': '2' });
  });
});

describe('givenIdOf', () => {
  test.each(['a', 'A-b_c.9', 'x'.repeat(128)])('takes %j from the client', (id) => {
    expect(givenIdOf(new Headers({ 'x-request-id': id }))).toBe(id);
  });

  test.each([undefined, '', 'x'.repeat(129), 'two words', 'a,b', 'a"b', 'a/b', '\xe9', 'a:b'])(
    'does not take %j',
    (id) => {
      const headers = new Headers(id === undefined ? {} : { 'x-request-id': id });
      expect(givenIdOf(headers)).toBeUndefined();
    },
  );
});

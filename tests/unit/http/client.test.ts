/**
 * The client as a reader: it aborts its request when it leaves, and its connection is held open only during a long
 * request.
 */
import { describe, expect, test } from 'bun:test';
import { Client } from '../../../src/http/client.ts';
import type { ErrorCode } from '../../../src/wire/errors.ts';

function start() {
  const connection = new AbortController();
  const request = new Request('http://gateway/', { signal: connection.signal });
  const aborts: ErrorCode[] = [];
  const timeouts: [Request, number][] = [];
  const server = {
    timeout: (of: Request, seconds: number) => void timeouts.push([of, seconds]),
  };
  const client = new Client(request, () => server, 75);
  const run = { abort: (code: ErrorCode) => void aborts.push(code) };
  return { connection, request, aborts, timeouts, client, run };
}

describe('a client that leaves', () => {
  test('aborts the request that it reads', () => {
    const { connection, client, aborts, run } = start();
    client.attend(run);
    expect({ left: client.hasLeft, aborts }).toEqual({ left: false, aborts: [] });
    connection.abort();
    expect({ left: client.hasLeft, aborts }).toEqual({
      left: true,
      aborts: ['client_closed_request'],
    });
  });

  test('before its request began, too', () => {
    const { connection, client, aborts, run } = start();
    connection.abort();
    client.attend(run);
    expect(aborts).toEqual(['client_closed_request']);
  });

  test('counts as gone when its body was cancelled, whatever its signal says', () => {
    const { client, aborts, run } = start();
    client.attend(run);
    client.left();
    expect(aborts).toEqual(['client_closed_request']);
  });

  test('does nothing while it reads no request', () => {
    const { connection, client, aborts } = start();
    connection.abort();
    client.left();
    expect(aborts).toEqual([]);
  });
});

describe('its connection', () => {
  test('is held open on request, and times out again afterwards', () => {
    const { client, request, timeouts } = start();
    client.holdOpen();
    expect(timeouts).toEqual([[request, 0]]);
    client.letGo();
    expect(timeouts.slice(1)).toEqual([[request, 75]]);
  });

  test('is left alone where it was not held', () => {
    const { client, timeouts } = start();
    client.letGo();
    expect(timeouts).toEqual([]);
  });

  test('may have no server any more', () => {
    const client = new Client(new Request('http://gateway/'), () => null, 75);
    client.holdOpen();
    client.letGo();
    expect(client.hasLeft).toBe(false);
  });
});

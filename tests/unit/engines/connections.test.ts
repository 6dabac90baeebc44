/**
 * Sessions of reused connections: how long one takes requests, and that it is closed when nothing runs in it any more.
 * And for which kinds of engines connections are reused.
 */
import { describe, expect, test } from 'bun:test';
import { connectionOf, Sessions } from '../../../src/engines/connections.ts';
import { engineKinds } from '../../../src/wire/kinds.ts';

class FakeSession {
  closed = 0;
  close(): void {
    this.closed++;
  }
}

function sessions() {
  const made: FakeSession[] = [];
  const ring = new Sessions(() => {
    const session = new FakeSession();
    made.push(session);
    return session;
  });
  return { made, ring };
}

describe('acquire', () => {
  test('gives the same session within 2.5 s, and a fresh one from then on', () => {
    const { made, ring } = sessions();
    const at = [1_000, 1_001, 3_499, 3_500, 5_999, 6_000].map((now) => ring.acquire(now).session);
    expect(at.map((session) => made.indexOf(session))).toEqual([0, 0, 0, 1, 1, 2]);
  });

  test('gives the first session at any time, 0 included', () => {
    const { made, ring } = sessions();
    expect(ring.acquire(0).session).toBe(made[0] as FakeSession);
  });
});

describe('release', () => {
  test('leaves the current session open for the next request', () => {
    const { made, ring } = sessions();
    ring.acquire(0).release();
    ring.acquire(1).release();
    expect(made.map(({ closed }) => closed)).toEqual([0]);
  });

  test('closes an old session only when the last of its requests has ended', () => {
    const { made, ring } = sessions();
    const one = ring.acquire(0);
    const two = ring.acquire(0);
    ring.acquire(10_000);
    one.release();
    expect(made[0]?.closed).toBe(0);
    two.release();
    expect(made.map(({ closed }) => closed)).toEqual([1, 0]);
  });

  test('counts once, however often it is called', () => {
    const { made, ring } = sessions();
    const one = ring.acquire(0);
    const two = ring.acquire(0);
    ring.acquire(10_000);
    one.release();
    one.release();
    expect(made[0]?.closed).toBe(0);
    two.release();
    two.release();
    expect(made[0]?.closed).toBe(1);
  });
});

test('a session in which nothing runs is closed when the next one begins', () => {
  const { made, ring } = sessions();
  ring.acquire(0).release();
  ring.acquire(2_500);
  expect(made.map(({ closed }) => closed)).toEqual([1, 0]);
});

test('every session is closed exactly once but the current one', () => {
  const { made, ring } = sessions();
  const leases = Array.from({ length: 40 }, (_, i) => ring.acquire(i * 700));
  for (const { release } of leases.reverse()) release();
  expect(made.length).toBe(10);
  expect(made.map(({ closed }) => closed)).toEqual([...Array(9).fill(1), 0]);
});

describe('a connection', () => {
  function stage() {
    const made: Bun.FetchSession[] = [];
    const ring = new Sessions(() => {
      const session = new Bun.FetchSession();
      made.push(session);
      return session;
    });
    return { made, ring };
  }

  test.each(['llama.cpp', 'unknown'] as const)('to %s is closed after use', (kind) => {
    const { made, ring } = stage();
    expect(connectionOf(kind, ring, 0).init).toEqual({ keepalive: false });
    expect(made).toEqual([]);
  });

  test.each(['vllm', 'sglang', 'ollama', 'openai'] as const)('to %s is kept', (kind) => {
    const { made, ring } = stage();
    const { init, release } = connectionOf(kind, ring, 0);
    expect(init).toEqual({ session: made[0] as Bun.FetchSession });
    release();
  });

  test('is decided for every kind', () => {
    expect(engineKinds).toEqual(['llama.cpp', 'vllm', 'sglang', 'ollama', 'openai']);
  });
});

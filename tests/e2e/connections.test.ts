/**
 * Connections to the engine are used again only where and as long as that is safe: no client sees an error and no engine
 * a repeated request because of one that was idle.
 */
import { expect, setDefaultTimeout, test } from 'bun:test';
import type { Socket } from 'node:net';
import { ask } from '../exchange.ts';
import { startGateway } from '../gateway.ts';
import { randomFrom } from '../unit/random.ts';
import { plain, startUpstream } from '../upstream.ts';

setDefaultTimeout(60_000);

/** Engines close after 5 s; this one is harder to please, and no gateway needs twice the time. */
const idleMs = 3_000;
/** It reads no more for so long before it closes, as a busy event loop does. */
const deafMs = 30;

function closeWhenIdle(socket: Socket): void {
  socket.setTimeout(idleMs - deafMs, () => {
    socket.pause();
    setTimeout(() => socket.destroy(), deafMs);
  });
}

test('an engine that closes idle connections in silence costs no request and repeats none', async () => {
  await using engine = await startUpstream((_request, wire) => wire.write(plain('{"ok":1}')), {
    connected: closeWhenIdle,
  });
  await using gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    LLM_SERVER_KIND: 'openai',
  });
  const random = randomFrom(20_262);
  const rounds = 3;
  const clients = Array.from({ length: 100 }, async (_, client) => {
    const answers: string[] = [];
    for (let round = 0; round < rounds; round++) {
      // The pauses are what this is about: around the time at which the engine closes.
      if (round > 0) await Bun.sleep(idleMs - 600 + random.below(700));
      const headers = { 'X-Request-Id': `pause-${client}-${round}` };
      const { status, text } = await ask(gateway.url, { headers, body: { prompt: 'x' } });
      answers.push(`${status} ${text}`);
    }
    return answers;
  });
  expect(new Set((await Promise.all(clients)).flat())).toEqual(new Set(['200 {"ok":1}']));
  const ids = engine.requests.map(({ headers }) => headers['x-request-id']);
  expect(ids).toHaveLength(100 * rounds);
  expect(new Set(ids).size).toBe(100 * rounds);
  // Otherwise this has tested nothing.
  expect(engine.connections()).toBeLessThan(ids.length);
});

for (const [kind, isReused] of [
  ['openai', true],
  ['vllm', true],
  ['llama.cpp', false],
  ['auto', false],
] as const) {
  test(`kind ${kind}: ${isReused ? 'connections are used again' : 'every request has its own connection'}`, async () => {
    await using engine = await startUpstream((_request, wire) => wire.write(plain('{"ok":1}')));
    await using gateway = await startGateway({ LLM_SERVER_URL: engine.url, LLM_SERVER_KIND: kind });
    const asked = { body: { prompt: 'x' } };
    for (let i = 0; i < 10; i++) await ask(gateway.url, asked);
    await Promise.all(Array.from({ length: 10 }, () => ask(gateway.url, asked)));
    expect(engine.requests).toHaveLength(20);
    if (isReused) expect(engine.connections()).toBeLessThan(15);
    else expect(engine.connections()).toBe(20);
  });
}

/**
 * Connections to the engine are used again only where and as long as that is safe: no client sees an error and no engine
 * a repeated request because of one that was idle.
 */
import { expect, setDefaultTimeout, test } from 'bun:test';
import type { Socket } from 'node:net';
import { ask } from '../support/rawclient.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { plain, startUpstream } from '../support/rawengine.ts';
import { clientIdOf } from '../support/requestid.ts';

setDefaultTimeout(60_000);

/** Real engines close idle connections after 5 s; this one closes sooner, which is harder for the gateway. */
const idleMs = 3_000;
/** How long it reads nothing before it closes, like a busy event loop, in milliseconds. */
const deafMs = 200;
/** No pause, one that ends while the engine does not read, and one that ends after that. */
const pausesMs = [0, 2_900, 3_100];
const clients = 50;

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
  const expected: string[] = [];
  async function askAs(id: string): Promise<void> {
    expected.push(id);
    const headers = { 'X-Request-Id': id };
    const { status, text } = await ask(gateway.url, { headers, body: { prompt: 'x' } });
    expect([status, text]).toEqual([200, '{"ok":1}']);
  }
  for (const pauseMs of pausesMs) {
    // The pauses are what this is about: all connections have then been idle for that long.
    await Bun.sleep(pauseMs);
    const asking = Array.from({ length: clients }, async (_, client) => {
      for (const nth of [1, 2]) await askAs(`pause-${pauseMs}-${client}-${nth}`);
    });
    await Promise.all(asking);
  }
  const received = engine.requests.map(({ headers }) => clientIdOf(headers));
  expect(received.sort()).toEqual(expected.sort());
  // Otherwise the test has shown nothing.
  expect(engine.connections()).toBeLessThan(received.length);
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

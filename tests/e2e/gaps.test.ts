/**
 * A stream that is silent for long: signs of life come where its client asks for them, and nothing where it does not.
 */
import { afterAll, expect, test } from 'bun:test';
import { startGateway } from '../support/gatewayprocess.ts';
import { send, type RawClient } from '../support/rawclient.ts';
import { startUpstream, type Wire } from '../support/rawengine.ts';

const head = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n';
const first = 'data: {"choices":[{"text":"a"}]}\n\n';
const cut = 'data: {"ch';
const rest = 'oices":[]}\n\n';
const last = 'data: [DONE]\n\n';

/** The connections of the streams, in the order in which they began. */
const wires: Wire[] = [];
const engine = await startUpstream((_request, wire) => {
  wires.push(wire);
  wire.write(head + first);
});
const gateway = await startGateway({
  LLM_SERVER_URL: engine.url,
  LLM_SERVER_KIND: 'openai',
  QUEUE_FEEDBACK_EVERY_MS: '100',
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine[Symbol.asyncDispose]();
});

const filler = ': waiting for the next token\n\n';

/** Asks for a stream, and resolves when it has begun. */
async function begin(headers: Record<string, string>): Promise<RawClient> {
  const client = await send(gateway.url, { body: '{"prompt":"a","stream":true}', headers });
  await client.receives((text) => text.includes(first));
  return client;
}

/** Resolves when the client has that many fillers. */
function fillers(client: RawClient, count: number): Promise<unknown> {
  return client.receives((text) => text.split(filler).length > count);
}

test('comes between two frames again and again, and never within one', async () => {
  using client = await begin({ 'x-queue-feedback': 'true' });
  const wire = wires.at(-1) as Wire;
  await fillers(client, 2);
  wire.write(cut);
  await client.receives((text) => text.includes(cut));
  wire.write(rest);
  await fillers(client, 4);
  wire.write(last);
  wire.end();
  await client.ended();
  expect(client.text.replaceAll(filler, '')).toBe(first + cut + rest + last);
  expect(client.text).toContain(cut + rest);
});

test('comes to nobody who did not ask for it', async () => {
  using plain = await begin({});
  const plainWire = wires.at(-1) as Wire;
  using other = await begin({ 'x-queue-feedback': 'true' });
  await fillers(other, 2);
  plainWire.write(last);
  plainWire.end();
  await plain.ended();
  expect(plain.text).toBe(first + last);
  other.leave();
});

/**
 * Answers that come slowly and in the smallest pieces pass at once: no piece waits for more, and no byte changes where a
 * character or a frame is split.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask, send, type Asked } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { chunk, lastChunk, startUpstream, streamHead, type Wire } from '../support/rawengine.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(30_000);

const engine = startDemoEngine();
let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway({ LLM_SERVER_URL: engine.url });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

const words = 'Привет 👋🏽 日本語 👨‍👩‍👧‍👦';
const bodies: Record<string, object> = {
  '/v1/completions': { prompt: words, max_tokens: 4 },
  '/v1/chat/completions': { messages: [{ role: 'user', content: words }], max_tokens: 4 },
  '/v1/messages': { messages: [{ role: 'user', content: words }], max_tokens: 4 },
};

for (const path in bodies) {
  for (const stream of [true, false]) {
    test(`${path}, ${stream ? 'streamed' : 'plain'}, byte by byte`, async () => {
      const asked: Asked = { path, body: { ...bodies[path], stream } };
      // The first one fills the engine's prefix cache, which an answer tells of.
      await ask(engine.url, asked);
      const direct = await ask(engine.url, asked);
      expect(direct.body.length).toBeGreaterThan(direct.text.length);
      for (const fault of path === '/v1/completions' ? ['split-utf8', 'drip=1'] : ['split-utf8']) {
        const exchange = await ask(gateway.url, { ...asked, headers: { 'X-Demo-Fault': fault } });
        expect([exchange.status, exchange.ending]).toEqual([200, 'whole']);
        expect(exchange.text).toBe(direct.text);
        expect(exchange.body.equals(direct.body)).toBe(true);
      }
    });
  }
}

test('each piece reaches the client before the engine sends the next, whole frame or not', async () => {
  let wire: Wire | undefined;
  await using slow = await startUpstream((_request, its) => {
    wire = its;
    its.write(streamHead);
  });
  await using relay = await startGateway({
    LLM_SERVER_URL: slow.url,
    LLM_SERVER_KIND: 'openai',
    INJECT_USAGE: 'off',
  });
  const frames = `data: {"text":"${words}"}\n\n: note\n\ndata: [DONE]\n\n`;
  const exchange = await send(relay.url, { body: { prompt: 'x', stream: true } });
  await until('the engine has it', () => wire !== undefined);
  let sent = 0;
  for (const byte of Buffer.from(frames)) {
    wire?.write(chunk(Uint8Array.of(byte)));
    await exchange.hasBytes(++sent);
  }
  wire?.write(lastChunk);
  await exchange.ended();
  expect([exchange.text, exchange.ending]).toEqual([frames, 'whole']);
});

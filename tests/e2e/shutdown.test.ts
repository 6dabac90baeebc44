/**
 * What a signal does: the gateway is unready at once, open requests may end within the grace, a request open after that
 * gets an error, and a second signal ends everything at once.
 */
import { afterAll, expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { ask, requestBytes, send, RawClient } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { chunk, lastChunk, startUpstream, streamHead, type Wire } from '../support/rawengine.ts';
import { soon, until } from '../support/wait.ts';

setDefaultTimeout(30_000);

const frame = 'data: {"choices":[{"text":"a"}]}\n\n';
const done = 'data: [DONE]\n\n';
const wires: Wire[] = [];
/** An engine that begins a stream and leaves the rest to the test, and never answers a plain request. */
const engine = await startUpstream((request, wire) => {
  wires.push(wire);
  if (!request.body.includes('stream')) return;
  wire.write(streamHead);
  wire.write(chunk(frame));
});
afterAll(() => engine.stop());

async function startBehind(graceMs = 30_000): Promise<Gateway> {
  return startGateway({
    LLM_SERVER_URL: engine.url,
    LLM_SERVER_KIND: 'openai',
    SHUTDOWN_GRACE_MS: String(graceMs),
  });
}

async function startStream(gateway: Gateway): Promise<{ stream: RawClient; wire: Wire }> {
  const stream = await send(gateway.url, { body: { prompt: 'x', stream: true } });
  await stream.hasText(frame);
  return { stream, wire: wires.at(-1) as Wire };
}

function exitOf(gateway: Gateway): Promise<number> {
  return soon('the end of the gateway', gateway.exited);
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  test(`${signal}: unready at once, an open stream ends whole, exit 0`, async () => {
    await using gateway = await startBehind();
    const { stream, wire } = await startStream(gateway);
    expect((await ask(gateway.url, { path: '/ready' })).status).toBe(200);
    gateway.kill(signal);
    await gateway.logged(({ msg }) => msg === 'draining');

    const ready = await ask(gateway.url, { path: '/ready' });
    expect([ready.status, JSON.parse(ready.text)]).toEqual([503, { status: 'draining' }]);
    expect((await ask(gateway.url, { path: '/health' })).status).toBe(200);
    const late = await ask(gateway.url, { body: { prompt: 'x' } });
    expect([late.status, late.header('x-gateway-error')]).toEqual([503, 'shutting_down']);
    expect(late.header('retry-after')).toBe('1');
    expect(JSON.parse(late.text).error.code).toBe('shutting_down');

    wire.write(chunk(frame));
    await stream.hasBytes(2 * frame.length);
    wire.write(chunk(done));
    wire.write(lastChunk);
    await stream.ended();
    expect([stream.ending, stream.text]).toEqual(['whole', frame + frame + done]);
    expect(await exitOf(gateway)).toBe(0);
    expect(gateway.logs.at(-1)?.['msg']).toBe('stopped');
    const isItsEnd = ({ requestId, msg }: Record<string, unknown>) =>
      requestId === stream.header('x-request-id') && msg === 'request ended';
    expect(gateway.logs.find(isItsEnd)?.['outcome']).toBe('done');
  });

  test(`${signal}: an idle gateway ends at once`, async () => {
    await using gateway = await startBehind(600_000);
    // Its connection stays open.
    expect((await fetch(`${gateway.url}/health`)).ok).toBe(true);
    gateway.kill(signal);
    expect(await exitOf(gateway)).toBe(0);
  });
}

test('after the grace a stream ends with the error event, a plain answer with a 503', async () => {
  await using gateway = await startBehind(300);
  const { stream, wire } = await startStream(gateway);
  const before = engine.requests.length;
  const whole = await send(gateway.url, { body: { prompt: 'x' } });
  await until('the engine has it', () => engine.requests.length > before);
  gateway.kill('SIGTERM');
  await Promise.all([stream.ended(), whole.ended()]);
  expect(stream.ending).toBe('whole');
  expect(stream.text).toStartWith(`${frame}data: {"error":`);
  expect(JSON.parse(stream.text.slice(frame.length + 6)).error.code).toBe('shutting_down');
  expect([whole.status, whole.header('x-gateway-error')]).toEqual([503, 'shutting_down']);
  expect(JSON.parse(whole.text).error.code).toBe('shutting_down');
  await soon('the engine is left', wire.over);
  expect(await exitOf(gateway)).toBe(0);
});

test('after the grace a client that does not read cannot keep the gateway from ending', async () => {
  const huge = startDemoEngine();
  await using gateway = await startGateway({ LLM_SERVER_URL: huge.url, SHUTDOWN_GRACE_MS: '100' });
  const headers = { 'X-Demo-Fault': 'huge=100000000' };
  const stream = await RawClient.open(gateway.url);
  stream.pause();
  stream.write(requestBytes({ headers, body: { prompt: 'x', stream: true } }));
  let [sent, looks] = [0, 0];
  await until('all buffers on the way are full', () => {
    const now = huge.requests[0]?.sentBytes ?? 0;
    looks = now === sent && now > 1_000_000 ? looks + 1 : 0;
    sent = now;
    return looks === 40;
  });
  gateway.kill('SIGTERM');
  expect(await exitOf(gateway)).toBe(0);
  stream.resume();
  expect((await stream.ended()).ending).not.toBe('whole');
  await huge.stop();
});

test('a duplicate of a signal, as `bun run` sends after Ctrl-C, does not count as a second one', async () => {
  await using gateway = await startBehind();
  const { stream, wire } = await startStream(gateway);
  gateway.kill('SIGINT');
  gateway.kill('SIGINT');
  await gateway.logged(({ msg }) => msg === 'draining');
  wire.write(chunk(done));
  wire.write(lastChunk);
  await stream.ended();
  expect([stream.ending, stream.text]).toEqual(['whole', frame + done]);
  expect(await exitOf(gateway)).toBe(0);
});

test('a second signal ends open requests at once with an error, with exit code 1', async () => {
  await using gateway = await startBehind();
  const { stream, wire } = await startStream(gateway);
  gateway.kill('SIGTERM');
  await gateway.logged(({ msg }) => msg === 'draining');
  expect(stream.ending).toBe('open');
  gateway.kill('SIGINT');
  expect(await exitOf(gateway)).toBe(1);
  expect((await stream.ended()).text).toContain('"code":"shutting_down"');
  expect(stream.text).not.toContain('[DONE]');
  expect(gateway.logs).toContainEqual(
    expect.objectContaining({ msg: 'request ended', code: 'shutting_down' }),
  );
  await soon('the engine is left', wire.over);
});

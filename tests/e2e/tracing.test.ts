/**
 * Traces: a collector gets one for each request, under the client's and above the engine's, without a word of the prompt
 * or the answer; and a collector that fails disturbs no request.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { startDemoEngine } from '../../src/demo/engine.ts';
import { send } from '../support/rawclient.ts';
import { key, startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { startCollector, type ReceivedSpan } from '../support/otlpcollector.ts';
import { holdPort } from '../support/heldport.ts';
import { chunk, lastChunk, startUpstream, streamHead } from '../support/rawengine.ts';
import { until } from '../support/wait.ts';
import { clientIdOf } from '../support/requestid.ts';

setDefaultTimeout(60_000);

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const parentId = '00f067aa0ba902b7';
const traceparent = `00-${traceId}-${parentId}-01`;

const engine = startDemoEngine();
const collector = startCollector();
let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
  });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await collector.stop();
  await engine.stop();
});

/** Returns the span of the request itself, once it is at the collector. */
async function spanOf(requestId: string): Promise<ReceivedSpan> {
  const find = () =>
    collector.spans.find((span) => span.attributes['llm_gateway.request_id'] === requestId);
  await until(`the collector has the span of ${requestId}`, () => find() !== undefined);
  return find() as ReceivedSpan;
}

/** Returns the spans right under this one, by name. */
function below(span: ReceivedSpan): Record<string, ReceivedSpan> {
  const children = collector.spans.filter(({ parentId }) => parentId === span.spanId);
  return Object.fromEntries(children.map((child) => [child.name, child]));
}

const body = { messages: [{ role: 'user', content: 'Hello' }], stream: true, max_tokens: 8 };

/** Sends a request with this id and returns the answer when it is over. */
async function ask(id: string, headers: Record<string, string> = {}, url = gateway.url) {
  const all = { 'X-Request-Id': id, ...headers };
  const exchange = await send(url, { path: '/v1/chat/completions', headers: all, body });
  return await exchange.ended();
}

test('a stream is one trace: the request, its wait, the engine and the stream', async () => {
  const exchange = await ask('one-trace');
  expect([exchange.status, exchange.ending]).toEqual([200, 'whole']);
  const server = await spanOf('one-trace');
  const { queue, upstream, stream, ...others } = below(server);
  expect(others).toEqual({});
  const trace = collector.spans.filter((span) => span.traceId === server.traceId);
  expect(trace.length).toBe(4);

  expect(server.name).toMatch(/^chat\b/);
  expect(server).toMatchObject({ kind: 'server', parentId: '', isError: false });
  expect(upstream?.kind).toBe('client');
  const times = [
    server.startMs,
    queue?.startMs,
    queue?.endMs,
    stream?.startMs,
    server.endMs,
  ] as number[];
  expect(times).toEqual(times.toSorted((a, b) => a - b));
  expect(Math.abs(server.endMs - Date.now())).toBeLessThan(60_000);
  expect(stream?.startMs).toBeGreaterThanOrEqual(upstream?.startMs as number);

  expect(server.attributes).toMatchObject({
    'http.route': '/v1/chat/completions',
    'http.response.status_code': 200,
    'gen_ai.operation.name': 'chat',
    'gen_ai.provider.name': 'llama.cpp',
    'gen_ai.usage.output_tokens': 8,
    'llm_gateway.tokens_are': 'exact',
  });
  expect(server.resource['service.name']).toBe('llm-gateway');
});

test("continues the client's trace, and the engine's goes on below it", async () => {
  await ask('continued', { traceparent, tracestate: 'vendor=1' });
  const server = await spanOf('continued');
  expect(server).toMatchObject({ traceId, parentId });
  const atEngine = engine.requests.find(({ headers }) => clientIdOf(headers) === 'continued');
  expect(atEngine?.headers).toMatchObject({
    traceparent: `00-${traceId}-${server.spanId}-01`,
    tracestate: 'vendor=1',
  });
});

test('a client that sends no trace, or a broken one, gets a new one, and so does the engine', async () => {
  await ask('none');
  await ask('broken', { traceparent: `00-${traceId}-0-01` });
  for (const id of ['none', 'broken']) {
    const server = await spanOf(id);
    expect(server.parentId).toBe('');
    expect(server.traceId).not.toBe(traceId);
    const atEngine = engine.requests.find(({ headers }) => clientIdOf(headers) === id);
    expect(atEngine?.headers['traceparent']).toBe(`00-${server.traceId}-${server.spanId}-01`);
  }
});

test('a trace that the client does not sample is not sent', async () => {
  await ask('unsampled', { traceparent: traceparent.replace(/01$/, '00') });
  await ask('sampled-after-it');
  await spanOf('sampled-after-it');
  expect(collector.hasHeard('unsampled')).toBe(false);
  const atEngine = engine.requests.find(({ headers }) => clientIdOf(headers) === 'unsampled');
  expect(atEngine?.headers['traceparent']).toMatch(new RegExp(`^00-${traceId}-[\\da-f]{16}-00$`));
});

test('failures are marked: which, and whose', async () => {
  await ask('cut', { 'X-Demo-Fault': 'cut' });
  await send(gateway.url, {
    path: '/v1/chat/completions',
    headers: { 'X-Request-Id': 'no-json' },
    body: '{',
  });
  await ask('engine-500', { 'X-Demo-Fault': 'status=500' });
  const [cut, noJson, failed] = await Promise.all(['cut', 'no-json', 'engine-500'].map(spanOf));
  expect(cut).toMatchObject({ isError: true });
  expect(cut?.attributes).toMatchObject({
    'error.type': 'upstream_reset',
    'llm_gateway.outcome': 'failed',
  });
  expect(noJson).toMatchObject({ isError: false });
  expect(noJson?.attributes['error.type']).toBe('invalid_json');
  expect(failed).toMatchObject({ isError: true });
  expect(failed?.attributes).toMatchObject({
    'error.type': '500',
    'http.response.status_code': 500,
  });
  expect(below(failed as ReceivedSpan)['upstream']?.isError).toBe(true);
});

test('no word of the prompt or the answer, no key and no address is in the bytes', async () => {
  const said = 'albatross';
  const frame = `data: {"choices":[{"index":0,"delta":{"content":"${said}"}}]}\n\n`;
  await using upstream = await startUpstream((_, wire) => {
    wire.write(streamHead);
    wire.write(chunk(frame));
    wire.write(chunk('data: [DONE]\n\n'));
    wire.write(lastChunk);
  });
  await using own = await startGateway({
    LLM_SERVER_URL: upstream.url,
    LLM_SERVER_KIND: 'openai',
    LLM_SERVER_API_KEY: 'engine-key-of-the-test',
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
    OTEL_EXPORTER_OTLP_HEADERS: 'x-tenant=tenant-of-the-test',
  });
  const exchange = await send(own.url, {
    path: '/v1/chat/completions?question=cormorant',
    headers: { 'X-Request-Id': 'secretive', Cookie: 'gannet=1' },
    body: { model: 'any', stream: true, messages: [{ role: 'user', content: 'pelican' }] },
  });
  expect((await exchange.ended()).text).toContain(said);
  const server = await spanOf('secretive');
  expect(Object.keys(below(server)).sort()).toEqual(['queue', 'stream', 'upstream']);
  expect(collector.requests.at(-1)?.headers.get('x-tenant')).toBe('tenant-of-the-test');
  expect(collector.hasHeard(said, 'pelican', 'cormorant', 'gannet')).toBe(false);
  expect(collector.hasHeard(key, 'engine-key-of-the-test', '127.0.0.1')).toBe(false);
});

test('waiting spans are sent before the gateway ends', async () => {
  await using own = await startGateway({
    LLM_SERVER_URL: engine.url,
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
  });
  await ask('last', {}, own.url);
  own.kill('SIGTERM');
  expect(await own.exited).toBe(0);
  expect((await spanOf('last')).attributes['llm_gateway.outcome']).toBe('done');
});

test('a collector that is away or refuses changes no answer, and is logged in one line', async () => {
  using held = holdPort();
  await using own = await startGateway({
    LLM_SERVER_URL: engine.url,
    OTEL_EXPORTER_OTLP_ENDPOINT: held.url,
    // The SDK's own setting, so that it stops before it retries.
    OTEL_EXPORTER_OTLP_TIMEOUT: '500',
  });
  const lines = (text: string) => own.logs.filter(({ msg }) => msg === text);
  const logged = (text: string) => own.logged(({ msg }) => msg === text);

  expect((await ask('away', {}, own.url)).ending).toBe('whole');
  expect(await logged('traces do not get through')).toMatchObject({
    level: 'WARNING',
    code: 'ECONNREFUSED',
  });

  await using back = startCollector(held.port);
  back.answer(400);
  expect((await ask('refused', {}, own.url)).ending).toBe('whole');
  await until('the collector has refused', () => back.requests.length === 1);
  back.answer(200);
  expect((await ask('taken', {}, own.url)).ending).toBe('whole');
  expect(await logged('traces get through again')).toMatchObject({ level: 'INFO', lostSpans: 8 });
  expect(lines('traces do not get through').length).toBe(1);
  expect(own.output).toEqual([]);
});

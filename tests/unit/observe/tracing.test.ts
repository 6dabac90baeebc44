/**
 * The spans of a request: their names, times, parents and attributes, as a collector gets them; what is sampled; and
 * what is logged about a collector that fails.
 */
import { afterEach, describe, expect, test } from 'bun:test';
import pino from 'pino';
import type { ErrorCode } from '../../../src/wire/errors.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import { routes } from '../../../src/wire/routes.ts';
import { Tracing, type TracingOptions } from '../../../src/observe/tracing.ts';
import { startCollector, type Collector, type ReceivedSpan } from '../../support/otlpcollector.ts';
import { until } from '../../support/wait.ts';
import { randomFrom } from '../../support/random.ts';
import { caller } from '../../support/samples.ts';
import type { Outcome } from '../../../src/request/settlement.ts';

const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
const parentId = '00f067aa0ba902b7';
const sampled = `00-${traceId}-${parentId}-01`;
const unsampled = `00-${traceId}-${parentId}-00`;

/** Time 0 of the requests' clock, in milliseconds since 1970. */
const epochMs = 1_700_000_000_000;

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** A collector, tracing that sends to it, and the lines that it has logged. */
function stage(more: Partial<TracingOptions> = {}) {
  const collector = startCollector();
  stops.push(collector.stop);
  const lines: Record<string, unknown>[] = [];
  const log = pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const tracing = new Tracing({
    endpoint: collector.url,
    headers: {},
    serviceName: 'llm-gateway',
    version: '1.2.3',
    sampler: 'parentbased_always_on',
    sampleRatio: 1,
    kindOf: (upstream) => (upstream === 'engine' ? 'llama.cpp' : undefined),
    mask: (text) => text.replaceAll('secret', '***'),
    isServed: (name) => name === 'the secret model',
    log,
    epochOf: (monotonicMs) => epochMs + monotonicMs,
    ...more,
  });
  return { collector, lines, tracing };
}

function request(fields: Partial<LiveRequest> = {}, path = '/v1/chat/completions'): LiveRequest {
  const route = routes.find((each) => each.path === path);
  if (route === undefined) throw new Error(`no route ${path}`);
  return Object.assign(new LiveRequest('id-1', route, caller, 100), fields);
}

/** A stream that waited from 110 to 130, was sent then, and began at 180. */
const streamed: Partial<LiveRequest> = {
  phase: 'decode',
  model: 'qwen3',
  upstream: { id: 'engine', provenAt: 0 },
  status: 200,
  stream: true,
  queuedAt: 110,
  queuedMs: 20,
  sentAt: 130,
  firstByteAt: 180,
  tokens: { promptTokens: 7, cachedTokens: 4, completionTokens: 3 },
};

/** How a request goes on once it has started, and ends. */
interface Course {
  fields?: Partial<LiveRequest>;
  path?: string;
  traceparent?: string;
  outcome?: Outcome;
  code?: ErrorCode;
  endedAt?: number;
}

function settle(tracing: Tracing, started: LiveRequest, course: Course): void {
  const { outcome = 'done', code, endedAt = 400 } = course;
  tracing.settled(started.settlement(outcome, code, endedAt));
}

/** Takes one request through tracing. */
function take(tracing: Tracing, course: Course = {}): LiveRequest {
  const started = request({ traceparent: course.traceparent }, course.path);
  tracing.started(started);
  Object.assign(started, course.fields ?? streamed);
  settle(tracing, started, course);
  return started;
}

/** Returns the spans of one request, by name; `server` is the request's own. */
async function spansOf(course: Course = {}, more: Partial<TracingOptions> = {}) {
  const { collector, tracing } = stage(more);
  take(tracing, course);
  await tracing.close();
  return byName(collector);
}

function byName({ spans }: Collector): Record<string, ReceivedSpan | undefined> {
  return Object.fromEntries(
    spans.map((span) => [span.kind === 'server' ? 'server' : span.name, span]),
  );
}

function times(span: ReceivedSpan | undefined): number[] {
  return [span?.startMs, span?.endMs].map((ms) => Math.round(((ms ?? 0) - epochMs) * 10) / 10);
}

describe('a streamed request', () => {
  test('is one trace: the request, its wait, the engine and the stream, at their times', async () => {
    const spans = await spansOf();
    expect(Object.keys(spans).sort()).toEqual(['queue', 'server', 'stream', 'upstream']);
    expect(times(spans['server'])).toEqual([100, 400]);
    expect(times(spans['queue'])).toEqual([110, 130]);
    expect(times(spans['upstream'])).toEqual([130, 400]);
    expect(times(spans['stream'])).toEqual([180, 400]);
    for (const name of ['queue', 'upstream', 'stream']) {
      expect(spans[name]?.parentId).toBe(spans['server']?.spanId as string);
      expect(spans[name]?.traceId).toBe(spans['server']?.traceId as string);
    }
    expect(spans['upstream']?.kind).toBe('client');
    expect(spans['server']?.parentId).toBe('');
  });

  test('has the names of the conventions, and no others than these', async () => {
    const spans = await spansOf();
    expect(spans['server']?.name).toBe('chat qwen3');
    expect(spans['server']?.attributes).toEqual({
      'http.request.method': 'POST',
      'http.route': '/v1/chat/completions',
      'http.response.status_code': 200,
      'gen_ai.operation.name': 'chat',
      'gen_ai.request.model': 'qwen3',
      'gen_ai.request.stream': true,
      'gen_ai.provider.name': 'llama.cpp',
      'gen_ai.usage.input_tokens': 7,
      'gen_ai.usage.cache_read.input_tokens': 4,
      'gen_ai.usage.output_tokens': 3,
      'llm_gateway.request_id': 'id-1',
      'llm_gateway.key_id': '00112233',
      'llm_gateway.principal': '00112233/eva',
      'llm_gateway.upstream': 'engine',
      'llm_gateway.outcome': 'done',
      'llm_gateway.queued_ms': 20,
      'llm_gateway.tokens_are': 'exact',
    });
    expect(spans['upstream']?.attributes).toEqual({ 'llm_gateway.upstream': 'engine' });
    expect(spans['server']?.resource).toMatchObject({
      'service.name': 'llm-gateway',
      'service.version': '1.2.3',
      'telemetry.sdk.name': 'opentelemetry',
    });
  });

  test('is no error', async () => {
    const spans = await spansOf();
    expect(Object.values(spans).map((span) => span?.isError)).toEqual([false, false, false, false]);
  });
});

test('a plain answer has no stream', async () => {
  const spans = await spansOf({ fields: { ...streamed, stream: false } });
  expect(Object.keys(spans).sort()).toEqual(['queue', 'server', 'upstream']);
});

test('a request that ends in the queue waits to its end and has no engine', async () => {
  const fields: Partial<LiveRequest> = {
    phase: 'queued',
    model: 'qwen3',
    status: 503,
    queuedAt: 110,
  };
  const spans = await spansOf({ fields, outcome: 'failed', code: 'queue_timeout' });
  expect(Object.keys(spans).sort()).toEqual(['queue', 'server']);
  expect(times(spans['queue'])).toEqual([110, 400]);
});

test('a request that waits again after an engine that was away ends in the queue, too', async () => {
  const fields: Partial<LiveRequest> = {
    ...streamed,
    phase: 'queued',
    status: 503,
    firstByteAt: 0,
  };
  const spans = await spansOf({ fields, outcome: 'failed', code: 'queue_timeout' });
  expect(Object.keys(spans).sort()).toEqual(['queue', 'server']);
  expect(times(spans['queue'])).toEqual([110, 400]);
});

test('a request that ends before it waits is one span', async () => {
  const spans = await spansOf({ fields: { status: 400 }, outcome: 'failed', code: 'invalid_json' });
  expect(Object.keys(spans)).toEqual(['server']);
  expect(spans['server']?.name).toBe('chat');
});

test('an answer from the cache says so and has no engine', async () => {
  const fields: Partial<LiveRequest> = { model: 'qwen3', status: 200, isCacheHit: true };
  const spans = await spansOf({ fields });
  expect(Object.keys(spans)).toEqual(['server']);
  expect(spans['server']?.attributes['llm_gateway.cache_hit']).toBe(true);
});

describe('the name', () => {
  test.each([
    ['/v1/chat/completions', 'chat qwen3'],
    ['/chat/completions', 'chat qwen3'],
    ['/v1/responses', 'chat qwen3'],
    ['/v1/messages', 'chat qwen3'],
    ['/v1/completions', 'text_completion qwen3'],
    ['/completion', 'text_completion qwen3'],
    ['/infill', 'text_completion qwen3'],
    ['/v1/embeddings', 'embeddings qwen3'],
    ['/embedding', 'embeddings qwen3'],
    // The GenAI conventions have no name for these.
    ['/v1/rerank', 'POST /v1/rerank'],
    ['/v1/messages/count_tokens', 'POST /v1/messages/count_tokens'],
    ['/tokenize', 'POST /tokenize'],
    ['/v1/models', 'GET /v1/models'],
    ['/v1/models/*', 'GET /v1/models/*'],
  ])('of %s is %s', async (path, name) => {
    const spans = await spansOf({ path });
    expect(spans['server']?.name).toBe(name);
    expect(spans['server']?.attributes['http.route']).toBe(path);
  });

  test.each([
    ['my secret', 'my ***'],
    ['the secret model', 'the secret model'],
  ])(
    'and the model %j are shown without keys, unless a model is called so',
    async (model, shown) => {
      const user = { ...caller, principal: `${caller.keyId}/secret` };
      const fields = { ...streamed, model, caller: user, id: 'secret', uniqueId: 'secret-1' };
      const spans = await spansOf({ fields });
      expect(spans['server']?.name).toBe(`chat ${shown}`);
      expect(spans['server']?.attributes).toMatchObject({
        'gen_ai.request.model': shown,
        'llm_gateway.request_id': '***',
        'llm_gateway.principal': `${caller.keyId}/***`,
      });
    },
  );

  test('and every value are cut, whatever length the client has given its model', async () => {
    const spans = await spansOf({ fields: { ...streamed, model: 'm'.repeat(10_000) } });
    expect(spans['server']?.name).toBe(`chat ${'m'.repeat(200)}`);
    expect(spans['server']?.attributes['gen_ai.request.model']).toBe('m'.repeat(200));
  });
});

describe('errors', () => {
  const cases: [string, Course, string | undefined, [boolean, boolean]][] = [
    [
      'an idle timeout in a stream that began with 200',
      { code: 'idle_timeout' },
      'idle_timeout',
      [true, true],
    ],
    ['a reset', { code: 'upstream_reset' }, 'upstream_reset', [true, true]],
    [
      'a client that left',
      { code: 'client_closed_request', outcome: 'aborted' },
      'client_closed_request',
      [false, false],
    ],
    ["the engine's 500", { fields: { ...streamed, status: 500 } }, '500', [true, true]],
    ["the engine's 400", { fields: { ...streamed, status: 400 } }, '400', [false, true]],
    [
      'a prompt that is too long',
      { code: 'context_length_exceeded' },
      'context_length_exceeded',
      [false, false],
    ],
  ];
  test.each(cases)('%s', async (_, course, type, [server, upstream]) => {
    const outcome = course.code === undefined ? 'done' : 'failed';
    const spans = await spansOf({ outcome, ...course });
    expect(spans['server']?.attributes['error.type']).toBe(type);
    expect(spans['upstream']?.attributes['error.type']).toBe(type);
    expect([spans['server']?.isError, spans['upstream']?.isError]).toEqual([server, upstream]);
  });
});

describe('the context', () => {
  test("is the client's: its trace goes on, and the engine gets the gateway's span", async () => {
    const { collector, tracing } = stage();
    const { traceparent } = take(tracing, { traceparent: sampled });
    await tracing.close();
    const { server } = byName(collector);
    expect(server).toMatchObject({ traceId, parentId });
    expect(traceparent).toBe(`00-${traceId}-${server?.spanId}-01`);
  });

  test('is new where the client sends none', async () => {
    const { collector, tracing } = stage();
    const { traceparent } = take(tracing);
    await tracing.close();
    const { server } = byName(collector);
    expect(traceparent).toBe(`00-${server?.traceId}-${server?.spanId}-01`);
  });

  test.each([
    '',
    'nonsense',
    `00-${'0'.repeat(32)}-${parentId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `ff-${traceId}-${parentId}-01`,
    `00-${traceId.toUpperCase()}-${parentId}-01`,
    `00-${traceId}-${parentId}-01-more`,
    `00-${traceId}-${parentId}`,
  ])('is new where the client sends no valid one: %p', async (traceparent) => {
    const spans = await spansOf({ traceparent });
    expect(spans['server']?.parentId).toBe('');
    expect(spans['server']?.traceId).not.toBe(traceId);
    expect(spans['server']?.traceId).toMatch(/^[\da-f]{32}$/);
  });

  test('of a later version is understood', async () => {
    const spans = await spansOf({ traceparent: `01-${traceId}-${parentId}-01-more` });
    expect(spans['server']).toMatchObject({ traceId, parentId });
  });

  test('of two requests with one id is not mixed up', async () => {
    const { collector, tracing } = stage();
    const first = request();
    const second = request();
    tracing.started(first);
    tracing.started(second);
    settle(tracing, Object.assign(first, streamed, { model: 'first' }), { endedAt: 300 });
    settle(tracing, Object.assign(second, streamed, { model: 'second' }), { endedAt: 500 });
    await tracing.close();
    const servers = collector.spans.filter(({ kind }) => kind === 'server');
    expect(servers.map((span) => [span.name, times(span)])).toEqual([
      ['chat first', [100, 300]],
      ['chat second', [100, 500]],
    ]);
    expect(new Set(servers.map((span) => span.traceId)).size).toBe(2);
  });
});

describe('sampling', () => {
  const flagOf = ({ traceparent }: LiveRequest) => traceparent?.slice(-2);

  test.each([
    ['parentbased_always_on', undefined, true],
    ['parentbased_always_on', sampled, true],
    ['parentbased_always_on', unsampled, false],
    ['parentbased_always_off', undefined, false],
    ['parentbased_always_off', sampled, true],
    ['parentbased_traceidratio', sampled, true],
    ['parentbased_traceidratio', unsampled, false],
    ['always_on', unsampled, true],
    ['always_off', sampled, false],
  ] as const)('%s, client: %p', async (sampler, traceparent, isKept) => {
    const { collector, tracing } = stage({ sampler, sampleRatio: 0.5 });
    const taken = take(tracing, { ...(traceparent && { traceparent }) });
    await tracing.close();
    expect(collector.spans.length > 0).toBe(isKept);
    expect(flagOf(taken)).toBe(isKept ? '01' : '00');
    if (traceparent !== undefined) expect(taken.traceparent?.slice(3, 35)).toBe(traceId);
  });

  test('by ratio keeps whole traces, and about that part of them', async () => {
    const { collector, tracing } = stage({ sampler: 'traceidratio', sampleRatio: 0.25 });
    const random = randomFrom(1);
    const hex = () =>
      random
        .below(2 ** 32)
        .toString(16)
        .padStart(8, '0');
    for (let i = 0; i < 800; i++) {
      take(tracing, { traceparent: `00-${hex()}${hex()}${hex()}${hex()}-${parentId}-01` });
    }
    await tracing.close();
    const ids = Map.groupBy(collector.spans, (span) => span.traceId);
    for (const spans of ids.values()) expect(spans.length).toBe(4);
    expect(ids.size).toBeGreaterThan(150);
    expect(ids.size).toBeLessThan(250);
  });
});

describe('the collector', () => {
  test('gets the configured headers, at /v1/traces behind its path', async () => {
    const collector = startCollector();
    stops.push(collector.stop);
    const endpoint = `${collector.url}/otlp/`;
    const { tracing } = stage({ endpoint, headers: { 'x-tenant': 'a' } });
    take(tracing);
    await tracing.close();
    expect(collector.requests.map(({ path }) => path)).toEqual(['/otlp/v1/traces']);
    expect(collector.requests[0]?.headers.get('x-tenant')).toBe('a');
  });

  test('that refuses is one line, and one more when it takes traces again', async () => {
    const { collector, lines, tracing } = stage();
    collector.answer(400);
    for (const round of [1, 2]) {
      take(tracing);
      await until('it has refused', () => collector.requests.length === round);
    }
    collector.answer(200);
    take(tracing);
    await until('it has taken', () => collector.spans.length === 4);
    await tracing.close();
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
      [40, 'traces do not get through'],
      [30, 'traces get through again'],
    ]);
    expect(lines[0]).toMatchObject({ code: 400 });
    expect(lines[1]).toMatchObject({ lostSpans: 8 });
  });

  test('that is away does not delay the end: close stops waiting and logs it', async () => {
    const { collector, lines, tracing } = stage();
    await collector.stop();
    take(tracing);
    await tracing.close();
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
      [40, 'the last traces were not sent'],
    ]);
  });

  test('that is away costs no memory without bound: what is too much is dropped, with one line', async () => {
    const { collector, lines, tracing } = stage();
    collector.answer(400);
    for (let i = 0; i < 3_000; i++) take(tracing);
    await until('what waited was sent', () => collector.bodies.length * 256 >= 4_096);
    take(tracing);
    await tracing.close();
    expect(collector.bodies.length).toBeLessThan(20);
    const complaints = lines.filter(({ msg }) => msg === 'tracing has a problem');
    expect(complaints.length).toBe(1);
    expect(String(complaints[0]?.['detail'])).toMatch(/^Dropped \d+ spans/);
  });
});

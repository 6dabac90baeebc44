/**
 * What Prometheus reads: counts of ended requests, the state at the time of the scrape, and nothing without a token.
 * Records are made up; the exposition is read back as Prometheus reads it.
 */
import { afterEach, describe, expect, test } from 'bun:test';
import type { Phase } from '../../../src/request/live.ts';
import { Metrics, metricsServer, type MetricsServer } from '../../../src/observe/metrics.ts';
import type { Upstream } from '../../../src/engines/upstream.ts';
import { caller, settlement, upstream } from '../../support/samples.ts';
import type { Settlement } from '../../../src/request/settlement.ts';

const chat = '/v1/chat/completions';

interface Stage {
  metrics: Metrics;
  live: { phase: Phase }[];
  fleet: { upstreams: Upstream[] };
  pool: { queued: number };
}

function stage(): Stage {
  const live: { phase: Phase }[] = [];
  const fleet = { upstreams: [upstream('engine')] };
  const pool = { queued: 0 };
  return { metrics: new Metrics({ live, fleet, pool, version: '1.2.3' }), live, fleet, pool };
}

async function textOf(source: Metrics): Promise<string> {
  return (await source.answer()).text();
}

/** Returns every sample under its name and labels, as they are written, without the prefix. */
async function samplesOf(source: Metrics): Promise<Record<string, number>> {
  const lines = (await textOf(source)).matchAll(
    /^(?:llm_gateway_)?([a-z]\S*?(?:\{.*\})?) (\S+)$/gm,
  );
  return Object.fromEntries(Array.from(lines, ([, name, value]) => [name, Number(value)]));
}

/** Returns the samples whose names begin like that. */
async function samplesLike(source: Metrics, start: string): Promise<Record<string, number>> {
  const all = Object.entries(await samplesOf(source));
  return Object.fromEntries(all.filter(([name]) => name.startsWith(start)));
}

describe('requests that have ended', () => {
  test('are counted by route, status, code and outcome', async () => {
    const { metrics: source } = stage();
    source.settled(settlement());
    source.settled(settlement());
    source.settled(settlement({ status: 504, code: 'idle_timeout', outcome: 'failed' }));
    source.settled(settlement({ route: '/v1/completions', status: 500 }));
    expect(await samplesLike(source, 'requests_total')).toEqual({
      [`requests_total{route="${chat}",status="200",code="none",outcome="done"}`]: 2,
      [`requests_total{route="${chat}",status="504",code="idle_timeout",outcome="failed"}`]: 1,
      'requests_total{route="/v1/completions",status="500",code="none",outcome="done"}': 1,
    });
  });

  test('leave their times in seconds', async () => {
    const { metrics: source } = stage();
    source.settled(settlement());
    const samples = await samplesOf(source);
    expect(samples[`request_duration_seconds_sum{route="${chat}"}`]).toBeCloseTo(3.302);
    expect(samples['queue_wait_seconds_sum']).toBe(2);
    expect(samples['time_to_first_token_seconds_sum{model="qwen"}']).toBe(0.3);
    expect(samples['time_per_output_token_seconds_sum{model="qwen"}']).toBeCloseTo(0.1);
    expect(samples['overhead_seconds_sum']).toBeCloseTo(0.002);
    expect(samples['engine_seconds_total{model="qwen",upstream="engine",key="alice"}']).toBeCloseTo(
      1.3,
    );
  });

  test('leave their tokens by model and key', async () => {
    const { metrics: source } = stage();
    const bob = { ...caller, name: 'bob' };
    source.settled(settlement());
    source.settled(settlement({ completionTokens: 5 }));
    source.settled(settlement({ caller: bob, model: 'fast' }));
    expect(await samplesLike(source, 'completion_tokens_total')).toEqual({
      'completion_tokens_total{model="qwen",key="alice"}': 16,
      'completion_tokens_total{model="fast",key="bob"}': 11,
    });
    const samples = await samplesOf(source);
    expect(samples['prompt_tokens_total{model="qwen",key="alice"}']).toBe(200);
    expect(samples['cached_tokens_total{model="qwen",key="alice"}']).toBe(120);
  });

  test('never name a principal', async () => {
    const { metrics: source } = stage();
    source.settled(settlement());
    expect(await textOf(source)).not.toContain('eva');
  });

  test('have a first token only where they stream, and a time per token only where they ended well', async () => {
    const { metrics: source } = stage();
    source.settled(settlement({ stream: false }));
    source.settled(settlement({ status: 400 }));
    source.settled(settlement({ firstByteMs: undefined }));
    source.settled(settlement({ outcome: 'failed', code: 'upstream_failed' }));
    source.settled(settlement({ outcome: 'aborted', code: 'client_closed_request' }));
    source.settled(settlement({ completionTokens: 1 }));
    const samples = await samplesOf(source);
    expect(samples['time_to_first_token_seconds_count{model="qwen"}']).toBe(2);
    expect(samples['time_per_output_token_seconds_count{model="qwen"}']).toBeUndefined();
  });

  test('that take no slot, such as for a list of models, do not count as short waits', async () => {
    const { metrics: source } = stage();
    source.settled(settlement({ route: '/v1/models', stream: false, queuedMs: 0 }));
    source.settled(settlement({ route: '/tokenize', stream: false, queuedMs: 0 }));
    expect((await samplesOf(source))['queue_wait_seconds_count']).toBe(0);
  });

  test('without an engine say how long they waited, and nothing of engines', async () => {
    const { metrics: source } = stage();
    const lost = { upstream: undefined, engineMs: 0, firstByteMs: undefined, outcome: 'failed' };
    source.settled(
      settlement({ ...lost, status: 503, code: 'queue_timeout' } as Partial<Settlement>),
    );
    source.settled(settlement({ ...lost, status: 503, code: 'queue_full', queuedMs: 0 } as never));
    const samples = await samplesOf(source);
    expect(samples['queue_wait_seconds_count']).toBe(1);
    expect(samples['overhead_seconds_count']).toBe(0);
    expect(await samplesLike(source, 'engine_seconds_total')).toEqual({});
  });

  test('from the cache count as hits and cost no wait, no tokens and no engine', async () => {
    const { metrics: source } = stage();
    source.settled(settlement({ isCacheHit: true }));
    const samples = await samplesOf(source);
    expect(samples['cache_hits_total']).toBe(1);
    expect(samples['queue_wait_seconds_count']).toBe(0);
    for (const name of ['prompt', 'cached', 'completion']) {
      expect(await samplesLike(source, `${name}_tokens_total`)).toEqual({});
    }
    expect(await samplesLike(source, 'engine_seconds_total')).toEqual({});
  });

  test('that a limit refused are counted apart from those that an engine refused', async () => {
    const { metrics: source } = stage();
    source.settled(settlement({ status: 429, code: 'rate_limited', outcome: 'failed' }));
    source.settled(settlement({ status: 429 }));
    expect(await samplesLike(source, 'rate_limited_total')).toEqual({
      'rate_limited_total{code="rate_limited",key="alice"}': 1,
    });
  });

  test('whose engine had nothing in its cache show that with a 0', async () => {
    const { metrics: source } = stage();
    source.settled(settlement({ cachedTokens: 0 }));
    expect(await samplesLike(source, 'cached_tokens_total')).toEqual({
      'cached_tokens_total{model="qwen",key="alice"}': 0,
    });
  });

  test('with numbers that make no sense add nothing', async () => {
    const { metrics: source } = stage();
    source.settled(
      settlement({ promptTokens: Number.NaN, cachedTokens: -1, completionTokens: -5 }),
    );
    for (const name of ['prompt', 'cached', 'completion']) {
      expect(await samplesLike(source, `${name}_tokens_total`)).toEqual({});
    }
    source.settled(settlement({ totalMs: 3_299.9 }));
    expect((await samplesOf(source))['overhead_seconds_sum']).toBeCloseTo(0.002);
  });
});

describe('labels', () => {
  test('of keys are a hundred, and one for all others', async () => {
    const { metrics: source } = stage();
    for (let i = 0; i < 250; i++)
      source.settled(settlement({ caller: { ...caller, name: `key-${i}` } }));
    const found = await samplesLike(source, 'prompt_tokens_total');
    expect(Object.keys(found)).toHaveLength(101);
    expect(found['prompt_tokens_total{model="qwen",key="key-99"}']).toBe(100);
    expect(found['prompt_tokens_total{model="qwen",key="other"}']).toBe(15_000);
  });

  test('of models are those of the engines: a client cannot make up any', async () => {
    const { metrics: source, fleet } = stage();
    fleet.upstreams.push(upstream('two', { models: ['a', 'b'], aliases: {} }));
    source.settled(settlement({ model: 'gpt-9' }));
    source.settled(settlement({ model: undefined }));
    source.settled(settlement({ model: 'gpt-9', upstream: 'two' }));
    source.settled(settlement({ model: 'b', upstream: 'two' }));
    source.settled(settlement({ model: 'toString' }));
    expect(await samplesLike(source, 'prompt_tokens_total')).toEqual({
      'prompt_tokens_total{model="qwen",key="alice"}': 300,
      'prompt_tokens_total{model="other",key="alice"}': 100,
      'prompt_tokens_total{model="b",key="alice"}': 100,
    });
  });

  test('of models have no key in them if an engine has not listed its models', async () => {
    const { live, fleet, pool } = stage();
    fleet.upstreams = [upstream('engine', { kind: 'openai', models: undefined })];
    const mask = (text: string) => text.replaceAll('secret', '***');
    const source = new Metrics({ live, fleet, pool, mask, version: '1.2.3' });
    source.settled(settlement({ model: 'my secret' }));
    const text = await textOf(source);
    expect(text).toContain('model="my ***"');
    expect(text).not.toContain('secret');
  });

  test('of models are at most a hundred if an engine has not listed its models', async () => {
    const { metrics: source, fleet } = stage();
    fleet.upstreams = [upstream('engine', { kind: 'openai', models: undefined })];
    for (let i = 0; i < 150; i++)
      source.settled(settlement({ model: `${i}-${'x'.repeat(10_000)}` }));
    expect(Object.keys(await samplesLike(source, 'prompt_tokens_total'))).toHaveLength(101);
    expect(await textOf(source)).not.toContain('x'.repeat(200));
  });
});

describe('the present state', () => {
  test('is read at each scrape', async () => {
    const { metrics: source, live, pool } = stage();
    expect((await samplesOf(source))['requests_in_flight{phase="queued"}']).toBe(0);
    live.push({ phase: 'queued' });
    pool.queued = 2;
    const samples = await samplesOf(source);
    expect(samples['requests_in_flight{phase="queued"}']).toBe(1);
    expect(samples['queue_length']).toBe(2);
  });

  test('forgets an upstream that the configuration has no more', async () => {
    const { metrics: source, fleet } = stage();
    await textOf(source);
    fleet.upstreams = [upstream('new')];
    const text = await textOf(source);
    expect(text).toContain('upstream="new"');
    expect(text).not.toContain('upstream="engine"');
  });

  test('tells of the process, its event loop and its version', async () => {
    const samples = await samplesOf(stage().metrics);
    expect(samples['build_info{version="1.2.3"}']).toBe(1);
    expect(samples['process_resident_memory_bytes']).toBeGreaterThan(1_000_000);
    expect(samples['process_cpu_seconds_total']).toBeGreaterThan(0);
    expect(samples['process_start_time_seconds']).toBeGreaterThan(1_700_000_000);
    expect(samples).toContainKeys(['event_loop_lag_mean_seconds', 'event_loop_lag_max_seconds']);
  });
});

test('two gateways in one process do not share their counts', async () => {
  const [one, two] = [stage().metrics, stage().metrics];
  one.settled(settlement());
  expect(await samplesLike(two, 'requests_total')).toEqual({});
  expect(Object.keys(await samplesLike(one, 'requests_total'))).toHaveLength(1);
});

test('a scrape has the type that Prometheus expects and is not kept', async () => {
  const answer = await stage().metrics.answer();
  expect(answer.status).toBe(200);
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  expect(answer.headers.get('cache-control')).toBe('no-store');
  expect(await answer.text()).toStartWith('# HELP llm_gateway_requests_total ');
});

describe('the separate port', () => {
  let server: MetricsServer | undefined;
  afterEach(() => server?.stop());

  function start(): string {
    server = metricsServer({ metrics: stage().metrics, port: 0 });
    return server.url;
  }

  async function statusOf(url: string, init: RequestInit = {}): Promise<number> {
    const answer = await fetch(url, { keepalive: false, ...init });
    await answer.bytes();
    return answer.status;
  }

  test('is on the loopback interface and needs no key', async () => {
    const url = start();
    expect(new URL(url).hostname).toBe('127.0.0.1');
    const answer = await fetch(`${url}/metrics`, { keepalive: false });
    expect(await answer.text()).toContain('llm_gateway_build_info{version="1.2.3"} 1');
  });

  test('has nothing but the metrics', async () => {
    const url = start();
    expect(await statusOf(url)).toBe(404);
    expect(await statusOf(`${url}/v1/models`)).toBe(404);
    expect(await statusOf(`${url}/metrics`, { method: 'POST', body: 'x' })).toBe(405);
    expect(await statusOf(`${url}/metrics`, { method: 'HEAD' })).toBe(200);
  });

  test('does not answer a web page whose host name resolves to this machine', async () => {
    const url = start();
    expect(await statusOf(`${url}/metrics`, { headers: { host: 'evil.example' } })).toBe(421);
    expect(await statusOf(`${url}/metrics`, { headers: { host: 'localhost:9464' } })).toBe(200);
  });

  test('is free again when it has stopped', async () => {
    const url = start();
    await fetch(`${url}/metrics`).then((answer) => answer.text());
    await server?.stop();
    let failure: unknown;
    try {
      await statusOf(`${url}/metrics`);
    } catch (error) {
      failure = error;
    }
    expect(failure).toBeInstanceOf(Error);
  });
});

/**
 * Telling kinds of engines apart by their cheap endpoints, reading how they are and how busy, and what follows for
 * connections.
 */
import { describe, expect, test } from 'bun:test';
import {
  healthPathOf,
  readHealth,
  readLoad,
  reusesConnections,
  sightEngine,
} from '../../../src/engines/probe.ts';
import { type EngineKind, engineKinds } from '../../../src/wire/kinds.ts';

interface Reply {
  /** Default 200 with JSON or text, else 404. */
  status?: number;
  json?: unknown;
  text?: string;
  server?: string;
}

const loadingModel = {
  error: { message: 'Loading model', type: 'unavailable_error', code: 503 },
};

/** An engine that answers these paths, and others with a 404; `asked` is what it was asked for. */
function engine(replies: Record<string, Reply | undefined>, server = 'uvicorn') {
  const asked: string[] = [];
  return {
    asked,
    async ask(path: string) {
      asked.push(path);
      if (path in replies && replies[path] === undefined) return undefined;
      const { json, text = JSON.stringify(json) ?? '', server: own = server } = replies[path] ?? {};
      const { status = text === '' ? 404 : 200 } = replies[path] ?? {};
      return { status, text, json, headers: new Headers({ server: own }) };
    },
  };
}

describe('sightEngine', () => {
  test.each<[string, Record<string, Reply | undefined>, object | undefined]>([
    [
      'llama.cpp by its slots',
      { '/props': { json: { total_slots: 4 } } },
      { kind: 'llama.cpp', slots: 4 },
    ],
    [
      'llama.cpp that wants a key, by its name',
      { '/props': { server: 'llama.cpp' } },
      { kind: 'llama.cpp' },
    ],
    [
      'llama.cpp that says no slots, by its name',
      { '/props': { json: { role: 'router' }, server: 'llama.cpp' } },
      { kind: 'llama.cpp' },
    ],
    [
      'llama.cpp with all that it says',
      {
        '/props': {
          json: {
            total_slots: 2,
            default_generation_settings: { n_ctx: 2048 },
            endpoint_slots: false,
          },
        },
      },
      { kind: 'llama.cpp', slots: 2, contextTokens: 2048 },
    ],
    [
      'llama.cpp that says nonsense, by its slots alone',
      {
        '/props': {
          json: { total_slots: 2, default_generation_settings: null, endpoint_slots: 'yes' },
        },
      },
      { kind: 'llama.cpp', slots: 2 },
    ],
    [
      'llama.cpp that loads its model',
      { '/props': { status: 503, json: loadingModel, server: 'llama.cpp' } },
      { kind: 'llama.cpp', isLoading: true },
    ],
    [
      'nothing by the JSON of an error',
      { '/props': { status: 500, json: { total_slots: 4 } } },
      { kind: 'unknown' },
    ],
    [
      'SGLang with its context',
      {
        '/get_server_info': { json: { tp_size: 1 } },
        '/v1/models': { json: { data: [{ id: 'a', max_model_len: 32_768 }] } },
      },
      { kind: 'sglang', contextTokens: 32_768 },
    ],
    [
      'vLLM with its context',
      {
        '/version': { json: { version: '0.11.0' } },
        '/v1/models': { json: { data: [{ id: 'a', max_model_len: 8192 }] } },
      },
      { kind: 'vllm', contextTokens: 8192 },
    ],
    [
      'vLLM whose list says no context',
      {
        '/version': { json: { version: '0.11.0' } },
        '/v1/models': { json: { data: [{ id: 'a', max_model_len: null }] } },
      },
      { kind: 'vllm' },
    ],
    [
      'vLLM whose list is slow',
      { '/version': { json: { version: '0.11.0' } }, '/v1/models': undefined },
      { kind: 'vllm' },
    ],
    [
      'SGLang',
      { '/get_server_info': { json: { tp_size: 1 } }, '/version': { json: { version: '1' } } },
      { kind: 'sglang' },
    ],
    ['Ollama', { '/api/version': { json: { version: '0.9.1' } } }, { kind: 'ollama' }],
    ['vLLM', { '/version': { json: { version: '0.11.0' } } }, { kind: 'vllm' }],
    [
      'vLLM whose other paths are slow',
      {
        '/props': undefined,
        '/get_server_info': undefined,
        '/api/version': undefined,
        '/version': { json: { version: '1' } },
      },
      { kind: 'vllm' },
    ],
    [
      'nothing by a version that is no text',
      { '/version': { json: { version: 1 } } },
      { kind: 'unknown' },
    ],
    [
      'nothing by JSON that is no object',
      { '/props': { json: 'x' }, '/get_server_info': { json: null }, '/api/version': { json: 1 } },
      { kind: 'unknown' },
    ],
    [
      'nothing by slots that are no number',
      { '/props': { json: { total_slots: '4' } } },
      { kind: 'unknown' },
    ],
    ['nothing by 404s', {}, { kind: 'unknown' }],
    [
      'nothing, not even that it is unknown, by silence',
      {
        '/props': undefined,
        '/get_server_info': undefined,
        '/api/version': undefined,
        '/version': undefined,
      },
      undefined,
    ],
  ])('knows %s', async (_, replies, sighting) => {
    expect(await sightEngine(engine(replies).ask, 'auto')).toEqual(sighting as never);
  });

  test('asks no further than it must, and never for a generation', async () => {
    const llama = engine({ '/props': { json: { total_slots: 1 } } });
    await sightEngine(llama.ask, 'auto');
    expect(llama.asked).toEqual(['/props']);
    const other = engine({});
    await sightEngine(other.ask, 'auto');
    expect(other.asked).toEqual(['/props', '/get_server_info', '/api/version', '/version']);
  });

  test.each([
    ['llama.cpp', ['/props'], { slots: 4 }],
    ['openai', ['/props'], { slots: 4 }],
    ['vllm', ['/v1/models'], { contextTokens: 4_096 }],
    ['sglang', ['/v1/models'], { contextTokens: 4_096 }],
    ['ollama', [], {}],
  ] as const)(
    'asks one that is known to be %s only for what it tells',
    async (kind, paths, found) => {
      const { ask, asked } = engine({
        '/props': { json: { total_slots: 4 } },
        '/v1/models': { json: { data: [{ max_model_len: 4_096 }] } },
      });
      expect(await sightEngine(ask, kind)).toEqual({ kind, ...found });
      expect(asked).toEqual([...paths]);
    },
  );

  test('takes the word of whoever has set the kind, whatever the engine says', async () => {
    expect(await sightEngine(engine({}).ask, 'llama.cpp')).toEqual({ kind: 'llama.cpp' });
    expect(await sightEngine(engine({ '/props': undefined }).ask, 'openai')).toBeUndefined();
  });

  test('throws what asking throws when the engine is away', async () => {
    const away = new Error('refused');
    const sighting = sightEngine(() => Promise.reject(away), 'auto');
    await expect(sighting).rejects.toBe(away);
    await expect(readLoad('vllm', () => Promise.reject(away))).rejects.toBe(away);
  });
});

describe('health', () => {
  test.each<[EngineKind, string]>([
    ['llama.cpp', '/health'],
    ['vllm', '/health'],
    ['sglang', '/health'],
    ['ollama', '/api/version'],
    ['openai', '/v1/models'],
    ['unknown', '/v1/models'],
  ])('of %s is asked at %s', (kind, path) => {
    expect(healthPathOf(kind)).toBe(path);
  });

  test('is loading only where llama.cpp says so', () => {
    expect(readHealth(503, loadingModel)).toBe('loading');
    expect(readHealth(200, loadingModel)).toBe('up');
    expect(readHealth(503, { error: { message: 'Service unavailable' } })).toBe('up');
  });

  test('is up for every other answer: busy or failing is not down', () => {
    for (const status of [200, 401, 404, 429, 500, 503]) {
      for (const json of [undefined, null, 'x', {}, { error: 'Loading model' }]) {
        expect(readHealth(status, json)).toBe('up');
      }
    }
  });
});

describe('the load', () => {
  const idle = { id: 0, n_ctx: 2048, is_processing: false };
  const prefilling = {
    ...idle,
    is_processing: true,
    n_prompt_tokens: 64,
    n_prompt_tokens_processed: 32,
    next_token: [{ n_decoded: 0 }],
  };
  const decoding = { ...prefilling, n_prompt_tokens_processed: 60, next_token: [{ n_decoded: 7 }] };

  test.each<[string, object[], object]>([
    ['idle', [idle, idle], { busySlots: 0, progress: 0 }],
    ['reading a prompt', [idle, prefilling], { busySlots: 1, progress: 32 }],
    ['generating', [decoding, prefilling], { busySlots: 2, progress: 99 }],
    [
      'idle with the counters of its last request',
      [{ ...decoding, is_processing: false }],
      { busySlots: 0, progress: 67 },
    ],
    [
      'of an older build',
      [{ is_processing: true, next_token: { n_decoded: 5 } }],
      { busySlots: 1, progress: 5 },
    ],
    [
      'without sense',
      [{ is_processing: 1, next_token: 'x' }, 'y' as never],
      { busySlots: 0, progress: 0 },
    ],
  ])('of llama.cpp comes from its slots: %s', async (_, json, load) => {
    const { ask, asked } = engine({ '/slots': { json } });
    expect(await readLoad('llama.cpp', ask)).toEqual(load);
    expect(asked).toEqual(['/slots']);
  });

  test.each<[string, Reply | undefined]>([
    ['it is too slow', undefined],
    ['the endpoint is turned off', { status: 501, json: { error: { code: 501 } } }],
    ['it loads its model', { status: 503, json: loadingModel }],
    ['the list is empty', { json: [] }],
    ['it is no list', { json: { slots: 1 } }],
  ])('of llama.cpp is not known when %s', async (_, reply) => {
    expect(await readLoad('llama.cpp', engine({ '/slots': reply }).ask)).toBeUndefined();
  });

  const vllm = `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a} 9"} 3.0
vllm:num_requests_running{engine="1",model_name="a} 9"} 1.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="a"} 2.0
vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 50.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:prompt_tokens_total{engine="0"} 1.5e+06
vllm:prompt_tokens_created{engine="0"} 1.7e+09
vllm:generation_tokens_total{engine="0"} 100.0
`;

  test('of vLLM comes from its metrics, all engines of a group together', async () => {
    const { ask, asked } = engine({ '/metrics': { text: vllm } });
    expect(await readLoad('vllm', ask)).toEqual({ running: 4, waiting: 2, progress: 1_500_100.25 });
    expect(asked).toEqual(['/metrics']);
  });

  test('of SGLang comes from its metrics', async () => {
    const text = `sglang:num_running_reqs{model_name="m",tp_rank="0"} 8.0
sglang:num_queue_reqs{model_name="m",tp_rank="0"} 4.0
sglang:num_used_tokens{model_name="m"} 512
sglang:prompt_tokens_total{model_name="m"} 1000.0
sglang:generation_tokens_total{model_name="m"} 24.0
`;
    const load = await readLoad('sglang', engine({ '/metrics': { text } }).ask);
    expect(load).toEqual({ running: 8, waiting: 4, progress: 1536 });
  });

  test('has no part that is not said', async () => {
    const loadFrom = (text: string) => readLoad('vllm', engine({ '/metrics': { text } }).ask);
    expect(await loadFrom('vllm:num_requests_waiting 0')).toEqual({ waiting: 0 });
    expect(await loadFrom('vllm:num_requests_waiting NaN\n')).toBeUndefined();
    expect(await loadFrom('vllm:num_requests_waiting +Inf\n')).toBeUndefined();
    expect(await loadFrom('up 1\n<html>')).toBeUndefined();
    expect(await loadFrom(vllm.replaceAll('vllm:', 'sglang:'))).toBeUndefined();
  });

  test('is not known without metrics', async () => {
    for (const reply of [undefined, {}, { status: 500, text: vllm }]) {
      expect(await readLoad('vllm', engine({ '/metrics': reply }).ask)).toBeUndefined();
    }
  });

  test('is read from the first million characters only', async () => {
    const text = `${'# filler\n'.repeat(150_000)}${vllm}`;
    expect(await readLoad('vllm', engine({ '/metrics': { text } }).ask)).toBeUndefined();
  });

  test.each<[EngineKind]>([['ollama'], ['openai'], ['unknown']])(
    'of %s is not known, and not asked for',
    async (kind) => {
      const { ask, asked } = engine({ '/metrics': { text: vllm } });
      expect(await readLoad(kind, ask)).toBeUndefined();
      expect(asked).toEqual([]);
    },
  );
});

describe('reusesConnections', () => {
  test.each([
    ['llama.cpp', false],
    ['unknown', false],
    ['vllm', true],
    ['sglang', true],
    ['ollama', true],
    ['openai', true],
  ] as const)('of %s: %p', (kind, expected) => {
    expect(reusesConnections(kind)).toBe(expected);
  });

  test('is decided for every kind', () => {
    expect(engineKinds).toEqual(['llama.cpp', 'vllm', 'sglang', 'ollama', 'openai']);
  });
});

/** How busy engines say that they are. */
import { describe, expect, test } from 'bun:test';
import { readLoad } from '../../../src/engines/load.ts';
import type { EngineKind } from '../../../src/wire/kinds.ts';
import { engineOf, loadingModel, type Reply } from '../../support/cannedengine.ts';

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
    const { ask, asked } = engineOf({ '/slots': { json } });
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
    expect(await readLoad('llama.cpp', engineOf({ '/slots': reply }).ask)).toBeUndefined();
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
    const { ask, asked } = engineOf({ '/metrics': { text: vllm } });
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
    const load = await readLoad('sglang', engineOf({ '/metrics': { text } }).ask);
    expect(load).toEqual({ running: 8, waiting: 4, progress: 1536 });
  });

  test('throws what asking throws when the engine is away', async () => {
    const away = new Error('refused');
    await expect(readLoad('vllm', () => Promise.reject(away))).rejects.toBe(away);
  });

  test('has no part that is not said', async () => {
    const loadFrom = (text: string) => readLoad('vllm', engineOf({ '/metrics': { text } }).ask);
    expect(await loadFrom('vllm:num_requests_waiting 0')).toEqual({ waiting: 0 });
    expect(await loadFrom('vllm:num_requests_waiting NaN\n')).toBeUndefined();
    expect(await loadFrom('vllm:num_requests_waiting +Inf\n')).toBeUndefined();
    expect(await loadFrom('up 1\n<html>')).toBeUndefined();
    expect(await loadFrom(vllm.replaceAll('vllm:', 'sglang:'))).toBeUndefined();
  });

  test('is not known without metrics', async () => {
    for (const reply of [undefined, {}, { status: 500, text: vllm }]) {
      expect(await readLoad('vllm', engineOf({ '/metrics': reply }).ask)).toBeUndefined();
    }
  });

  test('is read from the first million characters only', async () => {
    const text = `${'# filler\n'.repeat(150_000)}${vllm}`;
    expect(await readLoad('vllm', engineOf({ '/metrics': { text } }).ask)).toBeUndefined();
  });

  test.each<[EngineKind]>([['ollama'], ['openai'], ['unknown']])(
    'of %s is not known, and not asked for',
    async (kind) => {
      const { ask, asked } = engineOf({ '/metrics': { text: vllm } });
      expect(await readLoad(kind, ask)).toBeUndefined();
      expect(asked).toEqual([]);
    },
  );
});

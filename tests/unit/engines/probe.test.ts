/** Telling kinds of engines apart by their cheap endpoints, and what their health is asked at. */
import { describe, expect, test } from 'bun:test';
import { healthPathOf, sightEngine } from '../../../src/engines/probe.ts';
import type { EngineKind } from '../../../src/wire/kinds.ts';
import { engineOf, loadingModel, type Reply } from '../../support/cannedengine.ts';

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
    expect(await sightEngine(engineOf(replies).ask, 'auto')).toEqual(sighting as never);
  });

  test('asks no further than it must, and never for a generation', async () => {
    const llama = engineOf({ '/props': { json: { total_slots: 1 } } });
    await sightEngine(llama.ask, 'auto');
    expect(llama.asked).toEqual(['/props']);
    const other = engineOf({});
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
      const { ask, asked } = engineOf({
        '/props': { json: { total_slots: 4 } },
        '/v1/models': { json: { data: [{ max_model_len: 4_096 }] } },
      });
      expect(await sightEngine(ask, kind)).toEqual({ kind, ...found });
      expect(asked).toEqual([...paths]);
    },
  );

  test('takes the kind that was set, whatever the engine says', async () => {
    expect(await sightEngine(engineOf({}).ask, 'llama.cpp')).toEqual({ kind: 'llama.cpp' });
    expect(await sightEngine(engineOf({ '/props': undefined }).ask, 'openai')).toBeUndefined();
  });

  test('throws what asking throws when the engine is away', async () => {
    const away = new Error('refused');
    const sighting = sightEngine(() => Promise.reject(away), 'auto');
    await expect(sighting).rejects.toBe(away);
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
});

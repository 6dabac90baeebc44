/**
 * Telling kinds of engines apart by their cheap endpoints, and what follows for connections.
 */
import { describe, expect, test } from 'bun:test';
import { engineKinds, reusesConnections, sightEngine } from '../../src/engine.ts';

interface Reply {
  json?: unknown;
  server?: string;
}

/** An engine that answers these paths, and others with a 404; `asked` is what it was asked for. */
function engine(replies: Record<string, Reply | undefined>, server = 'uvicorn') {
  const asked: string[] = [];
  return {
    asked,
    async ask(path: string) {
      asked.push(path);
      if (path in replies && replies[path] === undefined) return undefined;
      const { json, server: own = server } = replies[path] ?? {};
      return { json, headers: new Headers({ server: own }) };
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
    expect(await sightEngine(engine(replies).ask)).toEqual(sighting as never);
  });

  test('asks no further than it must, and never for a generation', async () => {
    const llama = engine({ '/props': { json: { total_slots: 1 } } });
    await sightEngine(llama.ask);
    expect(llama.asked).toEqual(['/props']);
    const other = engine({});
    await sightEngine(other.ask);
    expect(other.asked).toEqual(['/props', '/get_server_info', '/api/version', '/version']);
  });

  test('throws what asking throws when the engine is away', async () => {
    const away = new Error('refused');
    const sighting = sightEngine(() => Promise.reject(away));
    await expect(sighting).rejects.toBe(away);
  });
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

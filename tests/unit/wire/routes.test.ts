/**
 * The allow-list: its exact rows, the routes that must never be on it, and the facts about each path.
 */
import { describe, expect, test } from 'bun:test';
import { engineKinds, type EngineKind } from '../../../src/wire/kinds.ts';
import {
  familyOfPath,
  answersInTokens,
  isServedBy,
  pathAt,
  routes,
  type Route,
} from '../../../src/wire/routes.ts';

function paths(chosen: readonly { method: string; path: string }[]): string[] {
  return chosen.map(({ method, path }) => `${method} ${path}`).sort();
}

test('the allow-list is exactly this', () => {
  const expected = [
    'POST /v1/completions',
    'POST /v1/chat/completions',
    'POST /v1/chat/completions/input_tokens',
    'POST /v1/responses',
    'POST /v1/responses/input_tokens',
    'POST /v1/messages',
    'POST /v1/messages/count_tokens',
    'POST /v1/embeddings',
    'POST /v1/moderations',
    'POST /v1/images/generations',
    'POST /v1/images/edits',
    'POST /v1/rerank',
    'POST /v1/reranking',
    'POST /v2/rerank',
    'POST /v1/score',
    'POST /v1/classify',
    'POST /v1/audio/transcriptions',
    'POST /v1/audio/translations',
    'POST /v1/audio/speech',
    'GET /v1/models',
    'GET /v1/models/*',
    'POST /completion',
    'POST /completions',
    'POST /chat/completions',
    'POST /chat/completions/input_tokens',
    'POST /responses',
    'POST /responses/input_tokens',
    'POST /embedding',
    'POST /embeddings',
    'POST /rerank',
    'POST /reranking',
    'POST /audio/transcriptions',
    'GET /models',
    'POST /infill',
    'POST /tokenize',
    'POST /detokenize',
    'POST /apply-template',
    'POST /score',
    'POST /classify',
    'POST /pooling',
    'POST /api/chat',
    'POST /api/generate',
    'POST /api/embed',
    'POST /api/embeddings',
    'POST /api/show',
    'GET /api/tags',
    'GET /api/ps',
    'GET /api/version',
  ];
  expect(paths(routes)).toEqual(expected.sort());
});

test("no route is one of an engine's administrative or shared-state ones", () => {
  const forbidden =
    /slots|lora|load|\/metrics|\/props|\/v1\/stream|control|cors-proxy|tools|sleep|wake|cache|\/models\/(un)?load/;
  expect(routes.filter(({ path }) => forbidden.test(path))).toEqual([]);
});

test('routes that take no slot are marked as not generating', () => {
  expect(paths(routes.filter(({ generates }) => !generates))).toEqual(
    [
      'GET /models',
      'GET /v1/models',
      'GET /v1/models/*',
      'POST /v1/messages/count_tokens',
      'POST /v1/chat/completions/input_tokens',
      'POST /v1/responses/input_tokens',
      'POST /chat/completions/input_tokens',
      'POST /responses/input_tokens',
      'POST /tokenize',
      'POST /detokenize',
      'POST /apply-template',
      'POST /api/show',
      'GET /api/tags',
      'GET /api/ps',
      'GET /api/version',
    ].sort(),
  );
});

test('bodies are JSON, except uploads and GET', () => {
  expect(paths(routes.filter(({ body }) => body === 'multipart'))).toEqual([
    'POST /audio/transcriptions',
    'POST /v1/audio/transcriptions',
    'POST /v1/audio/translations',
    'POST /v1/images/edits',
  ]);
  for (const { method, body } of routes) expect(body === 'none').toBe(method === 'GET');
});

test('only a completion needs a prompt, and only a description of a model its name', () => {
  const needing = routes.filter(({ needsOneOf }) => needsOneOf !== undefined);
  expect(needing.map(({ path, needsOneOf }) => [path, needsOneOf])).toEqual([
    ['/v1/completions', ['prompt', 'prompt_embeds']],
    ['/api/show', ['model', 'name']],
  ]);
});

test('Responses and Messages have their own families', () => {
  expect(paths(routes.filter(({ family }) => family === 'responses'))).toEqual([
    'POST /responses',
    'POST /v1/responses',
  ]);
  expect(paths(routes.filter(({ family }) => family === 'anthropic'))).toEqual([
    'POST /v1/messages',
    'POST /v1/messages/count_tokens',
  ]);
});

describe('the path at an engine', () => {
  const at = (path: string, kind: EngineKind) =>
    pathAt(routes.find((route) => route.path === path) as Route, kind);

  test.each([
    ['/v1/chat/completions', 'vllm', '/v1/chat/completions'],
    ['/chat/completions', 'llama.cpp', '/chat/completions'],
    ['/chat/completions', 'vllm', '/v1/chat/completions'],
    ['/chat/completions', 'ollama', '/v1/chat/completions'],
    ['/chat/completions', 'unknown', '/v1/chat/completions'],
    ['/completions', 'llama.cpp', '/completions'],
    ['/completions', 'sglang', '/v1/completions'],
    ['/embeddings', 'openai', '/v1/embeddings'],
    ['/models', 'llama.cpp', '/models'],
    ['/models', 'sglang', '/v1/models'],
    ['/rerank', 'vllm', '/rerank'],
    ['/rerank', 'sglang', '/v1/rerank'],
    ['/v1/reranking', 'vllm', '/v1/rerank'],
    ['/v1/classify', 'vllm', '/classify'],
    ['/v1/classify', 'sglang', '/v1/classify'],
    ['/classify', 'vllm', '/classify'],
  ] as const)('of %s at %s is %s', (path, kind, expected) => {
    expect(at(path, kind)).toBe(expected);
  });

  test('is always one of the list, or its own', () => {
    const known = new Set(routes.map(({ path }) => path));
    for (const route of routes) {
      for (const kind of [...engineKinds, 'unknown'] as const) {
        const path = pathAt(route, kind);
        expect([route.path, path, known.has(path)]).toEqual([route.path, path, true]);
      }
    }
  });
});

test('an engine whose kind is not known may serve every route, and one of a kind its own', () => {
  for (const route of routes) {
    expect(isServedBy(route, 'unknown') && isServedBy(route, 'openai')).toBe(true);
  }
  const native = (kind: EngineKind) =>
    paths(routes.filter((route) => route.kinds !== undefined && isServedBy(route, kind)));
  expect(native('vllm')).toEqual([
    'POST /classify',
    'POST /detokenize',
    'POST /pooling',
    'POST /score',
    'POST /tokenize',
    'POST /v1/classify',
    'POST /v1/images/edits',
    'POST /v1/images/generations',
    'POST /v2/rerank',
  ]);
  expect(native('sglang')).toEqual([
    'POST /classify',
    'POST /detokenize',
    'POST /tokenize',
    'POST /v1/classify',
    'POST /v1/images/edits',
    'POST /v1/images/generations',
  ]);
  expect(native('llama.cpp')).toEqual([
    'POST /apply-template',
    'POST /completion',
    'POST /detokenize',
    'POST /embedding',
    'POST /infill',
    'POST /tokenize',
  ]);
});

test('what is generated as text is told from what is not', () => {
  const told = routes.filter((route) => route.generates && !answersInTokens(route));
  expect(paths(told).filter((line) => /chat|responses|messages|infill/.test(line))).toEqual([]);
  for (const path of ['/v1/images/edits', '/v1/moderations', '/pooling', '/classify', '/score']) {
    expect(paths(told)).toContain(`POST ${path}`);
  }
});

describe('familyOfPath', () => {
  test.each([
    ['/v1/messages', 'anthropic'],
    ['/v1/messages/', 'anthropic'],
    ['/v1/messages/count_tokens', 'anthropic'],
    ['/v1/messages/batches', 'anthropic'],
    ['/v1/messagesx', 'openai'],
    ['/v1/completions', 'openai'],
    ['/api/chat', 'ollama'],
    ['/api/pull', 'ollama'],
    ['/apichat', 'openai'],
    ['/', 'openai'],
    ['/x/v1/messages', 'openai'],
  ] as const)('the envelope of %s is that of %s', (path, family) => {
    expect(familyOfPath(path)).toBe(family);
  });

  test('agrees with the table of routes', () => {
    for (const { path, family } of routes) {
      for (const own of ['anthropic', 'ollama']) {
        expect(familyOfPath(path) === own).toBe(family === own);
      }
    }
  });
});

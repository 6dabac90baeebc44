/**
 * The allow-list: its exact rows, the routes that must never be on it, and the facts about each path.
 */
import { describe, expect, test } from 'bun:test';
import { familyOfPath, routes } from '../../../src/wire/routes.ts';

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
    'POST /v1/rerank',
    'POST /v1/reranking',
    'POST /v1/score',
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
    ].sort(),
  );
});

test('bodies are JSON, except audio uploads and GET', () => {
  expect(paths(routes.filter(({ body }) => body === 'multipart'))).toEqual([
    'POST /audio/transcriptions',
    'POST /v1/audio/transcriptions',
    'POST /v1/audio/translations',
  ]);
  for (const { method, body } of routes) expect(body === 'none').toBe(method === 'GET');
});

test('only a completion needs a prompt', () => {
  const needing = routes.filter(({ needsOneOf }) => needsOneOf !== undefined);
  expect(needing.map(({ path, needsOneOf }) => [path, needsOneOf])).toEqual([
    ['/v1/completions', ['prompt', 'prompt_embeds']],
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

describe('familyOfPath', () => {
  test.each([
    ['/v1/messages', 'anthropic'],
    ['/v1/messages/', 'anthropic'],
    ['/v1/messages/count_tokens', 'anthropic'],
    ['/v1/messages/batches', 'anthropic'],
    ['/v1/messagesx', 'openai'],
    ['/v1/completions', 'openai'],
    ['/', 'openai'],
    ['/x/v1/messages', 'openai'],
  ] as const)('the envelope of %s is that of %s', (path, family) => {
    expect(familyOfPath(path)).toBe(family);
  });

  test('agrees with the table of routes', () => {
    for (const { path, family } of routes) {
      expect(familyOfPath(path) === 'anthropic').toBe(family === 'anthropic');
    }
  });
});

/**
 * Which answers the response cache may keep, and under which key.
 */
import { describe, expect, test } from 'bun:test';
import { cacheKeyOf, mayKeep, type CacheKeyOptions } from '../../../src/cache/key.ts';
import type { Fields } from '../../../src/wire/json.ts';
import { routes } from '../../../src/wire/routes.ts';

function keyOf(fields: object, more: Partial<CacheKeyOptions> & { path?: string } = {}) {
  const { path = '/v1/chat/completions' } = more;
  const route = routes.find((each) => each.path === path);
  if (route === undefined) throw new Error(`no route ${path}`);
  const options = {
    route,
    search: '',
    headers: new Headers({ 'content-type': 'application/json' }),
    body: Buffer.from(JSON.stringify(fields)),
    scope: 'alice',
    ...more,
  };
  return mayKeep({ ...options, fields: fields as Fields }) ? cacheKeyOf(options) : undefined;
}

const asks = (value: string) => new Headers({ 'cache-control': value });

describe('an answer may be kept', () => {
  const cases: [string, object, string?][] = [
    ['at temperature 0', { temperature: 0 }],
    ['with a seed', { temperature: 0.7, seed: 7 }],
    ['with the seed 0', { seed: 0 }],
    ['of several choices', { temperature: 0, n: 3 }],
    ['as a stream', { temperature: 0, stream: true }],
    ['with functions', { temperature: 0, tools: [{ type: 'function' }, { name: 'x' }] }],
    ['of a response that is not stored', { temperature: 0, store: false }, '/v1/responses'],
    ['without a previous one', { temperature: 0, previous_response_id: null }, '/v1/responses'],
    ['of a message', { temperature: 0 }, '/v1/messages'],
    ['in the native format', { temperature: 0, prompt: 'x' }, '/completion'],
    ...['/v1/embeddings', '/embeddings', '/embedding'].map((path): [string, object, string] => {
      return [`of ${path}`, { input: 'x' }, path];
    }),
  ];
  for (const [name, fields, path] of cases) {
    test(name, () => expect(keyOf(fields, path ? { path } : {})).toBeDefined());
  }
});

describe('an answer may not be kept', () => {
  const cases: [string, object, string?][] = [
    ['without temperature or seed', {}],
    ['at another temperature', { temperature: 0.7 }],
    ['at a temperature that is no number', { temperature: '0' }],
    ['with a seed that means any', { seed: -1 }],
    ['with the seed by which llama.cpp means any', { seed: 0xffffffff }],
    ['with a seed that is no whole number', { seed: 0.5 }],
    ['without a seed', { seed: null }],
    ['when the engine stores it', { temperature: 0, store: true }, '/v1/responses'],
    ['when it comes later', { temperature: 0, background: true }, '/v1/responses'],
    ['when it goes on', { temperature: 0, previous_response_id: 'resp_1' }, '/v1/responses'],
    ['within a conversation', { temperature: 0, conversation: 'c' }, '/v1/responses'],
    ['with a tool of the engine', { temperature: 0, tools: [{ type: 'web_search' }] }],
    ['with tools elsewhere', { temperature: 0, mcp_servers: [{}] }, '/v1/messages'],
    ['of rankings', { query: 'x', documents: [] }, '/v1/rerank'],
    ['of counted tokens', { temperature: 0 }, '/v1/messages/count_tokens'],
    ['of a form', { temperature: 0 }, '/v1/audio/transcriptions'],
    ['of a list', { temperature: 0 }, '/v1/models'],
  ];
  for (const [name, fields, path] of cases) {
    test(name, () => expect(keyOf(fields, path ? { path } : {})).toBeUndefined());
  }

  test('when the client says no-store', () => {
    expect(keyOf({ temperature: 0 }, { headers: asks('max-age=3, No-Store') })).toBeUndefined();
  });
});

describe('the key', () => {
  const fields = { temperature: 0, prompt: 'x' };

  test('is a digest of 256 bits, the same for the same request', () => {
    const first = keyOf(fields);
    expect(Buffer.from(first?.key ?? '', 'base64')).toHaveLength(32);
    expect(keyOf(fields)).toEqual(first as NonNullable<typeof first>);
  });

  const typed = { 'content-type': 'application/json' };
  const others: [string, Partial<CacheKeyOptions> & { path?: string }][] = [
    ['another scope', { scope: 'bob' }],
    ['another route', { path: '/v1/completions' }],
    ['a query', { search: '?beta=true' }],
    ['other bytes of the same value', { body: Buffer.from('{"temperature":0, "prompt":"x"}') }],
    ...['accept', 'anthropic-version', 'anthropic-beta', 'openai-beta'].map(
      (name): [string, Partial<CacheKeyOptions>] => {
        return [`another ${name}`, { headers: new Headers({ ...typed, [name]: 'x' }) }];
      },
    ),
  ];
  for (const [name, more] of others) {
    test(`is another one for ${name}`, () => {
      expect(keyOf(fields, more)?.key).not.toBe(keyOf(fields)?.key as string);
    });
  }

  test('does not mix up where one part ends and the next begins', () => {
    const keys = [
      { scope: 'a', search: '?b' },
      { scope: 'a"', search: '?b' },
      { scope: 'a/v1/chat/completions', search: '' },
      { scope: '', search: '?a' },
    ].map((more) => keyOf(fields, more)?.key);
    expect(new Set(keys).size).toBe(keys.length);
  });

  test('is the same for every caller and every order of headers', () => {
    const headers = (names: string[]) =>
      new Headers(Object.fromEntries(names.map((name) => [name, `of ${name}`])));
    const one = headers([
      'accept',
      'anthropic-beta',
      'user-agent',
      'x-request-id',
      'authorization',
    ]);
    const two = headers(['anthropic-beta', 'x-stainless-os', 'traceparent', 'accept', 'cookie']);
    expect(keyOf(fields, { headers: one })?.key).toBe(
      keyOf(fields, { headers: two })?.key as string,
    );
  });

  test('says when the client wants a fresh answer', () => {
    expect(keyOf(fields)?.isFresh).toBe(false);
    expect(keyOf(fields, { headers: asks('no-cache') })?.isFresh).toBe(true);
  });
});

test('of answers of Ollama only embeddings are kept: its seed and temperature are among its options', () => {
  expect(keyOf({ temperature: 0, seed: 1 }, { path: '/api/chat' })).toBeUndefined();
  expect(keyOf({ input: 'a' }, { path: '/api/embed' })).toBeDefined();
  expect(keyOf({ prompt: 'a' }, { path: '/api/embeddings' })).toBeDefined();
});

/**
 * Spellings of paths: which ones mean a route, that all others mean none, and what a client is told of those.
 */
import { describe, expect, test } from 'bun:test';
import { routes } from '../../../src/wire/routes.ts';
import { deploymentOf, hintOf, spelledOut } from '../../../src/wire/spelling.ts';

const posts: [path: string, meant: string][] = [
  // Slashes.
  ['//v1/chat/completions', '/v1/chat/completions'],
  ['/v1//chat/completions', '/v1/chat/completions'],
  ['/v1/chat//completions', '/v1/chat/completions'],
  ['/v1/chat/completions/', '/v1/chat/completions'],
  ['/v1/chat/completions//', '/v1/chat/completions'],
  ['///v1///messages///', '/v1/messages'],
  ['/v1/messages/count_tokens/', '/v1/messages/count_tokens'],
  ['//chat/completions', '/chat/completions'],
  ['/infill/', '/infill'],
  // With and without /v1.
  ['/v1/v1/messages', '/v1/messages'],
  ['/v1/v1/chat/completions', '/v1/chat/completions'],
  ['/v1/v1/v1/embeddings', '/v1/embeddings'],
  ['/v1//v1/responses/', '/v1/responses'],
  ['/messages', '/v1/messages'],
  ['/messages/count_tokens', '/v1/messages/count_tokens'],
  ['/audio/speech', '/v1/audio/speech'],
  ['/images/generations', '/v1/images/generations'],
  ['/moderations', '/v1/moderations'],
  ['/v1/infill', '/infill'],
  ['/v1/tokenize', '/tokenize'],
  ['/v1/completion', '/completion'],
  ['/v1/pooling', '/pooling'],
  ['/v1/v2/rerank', '/v2/rerank'],
  // Other prefixes.
  ['/openai/v1/chat/completions', '/v1/chat/completions'],
  ['/openai/chat/completions', '/v1/chat/completions'],
  ['/openai/v1/responses/', '/v1/responses'],
  ['/v1/openai/v1/embeddings', '/v1/embeddings'],
  // The whole path in the base URL.
  ['/v1/chat/completions/chat/completions', '/v1/chat/completions'],
  ['/v1/chat/completions/v1/chat/completions', '/v1/chat/completions'],
  ['/chat/completions/chat/completions', '/chat/completions'],
  ['/v1/messages/v1/messages', '/v1/messages'],
  ['/v1/messages/messages', '/v1/messages'],
  ['/v1/embeddings/embeddings/', '/v1/embeddings'],
  ['/v1/audio/speech/audio/speech', '/v1/audio/speech'],
  // Azure.
  ['/deployments/gpt/chat/completions', '/openai/deployments/gpt/chat/completions'],
  ['/v1/openai/deployments/gpt/embeddings', '/openai/deployments/gpt/embeddings'],
  ['//openai/deployments/gpt//chat/completions/', '/openai/deployments/gpt/chat/completions'],
  ['/openai/v1/deployments/a%2Fb/responses', '/openai/deployments/a%2Fb/responses'],
];

const gets: [path: string, meant: string][] = [
  ['/v1/models/', '/v1/models'],
  ['//v1/models', '/v1/models'],
  ['/v1/v1/models', '/v1/models'],
  ['/openai/models', '/v1/models'],
  ['/openai/v1/models', '/v1/models'],
  ['/models/', '/models'],
  ['/models/demo', '/v1/models/demo'],
  ['/v1/v1/models/org/name', '/v1/models/org/name'],
  ['/openai/models/a%20b', '/v1/models/a%20b'],
];

describe('a spelling of a route', () => {
  test.each(posts)('POST %s means %s', (path, meant) => {
    expect(spelledOut('POST', path)).toBe(meant);
  });

  test.each(gets)('GET %s means %s', (path, meant) => {
    expect(spelledOut('GET', path)).toBe(meant);
  });

  test('means what its own spelling means: once is enough', () => {
    for (const [path, meant] of posts) {
      expect([path, spelledOut('POST', meant)]).toEqual([path, undefined]);
    }
    for (const [path, meant] of gets) {
      expect([path, spelledOut('GET', meant)]).toEqual([path, undefined]);
    }
  });

  test('of the table itself is right already', () => {
    for (const { method, path } of routes) {
      if (!path.endsWith('*')) expect([path, spelledOut(method, path)]).toEqual([path, undefined]);
    }
  });
});

const none = [
  '/openai/deployments',
  '/',
  '//',
  '/v1',
  '/v1/v1/',
  '/openai',
  '/v1/../admin/keys',
  '/v1/../metrics',
  '/v1/./chat/completions',
  '/v1/x/../chat/completions',
  '/../v1/chat/completions',
  '/v1/chat/completions/..',
  '/v1/chat%2Fcompletions',
  '/v1/%63hat/completions',
  '/%2fv1/chat/completions',
  '/v1%2fmodels',
  '/v1/%2e%2e/admin/keys',
  '/v1/chat/completions%20',
  '/v1/chat/completions%00',
  '/v1/chat/completions;a=b',
  '/v1\\chat\\completions',
  '/v1/\\chat/completions',
  '/v1/chat /completions',
  '/V1/chat/completions',
  '/v1/Chat/Completions',
  '/v2/chat/completions',
  '/foo/v1/chat/completions',
  '/v1/chat',
  '/v1/completions/chat/completions',
  '/v1/chat/completions/completions',
  '/v1/chat/completions/models',
  '/v1/chat/completions/x/chat/completions',
  '/admin',
  '//admin/keys',
  '/admin/keys/',
  '/v1/admin/keys',
  '/v1/v1/admin/live',
  '/openai/admin/keys',
  '//metrics',
  '/v1/metrics',
  '/metrics/',
  '//dashboard',
  '/v1/usage',
  '//health/',
  '/v1/slots',
  '//slots',
  '/v1/v1/slots/0',
  '/v1/props',
  '/v1/lora-adapters',
  '/v1/models/load',
  '/models/unload',
  '/v1/v1/stream',
  '/v1/stream/1',
  '//v1/stream/1/',
  '/openai/v1/stream',
  `/v1${'/v1'.repeat(400)}/messages`,
  `/v1${'/v1'.repeat(20)}/messages`,
];

test.each(none)('%s means no route', (path) => {
  expect(spelledOut('POST', path)).toBeUndefined();
});

test.each([
  '/models/..',
  '/v1/v1/models/../../admin',
  '/models/./x',
  '//v1/stream',
  '/models/a/..',
])('GET %s means no route', (path) => {
  expect(spelledOut('GET', path)).toBeUndefined();
});

test('whatever is sent, what it means is a path of the table', () => {
  const words = [
    '',
    'v1',
    'openai',
    'deployments',
    'chat',
    'completions',
    'models',
    '..',
    '.',
    'admin',
    '%2e',
    'm',
  ];
  const table = new Set(routes.map(({ path }) => path));
  let state = 1;
  for (let i = 0; i < 20_000; i++) {
    const parts: string[] = [];
    for (let length = 1 + (i % 6); length > 0; length--) {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      parts.push(words[state % words.length] as string);
    }
    const method = i % 2 === 0 ? 'POST' : 'GET';
    const meant = spelledOut(method, `/${parts.join('/')}`);
    if (meant === undefined) continue;
    const isLookup = method === 'GET' && /^\/v1\/models\/(?!\.)[^?#]+$/.test(meant);
    const deployment = meant.startsWith('/openai/deployments/') && deploymentOf(meant);
    const isKnown =
      table.has(meant) || isLookup || (deployment && table.has(deployment.route.path));
    expect([meant, isKnown]).toEqual([meant, true]);
    expect(meant.split('/')).not.toContain('..');
  }
});

describe('a deployment', () => {
  test.each([
    ['gpt/chat/completions', 'gpt', '/v1/chat/completions'],
    ['gpt-4o.1/chat/completions/', 'gpt-4o.1', '/v1/chat/completions'],
    ['org/name/chat/completions', 'org/name', '/v1/chat/completions'],
    ['org%2Fname/embeddings', 'org/name', '/v1/embeddings'],
    ['qwen3:8b/completions', 'qwen3:8b', '/v1/completions'],
    ['chat/completions', 'chat', '/v1/completions'],
    ['w/audio/transcriptions', 'w', '/v1/audio/transcriptions'],
    ['w/images/generations', 'w', '/v1/images/generations'],
    ['a%20b%3F/responses', 'a b?', '/v1/responses'],
    ['gpt/v1/chat/completions', 'gpt', '/v1/chat/completions'],
    ['org%2Fv1/chat/completions', 'org/v1', '/v1/chat/completions'],
  ])('%s is %s at %s', (given, model, path) => {
    const found = deploymentOf(`/openai/deployments/${given}`);
    expect([found?.model, found?.route.path]).toEqual([model, path]);
  });

  test.each([
    '/openai/deployments/',
    '/openai/deployments/gpt',
    '/openai/deployments//chat',
    '/openai/deployments/chat/completions/..',
    '/openai/deployments/../chat/completions',
    '/openai/deployments/gpt/../admin/keys',
    '/openai/deployments/gpt/models',
    '/openai/deployments/gpt/slots',
    '/openai/deployments/100%/chat/completions',
    '/openai/deployments/v1/chat/completions',
    '/openai/deployments/a%0d%0ab/chat/completions',
    '/openai/deployments/a%00/chat/completions',
    `/openai/deployments/${'a'.repeat(201)}/chat/completions`,
    `/openai/deployments${'/a'.repeat(20)}/chat/completions`,
  ])('%s is none', (path) => {
    expect(deploymentOf(path)).toBeUndefined();
    expect(spelledOut('POST', path)).toBeUndefined();
  });
});

describe('a hint', () => {
  const advice = (ends: string, shouldEnd: string) => ({ ends, shouldEnd });
  test.each([
    ['/v1/v1/files', undefined, advice('/v1', '')],
    ['/v1/v1/chat/completion', '/v1/chat/completions', advice('/v1', '')],
    ['/v1/chat/completion', '/v1/chat/completions', undefined],
    ['/v1/chat/complations', '/v1/chat/completions', undefined],
    ['/V1/Chat/Completions', '/v1/chat/completions', undefined],
    ['/v1/message', '/v1/messages', undefined],
    ['/v1/embedings', '/v1/embeddings', undefined],
    ['/foo/v1/chat/completions', '/v1/chat/completions', undefined],
    ['/foo/bar/messages', '/v1/messages', undefined],
    ['/v1/chat/completions/models', '/v1/models', advice('/v1/chat/completions', '/v1')],
    ['/v1/messages/v1/models', '/v1/models', advice('/v1/messages', '')],
    ['/v1/completions/chat/completions', '/v1/chat/completions', advice('/v1/completions', '/v1')],
    ['/v1/files', undefined, undefined],
    ['/favicon.ico', undefined, undefined],
    ['/', undefined, undefined],
    ['/v1/../admin', undefined, undefined],
    ['/admin', undefined, undefined],
  ])('for %s names %s', (path, nearest, base) => {
    expect(hintOf(path)).toEqual({ nearest, base } as ReturnType<typeof hintOf>);
  });
});

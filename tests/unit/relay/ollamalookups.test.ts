/** The look-ups that no model runs for: which engines are asked, and what is answered where none of them says anything. */
import { expect, test } from 'bun:test';
import { Upstream } from '../../../src/engines/upstream.ts';
import type { EngineKind } from '../../../src/wire/kinds.ts';
import { lookUpAtOllama } from '../../../src/relay/ollamalookups.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';

const routeOf = (path: string) => routes.find((route) => route.path === path) as Route;
const tags = routeOf('/api/tags');

function upstream(id: string, kind: Exclude<EngineKind, 'unknown'> | 'auto' = 'ollama') {
  const settings = { id, kind, url: `http://${id}`, apiKey: `key-${id}`, models: undefined };
  const made = new Upstream(
    { ...settings, aliases: {}, slots: 'auto', weight: 1, drain: false },
    () => 0,
  );
  made.sighted(kind !== 'auto');
  return made;
}

const asked: string[] = [];
async function fetch(url: string, { headers }: BunFetchRequestInit): Promise<Response> {
  asked.push(`${url} ${new Headers(headers as Headers).get('authorization')}`);
  if (url.startsWith('http://away')) throw new Error('refused');
  if (url.startsWith('http://bad')) return new Response('{}', { status: 500 });
  if (url.startsWith('http://odd')) return new Response('hello');
  return Response.json({ models: [{ name: `model-of-${new URL(url).hostname}` }] });
}

const names = async (...upstreams: Upstream[]) => {
  const found = await lookUpAtOllama(tags, upstreams, undefined, fetch);
  return JSON.parse(Buffer.from(found).toString()).models.map(
    (each: { name: string }) => each.name,
  );
};

test('every Ollama is asked with its own key, no other engine, and what fails is left out', async () => {
  const all = [upstream('a'), upstream('llama', 'llama.cpp'), upstream('b')];
  expect(await names(...all, upstream('away'), upstream('bad'), upstream('odd'))).toEqual([
    'model-of-a',
    'model-of-b',
  ]);
  expect(asked.toSorted().slice(0, 3)).toEqual([
    'http://a/api/tags Bearer key-a',
    'http://away/api/tags Bearer key-away',
    'http://b/api/tags Bearer key-b',
  ]);
  expect(asked).toHaveLength(5);
});

test('the version is that of the first which answers', async () => {
  const found = lookUpAtOllama(
    routeOf('/api/version'),
    [upstream('away'), upstream('a')],
    undefined,
    fetch,
  );
  expect(Buffer.from(await found).toString()).toContain('model-of-a');
});

test('where none answers or is known yet it is a 503, and without an Ollama a 404', async () => {
  const code = async (...upstreams: Upstream[]) =>
    await lookUpAtOllama(tags, upstreams, undefined, fetch).then(
      () => 'found',
      (error: { code: string }) => error.code,
    );
  expect(await code(upstream('away'))).toBe('no_healthy_upstream');
  expect(await code(upstream('new', 'auto'))).toBe('no_healthy_upstream');
  expect(await code(upstream('llama', 'llama.cpp'))).toBe('unknown_route');
});

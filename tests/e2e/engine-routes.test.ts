/**
 * Routes of engines: each reaches the engine under the path that an engine of its kind serves, only at engines of a kind
 * that has it, and a refusal names the kinds that do.
 */
import { afterAll, beforeAll, beforeEach, expect, setDefaultTimeout, test } from 'bun:test';
import { configFile, startWith, type ConfigFile } from '../support/configfile.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import type { Gateway } from '../support/gatewayprocess.ts';
import { ask } from '../support/rawclient.ts';
import { plain, startUpstream, type Upstream } from '../support/rawengine.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const kinds = ['vllm', 'sglang', 'ollama'] as const;
let engines: Upstream[];
let file: ConfigFile;
let gateway: Gateway;

/** Each has a model of its own, named like its kind, and all have `shared`. */
beforeAll(async () => {
  engines = await Promise.all(
    kinds.map((kind) =>
      startUpstream((_, wire) => wire.write(plain('{"ok":true}')), {
        lookups: {
          '/health': {},
          '/api/version': {},
          '/v1/models': { object: 'list', data: [{ id: kind }, { id: 'shared' }] },
        },
      }),
    ),
  );
  file = configFile({
    upstreams: engines.map(({ url }, i) => ({ id: kinds[i], kind: kinds[i], url })),
  });
  gateway = await startWith(file);
  for (const kind of kinds) await untilUpstream(gateway, kind, { kind, state: 'up' });
  await until('the models are known', async () => {
    const { text } = await ask(gateway.url, { path: '/v1/models' });
    return kinds.every((kind) => text.includes(kind));
  });
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  file[Symbol.dispose]();
  await Promise.all(engines.map((engine) => engine.stop()));
});

beforeEach(() => {
  for (const engine of engines) engine.requests.length = 0;
});

/** Returns where a request went: `kind path`, or nothing. */
async function sent(path: string, model: string): Promise<{ status: number; where: string[] }> {
  const { status } = await ask(gateway.url, { path, body: { model, input: 'a', query: 'a' } });
  const where = engines.flatMap(({ requests }, i) =>
    requests.map((request) => `${kinds[i]} ${request.path}`),
  );
  return { status, where };
}

test.each([
  ['/chat/completions', 'vllm', '/v1/chat/completions'],
  ['/completions', 'sglang', '/v1/completions'],
  ['/embeddings', 'ollama', '/v1/embeddings'],
  ['/responses', 'ollama', '/v1/responses'],
  ['/rerank', 'vllm', '/rerank'],
  ['/rerank', 'sglang', '/v1/rerank'],
  ['/v2/rerank', 'vllm', '/v2/rerank'],
  ['/score', 'vllm', '/score'],
  ['/v1/score', 'sglang', '/v1/score'],
  ['/classify', 'sglang', '/classify'],
  ['/v1/classify', 'vllm', '/classify'],
  ['/v1/classify', 'sglang', '/v1/classify'],
  ['/pooling', 'vllm', '/pooling'],
  ['/v1/images/generations', 'ollama', '/v1/images/generations'],
  ['/tokenize', 'vllm', '/tokenize'],
])('%s of %s reaches it as %s', async (path, kind, expected) => {
  expect(await sent(path, kind)).toEqual({ status: 200, where: [`${kind} ${expected}`] });
});

test.each([
  ['/v2/rerank', 'vllm'],
  ['/pooling', 'vllm'],
  ['/score', 'vllm'],
])('of engines with the same model, %s goes to %s, which has it', async (path, kind) => {
  for (let i = 0; i < 4; i++) await sent(path, 'shared');
  const { where } = await sent(path, 'shared');
  expect(new Set(where)).toEqual(new Set([`${kind} ${path}`]));
});

test.each([
  ['/infill', 'vllm', 'llama.cpp'],
  ['/pooling', 'sglang', 'vllm'],
  ['/v1/moderations', 'ollama', 'openai'],
])('%s is no route of %s: 404, which names %s', async (path, model, having) => {
  const answer = await ask(gateway.url, { path, body: { model, input: 'a' } });
  expect(answer.status).toBe(404);
  expect(answer.header('x-gateway-error')).toBe('unknown_route');
  expect(JSON.parse(answer.text).error.message).toContain(`${path}: it is a route of ${having}`);
  expect(engines.flatMap(({ requests }) => requests)).toEqual([]);
});

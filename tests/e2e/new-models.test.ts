/**
 * Models that come while the gateway runs: a request for one that nobody knew waits until the engines' lists have been
 * read again, and is refused only by a list that is younger than the request.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from 'bun:test';
import { configFile, startWith, type ConfigFile } from '../support/configfile.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import type { Gateway } from '../support/gatewayprocess.ts';
import { ask } from '../support/rawclient.ts';
import { plain, startUpstream, type Upstream } from '../support/rawengine.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const models = ['qwen3:8b', 'llama3.2:latest'];
const other = ['large'];
let ollama: Upstream;
let vllm: Upstream;
let file: ConfigFile;
let gateway: Gateway;

const listed = (names: string[]) => ({
  get '/v1/models'() {
    return { object: 'list', data: names.map((id) => ({ id, object: 'model' })) };
  },
  '/api/version': {},
  '/health': {},
});

beforeAll(async () => {
  const answer = (_: unknown, wire: { write(bytes: Uint8Array): void }) =>
    wire.write(plain('{"ok":true}'));
  ollama = await startUpstream(answer, { lookups: listed(models) });
  vllm = await startUpstream(answer, { lookups: listed(other) });
  file = configFile({
    upstreams: [
      { id: 'o', kind: 'ollama', url: ollama.url, aliases: { 'claude-*': 'qwen3:8b' } },
      { id: 'v', kind: 'vllm', url: vllm.url },
    ],
  });
  gateway = await startWith(file);
  await untilUpstream(gateway, 'o', { state: 'up' });
  await untilUpstream(gateway, 'v', { state: 'up' });
  await until('the models are known', async () => {
    const { text } = await ask(gateway.url, { path: '/v1/models' });
    return text.includes('large') && text.includes('qwen3:8b');
  });
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  file[Symbol.dispose]();
  await Promise.all([ollama.stop(), vllm.stop()]);
});

const chat = (model: string) =>
  ask(gateway.url, { path: '/v1/chat/completions', body: { model, messages: [] } });

/** Returns the models of the requests that an engine got. */
function got({ requests }: Upstream): string[] {
  return requests.map(({ body }) => JSON.parse(String(body)).model);
}

test('a request for a model that came a moment ago reaches its engine at once', async () => {
  models.push('gemma3:1b');
  expect((await chat('gemma3:1b')).status).toBe(200);
  expect(got(ollama).at(-1)).toBe('gemma3:1b');
  other.push('adapter');
  expect((await chat('adapter')).status).toBe(200);
  expect(got(vllm).at(-1)).toBe('adapter');
});

test('so does a look-up of one', async () => {
  models.push('phi4:latest');
  const answer = await ask(gateway.url, { path: '/v1/models/phi4:latest' });
  expect([answer.status, JSON.parse(answer.text).id]).toEqual([200, 'phi4:latest']);
});

test('many requests for a model that there is not are 404, and the lists are read once for all', async () => {
  const questions = () => vllm.questions.filter((path) => path === '/v1/models').length;
  await chat('none');
  const before = questions();
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => chat(`none-${i}`)));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([404]));
  expect(answers[0]?.header('x-gateway-error')).toBe('model_not_found');
  // One for all of them; another one may be the watch's own, every half minute.
  expect(questions() - before).toBeOneOf([1, 2]);
});

test("Ollama's names count in any case and without the tag, and it gets them as it lists them", async () => {
  expect((await chat('Qwen3:8B')).status).toBe(200);
  expect((await chat('LLAMA3.2')).status).toBe(200);
  expect(got(ollama).slice(-2)).toEqual(['qwen3:8b', 'llama3.2:latest']);
});

test('a pattern stands for names that no engine has', async () => {
  expect((await chat('claude-sonnet-4-5')).status).toBe(200);
  expect(got(ollama).at(-1)).toBe('qwen3:8b');
  const { text } = await ask(gateway.url, { path: '/v1/models' });
  expect(text).not.toContain('claude');
});

/**
 * The engine's list of models, as it is, and one model looked up in it, as the engine describes it. The engine is a
 * stand-in whose list contains what parsing and printing would change.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { key, startGateway } from '../support/gatewayprocess.ts';
import { RawClient } from '../support/rawclient.ts';
import { startStage } from '../support/stage.ts';

const entries = {
  plain: '{"id":"plain","object":"model","created":1.0, "size":12345678901234567890,"x":null}',
  slashes: '{ "object":"model", "id" : "org/team/model-7b.Q4_K_M.gguf" }',
  colon: '{"id":"llama3.1:8b","object":"model"}',
  unicode: '{"id":"модель-ü 7b","object":"model"}',
  tagged: '{"id":"qwen:latest","object":"model"}',
  escaped: '{"id":"mod\\u00e8le\\/b","object":"model"}',
  percent: '{"id":"a%2Fb","object":"model"}',
  plus: '{"id":"a+b&c?d#e","object":"model"}',
  nested: '{"meta":{"id":"hidden"},"id":"outer","children":[{"id":"child"}]}',
};
const list = `{"object":"list",\n  "first_id": "plain", "data":[ ${Object.values(entries).join(' ,\n')} ]}\n`;

const asked: string[] = [];
const engine = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch({ url, headers }) {
    const { pathname, search } = new URL(url);
    asked.push(pathname + search);
    if (!pathname.endsWith('/models')) return new Response('{}', { status: 404 });
    const type = { 'content-type': 'application/json', 'x-engine': 'yes' };
    if (headers.get('x-ask') === 'failure') {
      return new Response('{"error":"no list today"}', { status: 500, headers: type });
    }
    if (headers.get('x-ask') === 'gzip') {
      return new Response(Bun.gzipSync(Buffer.from(list)), {
        headers: { ...type, 'content-encoding': 'gzip' },
      });
    }
    return new Response(list, { headers: type });
  },
});
const gateway = await startGateway({ LLM_SERVER_URL: engine.url.href, LLM_SERVER_KIND: 'openai' });

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop(true);
});

function get(path: string, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(gateway.url + path, { headers: { authorization: `Bearer ${key}`, ...headers } });
}

describe('GET', () => {
  test.each(['/v1/models', '/models'])('%s passes the list byte for byte', async (path) => {
    const answer = await get(path);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('application/json');
    expect(answer.headers.get('x-engine')).toBe('yes');
    expect(await answer.text()).toBe(list);
  });
});

describe('GET /v1/models/{id}', () => {
  const known: Record<string, string> = {
    '/v1/models/plain': entries.plain,
    '/v1/models/%70lain': entries.plain,
    '/v1/models/plain?unused=1': entries.plain,
    '/v1/models/org/team/model-7b.Q4_K_M.gguf': entries.slashes,
    '/v1/models/org%2Fteam%2Fmodel-7b.Q4_K_M.gguf': entries.slashes,
    '/v1/models/org%2fteam/model-7b.Q4_K_M.gguf': entries.slashes,
    '/v1/models/llama3.1:8b': entries.colon,
    '/v1/models/llama3.1%3A8b': entries.colon,
    '/v1/models/%D0%BC%D0%BE%D0%B4%D0%B5%D0%BB%D1%8C-%C3%BC%207b': entries.unicode,
    '/v1/models/mod%C3%A8le/b': entries.escaped,
    '/v1/models/a%252Fb': entries.percent,
    '/v1/models/a%2Bb%26c%3Fd%23e': entries.plus,
    '/v1/models/a+b%26c%3Fd%23e': entries.plus,
    '/v1/models/outer': entries.nested,
    // As Ollama takes it in a body.
    '/v1/models/qwen': entries.tagged,
    '/v1/models/qwen:latest': entries.tagged,
  };
  test.each(Object.entries(known))('%s is found', async (path, entry) => {
    const answer = await get(path);
    expect(await answer.text()).toBe(entry);
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('application/json');
  });

  test('an id in raw UTF-8 is found', async () => {
    using connection = await RawClient.open(gateway.url);
    const answer = await connection.ask(
      `GET /v1/models/модель-ü%207b HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer ${key}\r\n\r\n`,
    );
    expect(answer.body.toString()).toBe(entries.unicode);
  });

  const unknown = [
    '/v1/models/nobody',
    '/v1/models/PLAIN',
    '/v1/models/plai',
    '/v1/models/plain/',
    '/v1/models/team/model-7b.Q4_K_M.gguf',
    '/v1/models/hidden',
    '/v1/models/child',
    '/v1/models/a%2Fb',
    '/v1/models/0',
    '/v1/models/id',
    '/v1/models/__proto__',
    '/v1/models/%22plain%22',
    '/v1/models/%E0%A4%A',
    '/v1/models/%',
    '/v1/models/100%',
    '/v1/models/%00',
  ];
  test.each(unknown)('%s is 404 model_not_found', async (path) => {
    const answer = await get(path);
    expect(answer.status).toBe(404);
    expect(answer.headers.get('x-gateway-error')).toBe('model_not_found');
    expect(await answer.json()).toEqual({
      error: {
        message: expect.any(String),
        type: 'invalid_request_error',
        param: 'model',
        code: 'model_not_found',
      },
    });
  });

  test.each([
    ['GET', key, 200],
    ['GET', '', 401],
    ['GET', 'sk-wrong', 403],
    ['POST', key, 405],
  ])('without an id is the list: %s with the key %j is %d', async (method, presented, status) => {
    asked.length = 0;
    for (const path of ['/v1/models/', '/v1/models/?id=plain']) {
      const headers = presented ? { authorization: `Bearer ${presented}` } : {};
      const answer = await fetch(gateway.url + path, { method, headers });
      expect(answer.status).toBe(status);
      if (status === 200) expect(await answer.text()).toBe(list);
    }
    const expected = ['/v1/models', '/v1/models?id=plain'];
    expect(asked).toEqual(status === 200 ? expected : []);
  });

  test('asks the engine for its list, whatever the id', async () => {
    asked.length = 0;
    await get('/v1/models/org/..%2f..%2fslots?action=erase');
    expect(asked).toEqual(['/v1/models']);
  });

  test('passes a failure of the engine on', async () => {
    const answer = await get('/v1/models/plain', { 'x-ask': 'failure' });
    expect(answer.status).toBe(500);
    expect(answer.headers.has('x-gateway-error')).toBe(false);
    expect(await answer.text()).toBe('{"error":"no list today"}');
  });

  test('looks into a list that comes compressed', async () => {
    const answer = await get('/v1/models/plain', { 'x-ask': 'gzip' });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe(entries.plain);
  });
});

describe("a client of Anthropic's API", () => {
  const anthropic = { 'anthropic-version': '2023-06-01' };

  test('gets the list in its shape, with the context where the engine tells it', async () => {
    await using stage = await startStage({}, { contextTokens: 8_192 });
    const headers = { authorization: `Bearer ${key}`, ...anthropic };
    const answer = await fetch(`${stage.gateway.url}/v1/models?limit=1000`, { headers });
    expect(answer.headers.get('content-type')).toStartWith('application/json');
    expect(answer.headers.get('request-id')).toBe(answer.headers.get('x-request-id'));
    expect(await answer.json()).toMatchObject({
      data: [{ type: 'model', id: 'demo', display_name: 'demo', max_input_tokens: 8_192 }],
      has_more: false,
      first_id: 'demo',
      last_id: 'demo',
    });
  });

  test('gets one model, and pages', async () => {
    const one = await (await get('/v1/models/llama3.1:8b', anthropic)).json();
    expect(one).toMatchObject({ type: 'model', id: 'llama3.1:8b', max_input_tokens: null });
    const page = await (await get('/v1/models?limit=1&after_id=plain', anthropic)).json();
    const id = 'org/team/model-7b.Q4_K_M.gguf';
    expect(page).toMatchObject({ data: [{ id }], has_more: true, last_id: id });
  });

  test('gets errors in its shape, with the id of the request', async () => {
    const answers = [
      await get('/v1/models/none', anthropic),
      await get('/v1/models?limit=0', anthropic),
      await get('/v1/models', { ...anthropic, authorization: 'Bearer sk-wrong' }),
    ];
    expect(answers.map(({ status }) => status)).toEqual([404, 400, 403]);
    for (const answer of answers) {
      expect(answer.headers.get('request-id')).toBe(answer.headers.get('x-request-id'));
      expect(await answer.json()).toMatchObject({ type: 'error', error: {} });
    }
  });
});

/**
 * Paths as people and clients write them: every spelling that means one route is served as that route, with its key and
 * its body; the model of a deployment and that of the body agree; a path that means none is a 404 that helps.
 */
import { afterAll, beforeEach, describe, expect, test } from 'bun:test';
import { key } from '../support/gatewayprocess.ts';
import { ask } from '../support/rawclient.ts';
import { startStage } from '../support/stage.ts';

const stage = await startStage({ RESPONSE_CACHE: 'on' });
const { engine, gateway } = stage;
afterAll(() => stage[Symbol.asyncDispose]());

beforeEach(() => {
  engine.requests.length = 0;
});

const body = { messages: [{ role: 'user', content: 'Hi' }], max_tokens: 3 };
const chat = '/v1/chat/completions';

function received(): string[] {
  return engine.requests.map(({ method, path }) => `${method} ${path}`);
}

describe('a path that means one route', () => {
  test.each([
    '//v1/chat/completions',
    '/v1//chat/completions',
    '/v1/chat/completions/',
    '/v1/v1/chat/completions',
    '/openai/v1/chat/completions',
    '/v1/chat/completions/chat/completions',
    '/v1/chat/completions/v1/chat/completions',
  ])('POST %s is served as that route', async (path) => {
    const answer = await ask(gateway.url, { path: `${path}?a=//b`, body });
    expect(answer.status).toBe(200);
    expect(received()).toEqual([`POST ${chat}?a=//b`]);
  });

  test.each(['/v1/models/', '//v1/models', '/v1/v1/models', '/openai/models', '/models/'])(
    'GET %s lists the models',
    async (path) => {
      const answer = await ask(gateway.url, { path });
      expect([answer.status, JSON.parse(answer.text).object]).toEqual([200, 'list']);
    },
  );

  test.each(['/v1/models/', '/v1//completions', '/nowhere'])(
    'HEAD %s has the headers of GET, its length too',
    async (path) => {
      const headers = { authorization: `Bearer ${key}` };
      const [head, get] = [
        await fetch(gateway.url + path, { method: 'HEAD', headers }),
        await fetch(gateway.url + path, { headers }),
      ];
      expect([head.status, await head.text()]).toEqual([get.status, '']);
      expect(head.headers.get('content-length')).toBe(String((await get.bytes()).length));
    },
  );

  test('streams as the route does', async () => {
    const asked = { ...body, stream: true };
    const answer = await ask(gateway.url, { path: '/v1/v1/messages/', body: asked });
    expect(answer.header('content-type')).toStartWith('text/event-stream');
    expect(answer.text).toContain('event: message_stop');
    expect(answer.header('request-id')).toBe(answer.header('x-request-id') as string);
  });

  test('needs a key, as the route does', async () => {
    const headers = { Authorization: undefined };
    const answer = await ask(gateway.url, { path: '//v1/chat/completions', headers, body });
    expect([answer.status, answer.header('x-gateway-error')]).toEqual([401, 'missing_api_key']);
    expect(received()).toEqual([]);
  });

  test('has the methods of the route', async () => {
    const answer = await ask(gateway.url, { method: 'GET', path: '//v1/chat/completions' });
    expect([answer.status, answer.header('allow')]).toEqual([405, 'POST']);
  });

  test('with HEAD is GET without the body', async () => {
    const answer = await fetch(`${gateway.url}//v1/models`, {
      method: 'HEAD',
      headers: { authorization: `Bearer ${key}` },
    });
    expect([answer.status, await answer.text()]).toEqual([200, '']);
  });
});

describe("Azure's deployments", () => {
  const deployed = '/openai/deployments/demo/chat/completions?api-version=2025-01-01-preview';

  test('the model of the URL is put into a body without one', async () => {
    const answer = await ask(gateway.url, { path: deployed, body });
    expect(answer.status).toBe(200);
    expect(received()).toEqual([`POST ${chat}?api-version=2025-01-01-preview`]);
    expect(JSON.parse(String(Buffer.from(engine.requests[0]?.body ?? '')))).toEqual({
      model: 'demo',
      ...body,
    });
  });

  test('a body with the same model passes unchanged', async () => {
    const text = JSON.stringify({ ...body, model: 'demo' }).replace(':', ' : ');
    const answer = await ask(gateway.url, { path: deployed, body: text });
    expect(answer.status).toBe(200);
    expect(String(Buffer.from(engine.requests[0]?.body ?? ''))).toBe(text);
  });

  test('a body with another model is 400', async () => {
    const asked = { ...body, model: 'other' };
    const answer = await ask(gateway.url, { path: deployed, body: asked });
    expect([answer.status, answer.header('x-gateway-error')]).toEqual([400, 'invalid_field']);
    expect(JSON.parse(answer.text).error.param).toBe('model');
    expect(received()).toEqual([]);
  });

  test('a form without a model gets it, too', async () => {
    const form = new FormData();
    form.set('file', new Blob(['RIFF']), 'a.wav');
    const answer = await fetch(`${gateway.url}/openai/deployments/demo/audio/transcriptions`, {
      method: 'POST',
      headers: { 'api-key': key },
      body: form,
    });
    expect(answer.status).toBe(200);
    expect(String(Buffer.from(engine.requests[0]?.body ?? ''))).toContain('name="model"');
  });

  test('a key that a request presents reaches no engine in another place', async () => {
    const path = `${deployed}&trace=${key}&key=${key}`;
    const headers = { Authorization: undefined, 'X-Trace': key };
    expect((await ask(gateway.url, { path, headers, body })).status).toBe(200);
    expect(engine.requests).toHaveLength(1);
    expect(JSON.stringify(engine.requests[0]?.headers)).not.toContain(key);
    expect(received()).toEqual([`POST ${chat}?api-version=2025-01-01-preview`]);
  });

  test('equal bodies for two deployments share no kept answer', async () => {
    const asked = { ...body, temperature: 0 };
    const models = ['one', 'two', 'one'];
    const cached: (string | undefined)[] = [];
    for (const model of models) {
      const path = `/openai/deployments/${model}/chat/completions`;
      cached.push((await ask(gateway.url, { path, body: asked })).header('x-gateway-cache'));
    }
    expect(cached).toEqual(['miss', 'miss', 'hit']);
  });
});

describe('a path that means none', () => {
  test.each([
    ['/v1/chat/completion', 'The nearest is /v1/chat/completions.'],
    ['/proxy/v1/messages', 'The nearest is /v1/messages.'],
  ])('%s is 404, which names the nearest route', async (path, advice) => {
    const answer = await ask(gateway.url, { path, body });
    expect([answer.status, answer.header('x-gateway-error')]).toEqual([404, 'unknown_route']);
    expect(JSON.parse(answer.text).error.message).toContain(advice);
  });

  test('with a base URL at fault says how it should end', async () => {
    const headers = { Host: 'llm.example:12000' };
    const answer = await ask(gateway.url, { path: '/v1/v1/files', headers, body });
    expect(JSON.parse(answer.text).error.message).toContain(
      'Your base URL already ends in /v1: use http://llm.example:12000.',
    );
  });
});

test('a WebSocket is refused at once with 426, and the connection goes on', async () => {
  const headers = {
    Connection: 'Upgrade',
    Upgrade: 'websocket',
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
  };
  const answer = await ask(gateway.url, { method: 'GET', path: '/v1/responses', headers });
  expect([answer.status, answer.header('x-gateway-error')]).toEqual([426, 'websocket_unsupported']);
  expect(JSON.parse(answer.text).error.message).toContain('over HTTP');
});

/**
 * One request to an engine, over a loopback connection: what is sent.
 */
import { describe, expect, test } from 'bun:test';
import { attempt, type Attempt } from '../../../src/relay/attempt.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import { JsonBody } from '../../../src/wire/jsonbody.ts';
import { routes } from '../../../src/wire/routes.ts';
import { plain, startUpstream, type Received, type Upstream } from '../../support/rawengine.ts';
import { caller } from '../../support/samples.ts';

function requestTo(path: string): LiveRequest {
  const route = routes.find((each) => each.path === path);
  if (route === undefined) throw new Error(`no route ${path}`);
  return new LiveRequest('id-1', route, caller, 0);
}

type Changes = Partial<Attempt> & { path?: string; apiKey?: string };

function attemptAt(engine: Upstream, changes: Changes): Attempt {
  const { path = '/v1/completions', apiKey, ...more } = changes;
  const settings = { url: `${engine.url}/base`, apiKey };
  const body = Buffer.from('{"model":"a","x":1}');
  return {
    lease: { upstream: { settings }, connection: {} } as unknown as Attempt['lease'],
    request: requestTo(path),
    search: '',
    headers: new Headers({ 'content-type': 'application/json', authorization: 'Bearer sk-client' }),
    body,
    json: JsonBody.parse(body),
    edits: undefined,
    isRead: false,
    ...more,
  };
}

/** Sends one and returns what the engine has received. */
async function received(changes: Changes = {}): Promise<Received> {
  await using engine = await startUpstream((_, wire) => wire.write(plain('{}')));
  await (await attempt(attemptAt(engine, changes))).bytes();
  return engine.requests[0] as Received;
}

describe('what is sent', () => {
  test('is the request behind the base URL, with its query, and no key of its client', async () => {
    const request = await received({ search: '?x=1&y' });
    expect(request).toMatchObject({ method: 'POST', path: '/base/v1/completions?x=1&y' });
    expect(request.headers['authorization']).toBeUndefined();
    expect(request.headers['x-request-id']).toBe('id-1');
    expect(request.body.toString()).toBe('{"model":"a","x":1}');
  });

  test("has the engine's key where it has one", async () => {
    const { headers } = await received({ apiKey: 'sk-engine' });
    expect(headers['authorization']).toBe('Bearer sk-engine');
  });

  test('has new values in a JSON body, and every other byte as it came', async () => {
    const { body } = await received({ edits: { model: 'b', cache_prompt: false } });
    expect(JSON.parse(`${body}`)).toEqual({ model: 'b', x: 1, cache_prompt: false });
  });

  test('has another model in a form, and nothing else', async () => {
    const form = (model: string) =>
      `--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n${model}\r\n--b--\r\n`;
    const headers = new Headers({ 'content-type': 'multipart/form-data; boundary=b' });
    const body = Buffer.from(form('a'));
    const asked = { path: '/v1/audio/transcriptions', headers, body, json: undefined };
    const renamed = await received({
      ...asked,
      edits: { model: 'long-name', cache_prompt: false },
    });
    expect(renamed.body.toString()).toBe(form('long-name'));
    const same = await received({ ...asked, edits: { cache_prompt: false } });
    expect(same.body.toString()).toBe(form('a'));
  });

  test('is the same of a large body, with its length', async () => {
    const long = 'é"\\'.repeat(400_000);
    const body = Buffer.from(JSON.stringify({ model: 'a', prompt: long }));
    const json = JsonBody.parse(body);
    const plain = await received({ body, json });
    expect(plain.body.equals(body)).toBe(true);
    expect(plain.headers['content-length']).toBe(String(body.length));
    const edited = await received({ body, json, edits: { model: 'other', n: 1 } });
    expect(JSON.parse(`${edited.body}`)).toEqual({ n: 1, model: 'other', prompt: long });
    expect(edited.headers['content-length']).toBe(String(edited.body.length));
    expect(edited.headers['transfer-encoding']).toBeUndefined();
  });

  test('is the whole list where one model is looked up', async () => {
    const lookup = { path: '/v1/models/*', body: undefined, json: undefined, search: '?x=1' };
    expect(await received(lookup)).toMatchObject({ method: 'GET', path: '/base/v1/models' });
  });
});

test('a redirect is an answer, and no way to another server', async () => {
  await using engine = await startUpstream((_, wire) =>
    wire.write(plain('', { Location: 'http://127.0.0.1:1/' }, 302)),
  );
  expect((await attempt(attemptAt(engine, {}))).status).toBe(302);
});

test('an abort of the request ends it, with the reason of that', async () => {
  await using engine = await startUpstream(() => {});
  const asked = attemptAt(engine, {});
  const answer = attempt(asked).catch((thrown: unknown) => thrown);
  asked.request.abort('idle_timeout');
  expect(await answer).toMatchObject({ code: 'idle_timeout' });
});

/**
 * The id of a request: the client's if it is fit for a log, else one that the gateway makes; it is in every answer,
 * and the engine gets it.
 */
import { afterAll, describe, expect, test } from 'bun:test';
import { key } from '../support/gatewayprocess.ts';
import { admin, adminKey, bearer } from '../support/operator.ts';
import { send } from '../support/rawclient.ts';
import { clientIdOf } from '../support/requestid.ts';
import { startStage } from '../support/stage.ts';

const stage = await startStage({ ADMIN_API_KEY: adminKey }, { slots: 2 });
const { engine, gateway } = stage;
afterAll(() => stage[Symbol.asyncDispose]());

interface Asked {
  path?: string;
  headers?: Record<string, string>;
  body?: object;
}

const body = {
  prompt: 'a',
  messages: [{ role: 'user', content: 'a' }],
  max_tokens: 2,
};
const fault = (name: string): Asked => ({ headers: { 'x-demo-fault': name } });

function ask({ path = '/v1/completions', headers = {}, ...more }: Asked): Promise<Response> {
  return fetch(gateway.url + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, ...headers },
    body: JSON.stringify({ ...body, ...more.body }),
  });
}

describe('the request id', () => {
  const answers: Record<string, Asked> = {
    'an answer': {},
    'a stream': { body: { stream: true } },
    "an engine's error": fault('error-500'),
    "a gateway's error": fault('reset'),
    'a refusal': { headers: { authorization: '' } },
    'no such route': { path: '/unknown' },
  };
  test.each(Object.entries(answers))('is returned: %s', async (_what, asked) => {
    for (const id of ['a', 'A-b_c.0', 'x'.repeat(128)]) {
      const headers = { ...asked.headers, 'x-request-id': id };
      const answer = await ask({ ...asked, headers });
      expect(answer.headers.get('x-request-id')).toBe(id);
      await answer.bytes();
    }
  });

  test.each(Object.entries(answers))('is made if missing or refused: %s', async (...row) => {
    const [, asked] = row;
    const seen = new Set<string>();
    const bad = ['', 'x'.repeat(129), 'a b', 'a/b', 'a"b', 'é', '<script>'];
    for (const id of [undefined, ...bad]) {
      const headers = { ...asked.headers, ...(id === undefined ? {} : { 'x-request-id': id }) };
      const answer = await ask({ ...asked, headers });
      const made = answer.headers.get('x-request-id') ?? '';
      expect(made).toMatch(/^[A-Za-z0-9._-]{1,128}$/);
      expect(bad).not.toContain(made);
      seen.add(made);
      await answer.bytes();
    }
    expect(seen.size).toBe(bad.length + 1);
  });

  test('is the one that the engine gets, with a suffix where the client gave it', async () => {
    const echoed = await ask({ headers: { 'x-request-id': 'of-the-client' } });
    await echoed.bytes();
    expect(engine.requests.at(-1)?.headers['x-request-id']).toMatch(/^of-the-client-[0-9a-f]{8}$/);
    const made = await ask({ headers: { 'x-request-id': 'not valid' } });
    await made.bytes();
    expect(engine.requests.at(-1)?.headers['x-request-id']).toBe(
      made.headers.get('x-request-id') ?? '',
    );
  });

  test('is request-id too on a good answer of the Anthropic family', async () => {
    const answer = await ask({ path: '/v1/messages', headers: { 'x-request-id': 'mine' } });
    expect(answer.status).toBe(200);
    expect(answer.headers.get('request-id')).toBe('mine');
  });
});

describe('two requests with one id', () => {
  const twice = { 'x-request-id': 'job-42', 'x-demo-fault': 'stall=1' };
  const endless = { max_tokens: 3000, stream: true, ignore_eos: true };
  const open = () => send(gateway.url, { body: { ...body, ...endless }, headers: twice });

  test('are told apart: at the engine, in the log, in the live view, and when one is stopped', async () => {
    const streams = [await open(), await open()];
    for (const stream of streams) await stream.hasBytes();
    const given = engine.requests.filter(({ headers }) => clientIdOf(headers) === 'job-42');
    const ids = given.map(({ headers }) => headers['x-request-id'] ?? '');
    expect(new Set(ids).size).toBe(2);
    for (const stream of streams) expect(stream.header('x-request-id')).toBe('job-42');

    const live = await send(gateway.url, { path: '/admin/live', headers: bearer(adminKey) });
    await live.until('both are shown', () => ids.every((id) => live.text.includes(`"id":"${id}"`)));
    live.leave();
    const unclear = await admin(gateway, 'DELETE /admin/requests/job-42');
    expect([unclear.status, unclear.code]).toEqual([400, 'invalid_field']);

    expect((await admin(gateway, `DELETE /admin/requests/${ids[0]}`)).status).toBe(204);
    const isEnd = (line: Record<string, unknown>, id?: string) =>
      line['msg'] === 'request ended' && line['uniqueId'] === id;
    const ended = await gateway.logged((line) => isEnd(line, ids[0]));
    expect(ended).toMatchObject({ requestId: 'job-42', code: 'stopped_by_operator' });
    expect(streams.map(({ ending }) => ending).toSorted()).toEqual(['open', 'whole']);
    for (const stream of streams) stream.leaveByReset();
    const left = await gateway.logged((line) => isEnd(line, ids[1]));
    expect(left).toMatchObject({ requestId: 'job-42', code: 'client_closed_request' });
  });
});

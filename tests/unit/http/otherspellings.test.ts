/**
 * What a request becomes whose path is another spelling of a route.
 */
import { expect, test } from 'bun:test';
import { Elysia } from 'elysia';
import { otherSpellings } from '../../../src/http/otherspellings.ts';

/** Sends a request to an app without routes; returns the URL that it is handled with anew, or the code of its refusal. */
async function meant(path: string, init?: RequestInit): Promise<string> {
  const app = new Elysia()
    .onError(({ code }) => new Response(String(code)))
    .use(otherSpellings(async (request) => new Response(`${request.url} ${await request.text()}`)));
  return (await app.handle(new Request(`http://gateway${path}`, init))).text();
}

test('it is handled anew with the path of the route, its query and its body', async () => {
  const init = { method: 'POST', body: '{}' };
  expect(await meant('/v1/v1/messages/?a=/v1//b', init)).toBe(
    'http://gateway/v1/messages?a=/v1//b {}',
  );
});

test('the path of no model at all is that of the list', async () => {
  expect(await meant('/v1/models/')).toBe('http://gateway/v1/models ');
});

test('what means no route, or is right already, is not found', async () => {
  for (const path of ['/v1/admin/keys', '/v1/chat/completions', '/nothing']) {
    expect(await meant(path)).toBe('NOT_FOUND');
  }
});

/** An engine that names addresses: none gets to a client. One that redirects is a 502; the log has the address. */
import { afterAll, expect, test } from 'bun:test';
import { ask } from '../support/rawclient.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';

const engine = Bun.serve({
  hostname: '127.0.0.1',
  port: 0,
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === '/v1/models') return Response.json({ data: [{ id: 'm' }] });
    if (pathname === '/v1/embeddings') return new Response(null, { status: 304 });
    const location = `http://10.1.2.3:8000${pathname}/`;
    if (pathname === '/v1/audio/speech') {
      const via = `1.1 ${request.headers.get('host')}`;
      const headers = { location, 'content-location': location, via, 'x-node': via.slice(4) };
      return new Response('{}', { status: 201, headers });
    }
    return new Response('<a>', { status: 307, headers: { location } });
  },
});
const gateway = await startGateway({ LLM_SERVER_URL: engine.url.href, LLM_SERVER_KIND: 'openai' });
await untilUpstream(gateway, 'engine', { state: 'up' });
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop(true);
});

test('a redirect of an engine is a 502 that names no address', async () => {
  const headers = { 'X-Request-Id': 'led-away' };
  const answer = await ask(gateway.url, { body: { prompt: 'x' }, headers });
  expect([answer.status, answer.header('x-gateway-error')]).toEqual([502, 'upstream_redirected']);
  expect(answer.header('location')).toBeUndefined();
  expect(answer.head + answer.text).not.toContain('10.1.2.3');
  const line = await gateway.logged(({ requestId }) => requestId === 'led-away');
  expect(line).toMatchObject({ level: 'ERROR', code: 'upstream_redirected' });
  expect(String(line['cause'])).toContain('http://10.1.2.3:8000/v1/completions/');
});

test('an answer that is no redirect names no address, either', async () => {
  const answer = await ask(gateway.url, { path: '/v1/audio/speech', body: { input: 'x' } });
  expect([answer.status, answer.text]).toEqual([201, '{}']);
  expect(answer.head).not.toMatch(/10\.1\.2\.3|via:|node:|location:/i);
});

test('304 is no redirect', async () => {
  const answer = await ask(gateway.url, { path: '/v1/embeddings', body: { input: 'x' } });
  expect(answer.status).toBe(304);
});

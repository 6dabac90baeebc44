/**
 * The operator's routes on a running gateway: a wrong method is answered with the right ones, and a live view does not
 * keep the gateway from ending.
 */
import { afterAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { ask, send } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { chunk, lastChunk, startUpstream, streamHead, type Wire } from '../support/rawengine.ts';
import { soon } from '../support/wait.ts';

setDefaultTimeout(30_000);

const adminKey = 'a-key-for-the-operator';
const headers = { Authorization: `Bearer ${adminKey}` };

const frame = 'data: {"choices":[{"text":"a"}]}\n\n';
const wires: Wire[] = [];
/** An engine that begins a stream and leaves the rest to the test. */
const engine = await startUpstream((_, wire) => {
  wires.push(wire);
  wire.write(streamHead);
  wire.write(chunk(frame));
});
afterAll(() => engine.stop());

function start(env: Record<string, string> = { ADMIN_API_KEY: adminKey }): Promise<Gateway> {
  return startGateway({ LLM_SERVER_URL: engine.url, LLM_SERVER_KIND: 'openai', ...env });
}

describe('a wrong method', () => {
  test('is answered with the methods of the route, also of one with an id', async () => {
    await using gateway = await start();
    const cases = [
      ['PUT', '/admin/keys', 'GET, HEAD, POST'],
      ['PUT', '/admin/keys/x', 'GET, HEAD, PATCH, DELETE'],
      ['GET', '/admin/keys/x/rotate', 'POST'],
      ['GET', '/admin/requests/x', 'DELETE'],
      ['POST', '/admin/live', 'GET, HEAD'],
    ] as const;
    for (const [method, path, allow] of cases) {
      const answer = await ask(gateway.url, { method, path, headers });
      expect([path, answer.status, answer.header('allow')]).toEqual([path, 405, allow]);
      expect(JSON.parse(answer.text).error.code).toBe('method_not_allowed');
    }
    for (const path of [
      '/admin/keys/',
      '/admin/keys/x/',
      '/admin/keys/x/y',
      '/admin/keys//rotate',
    ]) {
      const answer = await ask(gateway.url, { method: 'PUT', path, headers });
      expect([path, answer.status]).toEqual([path, 404]);
    }
  });

  test('is an unknown route if there is no operator', async () => {
    await using gateway = await start({});
    const answer = await ask(gateway.url, { method: 'PUT', path: '/admin/keys/x', headers });
    expect(answer.status).toBe(404);
  });
});

test('a live view ends at once when the gateway drains, and none may be opened from then on', async () => {
  await using gateway = await start();
  const stream = await send(gateway.url, { body: { prompt: 'x', stream: true } });
  await stream.hasText(frame);
  const viewer = await send(gateway.url, { path: '/admin/live', headers });
  await viewer.hasText('"phase":"decode"');
  expect(viewer.ending).toBe('open');
  gateway.kill('SIGTERM');
  await viewer.ended();
  // The request for which it waits is still open.
  expect([viewer.ending, stream.ending]).toEqual(['whole', 'open']);
  const late = await ask(gateway.url, { path: '/admin/live', headers });
  expect([late.status, late.header('x-gateway-error')]).toEqual([503, 'shutting_down']);
  wires.at(-1)?.write(lastChunk);
  await stream.ended();
  expect(await soon('the end of the gateway', gateway.exited)).toBe(0);
});

/** The routes without a key: what this is, whether it is alive, whether it takes requests. */
import { describe, expect, test } from 'bun:test';
import { info, type InfoOptions } from '../../../src/http/info.ts';
import { corsHeaders } from '../../../src/wire/cors.ts';
import { routes } from '../../../src/wire/routes.ts';
import { upstream } from '../../support/samples.ts';

function stage(state: { isUsable?: boolean; isDraining?: boolean } = {}) {
  const { isUsable = true, isDraining = false } = state;
  const plugin = info({
    version: '1.2.3',
    // Only the members that /health shows.
    live: { size: 3 } as InfoOptions['live'],
    pool: { queued: 2 } as InfoOptions['pool'],
    fleet: { upstreams: [upstream('a')], isUsable } as unknown as InfoOptions['fleet'],
    corsHeaders: corsHeaders(['*']),
    isDraining: () => isDraining,
    uptimeSeconds: () => 12.9,
  });
  return async (path: string) => {
    const answer = await plugin.handle(new Request(`http://gateway${path}`));
    return { status: answer.status, body: await answer.json(), headers: answer.headers };
  };
}

test('/ names the gateway, its version, its pages, and every route of the table', async () => {
  const { status, body } = await stage()('/');
  expect(status).toBe(200);
  expect(body).toMatchObject({
    name: 'LLM Gateway',
    version: '1.2.3',
    links: { docs: '/docs', redoc: '/redoc', openapi: '/openapi.json' },
  });
  const { endpoints } = body as { endpoints: { path: string; summary: string }[] };
  expect(endpoints).toHaveLength(routes.length);
  expect(endpoints.map(({ path }) => path)).toContain('/v1/models/{id}');
  expect(endpoints.every(({ summary }) => summary.length > 0)).toBe(true);
});

test('/health counts what is open and waits, and shows each upstream', async () => {
  const { status, body, headers } = await stage({ isUsable: false, isDraining: true })('/health');
  expect(status).toBe(200);
  expect(headers.get('cache-control')).toBe('no-store');
  expect(body).toEqual({
    status: 'ok',
    version: '1.2.3',
    uptimeSeconds: 12,
    inFlight: 3,
    queued: 2,
    upstreams: [expect.objectContaining({ id: 'a', kind: 'llama.cpp', usedSlots: 0 })],
  });
});

describe('/ready', () => {
  test.each([
    [{}, 200, 'ready'],
    [{ isUsable: false }, 503, 'no_upstream'],
    [{ isDraining: true }, 503, 'draining'],
    [{ isDraining: true, isUsable: false }, 503, 'draining'],
  ])('with %p is %d', async (state, status, word) => {
    const answer = await stage(state)('/ready');
    expect([answer.status, answer.body]).toEqual([status, { status: word }]);
  });
});

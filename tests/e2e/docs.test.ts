/**
 * The pages of the documentation over HTTP: open to anybody, complete without any other host, in agreement with the
 * gateway.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { version } from '../../package.json';
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import { docs } from '../../src/pages/docs.ts';
import { specification } from '../../src/pages/openapi.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';

const publicPaths = docs({ version, corsHeaders: () => ({}), adminKey: undefined }).routes.map(
  ({ path }) => path,
);

let engine: DemoEngine;
let gateway: Gateway;

beforeAll(async () => {
  engine = startDemoEngine();
  gateway = await startGateway({ LLM_SERVER_URL: engine.url });
});

afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await engine.stop();
});

const get = (path: string, init: RequestInit = {}) => fetch(gateway.url + path, init);

/** Returns every address that a page refers to. */
async function addressesIn(path: string): Promise<string[]> {
  const html = await (await get(path)).text();
  return [...html.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, address]) => String(address));
}

describe('the pages', () => {
  test('everything that they need is served without a key', async () => {
    for (const path of publicPaths) {
      const answer = await get(path);
      expect([path, answer.status]).toEqual([path, 200]);
      expect(answer.headers.get('x-content-type-options')).toBe('nosniff');
      expect((await answer.bytes()).length).toBeGreaterThan(0);
    }
  });

  test('they load nothing but what is served here, by addresses that may be kept for ever', async () => {
    for (const page of ['/docs', '/redoc']) {
      const addresses = (await addressesIn(page)).filter((address) => address !== 'data:,');
      expect(addresses.length).toBeGreaterThan(1);
      for (const address of addresses) {
        expect(publicPaths).toContain(String(address.split('?')[0]));
        const answer = await get(address);
        expect(answer.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      }
    }
  });

  test('an address without the right version is not kept', async () => {
    for (const query of ['', '?v=old']) {
      const answer = await get(`/docs/swagger-ui-bundle.js${query}`);
      expect(answer.headers.get('cache-control')).toBe('no-cache');
    }
  });

  test('their policy allows this origin alone, and nothing inline or evaluated', async () => {
    for (const page of ['/docs', '/redoc']) {
      const answer = await get(page);
      expect(answer.headers.get('content-type')).toBe('text/html; charset=utf-8');
      const policy = answer.headers.get('content-security-policy') ?? '';
      expect(policy).toStartWith("default-src 'none'; script-src 'self'; style-src 'self'");
      expect(policy).not.toMatch(/unsafe|https?:|\*/);
    }
  });

  test('nothing that they load names a host to fetch a font, a style or a logo from', async () => {
    for (const path of publicPaths.filter((one) => /\.(js|css)$/.test(one))) {
      const text = await (await get(path)).text();
      expect([path, /fonts\.g|cdn\.|@import|url\(["']?https?:/.exec(text)?.[0]]).toEqual([
        path,
        undefined,
      ]);
    }
  });
});

describe('the specification', () => {
  test('it agrees with the tables, and has the version of the gateway', async () => {
    const answer = await get('/openapi.json');
    expect(answer.headers.get('content-type')).toStartWith('application/json');
    const served = (await answer.json()) as Record<string, unknown>;
    const { operations, document } = specification(version);
    const paths: Record<string, Record<string, unknown>> = {};
    for (const { method, path, operation } of operations) {
      paths[path] = { ...paths[path], [method.toLowerCase()]: operation };
    }
    expect(served).toEqual(JSON.parse(JSON.stringify({ ...document, openapi: '3.0.3', paths })));
  });

  test('every route that it describes exists, and asks for a key exactly when it says so', async () => {
    const { operations } = specification(version);
    for (const { method, path, operation } of operations) {
      const answer = await get(path.replace('{id}', 'demo'), { method });
      const isOpen = operation.security?.length === 0;
      expect([path, answer.status]).toEqual([path, isOpen ? 200 : 401]);
      expect(Object.keys(operation.responses)).toContain(String(answer.status));
      await answer.body?.cancel();
    }
  });

  test('a page of another origin may read it', async () => {
    const answer = await get('/openapi.json', { headers: { origin: 'https://editor.example' } });
    expect(answer.headers.get('access-control-allow-origin')).toBe('*');
  });
});

/** The pages of the documentation: that they load nothing from elsewhere, and how they may be stored. */
import { describe, expect, test } from 'bun:test';
import { docs } from '../../../src/pages/docs.ts';
import { corsHeaders } from '../../../src/wire/cors.ts';

const plugin = docs({ version: '1.2.3', corsHeaders: corsHeaders(['*']), adminKey: undefined });
const get = (path: string, headers: Record<string, string> = {}) =>
  plugin.handle(new Request(`http://gateway${path}`, { headers }));

test('every route is served, and each file is one that a page names', async () => {
  const pages = ['/docs', '/redoc', '/openapi.json'];
  const named = new Set<string>(pages);
  for (const { path } of plugin.routes) {
    const answer = await get(path);
    expect([path, answer.status]).toEqual([path, 200]);
    const text = pages.includes(path) ? await answer.text() : '';
    for (const [, each = ''] of text.matchAll(/(?:src|href)="(\/[^"?]+)\?/g)) named.add(each);
  }
  expect(plugin.routes.map(({ path }) => path).toSorted()).toEqual([...named].toSorted());
});

describe.each(['/docs', '/redoc'])('%s', (path) => {
  test('loads only what this origin serves, by its content', async () => {
    const html = await (await get(path)).text();
    const addresses = [...html.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, each]) => `${each}`);
    expect(addresses.length).toBeGreaterThan(2);
    expect(html).not.toMatch(/(?:src|href)="(?!\/|data:,)/);
    for (const address of addresses) {
      const { status, headers } = await get(address);
      expect(status).toBe(200);
      expect(headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      expect(headers.get('x-content-type-options')).toBe('nosniff');
    }
  });

  test('has a policy that lets nothing else in', async () => {
    const { headers } = await get(path);
    const policy = headers.get('content-security-policy') ?? '';
    expect(policy).toStartWith("default-src 'none'; script-src 'self'; ");
    expect(policy).not.toMatch(/unsafe-|https?:|\*/);
    expect(headers.get('cache-control')).toBe('no-cache');
  });
});

test('a file that is asked for by other content is not stored', async () => {
  const { headers } = await get('/docs/start.js?v=other');
  expect(headers.get('cache-control')).toBe('no-cache');
});

test('ReDoc shows no logo of another host', async () => {
  expect(await (await get('/redoc/redoc.standalone.js')).text()).not.toContain('cdn.redoc.ly');
});

describe('/openapi.json', () => {
  test('names the version, and pages of other origins may read it', async () => {
    const answer = await get('/openapi.json', { origin: 'https://page.example.org' });
    expect(answer.headers.get('access-control-allow-origin')).toBe('*');
    expect(await answer.json()).toMatchObject({ info: { version: '1.2.3' } });
  });

  test('describes /admin only where there is an operator', async () => {
    async function pathsOf(adminKey: string | undefined) {
      const own = docs({ version: '1', corsHeaders: corsHeaders([]), adminKey });
      const answer = await own.handle(new Request('http://gateway/openapi.json'));
      return Object.keys(((await answer.json()) as { paths: object }).paths);
    }
    expect((await pathsOf(undefined)).filter((path) => path.startsWith('/admin'))).toEqual([]);
    expect(await pathsOf('sk-admin')).toContain('/admin/keys');
  });
});

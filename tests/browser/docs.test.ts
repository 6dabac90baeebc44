/**
 * The pages of the documentation in a real browser that can reach only this machine: they render, they request no other
 * host, they violate no policy, and a completion can be sent from them.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type BrowserContext, type Page } from 'playwright-core';
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import { routes } from '../../src/wire/routes.ts';
import { key, startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { isSkipped, launching, timeoutMs } from './chromium.ts';

let engine: DemoEngine;
let gateway: Gateway;
let browser: BrowserContext;
let folder: string;

/** Problems in the pages since they were opened: errors in the console, and requests to other hosts. */
const complaints: string[] = [];
const foreign: string[] = [];

function watch(page: Page): void {
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
}

async function open(path: string): Promise<Page> {
  const page = await browser.newPage();
  watch(page);
  await page.goto(gateway.url + path);
  return page;
}

/** Opens an operation in Swagger UI, sends an example of its body, and returns the answer that contains `expected`. */
async function execute(page: Page, id: string, example: string, expected: string) {
  const operation = page.locator(`#${id}`);
  if (!(await operation.locator('.execute').isVisible())) {
    await operation.locator('.opblock-summary-control').click();
    await operation.locator('.try-out__btn').click();
  }
  await operation.locator('.opblock-section-request-body .examples-select-element').selectOption({
    label: example,
  });
  await operation.locator('.execute').click();
  const answer = operation.locator('.live-responses-table pre').filter({ hasText: expected });
  await answer.first().waitFor();
  return await answer.first().innerText();
}

describe.skipIf(isSkipped)('in a browser without a network', () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'llm-gateway-pages-'));
    console.log(`screenshots: ${folder}`);
    engine = startDemoEngine();
    gateway = await startGateway({ LLM_SERVER_URL: engine.url });
    browser = await chromium.launchPersistentContext(join(folder, 'profile'), {
      ...launching,
      serviceWorkers: 'block',
      viewport: { width: 1280, height: 900 },
    });
    browser.setDefaultTimeout(timeoutMs / 2);
    browser.on('request', (request) => {
      const { protocol, origin } = new URL(request.url());
      const isOwn = origin === gateway.url || protocol === 'data:';
      if (!isOwn) foreign.push(request.url());
    });
    await browser.route(
      (url) => url.hostname !== '127.0.0.1',
      (route) => route.abort(),
    );
  }, timeoutMs);

  afterAll(async () => {
    await browser?.close();
    await gateway?.[Symbol.asyncDispose]();
    await engine?.stop();
    if (folder) await rm(join(folder, 'profile'), { recursive: true, force: true });
  });

  test(
    '/docs accepts a key, sends a completion and shows the engine’s answer',
    async () => {
      const page = await open('/docs');
      await page.locator('.opblock').first().waitFor();
      expect(await page.locator('.opblock').count()).toBeGreaterThan(routes.length);
      await page.screenshot({ path: join(folder, 'docs.png') });

      await page.locator('.btn.authorize').click();
      const dialog = page.locator('.auth-container').filter({ hasText: 'bearer' });
      await dialog.locator('input').fill(key);
      await dialog.locator('button.authorize').click();
      await page.screenshot({ path: join(folder, 'docs-authorize.png') });
      await dialog.locator('.btn-done').click();

      const id = 'operations-OpenAI-postV1Completions';
      const answer = await execute(page, id, 'A completion', 'choices');
      await page.locator(`#${id} .live-responses-table tbody`).scrollIntoViewIfNeeded();
      await page.screenshot({ path: join(folder, 'docs-completion.png') });
      expect(JSON.parse(answer)).toMatchObject({ object: 'text_completion' });
      const received = engine.requests.filter(({ path }) => path === '/v1/completions');
      expect(received.map(({ body }) => JSON.parse(new TextDecoder().decode(body)))).toEqual([
        { prompt: 'Привет! Как дела?', max_tokens: 100, temperature: 0.7 },
      ]);

      const stream = await execute(page, id, 'A streamed completion', '[DONE]');
      expect(stream.trim()).toEndWith('data: [DONE]');

      await page.reload();
      await page.locator('.btn.authorize.unlocked').waitFor();
      expect(await page.evaluate('JSON.stringify({ ...localStorage })')).not.toContain(key);
    },
    timeoutMs,
  );

  test(
    '/redoc shows every part, and its search finds a route',
    async () => {
      const page = await open('/redoc#tag/OpenAI/operation/postV1Completions');
      await page.locator('[data-section-id="tag/OpenAI/operation/postV1Completions"]').waitFor();
      const parts = page.locator('[data-section-id^="tag/"][data-section-id*="/operation/"]');
      expect(await parts.count()).toBeGreaterThan(routes.length);
      await page.screenshot({ path: join(folder, 'redoc.png') });

      await page.locator('input[type=text]').first().fill('embed');
      const found = page.locator('[data-role="search:results"]').getByText('Embed texts').first();
      await found.waitFor();
      await page.screenshot({ path: join(folder, 'redoc-search.png') });
    },
    timeoutMs,
  );

  test('they request no other host and violate no policy', () => {
    expect(foreign.filter((url) => !url.startsWith(`blob:${gateway.url}`))).toEqual([]);
    expect(complaints).toEqual([]);
  });

  test(
    'a page that requests another host is blocked, and this test detects it',
    async () => {
      const page = await open('/docs');
      for (const attempt of [
        "new Image().src = 'https://a.example/'",
        "fetch('https://a.example/').catch(() => 0)",
      ]) {
        const refused = page.waitForEvent('console', (message) => message.type() === 'error');
        await page.evaluate(attempt);
        expect((await refused).text()).toContain('Content Security Policy');
      }
      expect(foreign).toContain('https://a.example/');
    },
    timeoutMs,
  );
});

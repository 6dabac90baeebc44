/**
 * The dashboard in a real browser that can reach only this machine, with a stand-in for the admin API: what it shows,
 * what it requests, and that it keeps keys secret.
 */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';
import { until } from '../support/wait.ts';
import {
  adminKey,
  clientKey,
  keyView,
  request,
  startStandIn,
  usageRows,
  type StandIn,
} from './standin.ts';
import { isSkipped, launching, timeoutMs } from './chromium.ts';

const markup = '<img src=x onerror="document.title=1">';
const engine = { id: 'engine-a', kind: 'llama.cpp', state: 'up', slots: 4, usedSlots: 1 };

let browser: Browser;
let folder: string;
let standIn: StandIn;
/** Problems in the pages of a test: errors in the console, and requests to other hosts. */
let complaints: string[] = [];
let foreign: string[] = [];

async function newPage(options: BrowserContextOptions = {}): Promise<Page> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...options });
  context.setDefaultTimeout(timeoutMs / 2);
  const page = await context.newPage();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error.stack)));
  page.on('request', (sent) => {
    if (new URL(sent.url()).origin !== standIn.url && !sent.url().startsWith('data:')) {
      foreign.push(sent.url());
    }
  });
  return page;
}

async function signIn(page: Page, section = 'live'): Promise<void> {
  await page.goto(`${standIn.url}/dashboard#${section}`);
  await page.fill('#admin-key', adminKey);
  await page.keyboard.press('Enter');
  await page.locator(`#${section}`).waitFor();
}

async function signedIn(section = 'live', options: BrowserContextOptions = {}): Promise<Page> {
  const page = await newPage(options);
  await signIn(page, section);
  return page;
}

/** Returns the rows with a text in the visible tables. */
const row = (page: Page, text: string) =>
  page.locator('section:not([hidden]) tbody tr').filter({ hasText: text });

/** Returns how many pixels the page is wider than its window. */
const overhang = (page: Page) =>
  page.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth');

const asked = (method: string, path: string) =>
  standIn.asked.filter((each) => each.method === method && each.path === path);

describe.skipIf(isSkipped)('the dashboard in a browser without a network', () => {
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'llm-gateway-dashboard-'));
    console.log(`screenshots: ${folder}`);
    browser = await chromium.launch(launching);
  }, timeoutMs);

  beforeEach(() => {
    complaints = [];
    foreign = [];
    standIn = startStandIn();
    standIn.live.upstreams = [{ ...engine, models: ['llama-3.1-8b'] }];
    standIn.live.requests = [request()];
  });

  afterEach(async () => {
    for (const context of browser.contexts()) await context.close();
    await standIn.stop();
    expect(foreign).toEqual([]);
    expect(complaints).toEqual([]);
  });

  afterAll(async () => {
    await browser?.close();
  });

  test(
    'shows open requests, updated in place, and the engine with its slots',
    async () => {
      const page = await signedIn();
      const alice = row(page, 'alice');
      await alice.waitFor();
      expect((await alice.locator('td').allInnerTexts()).slice(0, -1)).toEqual([
        'alice\nk1',
        'llama-3.1-8b\n/v1/chat/completions',
        'decode',
        '12',
        '31',
        '–',
        '2 s',
        'engine-a',
      ]);
      expect(await page.locator('#engines i').count()).toBe(4);
      expect(await page.locator('#engines i.taken').count()).toBe(1);
      expect(await page.locator('#engines .badge').innerText()).toBe('up');
      expect(await page.locator('#slots').innerText()).toBe('1/4');

      await page.evaluate('document.querySelector("#requests tbody tr").isMarked = true');
      const before = await alice.boundingBox();
      const user = { name: 'web', keyId: 'k2', principal: 'k2/maria', phase: 'queued' as const };
      standIn.live.requests = [
        request({ tokens: 1_234_567, tokensPerSecond: 8.25, ageMs: 754_000 }),
        request({ id: 'req-2', ...user, upstream: null, model: null, queuedMs: 4_100 }),
      ];
      await row(page, 'maria').waitFor();
      expect(await alice.locator('.tokens').innerText()).toBe('1,234,567');
      expect(await alice.locator('.age').innerText()).toBe('12:34 min');
      const isKept = await page.evaluate('document.querySelector("#requests tbody tr").isMarked');
      expect(isKept).toBe(true);
      expect(await alice.boundingBox()).toEqual(before);
      expect(await row(page, 'maria').locator('.waited').innerText()).toBe('4.1 s');

      standIn.live.requests = [];
      await page.getByText('No request is in flight.').waitFor();
      expect(await page.locator('#requests tbody tr').count()).toBe(0);
    },
    timeoutMs,
  );

  test(
    'stops a request at the second press, not at the first',
    async () => {
      const page = await signedIn();
      const stop = row(page, 'alice').getByRole('button');
      const size = await stop.boundingBox();
      await stop.click();
      await page.getByRole('button', { name: 'Really?' }).waitFor();
      expect(await stop.boundingBox()).toEqual(size);
      expect(asked('DELETE', '/admin/requests/req-1')).toEqual([]);
      await stop.click();
      await page.getByText('The request was stopped.').waitFor();
      await page.getByText('No request is in flight.').waitFor();
      expect(asked('DELETE', '/admin/requests/req-1')).toHaveLength(1);
    },
    timeoutMs,
  );

  test(
    'a double click does not confirm, and an unconfirmed press is forgotten',
    async () => {
      const page = await signedIn();
      const stop = row(page, 'alice').getByRole('button');
      await stop.dblclick();
      await page.getByRole('button', { name: 'Really?' }).waitFor();
      await page.locator('#sign-out').focus();
      await page.getByRole('button', { name: 'Stop the request of alice' }).waitFor();
      expect(asked('DELETE', '/admin/requests/req-1')).toEqual([]);
    },
    timeoutMs,
  );

  test(
    'works with the keyboard: the stop button can be reached, keeps the focus while rows change, and works',
    async () => {
      const page = await signedIn();
      await row(page, 'alice').waitFor();
      const focused = () => page.evaluate('document.activeElement?.textContent ?? ""');
      await until('the stop button has the focus', async () => {
        await page.keyboard.press('Tab');
        return String(await focused()).startsWith('Stop');
      });
      const outline = await page.evaluate('getComputedStyle(document.activeElement).outlineStyle');
      expect(outline).toBe('solid');
      standIn.live.requests = [request({ id: 'req-0', name: 'bob' }), request({ tokens: 99 })];
      await row(page, 'bob').waitFor();
      expect(await focused()).toContain('alice');
      await page.keyboard.press('Enter');
      await page.keyboard.press('Enter');
      await until('it is stopped', () => asked('DELETE', '/admin/requests/req-1').length === 1);
      await row(page, 'alice').waitFor({ state: 'detached' });
      expect(await focused()).toBe('Requests');
    },
    timeoutMs,
  );

  test(
    'names that contain markup are shown as text',
    async () => {
      const row = { id: markup, name: markup, model: markup, upstream: markup, route: markup };
      standIn.live.requests = [request({ ...row, keyId: 'k', principal: `k/${markup}` })];
      standIn.live.upstreams = [{ ...engine, id: markup, kind: markup, models: [markup] }];
      standIn.keys = [keyView({ name: markup, models: [markup], hint: markup })];
      standIn.usage = (by, since) => usageRows(by, since, { name: markup, model: markup });
      const page = await signedIn();
      await page.locator('#requests').getByText(markup).first().waitFor();
      for (const section of ['usage', 'keys']) {
        await page.click(`nav a[href="#${section}"]`);
        await page.locator(`#${section}`).getByText(markup).first().waitFor();
      }
      await page.click('nav a[href="#usage"]');
      await page.locator('#charts .u-over').first().hover();
      await page.locator('#charts .box').getByText(markup).waitFor();
      expect(await page.locator('img').count()).toBe(0);
      expect(await page.title()).toBe('LLM Gateway');
    },
    timeoutMs,
  );

  test(
    'the entered keys are only in memory',
    async () => {
      const page = await signedIn('playground');
      await page.fill('#client-key', clientKey);
      await page.locator('#client-key').blur();
      await page.locator('#model option').first().waitFor({ state: 'attached' });
      await page.click('nav a[href="#live"]');
      const places = await page.evaluate(`JSON.stringify([
        location.href,
        document.cookie,
        { ...localStorage },
        { ...sessionStorage },
        history.state,
        name,
        document.documentElement.outerHTML,
        document.querySelector('#admin-key').value,
        performance.getEntriesByType('resource').map((entry) => entry.name),
      ])`);
      expect(places).not.toContain(adminKey);
      expect(places).not.toContain(clientKey);
      expect(await page.context().cookies()).toEqual([]);
      expect(JSON.stringify(standIn.asked)).not.toContain(adminKey);

      await page.click('#sign-out');
      await page.locator('#admin-key').waitFor();
      expect(await page.locator('#app').isVisible()).toBe(false);
      expect(await page.content()).not.toContain('engine-a');
    },
    timeoutMs,
  );

  test(
    'shows when the key is wrong, and when it is refused later',
    async () => {
      const page = await newPage();
      await page.goto(`${standIn.url}/dashboard`);
      await page.fill('#admin-key', 'sk-wrong');
      await page.keyboard.press('Enter');
      await page.getByText('Key refused: Invalid API key.').waitFor();
      expect(await page.locator('#app').isVisible()).toBe(false);

      await page.fill('#admin-key', adminKey);
      await page.keyboard.press('Enter');
      await page.locator('#live').waitFor();
      standIn.setRefusing(true);
      await page.click('nav a[href="#keys"]');
      await page.getByText('Key refused').waitFor();
      expect(await page.locator('#app').isVisible()).toBe(false);
      expect(await page.evaluate('document.activeElement.id')).toBe('admin-key');

      standIn.setRefusing(false);
      await page.fill('#admin-key', adminKey);
      await page.keyboard.press('Enter');
      await page.locator('#keys').waitFor();
      // The browser itself logs each refusal in the console.
      complaints = complaints.filter((text) => !text.includes('403'));
    },
    timeoutMs,
  );

  test(
    'reconnects by itself when the stream ends, with one stream at a time',
    async () => {
      const page = await signedIn();
      await row(page, 'alice').waitFor();
      standIn.cut();
      await page.getByText('Reconnecting').waitFor();
      standIn.live.requests = [request({ id: 'req-9', name: 'carol' })];
      await row(page, 'carol').waitFor();
      await page.locator('#connection[data-state=open]').waitFor();
      expect(asked('GET', '/admin/live')).toHaveLength(2);
      expect(standIn.viewers()).toBe(1);
    },
    timeoutMs,
  );

  test(
    'adds a key with its policy, and shows the secret once',
    async () => {
      const page = await signedIn('keys');
      await page.getByText('No key has been issued.').waitFor();
      await page.click('#add-key');
      await page.getByLabel('Name').fill('bad');
      await page.locator('#key-dialog [type=submit]').click();
      await page.getByText('weight: found -1').waitFor();

      await page.getByLabel('Name').fill('carol');
      await page.getByLabel('Requests/min').fill('60');
      await page.getByLabel('Tokens/day').fill('1000000');
      await page.getByLabel('Expires').selectOption('90d');
      await page.getByLabel('Models').fill('llama-3.1-8b, qwen3-32b');
      await page.getByLabel('Weight').fill('2');
      await page.locator('#key-dialog [type=submit]').click();
      const secret = page.locator('#secret');
      await secret.waitFor();
      const key = await secret.innerText();
      expect(key).toStartWith('sk-gw-new1-');
      expect(asked('POST', '/admin/keys').at(-1)?.body).toEqual({
        name: 'carol',
        limits: {
          requestsPerMinute: 60,
          tokensPerMinute: null,
          concurrentRequests: null,
          budgets: [{ tokens: 1_000_000, per: 'day' }],
        },
        models: ['llama-3.1-8b', 'qwen3-32b'],
        weight: 2,
        priority: 'interactive',
        userHeader: null,
        expiresAt: '90d',
      });

      await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
      await page.click('#copy-secret');
      await page.getByText('Copied.').waitFor();
      expect(await page.evaluate('navigator.clipboard.readText()')).toBe(key);
      await page.keyboard.press('Escape');
      expect(await secret.isVisible()).toBe(true);
      await page.click('#close-secret');
      expect(await page.content()).not.toContain(key);
      const carol = row(page, 'carol');
      expect(await carol.locator('.limits').innerText()).toBe('60 req/min · 1.0M tok/day');
      expect(await carol.locator('.share').innerText()).toBe('interactive ×2');

      await page.reload();
      await signIn(page, 'keys');
      await row(page, 'carol').waitFor();
      expect(await page.content()).not.toContain(key);
      // The browser itself logs each refusal in the console.
      complaints = complaints.filter((text) => !text.includes('400'));
    },
    timeoutMs,
  );

  test(
    'edits, rotates and revokes a key',
    async () => {
      standIn.keys = [keyView({ expiresAt: '2027-02-20T00:00:00.000Z', models: ['a', 'b'] })];
      const page = await signedIn('keys');
      const alice = row(page, 'alice');
      await alice.getByRole('button', { name: 'Edit alice' }).click();
      expect(await page.getByLabel('Models').inputValue()).toBe('a, b');
      await page.getByLabel('Models').fill('');
      await page.getByRole('heading', { name: 'Edit key' }).waitFor();
      expect(await page.getByLabel('Name').getAttribute('maxlength')).toBe('100');
      await page.getByLabel('Open requests').fill('2');
      await page.locator('#key-dialog [type=submit]').click();
      await page.getByText('alice was saved.').waitFor();
      const change = asked('PATCH', '/admin/keys/k1')[0]?.body;
      expect(change).toMatchObject({ models: null, limits: { concurrentRequests: 2 } });
      expect(change).not.toHaveProperty('expiresAt');

      await alice.getByRole('button', { name: 'Rotate alice' }).click();
      await alice.getByRole('button', { name: 'Really?' }).click();
      await page.getByText('sk-gw-k1-another').waitFor();
      expect(asked('POST', '/admin/keys/k1/rotate')[0]?.body).toEqual({ grace: '24h' });
      await page.click('#close-secret');
      expect(await alice.locator('.badge').innerText()).toBe('rotating');

      await alice.getByRole('button', { name: 'Revoke alice' }).click();
      await alice.getByRole('button', { name: 'Really?' }).click();
      await page.getByText('No key is active.').waitFor();
      expect(asked('DELETE', '/admin/keys/k1')).toHaveLength(1);
      await page.getByLabel('Show ended keys').check();
      expect(await alice.locator('.badge').innerText()).toBe('revoked');
      expect(await alice.getByRole('button').count()).toBe(0);
    },
    timeoutMs,
  );

  test(
    'draws the usage over the chosen time range, and sorts the totals',
    async () => {
      standIn.usage = (by, since) => [
        ...usageRows(by, since, { key: 'k1', name: 'alice', model: 'a', requests: 5 }),
        ...usageRows(by, since, { key: 'k2', name: 'bob', model: 'b', requests: 50 }),
      ];
      const page = await signedIn('usage');
      const names = () => page.locator('#totals tbody td:first-child').allInnerTexts();
      await row(page, 'bob').waitFor();
      expect(await page.locator('#charts canvas').count()).toBe(4);
      expect(await page.locator('.legend').first().innerText()).toBe('alice\nbob');
      expect(await names()).toEqual(['bob', 'alice']);
      await page.getByRole('button', { name: 'Requests', exact: true }).click();
      expect(await names()).toEqual(['alice', 'bob']);
      expect(await page.locator('th[aria-sort=ascending]').innerText()).toBe('Requests');
      await page.getByRole('button', { name: 'Key', exact: true }).click();
      expect(await names()).toEqual(['alice', 'bob']);

      await page.getByText('7 d', { exact: true }).click();
      await page.getByText('By model').click();
      await page.locator('#totals').getByText('Model').waitFor();
      await page.getByText('All', { exact: true }).click();
      await page.locator('.legend').getByText('cached prompt').waitFor();
      expect(standIn.asked.map(({ path }) => path)).toContain(
        '/admin/usage?by=hour,model&since=7d',
      );
    },
    timeoutMs,
  );

  test(
    'chats with a model with a client’s key, and stops the answer',
    async () => {
      const page = await signedIn('playground');
      await page.fill('#client-key', 'sk-wrong');
      await page.locator('#client-key').blur();
      await page.locator('#model-problem').getByText('Invalid API key.').waitFor();
      await page.fill('#client-key', clientKey);
      await page.locator('#client-key').blur();
      await page.locator('#model option').first().waitFor({ state: 'attached' });
      await page.getByLabel('Model', { exact: true }).selectOption('qwen3-32b');

      await page.fill('#prompt', 'Hello?');
      await page.keyboard.press('Enter');
      await page.getByText('Hello from <b>the</b> engine.').waitFor();
      await page.getByText('Let me see.').waitFor();
      await page.locator('#chat-status').getByText(', 4 tokens').waitFor();
      expect(asked('POST', '/v1/chat/completions')[0]?.body).toEqual({
        model: 'qwen3-32b',
        messages: [{ role: 'user', content: 'Hello?' }],
        stream: true,
      });

      await page.fill('#prompt', 'Go on for ever.');
      await page.keyboard.press('Enter');
      await page.getByText('more more').waitFor();
      await page.getByRole('button', { name: 'Stop' }).click();
      await page.locator('#chat-status').getByText('Stopped').waitFor();
      await page.getByRole('button', { name: 'Send' }).waitFor();
      // The browser itself logs each refusal in the console.
      complaints = complaints.filter((text) => !text.includes('403'));
    },
    timeoutMs,
  );

  test.each(
    [360, 768, 1280].flatMap((width) =>
      (['light', 'dark'] as const).map((colorScheme) => ({ width, colorScheme })),
    ),
  )(
    'fits a window of $width px, $colorScheme',
    async ({ width, colorScheme }) => {
      const long = 'a-name-that-is-longer-than-any-screen-of-a-phone-and-has-no-space-in-it';
      const many = { requestsPerMinute: 1e6, tokensPerMinute: 1e9, concurrentRequests: 1000 };
      standIn.live.requests = [request({ name: long, model: long, upstream: long, tokens: 1e7 })];
      standIn.live.upstreams = [
        { ...engine, id: long, slots: 48, models: [long, long] },
        { ...engine, id: 'without a limit', slots: null, models: [] },
      ];
      standIn.keys = [keyView({ name: long, models: [long, long], hint: long, limits: many })];
      standIn.usage = (by, since) => usageRows(by, since, { name: long });
      const page = await signedIn('live', { viewport: { width, height: 800 }, colorScheme });
      await row(page, long).first().waitFor();
      for (const section of ['live', 'usage', 'keys', 'playground']) {
        await page.click(`nav a[href="#${section}"]`);
        await page.locator(`#${section}`).waitFor();
        if (section !== 'playground') {
          await page.locator(`#${section}`).getByText(long).first().waitFor();
        }
        expect([section, await overhang(page)]).toEqual([section, 0]);
        await page.screenshot({ path: join(folder, `${section}-${width}-${colorScheme}.png`) });
      }
      const [back, text] = (await page.evaluate(
        "['backgroundColor', 'color'].map((name) => getComputedStyle(document.body)[name].match(/\\d+/g).map(Number))",
      )) as [number[], number[]];
      const isDark = (back[0] ?? 0) < (text[0] ?? 0);
      expect(isDark).toBe(colorScheme === 'dark');
    },
    timeoutMs,
  );

  test(
    'other origins are blocked, and so is markup made by a script',
    async () => {
      const page = await signedIn();
      for (const attempt of [
        "new Image().src = 'https://a.example/'",
        "fetch('https://a.example/').catch(() => 0)",
        "try { document.body.innerHTML = '<b>x</b>' } catch {}",
        "document.body.append(Object.assign(document.createElement('script'), { textContent: '1' }))",
      ]) {
        const refused = page.waitForEvent('console', (message) => message.type() === 'error');
        await page.evaluate(`{ ${attempt} }`).catch(() => {});
        expect((await refused).text()).toMatch(/Content Security Policy|TrustedHTML|TrustedScript/);
      }
      [complaints, foreign] = [[], []];
    },
    timeoutMs,
  );
});

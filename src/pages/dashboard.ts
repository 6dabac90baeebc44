/**
 * The operator's page at /dashboard and what it loads: static, embedded, the same for everybody. It holds no data and
 * knows no key: its scripts ask the admin API with the key that the operator types in. Nothing comes from another host.
 *
 * The scripts are plain modules that a browser runs as they lie here, so there is no bundle to build or to keep fresh.
 */
import { Elysia } from 'elysia';
import uplotScript from 'uplot/dist/uPlot.iife.min.js' with { type: 'file' };
import uplotStyle from 'uplot/dist/uPlot.min.css' with { type: 'file' };
import html from './dashboard/index.html' with { type: 'file' };
import style from './dashboard/page.css' with { type: 'file' };
import apiModule from './dashboard/api.js' with { type: 'file' };
import chartModule from './dashboard/chart.js' with { type: 'file' };
import chatModule from './dashboard/chat.js' with { type: 'file' };
import confirmModule from './dashboard/confirm.js' with { type: 'file' };
import domModule from './dashboard/dom.js' with { type: 'file' };
import enginesModule from './dashboard/engines.js' with { type: 'file' };
import eventsModule from './dashboard/events.js' with { type: 'file' };
import feedModule from './dashboard/feed.js' with { type: 'file' };
import formatModule from './dashboard/format.js' with { type: 'file' };
import keyformModule from './dashboard/keyform.js' with { type: 'file' };
import keysModule from './dashboard/keys.js' with { type: 'file' };
import noticeModule from './dashboard/notice.js' with { type: 'file' };
import pageModule from './dashboard/page.js' with { type: 'file' };
import playgroundModule from './dashboard/playground.js' with { type: 'file' };
import requestsModule from './dashboard/requests.js' with { type: 'file' };
import rowsModule from './dashboard/rows.js' with { type: 'file' };
import secretModule from './dashboard/secret.js' with { type: 'file' };
import seriesModule from './dashboard/series.js' with { type: 'file' };
import totalsModule from './dashboard/totals.js' with { type: 'file' };
import usageModule from './dashboard/usage.js' with { type: 'file' };

/** The page's own modules: the path of each file, by the name under which the others import it. */
const modules: Record<string, string> = {
  'api.js': apiModule,
  'chart.js': chartModule,
  'chat.js': chatModule,
  'confirm.js': confirmModule,
  'dom.js': domModule,
  'engines.js': enginesModule,
  'events.js': eventsModule,
  'feed.js': feedModule,
  'format.js': formatModule,
  'keyform.js': keyformModule,
  'keys.js': keysModule,
  'notice.js': noticeModule,
  'page.js': pageModule,
  'playground.js': playgroundModule,
  'requests.js': requestsModule,
  'rows.js': rowsModule,
  'secret.js': secretModule,
  'series.js': seriesModule,
  'totals.js': totalsModule,
  'usage.js': usageModule,
};

const assets: Record<string, string> = {
  'page.css': style,
  'uplot.css': uplotStyle,
  'uplot.js': uplotScript,
  ...modules,
};

/** Every path that this plugin serves; none needs a key. */
export const publicPaths: string[] = [
  '/dashboard',
  ...Object.keys(assets).map((name) => `/dashboard/${name}`),
];

/** This origin only, nothing inline, no frame around it, and no text that turns into markup or script. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const commonHeaders = { 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' };

/** Where the page or a module of it names another file of it. */
const reference = /(?<=["'])(?:\/dashboard|\.)\/[a-z]+\.(?:js|css)(?=["'])/g;

interface Bundle {
  page: string;
  assets: Map<string, string>;
  tag: string;
}

/** Reads everything, and has every file name the others by one tag of their whole content. */
async function readBundle(): Promise<Bundle> {
  const names = Object.keys(assets);
  const read = (path: string) => Bun.file(path).text();
  const texts = await Promise.all(Object.values(assets).map(read));
  const page = await read(html);
  const tag = Bun.hash(JSON.stringify([page, ...texts])).toString(36);
  const tagged = (text: string) => text.replaceAll(reference, `$&?v=${tag}`);
  // Without these the browser would learn of each module only from the one that imports it, one round after another.
  const preloads = Object.keys(modules).map(
    (name) => `<link rel="modulepreload" href="/dashboard/${name}" />\n`,
  );
  return {
    page: tagged(page.replace('</head>', `${preloads.join('')}</head>`)),
    assets: new Map(names.map((name, index) => [name, tagged(texts[index] ?? '')])),
    tag,
  };
}

/** The plugin with the page and what it loads; nothing is read before somebody asks for it. */
export function dashboard(): Elysia {
  const plugin = new Elysia({ name: 'dashboard' });
  let reading: Promise<Bundle> | undefined;
  const bundle = () => (reading ??= readBundle());

  plugin.get('/dashboard', async function servePage() {
    return new Response((await bundle()).page, {
      headers: {
        ...commonHeaders,
        'content-type': 'text/html; charset=utf-8',
        'cache-control': 'no-cache',
        'content-security-policy': policy,
      },
    });
  });

  for (const name of Object.keys(assets)) {
    const type = name.endsWith('.css') ? 'text/css' : 'text/javascript';
    plugin.get(`/dashboard/${name}`, async function serveAsset({ query }) {
      const { assets: served, tag } = await bundle();
      // The page names the content that it wants, so what it gets can never be outdated.
      const caching = query['v'] === tag ? 'public, max-age=31536000, immutable' : 'no-cache';
      return new Response(served.get(name), {
        headers: {
          ...commonHeaders,
          'content-type': `${type}; charset=utf-8`,
          'cache-control': caching,
        },
      });
    });
  }
  return plugin;
}

/**
 * The operator's page at /dashboard and its files: static, embedded, the same for every visitor. They contain no data
 * and no key: the scripts call the admin API with the key that the operator types in. Nothing is loaded from another
 * host.
 *
 * The scripts are plain modules that a browser runs unchanged, so there is no bundle to build.
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

/** The page's modules: the path of each file, by the name under which other modules import it. */
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

/** Allows this origin only; forbids inline code, frames, and turning text into markup or script. */
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

/** A reference from the page or a module to another of its files. */
const reference = /(?<=["'])(?:\/dashboard|\.)\/[a-z]+\.(?:js|css)(?=["'])/g;

interface Bundle {
  page: string;
  assets: Map<string, string>;
  tag: string;
}

/** Reads all files and adds one tag, a hash of them all, to every reference between them. */
async function readBundle(): Promise<Bundle> {
  const names = Object.keys(assets);
  const read = (path: string) => Bun.file(path).text();
  const texts = await Promise.all(Object.values(assets).map(read));
  const page = await read(html);
  const tag = Bun.hash(JSON.stringify([page, ...texts])).toString(36);
  const tagged = (text: string) => text.replaceAll(reference, `$&?v=${tag}`);
  // Without preloads the browser finds a module only after loading the one that imports it: one round trip per level.
  const preloads = Object.keys(modules).map(
    (name) => `<link rel="modulepreload" href="/dashboard/${name}" />\n`,
  );
  return {
    page: tagged(page.replace('</head>', `${preloads.join('')}</head>`)),
    assets: new Map(names.map((name, index) => [name, tagged(texts[index] ?? '')])),
    tag,
  };
}

/** Returns the plugin with the page and its files, which are read at the first request. */
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
      // The URL contains the content's hash, so the answer can be cached for ever.
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

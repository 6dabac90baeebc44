/**
 * The documentation: OpenAPI at /openapi.json, Swagger UI at /docs, ReDoc at /redoc. Everything comes from this process
 * and nothing from any other host; a strict policy makes the browser hold the pages to that. Nothing is read or built
 * before somebody asks for it.
 */
import { Elysia } from 'elysia';
import redocBundle from 'redoc/bundles/redoc.standalone.js' with { type: 'file' };
import swaggerBundle from 'swagger-ui-dist/swagger-ui-bundle.js' with { type: 'file' };
import swaggerStyle from 'swagger-ui-dist/swagger-ui.css' with { type: 'file' };
import type { CorsHeaders } from '../wire/cors.ts';

interface Asset {
  type: string;
  load(): Promise<Uint8Array<ArrayBuffer>>;
}

interface Page {
  title: string;
  styles: string[];
  scripts: string[];
  /** Sources of styles beside this origin. */
  styleSources: string;
}

const css = 'text/css; charset=utf-8';
const javascript = 'text/javascript; charset=utf-8';

/** ReDoc shows a logo from its maker's host; where that fails it shows its text alone. */
const redocLogo = 'https://cdn.redoc.ly/redoc/logo-mini.svg';

/**
 * The two style elements that ReDoc inserts, by their content: one that it fills afterwards, and that of its scroll bars.
 * An upgrade of it may need others; the browser then says which.
 */
const emptyStyle = 'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=';
const scrollbarStyle = 'sha256-QMIg+bpjm3JdElJ388KYke01izlUW0UoNOeKjpMxdgc=';

const swaggerStart = `SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#page',
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: false,
  validatorUrl: null,
});
`;

const redocStart = `Redoc.init(
  '/openapi.json',
  {
    nativeScrollbars: true,
    theme: {
      typography: {
        fontFamily: 'system-ui, sans-serif',
        headings: { fontFamily: 'system-ui, sans-serif' },
      },
    },
  },
  document.getElementById('page'),
);
`;

const encode = (text: string) => new TextEncoder().encode(text);

const assets: Record<string, Asset> = {
  '/docs/page.css': { type: css, load: async () => encode('body { margin: 0 }') },
  '/docs/swagger-ui.css': { type: css, load: () => Bun.file(swaggerStyle).bytes() },
  '/docs/swagger-ui-bundle.js': { type: javascript, load: () => Bun.file(swaggerBundle).bytes() },
  '/docs/start.js': { type: javascript, load: async () => encode(swaggerStart) },
  '/redoc/redoc.standalone.js': {
    type: javascript,
    async load() {
      const bundle = await Bun.file(redocBundle).text();
      return encode(bundle.replaceAll(redocLogo, 'data:,'));
    },
  },
  '/redoc/start.js': { type: javascript, load: async () => encode(redocStart) },
};

const pages: Record<string, Page> = {
  '/docs': {
    title: 'LLM Gateway: Swagger UI',
    styles: ['/docs/page.css', '/docs/swagger-ui.css'],
    scripts: ['/docs/swagger-ui-bundle.js', '/docs/start.js'],
    styleSources: '',
  },
  '/redoc': {
    title: 'LLM Gateway: ReDoc',
    styles: ['/docs/page.css'],
    scripts: ['/redoc/redoc.standalone.js', '/redoc/start.js'],
    styleSources: ` '${emptyStyle}' '${scrollbarStyle}'`,
  },
};

/** Every path that this plugin serves; none needs a key. */
export const publicPaths: string[] = [
  ...Object.keys(pages),
  ...Object.keys(assets),
  '/openapi.json',
];

/** Returns the Content-Security-Policy of a page: this origin only, and nothing inline that is not named. */
function policyOf(page: Page): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self'${page.styleSources}`,
    "img-src 'self' data:",
    "connect-src 'self'",
    // ReDoc searches in a worker that it makes from its own bundle.
    'worker-src blob:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}

const commonHeaders = { 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' };

/** Makes a thing at the first call, and gives that one ever after. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

/** Has the swagger plugin write the specification, from an app that has the routes and does nothing. */
async function writeSpecification(version: string, hasOperator: boolean): Promise<string> {
  const { swagger } = await import('@elysiajs/swagger');
  const { specification } = await import('./openapi.ts');
  const { operations, document } = specification(version, hasOperator);
  const app = new Elysia().use(
    swagger({
      path: '/page',
      specPath: '/specification',
      excludeStaticFile: false,
      documentation: document,
    }),
  );
  for (const { method, path, operation } of operations) {
    app.route(method, path.replaceAll(/\{(\w+)\}/g, ':$1'), () => '', { detail: operation });
  }
  const answer = await app.handle(new Request('http://gateway/specification'));
  return await answer.text();
}

/**
 * The plugin with the pages, what they load, and the specification.
 * @param options.version the version of the gateway that the specification names
 * @param options.adminKey whether there is an operator
 * @param options.corsHeaders gives what lets pages of other origins read the specification
 */
export function docs(options: {
  version: string;
  corsHeaders: CorsHeaders;
  adminKey: string | undefined;
}): Elysia {
  const { version, corsHeaders, adminKey } = options;
  const plugin = new Elysia({ name: 'docs' });
  const specification = once(() => writeSpecification(version, adminKey !== undefined));

  plugin.get('/openapi.json', async function serveSpecification({ request }) {
    return new Response(await specification(), {
      headers: {
        ...commonHeaders,
        ...corsHeaders(request.headers.get('origin')),
        'content-type': 'application/json; charset=utf-8',
        'cache-control': 'no-cache',
      },
    });
  });

  const files = new Map<string, () => Promise<{ bytes: Uint8Array<ArrayBuffer>; tag: string }>>();
  for (const [path, { type, load }] of Object.entries(assets)) {
    const file = once(async () => {
      const bytes = await load();
      return { bytes, tag: Bun.hash(bytes).toString(36) };
    });
    files.set(path, file);
    plugin.get(path, async function serveAsset({ query }) {
      const { bytes, tag } = await file();
      // The pages name the content that they want, so what they get can never be outdated.
      const caching = query['v'] === tag ? 'public, max-age=31536000, immutable' : 'no-cache';
      return new Response(bytes, {
        headers: { ...commonHeaders, 'content-type': type, 'cache-control': caching },
      });
    });
  }

  async function addressOf(path: string): Promise<string> {
    return `${path}?v=${(await files.get(path)?.())?.tag}`;
  }

  for (const [path, page] of Object.entries(pages)) {
    plugin.get(path, async function servePage() {
      const styles = await Promise.all(page.styles.map(addressOf));
      const scripts = await Promise.all(page.scripts.map(addressOf));
      const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${page.title}</title>
<link rel="icon" href="data:,">
${styles.map((address) => `<link rel="stylesheet" href="${address}">`).join('\n')}
</head>
<body>
<div id="page"></div>
${scripts.map((address) => `<script src="${address}"></script>`).join('\n')}
</body>
</html>
`;
      return new Response(html, {
        headers: {
          ...commonHeaders,
          'content-type': 'text/html; charset=utf-8',
          'cache-control': 'no-cache',
          'content-security-policy': policyOf(page),
        },
      });
    });
  }
  return plugin;
}

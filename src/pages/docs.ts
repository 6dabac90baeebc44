/**
 * The documentation: OpenAPI at /openapi.json, Swagger UI at /docs, ReDoc at /redoc. Everything comes from this process
 * and nothing from any other host, which a strict Content-Security-Policy enforces. Files are read and the
 * specification is built at the first request.
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
  /** Allowed sources of styles in addition to this origin. */
  styleSources: string;
}

const css = 'text/css; charset=utf-8';
const javascript = 'text/javascript; charset=utf-8';

/** ReDoc loads this logo from its maker's host. It is replaced by an empty image; ReDoc then shows text only. */
const redocLogo = 'https://cdn.redoc.ly/redoc/logo-mini.svg';

/**
 * Hashes of the two style elements that ReDoc inserts: one that is empty at first, and one for scroll bars. An upgrade
 * of ReDoc may need others; the browser's console then names them.
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

/** Returns the Content-Security-Policy of a page: this origin only, and no inline code except the listed styles. */
function policyOf(page: Page): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self'${page.styleSources}`,
    "img-src 'self' data:",
    "connect-src 'self'",
    // ReDoc runs its search in a worker that it creates from its own bundle.
    'worker-src blob:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}

const commonHeaders = { 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' };

/** Returns a function that calls `make` the first time and then always returns the same result. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

/** Resolves to the specification as JSON. The swagger plugin writes it from an app whose routes do nothing. */
async function writeSpecification(version: string, hasOperator: boolean): Promise<string> {
  // Used because the project's requirements name it: `{ openapi: '3.0.3', ...document, paths }` is the same text.
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
 * Returns the plugin with the pages, their files and the specification.
 * @param options.version the gateway's version, which the specification states
 * @param options.adminKey when set, the specification includes the operator's routes
 * @param options.corsHeaders returns the headers that let pages of other origins read the specification
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
      // The URL contains the content's hash, so the answer can be cached for ever.
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

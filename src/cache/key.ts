/**
 * Which answers the response cache may keep, and under which key. Pure: it reads the request alone, and lets nothing be
 * kept that an engine would not answer the same way again.
 */
import type { Fields } from '../wire/json.ts';
import { Unread } from '../wire/jsonbody.ts';
import type { Route } from '../wire/routes.ts';

/** A request whose answer may be kept. */
export interface CacheKey {
  /** SHA-256 of everything that the answer depends on. */
  key: string;
  /** Whether the client takes no answer that was kept; the new one is kept all the same. */
  isFresh: boolean;
}

export interface CacheKeyOptions {
  route: Route;
  /** The query of the request's URL with its question mark, or nothing. */
  search: string;
  headers: Headers;
  /** As the client sent it; of a large one a digest. */
  body: Uint8Array | string;
  /**
   * Requests of different scopes share nothing. By key, not by principal: the holder of a key that speaks for several
   * users reads all their answers anyway.
   */
  scope: string;
}

const embedding = /\/embed(ding|dings)?$/;
/** Headers that can change an answer; those about who asks, or how, cannot. */
const telling = /^(accept|content-type|anthropic-.*|openai-.*)$/;
/** What these name lies outside the request. */
const outside = [
  'previous_response_id',
  'conversation',
  'container',
  'mcp_servers',
  'web_search_options',
];
/** llama.cpp's LLAMA_DEFAULT_SEED: it draws another one each time. A negative one says the same everywhere. */
const randomSeed = 0xffffffff;

function isDeterministic({ path, family }: Route, { temperature, seed }: Fields): boolean {
  if (embedding.test(path)) return true;
  // Ollama has these among its options, and does not look at them here.
  if (family === 'ollama') return false;
  if (temperature === 0) return true;
  return Number.isSafeInteger(seed) && (seed as number) >= 0 && seed !== randomSeed;
}

/** Functions are the client's to call; other tools an engine may run by itself, with whatever comes of that today. */
function isFunction(tool: unknown): boolean {
  const type = typeof tool === 'object' && tool !== null && 'type' in tool ? tool.type : undefined;
  return type === undefined || type === 'function' || type === 'custom';
}

function isSelfContained(fields: Fields): boolean {
  const { store, background, tools } = fields;
  if (store === true || background === true) return false;
  if (outside.some((name) => (fields[name] ?? undefined) !== undefined)) return false;
  if (tools instanceof Unread) return false; // What is in them is not known.
  return !Array.isArray(tools) || tools.every(isFunction);
}

/**
 * Pure decision: whether the answer to a request may be kept. Deterministic are temperature 0, a seed, and embeddings; a
 * client's `cache-control: no-store` opts out.
 */
export function mayKeep(options: { route: Route; headers: Headers; fields: Fields }): boolean {
  const { route, headers, fields } = options;
  if (route.method !== 'POST' || route.body !== 'json' || !route.generates) return false;
  if (!isDeterministic(route, fields) || !isSelfContained(fields)) return false;
  return !controlOf(headers).includes('no-store');
}

function controlOf(headers: Headers): string {
  return headers.get('cache-control')?.toLowerCase() ?? '';
}

/** Returns the key of a request whose answer may be kept. */
export function cacheKeyOf(options: CacheKeyOptions): CacheKey {
  const { route, search, headers, body, scope } = options;
  // Headers are iterated in the order of their names.
  const told = [...headers].filter(([name]) => telling.test(name));
  const key = new Bun.CryptoHasher('sha256')
    // Text that ends where the body begins, since JSON.stringify writes no line break.
    .update(`${JSON.stringify([scope, route.path + search, told])}\n`)
    .update(body)
    .digest('base64');
  return { key, isFresh: controlOf(headers).includes('no-cache') };
}

/**
 * API keys in the query of a URL, `?key=…`, as clients of Gemini send them: how they are found, and how they are taken
 * out, with whatever else names or repeats a key, before anything else reads the URL.
 */
import { searchOf } from './routes.ts';

/** The only parameter that is read. */
const name = 'key';
/** Clients that send a key under one of these mean a key, too; small, without - and _. */
const keyNames = new Set([
  name,
  'apikey',
  'xapikey',
  'xgoogapikey',
  'authorization',
  'accesstoken',
]);

/** Returns the decoded values of the query's parameter `key`, in their order. */
export function queryKeys(url: string): string[] {
  const search = searchOf(url);
  return search === '' ? [] : new URLSearchParams(search).getAll(name);
}

/**
 * Returns the URL without the parameters that name a key, in any spelling and behind `;` as well, and without those that
 * contain one of the keys; every other byte of it is as it was.
 * @param keysOf returns the keys of the request; it is called only if there is a query
 */
export function withoutKey(url: string, keysOf: () => readonly string[] = () => []): string {
  const query = url.indexOf('?');
  if (query === -1) return url;
  const keys = keysOf();
  const given = url.slice(query + 1).split('&');
  const kept = given.flatMap((parameter) => cleared(parameter, keys) ?? []);
  if (kept.join('&') === given.join('&')) return url;
  return url.slice(0, query) + (kept.length === 0 ? '' : `?${kept.join('&')}`);
}

/** Returns what stands between two `&` up to the first name of a key; `undefined` if nothing is left or a key is in it. */
function cleared(parameter: string, keys: readonly string[]): string | undefined {
  const parts = parameter.split(';');
  const named = parts.findIndex(namesKey);
  if (named === 0) return undefined;
  const left = named === -1 ? parameter : parts.slice(0, named).join(';');
  const text = decoded(left);
  return keys.some((key) => text.includes(key)) ? undefined : left;
}

function namesKey(parameter: string): boolean {
  const given = decoded(parameter.split('=', 1)[0] as string);
  return keyNames.has(
    given
      .toLowerCase()
      .replace(/\[.*$/s, '')
      .replace(/[-_\s]/g, ''),
  );
}

function decoded(text: string): string {
  const spaced = text.replaceAll('+', ' ');
  try {
    return decodeURIComponent(spaced);
  } catch {
    // With a stray percent sign: as parsers do that leave such a sign as it is.
    return new URLSearchParams(`=${text}`).get('') ?? spaced;
  }
}

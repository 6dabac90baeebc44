/**
 * The API key in the query of a URL, `?key=…`, as clients of Gemini send it: how it is found, and how it is taken out
 * before anything else reads the URL.
 */
import { searchOf } from './routes.ts';

const name = 'key';

/** Returns the decoded values of the query's parameter `key`, in their order. */
export function queryKeys(url: string): string[] {
  const search = searchOf(url);
  return search === '' ? [] : new URLSearchParams(search).getAll(name);
}

/** Returns the URL without the query's parameter `key`; every other byte of it is as it was. */
export function withoutKey(url: string): string {
  const query = url.indexOf('?');
  if (query === -1) return url;
  const given = url.slice(query + 1).split('&');
  // Decoded: `%6Bey` is the same parameter.
  const kept = given.filter((parameter) => !new URLSearchParams(parameter).has(name));
  if (kept.length === given.length) return url;
  return url.slice(0, query) + (kept.length === 0 ? '' : `?${kept.join('&')}`);
}

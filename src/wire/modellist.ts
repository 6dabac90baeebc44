/**
 * An engine's list of models, the body of its `/v1/models`: reading it, searching it, and merging several into one. The
 * engines' entries are copied byte for byte.
 */
import { anthropicList, anthropicModel, type ContextOf } from './anthropicmodels.ts';
import { GatewayError } from './errors.ts';
import { spans, textOf } from './json.ts';
import { searchOf, type Route } from './routes.ts';

/** A model in an engine's list; its JSON object is at the byte offsets `[start, end)`. */
interface Listed {
  id: string;
  start: number;
  end: number;
}

/** Returns the entries of a list that have an id. */
function entriesOf(list: Uint8Array): Listed[] {
  const data = spans(list).find(({ key }) => key === 'data');
  const entries = data ? spans(list, data.start) : [];
  return entries.flatMap(({ start, end }) => {
    const id = idOf(textOf(list, start, end));
    return typeof id === 'string' ? [{ id, start, end }] : [];
  });
}

function idOf(entry: string): unknown {
  try {
    return (JSON.parse(entry) as { id?: unknown } | null)?.id;
  } catch {
    return undefined; // Not JSON, so the entry has no name to ask for.
  }
}

/** The tag that Ollama adds to a name without one. It accepts the name without the tag too. */
const latest = ':latest';

/**
 * Returns the names under which an engine may list the model that a client names so; an earlier one takes precedence.
 */
export function listedNames(name: string): string[] {
  return [name, name + latest];
}

/** Returns whether an alias stands for all names that begin like it, as `claude-*` does. */
export function isPattern(alias: string): boolean {
  return alias.endsWith('*');
}

/**
 * Returns the bytes of a model's entry in the list, found by a name that its engine accepts. Throws `model_not_found`.
 * @param allowed the names that the key may use; `undefined` for all
 */
function findModel(list: Uint8Array, name: string, allowed?: readonly string[]): Uint8Array {
  const entries = entriesOf(list);
  const [found] = listedNames(name).flatMap(
    (listed) => entries.find(({ id }) => id === listed) ?? [],
  );
  const isAllowed = allowed?.some((each) => each === name || each === found?.id) ?? true;
  if (found === undefined || !isAllowed) {
    throw new GatewayError('model_not_found', { param: 'model' });
  }
  return list.subarray(found.start, found.end);
}

/** Returns the list reduced to the models that one of these names stands for, in the engine's own bytes. */
function onlyModels(list: Uint8Array, names: readonly string[]): Uint8Array {
  const all = entriesOf(list);
  const ids = new Set(all.map(({ id }) => id));
  const named = new Set(names.map((name) => listedNames(name).find((listed) => ids.has(listed))));
  const entries = all.filter(({ id }) => named.has(id));
  return listIn(entries.map(({ start, end }) => list.subarray(start, end)));
}

function listIn(entries: readonly Uint8Array[]): Uint8Array {
  const comma = Buffer.from(',');
  const inside = entries.flatMap((entry, i) => (i === 0 ? [entry] : [comma, entry]));
  return Buffer.concat([Buffer.from('{"object":"list","data":['), ...inside, Buffer.from(']}')]);
}

/** The entry of a model that no engine describes, such as an alias; nobody knows when it was made. */
function ownEntry(id: string) {
  return { id, object: 'model', created: 0, owned_by: 'llm-gateway' };
}

/** Returns a list of models of which only the names are known. */
export function listOf(ids: readonly string[]): Uint8Array {
  return Buffer.from(JSON.stringify({ object: 'list', data: ids.map(ownEntry) }));
}

/** Returns the entries whose id is not empty. */
function namedIn(list: Uint8Array): Listed[] {
  return entriesOf(list).filter(({ id }) => id !== '');
}

/** Returns the model names in the body of `/v1/models`, each once; none if the body is not a list. */
export function modelIdsOf(list: Uint8Array): string[] {
  return [...new Set(namedIn(list).map(({ id }) => id))];
}

/**
 * Merges several `/v1/models` bodies into one: each entry in its engine's own bytes, only the first of those with the
 * same id, and after them the aliases.
 */
export function mergeModels(
  lists: readonly { list: Uint8Array; aliases: Readonly<Record<string, string>> }[],
): Uint8Array {
  const entries = new Map<string, Uint8Array>();
  for (const { list } of lists) {
    for (const { id, start, end } of namedIn(list)) {
      if (!entries.has(id)) entries.set(id, list.subarray(start, end));
    }
  }
  for (const id of lists.flatMap(({ aliases }) => Object.keys(aliases))) {
    if (isPattern(id) || entries.has(id)) continue;
    entries.set(id, Buffer.from(JSON.stringify(ownEntry(id))));
  }
  return listIn([...entries.values()]);
}

/** Turns an engine's list of models into the body that the client gets. */
export type ModelPick = (list: Uint8Array) => Uint8Array;

export const modelsPath = '/v1/models';

/** Returns whether a route looks up one model. For it the gateway asks the engine for its whole list. */
export function isLookup({ path }: Route): boolean {
  return path.endsWith('/*');
}

/** A request for the list, or for one model. */
export interface ListRequest {
  url: string;
  headers: Headers;
}

/** Returns whether a client of Anthropic's API asks, which wants lists of models and errors in that shape. */
export function isAnthropicClient(headers: Headers): boolean {
  return headers.has('anthropic-version');
}

/**
 * Returns how to change the engine's list of models for this request; `undefined` if it goes to the client unchanged,
 * or if the route does not return one.
 * @param allowed the names that the key may use; `undefined` for all
 */
export function pickOf(
  route: Route,
  { url, headers }: ListRequest,
  allowed: readonly string[] | undefined,
  contextOf: ContextOf,
): ModelPick | undefined {
  if (route.method !== 'GET' || route.family === 'ollama') return undefined;
  const isAnthropic = isAnthropicClient(headers);
  if (isLookup(route)) {
    const id = lookedUp(url);
    if (!isAnthropic) return (list) => findModel(list, id, allowed);
    return (list) => anthropicModel(findModel(list, id, allowed), contextOf);
  }
  const pick: ModelPick | undefined = allowed && ((list) => onlyModels(list, allowed));
  if (!isAnthropic) return pick;
  return (list) => anthropicList(pick?.(list) ?? list, searchOf(url), contextOf);
}

/** Returns the model id in a URL under /v1/models/. An absolute URL and a path without a host both work. */
export function lookedUp(url: string): string {
  const path = url.split('?', 1)[0] as string;
  const id = path.slice(path.indexOf(`${modelsPath}/`) + modelsPath.length + 1);
  try {
    return decodeURIComponent(id);
  } catch {
    return id; // A stray percent sign. No model has that name, so the answer will be model_not_found.
  }
}

/** Returns the answer that an engine with this list would send. */
export function listAnswer(list: Uint8Array): Response {
  return new Response(list as Uint8Array<ArrayBuffer>, {
    headers: { 'content-type': 'application/json' },
  });
}

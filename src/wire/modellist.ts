/**
 * An engine's list of models, the body of its `/v1/models`: read, searched, and made one of several, always in the
 * engines' own bytes.
 */
import { GatewayError } from './errors.ts';
import { spans, textOf } from './json.ts';
import type { Route } from './routes.ts';

/** A model in an engine's list, its entry as byte offsets `[start, end)`. */
interface Entry {
  id: string;
  start: number;
  end: number;
}

/** Gives the entries of a list that have an id. */
function entriesOf(list: Uint8Array): Entry[] {
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
    return undefined; // No JSON: nobody can ask for it.
  }
}

/** What Ollama adds to a name without a tag; it takes the name without it as well. */
const latest = ':latest';

/** Gives the names under which an engine may list the model that a client calls so, the one that counts first. */
export function listedNames(name: string): string[] {
  return [name, name + latest];
}

/**
 * Finds a model by a name that its engine takes: the bytes of its entry in the list. Throws `model_not_found`.
 * @param allowed the names that may be used; `undefined` for all
 */
export function findModel(list: Uint8Array, name: string, allowed?: readonly string[]): Uint8Array {
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

/** Gives a list with those of its models that have one of these names, in the engine's own bytes. */
export function onlyModels(list: Uint8Array, names: readonly string[]): Uint8Array {
  const entries = entriesOf(list).filter(({ id }) => names.includes(id));
  return listIn(entries.map(({ start, end }) => list.subarray(start, end)));
}

function listIn(entries: readonly Uint8Array[]): Uint8Array {
  const comma = Buffer.from(',');
  const inside = entries.flatMap((entry, i) => (i === 0 ? [entry] : [comma, entry]));
  return Buffer.concat([Buffer.from('{"object":"list","data":['), ...inside, Buffer.from(']}')]);
}

/** What stands in a list for a model that no engine describes. */
function ownEntry(id: string) {
  return { id, object: 'model', owned_by: 'llm-gateway' };
}

/** Makes a list of names alone. */
export function listOf(ids: readonly string[]): Uint8Array {
  return Buffer.from(JSON.stringify({ data: ids.map(ownEntry) }));
}

/** Gives the entries that a client can name. */
function namedIn(list: Uint8Array): Entry[] {
  return entriesOf(list).filter(({ id }) => id !== '');
}

/** Gives the names in the body of an answer to `/v1/models`, each once; none where it is no list. */
export function modelIdsOf(list: Uint8Array): string[] {
  return [...new Set(namedIn(list).map(({ id }) => id))];
}

/**
 * Makes one `/v1/models` body of several: each entry in its engine's own bytes, the first of those with the same id,
 * and behind them the aliases.
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
    if (!entries.has(id)) entries.set(id, Buffer.from(JSON.stringify(ownEntry(id))));
  }
  return listIn([...entries.values()]);
}

/** Takes from a list of models what the client is to get. */
export type ModelPick = (list: Uint8Array) => Uint8Array;

export const modelsPath = '/v1/models';

/** Says whether a route looks for one model, for which the engine is asked for its list. */
export function isLookup({ path }: Route): boolean {
  return path.endsWith('/*');
}

/**
 * Gives what a list of models is made into; `undefined` where it goes to the client as it is, or there is none.
 * @param allowed the names that the key may use; `undefined` for all
 */
export function pickOf(
  route: Route,
  url: string,
  allowed: readonly string[] | undefined,
): ModelPick | undefined {
  if (route.method !== 'GET') return undefined;
  if (!isLookup(route)) return allowed && ((list) => onlyModels(list, allowed));
  const id = lookedUp(url);
  return (list) => findModel(list, id, allowed);
}

/** Gives the id that a path under /v1/models/ names; an absolute target, or none of a host, changes nothing. */
function lookedUp(url: string): string {
  const path = url.split('?', 1)[0] as string;
  const id = path.slice(path.indexOf(`${modelsPath}/`) + modelsPath.length + 1);
  try {
    return decodeURIComponent(id);
  } catch {
    return id; // A stray percent sign: no model is called that, and the answer says so.
  }
}

/** Makes the answer that an engine with this list would give. */
export function listAnswer(list: Uint8Array): Response {
  return new Response(list as Uint8Array<ArrayBuffer>, {
    headers: { 'content-type': 'application/json' },
  });
}

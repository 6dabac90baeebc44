/**
 * Ollama's lists of models, the bodies of `/api/tags` and `/api/ps`: several as one, reduced to what a key may use. The
 * engines' entries are copied byte for byte. Pure.
 */
import { isRecord, editJson, spans, textOf } from './json.ts';
import { isPattern } from './modellist.ts';
import { foldedName } from './modelnames.ts';

/** The list of one engine. */
export interface OllamaList {
  list: Uint8Array;
  /** The models that the operator offers of it; `undefined` for all. */
  models: readonly string[] | undefined;
  aliases: Readonly<Record<string, string>>;
}

function nameIn(entry: Uint8Array): string | undefined {
  try {
    const said: unknown = JSON.parse(textOf(entry));
    const name = isRecord(said) ? (said['name'] ?? said['model']) : undefined;
    return typeof name === 'string' && name !== '' ? name : undefined;
  } catch {
    return undefined; // Not JSON, so it has no name to ask for.
  }
}

function entriesOf(list: Uint8Array): { name: string; entry: Uint8Array }[] {
  const models = spans(list).find(({ key }) => key === 'models');
  const all = models ? spans(list, models.start) : [];
  return all.flatMap(({ start, end }) => {
    const entry = list.subarray(start, end);
    const name = nameIn(entry);
    return name === undefined ? [] : { name, entry };
  });
}

/**
 * Returns the lists as one: each model once, with its aliases.
 * @param allowed the names that the key may use; `undefined` for all
 */
export function mergeOllamaLists(
  lists: readonly OllamaList[],
  allowed: readonly string[] | undefined,
): Uint8Array {
  const found = new Map<string, Uint8Array>();
  const permitted = allowed && new Set(allowed.map(foldedName));
  const mayUse = (name: string) => permitted?.has(foldedName(name)) ?? true;
  for (const { list, models, aliases } of lists) {
    const offered = models && new Set(models.map(foldedName));
    for (const { name, entry } of entriesOf(list)) {
      if (offered?.has(foldedName(name)) === false) continue;
      if (mayUse(name) && !found.has(name)) found.set(name, entry);
      for (const [alias, target] of Object.entries(aliases)) {
        const isAlias = !isPattern(alias) && foldedName(target) === foldedName(name);
        if (!isAlias || found.has(alias) || !(mayUse(alias) || mayUse(name))) continue;
        found.set(alias, renamed(entry, alias));
      }
    }
  }
  const entries = [...found.values()].flatMap((entry, i) => (i === 0 ? [entry] : [comma, entry]));
  return Buffer.concat([Buffer.from('{"models":['), ...entries, Buffer.from(']}')]);
}

const comma = Buffer.from(',');

function renamed(entry: Uint8Array, name: string): Uint8Array {
  const edits = { name, model: name };
  return Buffer.concat(editJson({ bytes: entry, members: spans(entry, 0) }, edits));
}

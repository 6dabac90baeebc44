/**
 * What one upstream serves under a name: the operator's alias, or a name that the engine itself takes. Pure.
 */
import type { EngineKind } from '../wire/kinds.ts';
import { isPattern, listedNames } from '../wire/modellist.ts';
import { foldedName } from '../wire/modelnames.ts';

/** What one upstream serves. */
export interface Served {
  /** Its id. */
  upstream: string;
  kind: EngineKind;
  /** `undefined`: not known yet, so that it may serve any. */
  models: readonly string[] | undefined;
  /** Further names of its models; one with `*` at its end stands for all names that begin so. */
  aliases: Readonly<Record<string, string>>;
}

/** A name as one upstream understands it. */
export interface Known {
  upstream: string;
  /** The model's own name. */
  model: string;
  /** Whether the engine itself takes the name for the model. */
  takesName: boolean;
}

/** Returns the listed name that the engine takes this one for; `undefined` if it lists none. */
function listedAs({ kind, models }: Served, name: string): string | undefined {
  const listed = listedNames(name).find((known) => models?.includes(known));
  if (listed !== undefined || kind !== 'ollama') return listed;
  const folded = foldedName(name);
  return models?.find((known) => foldedName(known) === folded);
}

/** Returns what an upstream serves under a name: the operator's alias comes before the engine's own names. */
export function namedBy(served: Served, name: string): Known | undefined {
  const { upstream, aliases } = served;
  const target = !isPattern(name) && Object.hasOwn(aliases, name) ? aliases[name] : undefined;
  const model = listedAs(served, target ?? name) ?? target;
  if (model === undefined) return undefined;
  const isItsName = target === undefined || target === name;
  return { upstream, model, takesName: isItsName && listedNames(name).includes(model) };
}

/** Returns whether the name, letter for letter, is one that the upstream is known by. */
export function isNameAt({ models, aliases }: Served, name: string): boolean {
  if (!isPattern(name) && Object.hasOwn(aliases, name)) return true;
  return listedNames(name).some((known) => models?.includes(known));
}

/** Returns the patterns among the aliases of all, each once, the longest first. */
export function patternsOf(served: readonly Served[]): string[] {
  const patterns = served.flatMap(({ aliases }) => Object.keys(aliases).filter(isPattern));
  return [...new Set(patterns)].sort((one, other) => other.length - one.length);
}

export function matches(pattern: string, name: string): boolean {
  return name.startsWith(pattern.slice(0, -1));
}

/** Returns what an upstream serves under the names of a pattern; `undefined` if the pattern is none of its aliases. */
export function patternedBy(served: Served, pattern: string): Known | undefined {
  const { upstream, aliases } = served;
  const target = Object.hasOwn(aliases, pattern) ? aliases[pattern] : undefined;
  if (target === undefined) return undefined;
  return { upstream, model: listedAs(served, target) ?? target, takesName: false };
}

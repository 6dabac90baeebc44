/**
 * Which upstream serves which model, and under which name. Pure decisions about what is known now: when other models
 * become known, a new catalog is made.
 */
import { GatewayError } from '../wire/errors.ts';
import { isPattern } from '../wire/modellist.ts';
import { foldedName } from '../wire/modelnames.ts';
import {
  isNameAt,
  matches,
  namedBy,
  patternedBy,
  patternsOf,
  type Known,
  type Served,
} from './naming.ts';

/** Where a request may run. The same request gets the same object each time. */
export interface Choice {
  /** Ids of the upstreams that may run it. */
  readonly upstreams: readonly string[];
  /** What the request's model must become, by upstream id; without an entry its bytes stay as they are. */
  readonly rewrite: Readonly<Record<string, string>> | undefined;
  /** The model's own name; `undefined` where it is not known. */
  readonly model: string | undefined;
}

export interface CatalogOptions {
  /** Model of a request that names none. */
  defaultModel: string | undefined;
  /** Whether any name is taken where one model is all that there is. */
  anyModelName: boolean;
}

/** The names that a caller may use; `undefined` for all. */
type Allowed = readonly string[] | undefined;

const maxNamesInMessage = 20;

export class Catalog {
  readonly #served: readonly Served[];
  readonly #options: CatalogOptions;
  /** Holds only names that are known: what clients make up must not stay in memory. */
  readonly #named = new Map<string, Choice>();
  /** Of names that only Ollama takes, folded as it folds them. */
  readonly #folded = new Map<string, Choice>();
  /** The longest first. */
  readonly #patterns: readonly { pattern: string; choice: Choice }[];
  readonly #anyName: Choice | undefined;
  readonly #default: Choice | undefined;
  readonly #unnamed: Choice | undefined;
  /** The only upstream; `undefined` when there are several. */
  readonly #single: Choice | undefined;

  constructor(served: readonly Served[], options: CatalogOptions) {
    this.#served = served;
    this.#options = options;
    const ids = served.map(({ upstream }) => upstream);
    const [only, ...otherModels] = new Set(served.flatMap(({ models }) => models ?? []));
    const onlyModel = otherModels.length === 0 ? only : undefined;
    const unknown = served.filter(({ models }) => models === undefined);
    this.#single = served.length === 1 ? choiceOf(ids, onlyModel) : undefined;
    this.#patterns = patternsOf(served).map((pattern) => {
      const found = served.flatMap((each) => patternedBy(each, pattern) ?? []);
      return { pattern, choice: knownChoice(found, undefined) };
    });
    this.#unnamed = this.#unnamedChoice(ids, onlyModel);
    if (unknown.length > 0) this.#anyName = choiceOf(unknown.map(({ upstream }) => upstream));
    else if (options.anyModelName && onlyModel !== undefined) this.#anyName = this.#unnamed;
    this.#default = this.#defaultChoice(unknown, onlyModel);
  }

  /**
   * Returns where a request may run. Throws `model_not_found` and `model_required`, which name what there is, and
   * `model_not_allowed`.
   * @param needsModel whether its route runs a model; tokenizing and listing do not
   * @param allowed the names that its caller may use; `undefined` for all
   */
  resolve(model: string | undefined, needsModel: boolean, allowed?: Allowed): Choice {
    const choice =
      model === undefined
        ? this.#resolveUnnamed(needsModel, allowed)
        : this.#resolveNamed(model, allowed);
    if (allowed === undefined) return choice;
    // No name reaches the engine: a text without one, to be tokenized, is no use of a model.
    if (model === undefined && !needsModel && choice.rewrite === undefined) return choice;
    // The name in a request counts where an upstream knows it, or where nobody knows what there is.
    const counts = model !== undefined && (choice.model === undefined || this.#named.has(model));
    const names = [choice.model, counts ? model : undefined];
    if (names.some((name) => name !== undefined && this.#isIn(allowed, name, choice))) {
      return choice;
    }
    const message = `This API key may use only these models: ${allowed.join(', ')}.`;
    throw new GatewayError('model_not_allowed', { message, param: 'model' });
  }

  /** Returns the names of all models, then of all aliases, each once. */
  names(): string[] {
    const models = this.#served.flatMap((served) => served.models ?? []);
    const aliases = this.#served.flatMap((served) => Object.keys(served.aliases));
    return [...new Set([...models, ...aliases.filter((alias) => !isPattern(alias))])];
  }

  /**
   * Returns whether an upstream is known to serve a model under that name, letter for letter: those that patterns and
   * Ollama take as well are without number.
   */
  hasName(name: string): boolean {
    return this.#named.has(name) || this.#isName(name);
  }

  #isName(name: string): boolean {
    return this.#served.some((served) => isNameAt(served, name));
  }

  #isIn(allowed: readonly string[], name: string, { upstreams }: Choice): boolean {
    if (allowed.includes(name)) return true;
    const chosen = this.#served.filter(({ upstream }) => upstreams.includes(upstream));
    if (!chosen.every(({ kind }) => kind === 'ollama')) return false;
    const folded = foldedName(name);
    return allowed.some((each) => foldedName(each) === folded);
  }

  /**
   * Returns the ids of the upstreams in groups: those that some request may run on either of are in one group, and so are
   * those that others connect. Each upstream is in one group.
   */
  connected(): string[][] {
    const groupOf = new Map(this.#served.map(({ upstream }) => [upstream, [upstream]]));
    const choices = [...this.names().map((name) => this.#find(name)), this.#anyName];
    for (const choice of [...choices, this.#unnamed, this.#default]) {
      const [first, ...others] = choice?.upstreams ?? [];
      for (const other of others) {
        const [into, from] = [groupOf.get(first ?? ''), groupOf.get(other)];
        if (into === undefined || from === undefined || into === from) continue;
        into.push(...from);
        for (const id of from) groupOf.set(id, into);
      }
    }
    return [...new Set(groupOf.values())];
  }

  #resolveNamed(model: string, allowed: Allowed): Choice {
    const found = this.#named.get(model) ?? this.#find(model) ?? this.#anyName;
    return found ?? this.#notFound('No upstream serves that model.', allowed);
  }

  #resolveUnnamed(needsModel: boolean, allowed: Allowed): Choice {
    if (this.#default !== undefined) return this.#default;
    if (needsModel && this.#options.defaultModel !== undefined) {
      return this.#notFound(
        'No upstream serves the default model; name another in "model".',
        allowed,
      );
    }
    const choice = this.#unnamed ?? (needsModel ? undefined : this.#single);
    if (choice !== undefined) return choice;
    const message = `Name the model in "model". ${this.#whatThereIs(allowed)}`;
    throw new GatewayError('model_required', { message, param: 'model' });
  }

  /** Returns where the only model runs; any upstream while no model is known. */
  #unnamedChoice(ids: readonly string[], onlyModel: string | undefined): Choice | undefined {
    if (this.#served.every(({ models }) => models === undefined)) return choiceOf(ids);
    if (onlyModel === undefined) return undefined;
    if (this.#single !== undefined) return this.#single;
    const having = this.#served.filter(({ models }) => models?.includes(onlyModel));
    return choiceOf(
      having.map(({ upstream }) => upstream),
      onlyModel,
    );
  }

  /** Returns where the default model runs, and has it put into the request; `undefined` when no upstream serves it. */
  #defaultChoice(unknown: readonly Served[], onlyModel: string | undefined): Choice | undefined {
    const { defaultModel } = this.#options;
    if (defaultModel === undefined) return undefined;
    const found = this.#find(defaultModel);
    if (found === undefined) {
      if (unknown.length === 0) return this.#anyName;
      const upstreams = unknown.map(({ upstream }) => upstream);
      return { upstreams, rewrite: rewriteAll(upstreams, () => defaultModel), model: defaultModel };
    }
    // One that has no other model needs no name.
    if (this.#single !== undefined && found.model === onlyModel) return this.#single;
    const nameAt = (id: string) => found.rewrite?.[id] ?? found.model ?? defaultModel;
    return { ...found, rewrite: rewriteAll(found.upstreams, nameAt) };
  }

  /**
   * Returns where a model of that name runs; `undefined` when no upstream is known to serve one. What an upstream knows
   * the name for comes before the longest pattern of an alias.
   */
  #find(name: string): Choice | undefined {
    const known = this.#named.get(name) ?? this.#folded.get(foldedName(name));
    const isName = this.#isName(name);
    if (known !== undefined && (!isName || this.#named.has(name))) return known;
    const found = this.#served.flatMap((served) => namedBy(served, name) ?? []);
    if (found.length === 0) {
      return this.#patterns.find(({ pattern }) => matches(pattern, name))?.choice;
    }
    const choice = knownChoice(found, name);
    if (isName) this.#named.set(name, choice);
    else this.#folded.set(foldedName(name), choice);
    return choice;
  }

  #notFound(reason: string, allowed: Allowed): never {
    const message = `${reason} ${this.#whatThereIs(allowed)}`;
    throw new GatewayError('model_not_found', { message, param: 'model' });
  }

  /** Names what a caller may use. */
  #whatThereIs(allowed: Allowed): string {
    const names = this.names().filter((name) => allowed?.includes(name) ?? true);
    if (names.length === 0) return 'No models are known here yet.';
    const more = names.length - maxNamesInMessage;
    const shown = names.slice(0, maxNamesInMessage).join(', ');
    return `Served here: ${shown}${more > 0 ? ` and ${more} more (GET /v1/models lists them)` : ''}.`;
  }
}

function choiceOf(upstreams: readonly string[], model?: string): Choice {
  return { upstreams, rewrite: undefined, model };
}

/** @param found one at least @param name undefined for the names of a pattern */
function knownChoice(found: readonly Known[], name: string | undefined): Choice {
  const model = found.some((known) => known.model === name) ? name : found[0]?.model;
  // Slots go by the model's name, so that one upstream must not mean another by it.
  const renamed = found.filter((known) => !known.takesName || known.model !== model);
  const rewrite = Object.fromEntries(renamed.map((known) => [known.upstream, known.model]));
  return {
    upstreams: found.map(({ upstream }) => upstream),
    rewrite: renamed.length > 0 ? rewrite : undefined,
    model,
  };
}

function rewriteAll(upstreams: readonly string[], nameAt: (id: string) => string) {
  return Object.fromEntries(upstreams.map((id) => [id, nameAt(id)]));
}

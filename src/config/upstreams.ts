/**
 * The upstreams as the configuration names them: the `upstreams` of the YAML file, or the URLs of LLM_SERVER_URL. It
 * checks all of them, reads nothing by itself (`readFile` is an argument) and never quotes a key.
 */
import type { TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import {
  fields,
  modelName,
  names,
  type Name,
  type UpstreamSettings,
  type ValueOf,
} from './upstreamfields.ts';
import { messageOf } from '../wire/errors.ts';
import { allowed, shown, takesInteger, wordsOf } from './settings.ts';
import { isRecord } from '../wire/json.ts';

export { describeUpstreams, upstreamsJsonSchema, upstreamsMarkdown } from './upstreamfields.ts';
export type { EngineKindSetting, UpstreamSettings } from './upstreamfields.ts';

/** The sources of values, which are the caller's. */
export interface UpstreamSources {
  /** Reads a file that an `api_key_file` names; may throw. */
  readFile: (path: string) => string;
  /** Gives the text with every `${NAME}` filled in; adds to `problems` what is wrong at that place. */
  fill: (text: string, place: string, problems: string[]) => string;
}

/** Says what was found; an empty list is a fault of its own here. */
function told(value: unknown, hidden: boolean): string {
  return Array.isArray(value) && value.length === 0 ? 'an empty list' : shown(value, hidden);
}

type Mapping = Record<string, unknown>;

/** Gives the number, truth value or word that a text stands for: what fills in a `${NAME}` is always text. */
function coerce(schema: TSchema, text: string): unknown {
  const word = text.toLowerCase();
  if (schema['type'] === 'boolean') return word === 'true' || (word === 'false' ? false : text);
  const takesNumber = schema['type'] === 'number' || takesInteger(schema);
  if (takesNumber && /^\d+(\.\d+)?$/.test(text)) return Number(text);
  return wordsOf(schema).find((allowedWord) => allowedWord.toLowerCase() === word) ?? text;
}

/** A value as the file gave it; `label` names its place, a `hidden` one is not quoted. */
interface Found {
  label: string;
  value: unknown;
  hidden: boolean;
}

/** One entry of the list while it is read; every problem goes to `problems`. */
class EntryReader {
  constructor(
    readonly entry: Mapping,
    /** Names the entry in messages. */
    readonly label: string,
    readonly sources: UpstreamSources,
    readonly problems: string[],
  ) {}

  /** Gives the value of a field, checked; its default where there is none, `undefined` after a problem. */
  read<N extends Name>(name: N): ValueOf<N> | undefined {
    const { schema, default: fallback, secret, required } = fields[name];
    const before = this.problems.length;
    const direct = this.#find(name);
    const file = secret ? this.#find(`${name}_file`) : undefined;
    if (direct && file) {
      this.problems.push(`${direct.label} and ${file.label} are both set; keep one of them`);
    }
    const found = direct ?? (file && this.#readSecret(file));
    const hasFailed = this.problems.length > before;
    if (required && !found && !hasFailed) {
      this.problems.push(`${this.label}.${name}: not set; allowed is ${allowed(schema)}`);
    }
    const value = found === undefined || hasFailed ? fallback : this.#accept(name, found);
    // Its own schema has been checked.
    return this.problems.length > before ? undefined : (value as ValueOf<N> | undefined);
  }

  /** Adds a problem for each key that no field has. */
  refuseUnknown(): void {
    const known = names.flatMap((name) => (fields[name].secret ? [name, `${name}_file`] : [name]));
    const letters = (key: string) => key.toLowerCase().replace(/[_-]/g, '');
    for (const key of Object.keys(this.entry)) {
      if (known.includes(key)) continue;
      const near = known.find((name) => letters(name) === letters(key));
      // A key that is no name may be a whole line with a secret in it.
      const problem = /^\w[\w-]{0,40}$/.test(key)
        ? `no setting is called "${key}"`
        : `a key of ${key.length} characters (not shown) is no name of a setting`;
      const hint = near ? `did you mean ${near}?` : `there are ${known.join(', ')}`;
      this.problems.push(`${this.label}: ${problem}; ${hint}`);
    }
  }

  /** Gives what the entry has under that key, filled in; what a variable gave may be a secret. */
  #find(key: string): Found | undefined {
    const given = (Object.hasOwn(this.entry, key) ? this.entry[key] : undefined) ?? '';
    if (given === '') return undefined;
    const label = `${this.label}.${key}`;
    let hidden = false;
    const fill = (value: unknown): unknown => {
      if (typeof value !== 'string') return value;
      hidden ||= value.includes('${');
      return this.sources.fill(value, label, this.problems);
    };
    if (Array.isArray(given)) return { label, value: given.map(fill), hidden };
    if (!isRecord(given)) return { label, value: fill(given), hidden };
    const entries = Object.entries(given).map(([name, value]) => [name, fill(value)]);
    return { label, value: Object.fromEntries(entries), hidden };
  }

  #readSecret({ label, value: path, hidden }: Found): Found | undefined {
    if (typeof path !== 'string') {
      this.problems.push(`${label}: found ${told(path, hidden)}; allowed is the path of a file`);
      return undefined;
    }
    const file = hidden ? 'the file' : `the file ${JSON.stringify(path)}`;
    try {
      const text = this.sources.readFile(path).trim();
      if (text !== '') return { label: `${label}, ${file}`, value: text, hidden: true };
      this.problems.push(`${label}: ${file} is empty`);
    } catch (cause) {
      const code = cause instanceof Error && 'code' in cause ? ` (${cause.code})` : '';
      this.problems.push(`${label}: cannot read ${file}${code}`);
    }
    return undefined;
  }

  #accept(name: Name, { label, value, hidden }: Found): unknown {
    const { schema, item, secret, decode } = fields[name];
    const isList = schema['type'] === 'array';
    if (item && isList && Array.isArray(value) && value.length > 0) {
      return this.#acceptList(item, label, value, hidden);
    }
    if (item && !isList && isRecord(value)) return this.#acceptMapping(item, label, value, hidden);
    return this.#check(schema, `${label}:`, value, hidden || secret === true, decode);
  }

  #acceptList(item: TSchema, label: string, list: readonly unknown[], hidden: boolean): unknown[] {
    const accepted = list.map((value, index) => {
      return this.#check(item, `${label}: entry ${index + 1} of ${list.length},`, value, hidden);
    });
    for (const [index, value] of accepted.entries()) {
      const first = accepted.indexOf(value);
      if (first === index) continue;
      this.problems.push(`${label}: entry ${index + 1} repeats entry ${first + 1}`);
    }
    return accepted;
  }

  #acceptMapping(item: TSchema, label: string, mapping: Mapping, hidden: boolean): Mapping {
    const entries = Object.entries(mapping);
    const accepted = entries.map(([name, value], index) => {
      const place = `${label}: entry ${index + 1} of ${entries.length},`;
      this.#check(modelName, `${place} its name:`, name, hidden);
      return [name, this.#check(item, place, value, hidden)];
    });
    return Object.fromEntries(accepted);
  }

  #check(
    schema: TSchema,
    place: string,
    value: unknown,
    hidden: boolean,
    decode = (text: string) => text,
  ): unknown {
    let accepted = value;
    let reason = '';
    try {
      if (typeof value === 'string') accepted = coerce(schema, decode(value.trim()));
    } catch (cause) {
      reason = ` (${messageOf(cause)})`;
    }
    if (reason || !Value.Check(schema, accepted)) {
      const found = `found ${told(value, hidden)}${reason}`;
      this.problems.push(`${place} ${found}; allowed is ${allowed(schema)}`);
    }
    return accepted;
  }
}

function defaultId(index: number, count: number): string {
  return count === 1 ? 'engine' : `engine-${index + 1}`;
}

/**
 * Gives the upstreams of the file's list, and every problem of it with its place.
 * @param label names the list in messages
 * @param slots those of an entry that does not say
 */
export function readUpstreams(
  list: unknown,
  label: string,
  slots: UpstreamSettings['slots'],
  sources: UpstreamSources,
): { upstreams: UpstreamSettings[]; problems: string[] } {
  if (!Array.isArray(list) || list.length === 0) {
    const problem = `${label}: found ${told(list, true)}; allowed is a list of upstreams`;
    return { upstreams: [], problems: [problem] };
  }
  const problems: string[] = [];
  const entries = list.map((entry: unknown, index) => {
    const place = `${label}[${index + 1}]`;
    if (isRecord(entry)) {
      const reader = new EntryReader(entry, place, sources, problems);
      return readEntry(reader, defaultId(index, list.length), slots);
    }
    problems.push(`${place}: found ${told(entry, true)}; allowed is a mapping with a url`);
    return undefined;
  });
  problems.push(...repeats(entries, label));
  return { upstreams: entries.flatMap((entry) => entry?.upstream ?? []), problems };
}

/** An entry: what must not stand twice, as far as that is good, and the upstream where all of it is. */
interface Entry {
  id: string | undefined;
  url: string | undefined;
  upstream: UpstreamSettings | undefined;
}

function readEntry(
  reader: EntryReader,
  fallbackId: string,
  slots: UpstreamSettings['slots'],
): Entry {
  const { problems } = reader;
  const before = problems.length;
  reader.refuseUnknown();
  const beforeId = problems.length;
  const given = reader.read('id');
  // One that is refused does not become the default one.
  const id = problems.length > beforeId ? undefined : (given ?? fallbackId);
  const url = reader.read('url');
  const others = {
    apiKey: reader.read('api_key'),
    kind: reader.read('kind') ?? 'auto',
    models: reader.read('models'),
    aliases: reader.read('aliases') ?? {},
    slots: reader.read('slots') ?? slots,
    weight: reader.read('weight') ?? 1,
    drain: reader.read('drain') ?? false,
  };
  const isGood = id !== undefined && url !== undefined && problems.length === before;
  return { id, url, upstream: isGood ? { id, url, ...others } : undefined };
}

/** Gives a problem for each id and each URL that stands twice. */
function repeats(entries: readonly (Entry | undefined)[], label: string): string[] {
  return entries.flatMap((entry, index) => {
    const repeated = (['id', 'url'] as const).map((name) => {
      const value = entry?.[name];
      const first = entries.findIndex((other) => other?.[name] === value);
      return value !== undefined && first < index
        ? `${label}[${index + 1}].${name}: repeats that of ${label}[${first + 1}]`
        : [];
    });
    return repeated.flat();
  });
}

/** Gives the upstreams that URLs alone name, in their order; all else is the same for all of them. */
export function upstreamsOf(
  urls: readonly string[],
  shared: Pick<UpstreamSettings, 'apiKey' | 'kind' | 'slots'>,
): UpstreamSettings[] {
  return urls.map((url, index) => ({
    id: defaultId(index, urls.length),
    url,
    ...shared,
    models: undefined,
    aliases: {},
    weight: 1,
    drain: false,
  }));
}

/**
 * The upstreams as the configuration names them: the `upstreams` of the YAML file, or the URLs of LLM_SERVER_URL. It
 * checks all of them, reads nothing by itself (`readFile` is an argument) and never quotes a key.
 */
import { Type, type Static, type TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { engineKinds } from './engine.ts';
import { allowed, maskKey, serverBaseUrl, shown, takesInteger, wordsOf } from './settings.ts';

const kinds = ['auto', ...engineKinds] as const;
export type EngineKindSetting = (typeof kinds)[number];

const modelName = Type.String({
  pattern: '^[^\\r\\n]{1,200}$',
  description: 'the name of a model, at most 200 characters',
});
const slotCount = Type.Integer({ minimum: 1, maximum: 65_536 });

interface Extras {
  required?: true;
  /** Its value stands in no message and no print, and `<name>_file` may name a file that holds it. */
  secret?: true;
  /** What each entry must be, where the value may be a list or a mapping. */
  item?: TSchema;
  /** Turns a given string into what is checked and kept; its Error says why it cannot, without the string. */
  decode?: (text: string) => string;
}

function field<S extends TSchema>(
  schema: S,
  fallback: Static<S> | undefined,
  description: string,
  { required, secret, item, decode }: Extras = {},
) {
  return { schema, default: fallback, description, required, secret, item, decode };
}

function oneServer(text: string): string {
  if (text.includes(',')) throw new Error('several servers are several entries of the list');
  return serverBaseUrl(text);
}

/** What an entry may have, in the order of the documentation. */
const fields = {
  url: field(
    Type.String({
      pattern: '^[^,]+$',
      description: 'an http:// or https:// URL, with or without /v1/completions, without commas',
    }),
    undefined,
    'The inference server; the one thing that an entry must have.',
    { required: true, decode: oneServer },
  ),
  id: field(
    Type.String({
      pattern: '^[A-Za-z0-9._-]{1,64}$',
      description: '1 to 64 of the characters A-Z, a-z, 0-9, dot, _ and -',
    }),
    undefined,
    'Its name in logs and in /health; engine-1, engine-2 and so on by its place in the list, engine where it is the only one.',
  ),
  api_key: field(
    Type.String({ pattern: '^[!-~]+$', description: 'visible ASCII characters without space' }),
    undefined,
    'Key that it wants from the gateway.',
    { secret: true },
  ),
  kind: field(
    Type.Unsafe<EngineKindSetting>(Type.Union(kinds.map((kind) => Type.Literal(kind)))),
    'auto',
    'Kind of the inference server; auto asks it.',
  ),
  models: field(
    Type.Array(modelName, {
      minItems: 1,
      uniqueItems: true,
      description: 'a list of names of models',
    }),
    undefined,
    'Its models; without them it is asked (/v1/models).',
    { item: modelName },
  ),
  aliases: field(
    Type.Record(Type.String(), modelName, {
      description: 'a mapping of further names to names of models',
    }),
    {},
    'Names under which its models can be asked for as well.',
    { item: modelName },
  ),
  slots: field(
    Type.Union(
      [
        Type.Literal('auto'),
        Type.Literal('unbounded'),
        slotCount,
        Type.Record(Type.String(), slotCount),
      ],
      {
        description:
          'auto, unbounded, a whole number from 1 to 65536, or a mapping of models to such numbers',
      },
    ),
    undefined,
    'How many requests it runs at once; auto asks it. Without it UPSTREAM_SLOTS counts.',
    { item: slotCount },
  ),
  weight: field(
    Type.Number({
      exclusiveMinimum: 0,
      maximum: 1_000,
      description: 'a number above 0, at most 1000',
    }),
    1,
    'Its share of the requests that could run anywhere, beside that of the others.',
  ),
  drain: field(
    Type.Boolean({ description: 'true or false' }),
    false,
    'Whether it gets no new requests, so that it can be taken away when the last one has ended.',
  ),
};

type Name = keyof typeof fields;
type ValueOf<N extends Name> = Static<(typeof fields)[N]['schema']>;
const names = Object.keys(fields) as Name[]; // A constant has its own keys and no other.

/** One upstream of the configuration. */
export interface UpstreamSettings {
  readonly id: string;
  /** Without a slash at its end and without `/v1`. */
  readonly url: string;
  readonly apiKey: string | undefined;
  readonly kind: EngineKindSetting;
  /** `undefined`: it is asked for them. */
  readonly models: readonly string[] | undefined;
  /** Models by their further names. */
  readonly aliases: Readonly<ValueOf<'aliases'>>;
  readonly slots: Readonly<ValueOf<'slots'>>;
  readonly weight: number;
  readonly drain: boolean;
}

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

function isMapping(value: unknown): value is Mapping {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

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
    if (!isMapping(given)) return { label, value: fill(given), hidden };
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
    if (item && !isList && isMapping(value)) return this.#acceptMapping(item, label, value, hidden);
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
      reason = ` (${cause instanceof Error ? cause.message : cause})`;
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
    if (isMapping(entry)) {
      const reader = new EntryReader(entry, place, sources, problems);
      return readEntry(reader, defaultId(index, list.length), slots);
    }
    problems.push(`${place}: found ${told(entry, true)}; allowed is a mapping with a url`);
    return undefined;
  });
  problems.push(...repeats(entries, label));
  return { upstreams: entries.filter((entry) => entry !== undefined), problems };
}

function readEntry(
  reader: EntryReader,
  id: string,
  slots: UpstreamSettings['slots'],
): UpstreamSettings | undefined {
  const before = reader.problems.length;
  reader.refuseUnknown();
  const upstream = {
    id: reader.read('id') ?? id,
    url: reader.read('url') ?? '',
    apiKey: reader.read('api_key'),
    kind: reader.read('kind') ?? 'auto',
    models: reader.read('models'),
    aliases: reader.read('aliases') ?? {},
    slots: reader.read('slots') ?? slots,
    weight: reader.read('weight') ?? 1,
    drain: reader.read('drain') ?? false,
  };
  return reader.problems.length > before ? undefined : upstream;
}

/** Gives a problem for each id and each URL that stands twice. */
function repeats(entries: readonly (UpstreamSettings | undefined)[], label: string): string[] {
  return entries.flatMap((entry, index) => {
    const repeated = (['id', 'url'] as const).map((name) => {
      const first = entries.findIndex((other) => other?.[name] === entry?.[name]);
      const isRepeated = entry !== undefined && first < index;
      return isRepeated
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

/** Gives upstreams in the form of the YAML file; keys as comments, masked. */
export function describeUpstreams(list: readonly UpstreamSettings[]): string {
  const entries = list.map(({ apiKey, ...upstream }) => {
    const lines = names.map((name) => {
      if (name === 'api_key')
        return `${name}: # ${apiKey === undefined ? 'not set' : maskKey(apiKey)}`;
      const value = upstream[name];
      return `${name}: ${value === undefined ? '# not set' : Bun.YAML.stringify(value)}`;
    });
    return `  - ${lines.join('\n    ')}\n`;
  });
  return `upstreams:\n${entries.join('')}`;
}

/** The JSON Schema of the list: strings may hold `${NAME}`. */
export const upstreamsJsonSchema: TSchema = Type.Array(
  Type.Object(
    Object.fromEntries(
      names.flatMap(propertiesOf).map(([name, property]) => {
        return [name, name === 'url' ? property : Type.Optional(property)];
      }),
    ),
    { additionalProperties: false },
  ),
  { minItems: 1, description: 'The upstreams, where they have different settings.' },
);

/** Gives what an editor must know of a field, and of the file that may hold it. */
function propertiesOf(name: Name): [string, TSchema][] {
  const { schema, item, default: fallback, secret } = fields[name];
  const filledIn = Type.String({ pattern: '\\$\\{' });
  const options: TSchema[] = schema['anyOf'] ?? [schema];
  const taken = options.map((option) => {
    if (item === undefined || option['type'] !== 'object') return option;
    return Type.Record(Type.String(), Type.Union([item, filledIn]));
  });
  const isScalar = item === undefined || options.length > 1;
  const property = {
    ...Type.Union(isScalar ? [...taken, filledIn] : taken),
    description: useOf(name),
    ...(fallback !== undefined && { default: fallback }),
  };
  const file = Type.String({ description: `A file that holds ${name}.` });
  return secret
    ? [
        [name, property],
        [`${name}_file`, file],
      ]
    : [[name, property]];
}

function useOf(name: Name): string {
  const { schema, description } = fields[name];
  return `${description} Allowed: ${allowed(schema)}.`;
}

/** Gives the README's table of what an entry may have. */
export function upstreamsMarkdown(): string {
  const lines = names.map((name) => {
    const { default: fallback, secret } = fields[name];
    const keys = secret ? `\`${name}\`, \`${name}_file\`` : `\`${name}\``;
    const text = fallback === undefined ? '' : `\`${Bun.YAML.stringify(fallback)}\``;
    return `| ${keys} | ${text} | ${useOf(name)} |`;
  });
  return ['| Key | Default | What it is |', '| --- | --- | --- |', ...lines, ''].join('\n');
}

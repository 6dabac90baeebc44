/**
 * What an entry of the `upstreams` of the YAML file may have, and all that is said from it: its type, its print, its JSON
 * Schema, the README's table. It reads no source (upstreams.ts does) and never shows a key.
 */
import { Type, type Static, type TSchema } from '@sinclair/typebox';
import { allowed, serverBaseUrl } from './settings.ts';
import { engineKinds } from '../wire/kinds.ts';
import { maskKey } from '../log/masking.ts';

const kinds = ['auto', ...engineKinds] as const;
export type EngineKindSetting = (typeof kinds)[number];

export const modelName = Type.String({
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
  if (/[?#@]/.test(text)) {
    throw new Error('no query, fragment or credentials in it, use api_key for a key');
  }
  return serverBaseUrl(text);
}

/** What an entry may have, in the order of the documentation. */
export const fields = {
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

export type Name = keyof typeof fields;
export type ValueOf<N extends Name> = Static<(typeof fields)[N]['schema']>;
export const names = Object.keys(fields) as Name[]; // A constant has its own keys and no other.

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

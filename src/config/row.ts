/**
 * One row of a table of settings: its key, the schema of its value, its default, and what else the reader and the
 * documentation must know. The settings are one table (settings.ts), what an upstream can have is another
 * (upstreamfields.ts); values.ts reads both, and describe.ts writes what people read of both.
 */
import { Type, type Static, type TSchema } from '@sinclair/typebox';

export interface Extras {
  /** Its value stands in no message and no print, and the key `<key>_file` can name a file that holds it. */
  secret?: boolean;
  /** Turns a given text into what is checked and kept; throws an Error that says why it cannot, without the text. */
  decode?: (text: string) => string;
  /** Whether a text stands for a list: its parts between commas and line ends. */
  isSplit?: boolean;
  isRequired?: boolean;
  /** Whether a change takes effect while the gateway runs; otherwise it needs a restart. */
  isReloadable?: boolean;
}

/**
 * Makes a row.
 * @param key its key in the YAML file, in snake case
 * @param schema of the value. Its `description` says which values are allowed; that of an integer or of words is derived
 * @param description what the value is for, in one sentence
 */
export function row<const Key extends string, S extends TSchema, D extends Static<S> | undefined>(
  key: Key,
  schema: S,
  fallback: D,
  description: string,
  extras: Extras = {},
) {
  const { secret = false, decode = (text: string) => text } = extras;
  const { isSplit = false, isRequired = false, isReloadable = false } = extras;
  const flags = { secret, isSplit, isRequired, isReloadable };
  return { key, schema, default: fallback, description, decode, ...flags };
}

/** Any row, for code that treats all alike. */
export type Row = ReturnType<typeof row>;

type CamelCase<Key extends string> = Key extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Key;

/** The values of rows under their keys in camelCase; `undefined` where one without a default is not set. */
export type Values<R extends Row> = {
  readonly [Each in R as CamelCase<Each['key']>]: undefined extends Each['default']
    ? Static<Each['schema']> | undefined
    : Static<Each['schema']>;
};

/** Returns the defaults of rows under their keys in camelCase. */
export function defaultsOf<R extends Row>(rows: readonly R[]): Values<R> {
  const entries = rows.map((each) => [propertyOf(each.key), each.default]);
  return Object.fromEntries(entries) as Values<R>; // The type of a value has that of its default.
}

/** Returns a key or the name of a variable in camelCase. */
export function propertyOf(key: string): string {
  return key.toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

/** Returns the keys of a row: its own, and that of the file which may hold a secret. */
export function keysOf({ key, secret }: Row): string[] {
  return secret ? [key, `${key}_file`] : [key];
}

/** Returns what the value of a row is for and which values it may have, for people. */
export function useOf({ description, schema }: Row): string {
  return `${description} Allowed: ${allowed(schema)}.`;
}

/** Returns the schema that allows some words. */
export function oneOf<const T extends readonly string[]>(...values: T) {
  return Type.Unsafe<T[number]>(Type.Union(values.map((value) => Type.Literal(value))));
}

/** Returns the alternatives that a schema allows. */
export function optionsOf(schema: TSchema): TSchema[] {
  return schema['anyOf'] ?? [schema];
}

/** Returns the words that a schema allows; none if it allows no words. */
export function wordsOf(schema: TSchema): string[] {
  return optionsOf(schema).flatMap((option) => option['const'] ?? []);
}

/** Returns which values a schema allows, for people. */
export function allowed(schema: TSchema): string {
  if (schema.description !== undefined) return schema.description;
  if (schema['type'] === 'array') return allowed(schema['items']);
  if (schema['anyOf']) return `one of ${wordsOf(schema).join(', ')} (in any case)`;
  return `a whole number from ${schema['minimum']} to ${schema['maximum']}`;
}

/**
 * What people and editors read of the two tables: the print of a configuration, and the JSON Schema of the YAML file. It
 * never shows a secret's value.
 */
import { Type, type TSchema } from '@sinclair/typebox';
import type { Config } from './load.ts';
import { keysOf, useOf, optionsOf, propertyOf, wordsOf, type Row } from './row.ts';
import { settings, valueOf } from './settings.ts';
import { upstreamFields, type UpstreamSettings } from './upstreamfields.ts';
import { maskKey } from '../log/masking.ts';

/** Returns the effective configuration in the form of the YAML file; secrets as comments, masked. */
export function describeConfig(config: Config): string {
  // The list of upstreams has these servers, each with its settings.
  const told = settings.filter(({ env }) => env !== 'LLM_SERVER_URL');
  const lines = told.map((row) => lineOf(row, valueOf(config, row.env), countedHints));
  return `${lines.join('\n')}\n${describeUpstreams(config.upstreams)}`;
}

/** Returns upstreams in the form of the YAML file; keys as comments, masked. */
function describeUpstreams(list: readonly UpstreamSettings[]): string {
  const upstreams = list.map((upstream) => {
    const values = new Map<string, unknown>(Object.entries(upstream));
    const lines = upstreamFields.map((row) =>
      lineOf(row, values.get(propertyOf(row.key)), hintsAlone),
    );
    return `  - ${lines.join('\n    ')}\n`;
  });
  return `upstreams:\n${upstreams.join('')}`;
}

function hintsAlone(hints: readonly string[]): string {
  return hints.join(', ');
}

function countedHints(hints: readonly string[]): string {
  return `${hints.length} ${hints.length === 1 ? 'key' : 'keys'}: ${hintsAlone(hints)}`;
}

/** @param tell writes the hints of a secret's values */
function lineOf({ key, secret }: Row, value: unknown, tell: (hints: string[]) => string): string {
  const set = [value ?? []].flat();
  if (value === undefined || (secret && set.length === 0)) return `${key}: # not set`;
  if (secret) return `${key}: # ${tell(set.map((each) => maskKey(String(each))))}`;
  return `${key}: ${Bun.YAML.stringify(value)}`;
}

const filledIn = Type.String({ pattern: '\\$\\{' });

/** The JSON Schema of the list of upstreams. */
const upstreamsJsonSchema: TSchema = Type.Array(
  Type.Object(propertiesOf(upstreamFields), { additionalProperties: false }),
  { minItems: 1, description: 'The upstreams, if they have different settings.' },
);

/** Returns the JSON Schema of the YAML file, for editors. */
export function configJsonSchema(): object {
  const properties = {
    ...propertiesOf(settings),
    upstreams: Type.Optional(upstreamsJsonSchema),
  };
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'LLM Gateway',
    ...Type.Object(properties, { additionalProperties: false }),
  };
}

/** Returns what an editor must know of each key of a table. */
function propertiesOf(rows: readonly Row[]): Record<string, TSchema> {
  const properties = rows.flatMap((row): [string, TSchema][] => {
    const [key, fileKey] = keysOf(row);
    const property = {
      ...valueSchema(row),
      description: useOf(row),
      ...(row.default !== undefined && !row.secret && { default: row.default }),
    };
    const own: [string, TSchema] = [row.key, row.isRequired ? property : Type.Optional(property)];
    if (fileKey === undefined) return [own];
    const file = Type.String({ description: `A file that holds ${key}.` });
    return [own, [fileKey, Type.Optional(file)]];
  });
  return Object.fromEntries(properties);
}

/** Returns the schema of what the file can have under a key. */
function valueSchema({ schema, isSplit }: Row): TSchema {
  if (schema['type'] !== 'array') return fillable(schema);
  const list = { ...schema, items: fillable(schema['items']) };
  return isSplit ? Type.Union([list, Type.String()]) : list;
}

/** Returns a schema that also allows a text with `${NAME}` in it, and words in lower case. */
function fillable(schema: TSchema): TSchema {
  const options = optionsOf(schema).map((option): TSchema => {
    if (option['type'] !== 'object') return option;
    const entries = Object.entries<TSchema>(option['patternProperties']);
    const filled = entries.map(([pattern, item]) => [pattern, fillable(item)]);
    return { ...option, patternProperties: Object.fromEntries(filled) };
  });
  if (options.every((option) => option['type'] === 'object')) return Type.Union(options);
  const words = wordsOf(schema);
  const lowerCase = words.map((word) => word.toLowerCase()).filter((word) => !words.includes(word));
  return Type.Union([...options, ...lowerCase.map((word) => Type.Literal(word)), filledIn]);
}

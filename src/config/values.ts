/**
 * The one reader of values. For each row of a table it finds the value in its sources, decodes it and checks it; what is
 * wrong is reported with its place, what was found and what is allowed.
 */
import type { TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { nearest } from './nearest.ts';
import { attempt, shown } from './problems.ts';
import { allowed, keysOf, optionsOf, propertyOf, wordsOf, type Row, type Values } from './row.ts';
import { find, resolve, type Found, type Layer, type ReadFile } from './sources.ts';
import { messageOf } from '../wire/errors.ts';
import { isRecord } from '../wire/json.ts';

/** The sources of the values of a table. */
export interface Origin {
  /** The first that has a value wins. */
  layers: readonly Layer[];
  readFile: ReadFile;
  /** Returns how messages name a row that no layer has. */
  labelOf: (row: Row) => string;
}

/** What was read of a table, by key unless stated otherwise. */
export interface Reading<R extends Row> {
  /** By key in camelCase; a broken one is `undefined`, whatever its type says. */
  values: Values<R>;
  /** What the sources have, without defaults. */
  found: ReadonlyMap<string, Found>;
  /** The keys whose values are wrong. */
  broken: ReadonlySet<string>;
}

/** Returns the value of every row of a table, or its default; adds everything that is wrong to `problems`. */
export function readRows<R extends Row>(
  rows: readonly R[],
  { layers, readFile, labelOf }: Origin,
  problems: string[],
): Reading<R> {
  const values: Record<string, unknown> = {};
  const found = new Map<string, Found>();
  const broken = new Set<string>();

  function read(row: Row): unknown {
    const given = find(row, layers, problems);
    if (given === undefined) {
      const label = labelOf(row);
      if (row.isRequired) problems.push(`${label}: not set; allowed is ${allowed(row.schema)}`);
      return accept(row, { label, value: row.default, hidden: false }, problems);
    }
    const resolved = attempt(problems, () => resolve(row, given, readFile));
    if (resolved === undefined) return undefined;
    found.set(row.key, resolved);
    return accept(row, resolved, problems);
  }

  for (const row of rows) {
    const before = problems.length;
    const value = read(row);
    const isBroken = problems.length > before;
    if (isBroken) broken.add(row.key);
    values[propertyOf(row.key)] = isBroken ? undefined : value;
  }
  // Each value has been checked against the schema from which its type is derived.
  return { values: values as Values<R>, found, broken };
}

/** Returns a value in its own type; adds to `problems` if it is none that its row allows. */
export function accept(row: Row, { label, value, hidden }: Found, problems: string[]): unknown {
  if (value === undefined) return undefined;
  const { schema, decode } = row;

  function check(item: TSchema, place: string, given: unknown): unknown {
    let accepted = given;
    let reason = '';
    try {
      if (typeof given === 'string') accepted = coerce(item, decode(given.trim()));
    } catch (cause) {
      reason = ` (${messageOf(cause)})`;
    }
    if (reason || !Value.Check(item, accepted)) {
      const what = `${shown(given, hidden)}${reason}`;
      problems.push(`${place} found ${what}; allowed is ${allowed(item)}`);
    }
    return accepted;
  }

  function checkList(list: readonly unknown[]): unknown[] {
    const accepted = list.map((item, index) =>
      check(schema['items'], `${label}: entry ${index + 1} of ${list.length},`, item),
    );
    if (list.length < (schema['minItems'] ?? 0)) {
      problems.push(`${label}: found an empty list; allowed is ${allowed(schema)}`);
    }
    if (!schema['uniqueItems']) return accepted;
    for (const [index, item] of accepted.entries()) {
      const first = accepted.indexOf(item);
      if (first < index) problems.push(`${label}: entry ${index + 1} repeats entry ${first + 1}`);
    }
    return accepted;
  }

  function checkMapping(kind: TSchema, mapping: Record<string, unknown>): Record<string, unknown> {
    const [item] = Object.values<TSchema>(kind['patternProperties']);
    const entries = Object.entries(mapping);
    const accepted = entries.map(([name, each], index) => {
      const place = `${label}: entry ${index + 1} of ${entries.length},`;
      check(kind['propertyNames'], `${place} its name:`, name);
      return [name, check(item ?? kind, place, each)];
    });
    return Object.fromEntries(accepted);
  }

  const list = listIn(row, value);
  if (list) return checkList(list);
  const mapping = optionsOf(schema).find((option) => option['type'] === 'object');
  if (mapping && isRecord(value)) return checkMapping(mapping, value);
  return check(schema, `${label}:`, value);
}

/** Returns the entries of a list; `undefined` if the row takes no list, or none in this form. */
function listIn({ schema, isSplit }: Row, value: unknown): readonly unknown[] | undefined {
  if (schema['type'] !== 'array') return undefined;
  if (Array.isArray(value)) return value;
  if (!isSplit) return undefined;
  if (typeof value !== 'string') return [value];
  return value.split(/[,\r\n]/).filter((part) => part.trim() !== '');
}

/** Returns the number, truth value or word that a text stands for, or the text: variables hold text alone. */
function coerce(schema: TSchema, text: string): unknown {
  const word = text.toLowerCase();
  const words = wordsOf(schema);
  for (const { type } of optionsOf(schema)) {
    if (type === 'boolean' && (word === 'true' || word === 'false')) return word === 'true';
    if (type === 'integer' && /^\d+$/.test(text)) return Number(text);
    if (type === 'number' && /^\d+(\.\d+)?$/.test(text)) return Number(text);
  }
  return words.find((each) => each.toLowerCase() === word) ?? text;
}

/**
 * Returns a problem for each key that no row has.
 * @param known the keys that there are
 * @param hint what follows the problem of a key that resembles none
 */
export function unknownKeys(
  place: string,
  keys: Iterable<string>,
  known: readonly string[],
  hint = '',
): string[] {
  return [...keys].flatMap((key) => {
    if (known.includes(key)) return [];
    const near = nearest(key, known);
    // A key that is no name may be a whole line in the form of a .env file, with a secret in it.
    const problem = /^\w[\w-]{0,40}$/.test(key)
      ? `no setting is called "${key}"`
      : `a key of ${key.length} characters (not shown) is no name of a setting`;
    return `${place}: ${problem}${near === undefined ? hint : `; did you mean ${near}?`}`;
  });
}

/** Returns the keys that the rows of a table have. */
export function knownKeys(rows: readonly Row[]): string[] {
  return rows.flatMap(keysOf);
}

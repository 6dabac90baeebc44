/**
 * Where values come from: the command line, the environment, a YAML file, and the files that these name. It judges no
 * value, reads nothing by itself (`readFile` is an argument) and never quotes a secret.
 */
import type { Pem } from './certificate.ts';
import { InputError, shown } from './problems.ts';
import type { Row } from './row.ts';
import { isRecord } from '../wire/json.ts';
import { readYaml } from './yaml.ts';

export type Environment = Record<string, string | undefined>;
/** Returns the text of a file that a `*_file` key names; throws if it cannot be read. */
export type ReadFile = (path: string) => string;

/** A value as a source gave it. `label` names its place in messages; a `hidden` one is not quoted there. */
export interface Found {
  label: string;
  /** `undefined` if `problems` say why there is none. */
  value: unknown;
  hidden: boolean;
  problems?: readonly string[];
}

/** Returns what one source has under a key of the YAML file. */
export type Layer = (key: string) => Found | undefined;

function fail(problem: string): never {
  throw new InputError([problem]);
}

/** Returns the layer of the environment, whose names are the keys in capitals; a blank variable counts as not set. */
export function environmentLayer(env: Environment): Layer {
  return (key) => {
    const label = key.toUpperCase();
    const value = env[label]?.trim();
    return value ? { label, value, hidden: false } : undefined;
  };
}

/** Returns the layer of the command line, whose options are given under the names of the environment. */
export function overrideLayer(overrides: Record<string, string>): Layer {
  return (key) => {
    const value = overrides[key.toUpperCase()];
    const label = `--${key.replaceAll('_', '-')}`;
    return value === undefined ? undefined : { label, value, hidden: false };
  };
}

/** Returns `text` with every `${NAME}` filled in from `env`; `$${` stands for a plain `${`. Adds to `problems`. */
function interpolate(text: string, env: Environment, problems: string[]): string {
  return text.replace(/\$?\$\{([^}]*)\}?/g, (whole, name: string) => {
    if (whole.startsWith('$$')) return whole.slice(1);
    if (!/^\$\{[A-Za-z_]\w*\}$/.test(whole)) {
      problems.push('a ${ that is not of the form ${NAME}; write $${ for a plain ${');
      return '';
    }
    const value = Object.hasOwn(env, name) ? env[name] : undefined;
    if (!value) problems.push(`\${${name}} is not set in the environment`);
    return value ?? '';
  });
}

/**
 * Returns the layer of a mapping in the YAML file, filled in from `env`. What a variable gave may be a secret, so it is
 * hidden.
 * @param prefix what stands before a key in messages
 */
export function mappingLayer(
  mapping: ReadonlyMap<string, unknown>,
  prefix: string,
  env: Environment,
): Layer {
  return (key) => {
    const label = `${prefix}${key}`;
    const given = mapping.get(key) ?? '';
    if (given === '') return undefined;
    const problems: string[] = [];
    let hidden = false;
    const fill = (item: unknown) => {
      if (typeof item !== 'string') return item;
      hidden ||= item.includes('${');
      return interpolate(item, env, problems);
    };
    const value = fillEach(given, fill);
    if (problems.length === 0) return { label, value, hidden };
    const placed = problems.map((problem) => `${label}: ${problem}`);
    return { label, value: undefined, hidden, problems: placed };
  };
}

/** Returns a value with each text in it filled in: the value itself, or those in a list or a mapping. */
function fillEach(given: unknown, fill: (item: unknown) => unknown): unknown {
  if (Array.isArray(given)) return given.map(fill);
  if (!isRecord(given)) return fill(given);
  return Object.fromEntries(Object.entries(given).map(([name, item]) => [name, fill(item)]));
}

/** Returns what a YAML file has under each key; adds to `problems`. Throws an InputError if it is no mapping. */
export function parseFile(path: string, text: string, problems: string[]): Map<string, unknown> {
  const reading = readYaml(text);
  const placed = reading.problems.map((problem) => `${path}: ${problem}`);
  if (reading.value === undefined) throw new InputError(placed);
  problems.push(...placed);
  const mapping = reading.value ?? {};
  if (isRecord(mapping)) return new Map(Object.entries(mapping));
  return fail(`${path}: found ${shown(mapping, true)}; allowed is a mapping of settings`);
}

/** Returns the content of the file that a value names. Throws an InputError if there is none. */
export function readNamed({ label, value: path, hidden }: Found, readFile: ReadFile): Pem {
  if (typeof path !== 'string') {
    return fail(`${label}: found ${shown(path, hidden)}; allowed is the path of a file`);
  }
  const file = hidden ? 'the file' : `the file ${JSON.stringify(path)}`;
  let text: string;
  try {
    text = readFile(path).trim();
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? ` (${cause.code})` : '';
    return fail(`${label}: cannot read ${file}${code}`);
  }
  if (text === '') fail(`${label}: ${file} is empty`);
  return { label: `${label}, ${file}`, text };
}

/** What one layer has for a row: the value, or the file that holds it. */
interface Given {
  direct: Found | undefined;
  file: Found | undefined;
}

/**
 * Returns what the first layer that has something has. Adds to `problems` what could not be filled in, in every layer: a
 * `${NAME}` that is not set is a mistake even if another source wins.
 */
export function find(row: Row, layers: readonly Layer[], problems: string[]): Given | undefined {
  const given = layers.map((layer) => {
    return { direct: layer(row.key), file: row.secret ? layer(`${row.key}_file`) : undefined };
  });
  for (const { direct, file } of given) {
    problems.push(...(direct?.problems ?? []), ...(file?.problems ?? []));
  }
  return given.find(({ direct, file }) => direct ?? file);
}

/** Returns the value itself. Throws an InputError if it is given twice, or if its file cannot be read. */
export function resolve(row: Row, { direct, file }: Given, readFile: ReadFile): Found {
  if (direct && file) fail(`${direct.label} and ${file.label} are both set; keep one of them`);
  if (direct) return { ...direct, hidden: direct.hidden || row.secret };
  if (file?.value === undefined) return { label: row.key, value: undefined, hidden: true };
  const { label, text } = readNamed(file, readFile);
  return { label, value: text, hidden: true };
}

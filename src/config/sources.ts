/**
 * Where the values of settings come from: the command line, the environment, a YAML file and the files that these name.
 * It judges no value, reads nothing by itself (`readFile` is an argument) and never quotes a secret.
 */
import type { Pem } from './certificate.ts';
import { shown, type Row } from './settings.ts';
import { readYaml } from './yaml.ts';

/** The configuration is wrong: one line for every problem, with its variable or path, what was found, what is allowed. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';

  constructor(readonly problems: string[]) {
    super(`The configuration is wrong:\n${problems.map((problem) => `- ${problem}`).join('\n')}`);
  }
}

function fail(problem: string): never {
  throw new ConfigError([problem]);
}

/** Gives what `work` gives; or adds its problems to `problems` and gives undefined. */
export function attempt<T>(problems: string[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    problems.push(...error.problems);
    return undefined;
  }
}

type Environment = Record<string, string | undefined>;

export interface Sources {
  env: Environment;
  /** The YAML file, when there is one. */
  file?: { path: string; text: string };
  /** From the command line, under the names of the environment. */
  overrides?: Record<string, string>;
  /** Reads a file named by a `*_FILE` variable; may throw. */
  readFile: (path: string) => string;
  /** Whether a gateway is to start with it: then the files of HTTPS are judged, too. */
  isForStart?: true;
  /**
   * Counts the keys that were issued into a DATA_DIR; throws an Error where that cannot be used. Where this is given, a
   * configuration that lets nobody in is wrong.
   */
  countIssuedKeys?: (dataDir: string) => number;
}

/** A value as a source gave it. `label` names its place in messages; a `hidden` one is not quoted there. */
export interface Found {
  label: string;
  /** `undefined` where `problems` say why there is none. */
  value: unknown;
  hidden: boolean;
  problems?: readonly string[];
}

/** Looks a variable up in one source, under its name in the environment. */
export type Layer = (name: string) => Found | undefined;

/** Gives what the environment says; a blank variable is none. */
export function environmentLayer(env: Environment): Layer {
  return (name) => {
    const value = env[name]?.trim();
    return value ? { label: name, value, hidden: false } : undefined;
  };
}

/** Gives what the command line says, which has options for the names of the environment. */
export function overrideLayer(overrides: Record<string, string>): Layer {
  return (name) => {
    const value = overrides[name];
    const label = `--${name.toLowerCase().replaceAll('_', '-')}`;
    return value === undefined ? undefined : { label, value, hidden: false };
  };
}

/** Gives `text` with every `${NAME}` filled in from `env`; `$${` stands for a plain `${`. Adds to `problems`. */
export function interpolate(text: string, env: Environment, problems: string[]): string {
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

/** Gives what the YAML file says, whose keys are the names in lower case, filled in from `env`. */
export function fileLayer(path: string, values: Map<string, unknown>, env: Environment): Layer {
  return (name) => {
    const key = name.toLowerCase();
    const label = `${path}: ${key}`;
    const given = values.get(key) ?? '';
    if (given === '') return undefined;
    const problems: string[] = [];
    let hidden = false;
    const fill = (item: unknown) => {
      if (typeof item !== 'string') return item;
      hidden ||= item.includes('${');
      return interpolate(item, env, problems);
    };
    const value = Array.isArray(given) ? given.map(fill) : fill(given);
    if (problems.length === 0) return { label, value, hidden };
    const told = problems.map((text) => `${label}: ${text}`);
    return { label, value: undefined, hidden, problems: told };
  };
}

/** Gives the entries of a YAML file under their keys; adds to `problems`. Throws a ConfigError when it is no mapping. */
export function parseFile(path: string, text: string, problems: string[]): Map<string, unknown> {
  const reading = readYaml(text);
  const told = reading.problems.map((problem) => `${path}: ${problem}`);
  if (reading.value === undefined) throw new ConfigError(told);
  problems.push(...told);
  const entries = reading.value ?? {};
  if (typeof entries === 'object' && !Array.isArray(entries))
    return new Map(Object.entries(entries));
  return fail(`${path}: found ${shown(entries, true)}; allowed is a mapping of settings`);
}

/** Gives the content of the file that a `*_FILE` variable names. Throws a ConfigError without it. */
export function readNamed(
  { label, value: path, hidden }: Found,
  readFile: Sources['readFile'],
): Pem {
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

/** What one layer gives for a setting: the value, or the file that holds it. */
interface Given {
  direct: Found | undefined;
  file: Found | undefined;
}

/**
 * Gives what the first layer gives that has something; adds to `problems` what could not be filled in, in whichever
 * layer: a `${NAME}` that is not set is a mistake also where another source wins over it.
 */
export function find(row: Row, layers: Layer[], problems: string[]): Given | undefined {
  const given = layers.map((layer) => {
    return { direct: layer(row.env), file: row.secret ? layer(`${row.env}_FILE`) : undefined };
  });
  for (const { direct, file } of given) {
    problems.push(...(direct?.problems ?? []), ...(file?.problems ?? []));
  }
  return given.find(({ direct, file }) => direct ?? file);
}

/** Gives the value itself. Throws a ConfigError when it is given twice, or its file cannot be read. */
export function resolve(row: Row, { direct, file }: Given, readFile: Sources['readFile']): Found {
  if (direct && file) fail(`${direct.label} and ${file.label} are both set; keep one of them`);
  if (direct) return { ...direct, hidden: direct.hidden || row.secret };
  if (file?.value === undefined) return { label: row.env, value: undefined, hidden: true };
  const { label, text } = readNamed(file, readFile);
  return { label, value: text, hidden: true };
}

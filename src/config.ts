/**
 * Loads the configuration from the command line, the environment, a YAML file and the defaults, and checks all of it.
 * It reads nothing by itself (each source and `readFile` are arguments) and never quotes a secret's value.
 */
import { Value } from '@sinclair/typebox/value';
import { messageOf } from './errors.ts';
import {
  allowed,
  describeSettings,
  isList,
  propertyOf,
  rows,
  settingsJsonSchema,
  shown,
  takesInteger,
  valueOf,
  valueSchema,
  wordsOf,
} from './settings.ts';
import type { Row, Settings } from './settings.ts';
import { describeUpstreams, readUpstreams, upstreamsJsonSchema, upstreamsOf } from './upstreams.ts';
import type { UpstreamSettings } from './upstreams.ts';

export { maskKey, serverBaseUrl, settings, settingsMarkdown } from './settings.ts';

/** Every setting, and the upstreams that they give. */
export type Config = Settings & { readonly upstreams: readonly UpstreamSettings[] };

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

type Environment = Record<string, string | undefined>;

export interface Sources {
  env: Environment;
  /** The YAML file, when there is one. */
  file?: { path: string; text: string };
  /** From the command line, under the names of the environment. */
  overrides?: Record<string, string>;
  /** Reads a file named by a `*_FILE` variable; may throw. */
  readFile: (path: string) => string;
}

/** A value as a source gave it. `label` names its place in messages; a `hidden` one is not quoted there. */
interface Found {
  label: string;
  value: unknown;
  hidden: boolean;
}

/** Looks a variable up in one source, under its name in the environment. */
type Layer = (name: string) => Found | undefined;

function environmentLayer(env: Environment): Layer {
  return (name) => {
    const value = env[name]?.trim();
    return value ? { label: name, value, hidden: false } : undefined;
  };
}

function overrideLayer(overrides: Record<string, string>): Layer {
  return (name) => {
    const value = overrides[name];
    const label = `--${name.toLowerCase().replaceAll('_', '-')}`;
    return value === undefined ? undefined : { label, value, hidden: false };
  };
}

/** Gives `text` with every `${NAME}` filled in from `env`; `$${` stands for a plain `${`. Adds to `problems`. */
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

function fileLayer(path: string, values: Map<string, unknown>, env: Environment): Layer {
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
    if (problems.length > 0) throw new ConfigError(problems.map((text) => `${label}: ${text}`));
    return { label, value, hidden };
  };
}

/** Gives the entries of a YAML file under their keys. Throws a ConfigError when it is not one mapping. */
function parseFile(path: string, text: string): Map<string, unknown> {
  let parsed: unknown;
  try {
    parsed = Bun.YAML.parse(text) ?? {};
  } catch (cause) {
    return fail(`${path}: ${cause instanceof Error ? cause.message : 'not valid YAML'}`);
  }
  if (typeof parsed === 'object' && !Array.isArray(parsed)) return new Map(Object.entries(parsed!));
  return fail(`${path}: found ${shown(parsed, true)}; allowed is a mapping of settings`);
}

/** Gives a problem for each key that no setting has. */
function unknownKeys(path: string, keys: Iterable<string>): string[] {
  const known = [
    upstreamsKey.toUpperCase(),
    ...rows.flatMap(({ env, secret }) => (secret ? [env, `${env}_FILE`] : [env])),
  ];
  const letters = (name: string) => name.toLowerCase().replace(/[_-]/g, '');
  return [...keys].flatMap((key) => {
    const near = known.find((name) => letters(name) === letters(key))?.toLowerCase();
    if (near === key) return [];
    // A key that is no name may be a whole line in the form of a .env file, with a secret in it.
    if (!/^\w[\w-]{0,40}$/.test(key)) {
      return [`${path}: a key of ${key.length} characters (not shown) is no name of a setting`];
    }
    return [`${path}: no setting is called "${key}"${near ? `; did you mean ${near}?` : ''}`];
  });
}

/** Gives the content of the file that a `*_FILE` variable names. Throws a ConfigError without it. */
function readSecret(named: Found, readFile: Sources['readFile']): Found {
  const { label, value: path, hidden } = named;
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
  return { label: `${label}, ${file}`, value: text, hidden: true };
}

/** Gives the value of the first layer that has one. Throws a ConfigError when that layer contradicts itself. */
function find(row: Row, layers: Layer[], readFile: Sources['readFile']): Found {
  for (const layer of layers) {
    const direct = layer(row.env);
    const file = row.secret ? layer(`${row.env}_FILE`) : undefined;
    if (direct && file) fail(`${direct.label} and ${file.label} are both set; keep one of them`);
    if (direct) return { ...direct, hidden: direct.hidden || row.secret };
    if (file) return readSecret(file, readFile);
  }
  return { label: row.env, value: row.default, hidden: false };
}

/** Gives one value in its own type, still unchecked. Throws what `decode` throws. */
function coerce(row: Row, given: unknown): unknown {
  if (typeof given !== 'string') return given;
  const schema = valueSchema(row);
  const text = row.decode(given.trim());
  if (takesInteger(schema) && /^\d+$/.test(text)) return Number(text);
  return wordsOf(schema).find((value) => value.toLowerCase() === text.toLowerCase()) ?? text;
}

/** Gives the entries of a list: those of a YAML list, or the parts of a string between commas and line ends. */
function entriesOf(value: unknown): unknown[] {
  if (typeof value === 'string') return value.split(/[,\r\n]/).filter((part) => part.trim() !== '');
  return Array.isArray(value) ? value : [value];
}

/** Gives the value of a setting, checked. Throws a ConfigError with every problem of it. */
function accept(row: Row, { label, value, hidden }: Found): unknown {
  if (value === undefined) return undefined;
  const schema = valueSchema(row);
  const given = isList(row) ? entriesOf(value) : [value];
  const problems: string[] = [];
  const accepted = given.map((item, index) => {
    const place = isList(row) ? `${label}: entry ${index + 1} of ${given.length},` : `${label}:`;
    let coerced: unknown;
    let reason = '';
    try {
      coerced = coerce(row, item);
    } catch (cause) {
      reason = ` (${messageOf(cause)})`;
    }
    if (reason || !Value.Check(schema, coerced)) {
      const found = `found ${shown(item, hidden)}${reason}`;
      problems.push(`${place} ${found}; allowed is ${allowed(schema)}`);
    }
    return coerced;
  });
  if (given.length < (row.schema['minItems'] ?? 0)) {
    problems.push(`${label}: found an empty list; allowed is ${allowed(schema)}`);
  }
  if (row.schema['uniqueItems']) {
    for (const [index, item] of accepted.entries()) {
      const first = accepted.indexOf(item);
      if (first < index) problems.push(`${label}: entry ${index + 1} repeats entry ${first + 1}`);
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return isList(row) ? accepted : accepted[0];
}

const pairs = [
  ['TRUSTED_USER_HEADER', 'TRUSTED_USER_KEYS'],
  ['TLS_CERT_FILE', 'TLS_KEY_FILE'],
] as const;

/** The key of the file's list of upstreams. */
const upstreamsKey = 'upstreams';

/** Gives the upstreams: those of the file's list, else those that LLM_SERVER_URL names; and what is wrong with them. */
function findUpstreams(
  settings: Settings,
  given: { value: unknown; path: string } | undefined,
  isUrlSet: boolean,
  { env, readFile }: Sources,
): { upstreams: UpstreamSettings[]; problems: string[] } {
  const { llmServerUrl: urls, llmServerApiKey: apiKey, llmServerKind: kind } = settings;
  const slots = settings.upstreamSlots;
  if (given === undefined) {
    return { upstreams: upstreamsOf(urls ?? [], { apiKey, kind, slots }), problems: [] };
  }
  const label = `${given.path}: ${upstreamsKey}`;
  const found = readUpstreams(given.value, label, slots, {
    readFile,
    fill(text, place, problems) {
      const here: string[] = [];
      const filled = interpolate(text, env, here);
      problems.push(...here.map((problem) => `${place}: ${problem}`));
      return filled;
    },
  });
  if (isUrlSet) found.problems.push(`${label} and LLM_SERVER_URL are both set; keep one of them`);
  return found;
}

/** Gives the problems between settings that are good by themselves. Those in `broken` are not judged again. */
function contradictions(config: Settings, broken: ReadonlySet<string>): string[] {
  const problems: string[] = [];
  for (const pair of pairs) {
    if (pair.some((env) => broken.has(env))) continue;
    const missing = pair.filter((env) => [valueOf(config, env) ?? []].flat().length === 0);
    if (missing.length !== 1) continue;
    problems.push(`${missing[0]}: not set; allowed is both of ${pair.join(' and ')} or neither`);
  }
  for (const env of ['ADMIN_API_KEY', 'METRICS_TOKEN']) {
    const secret = valueOf(config, env);
    if (typeof secret === 'string' && config.allowedApiKeys?.includes(secret)) {
      problems.push(`${env}: is one of ALLOWED_API_KEYS; make up another one`);
    }
  }
  const keyLists = ['ALLOWED_API_KEYS', 'TRUSTED_USER_KEYS', 'BATCH_API_KEYS'];
  if (keyLists.some((env) => broken.has(env))) return problems;
  for (const name of ['TRUSTED_USER_KEYS', 'BATCH_API_KEYS'] as const) {
    const keys = valueOf(config, name) as readonly string[]; // Both are lists of keys.
    for (const [index, key] of keys.entries()) {
      if (config.allowedApiKeys.includes(key)) continue;
      problems.push(`${name}: entry ${index + 1} of ${keys.length} is not in ALLOWED_API_KEYS`);
    }
  }
  return problems;
}

/**
 * Gives the configuration; command line before environment before file before default, and an empty variable is none.
 * Throws a ConfigError with every problem, never with the value of a secret.
 */
export function loadConfig(sources: Sources): Config {
  const { env, file, overrides = {}, readFile } = sources;
  const problems: string[] = [];
  /** Gives what `work` gives; or keeps its problems and gives undefined. */
  function attempt<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
      return undefined;
    }
  }
  const layers = [overrideLayer(overrides), environmentLayer(env)];
  let listed: { value: unknown; path: string } | undefined;
  if (file) {
    const values = attempt(() => parseFile(file.path, file.text)) ?? new Map<string, unknown>();
    problems.push(...unknownKeys(file.path, values.keys()));
    const value = values.get(upstreamsKey);
    if (value !== undefined) listed = { value, path: file.path };
    layers.push(fileLayer(file.path, values, env));
  }
  const broken = new Set<string>();
  const config = Object.fromEntries(
    rows.map((row) => {
      const before = problems.length;
      const value = attempt(() => accept(row, find(row, layers, readFile)));
      if (problems.length > before) broken.add(row.env);
      return [propertyOf(row.env), value];
    }),
  ) as Settings; // The rows are the type's own source; a broken one never leaves this function.
  problems.push(...contradictions(config, broken));
  const isUrlSet = layers.some((layer) => {
    try {
      return layer('LLM_SERVER_URL') !== undefined;
    } catch {
      return true; // What is wrong with it has been told.
    }
  });
  const found = findUpstreams(config, listed, isUrlSet, sources);
  problems.push(...found.problems);
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze({ ...config, upstreams: found.upstreams });
}

/** Gives the effective configuration in the form of the YAML file; secrets as comments, masked. */
export function describeConfig(config: Config): string {
  // An environment that names a URL gives these upstreams as well: the list says it once.
  return describeSettings(config, ['LLM_SERVER_URL']) + describeUpstreams(config.upstreams);
}

/** Gives the JSON Schema of the YAML file, for editors. */
export function configJsonSchema(): object {
  return settingsJsonSchema({ [upstreamsKey]: upstreamsJsonSchema });
}

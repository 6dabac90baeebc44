/**
 * Loads the configuration from its sources and the defaults, and checks all of it, each setting and what several say
 * together. It reads nothing by itself (each source and `readFile` are arguments) and never quotes a secret's value.
 */
import { Value } from '@sinclair/typebox/value';
import { certificateProblems } from './certificate.ts';
import { messageOf } from '../wire/errors.ts';
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
import {
  attempt,
  ConfigError,
  environmentLayer,
  fileLayer,
  find,
  interpolate,
  overrideLayer,
  parseFile,
  readNamed,
  resolve,
  type Found,
  type Sources,
} from './sources.ts';
import { describeUpstreams, readUpstreams, upstreamsJsonSchema, upstreamsOf } from './upstreams.ts';
import type { UpstreamSettings } from './upstreams.ts';

export { serverBaseUrl, settings, settingsMarkdown } from './settings.ts';
export { ConfigError, type Sources } from './sources.ts';

/** Every setting, and the upstreams that they give. */
export type Config = Settings & { readonly upstreams: readonly UpstreamSettings[] };

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

/** Whoever listens there listens on 127.0.0.1, too. */
const hostsWithLoopback = ['0.0.0.0', '::', 'localhost', '127.0.0.1'];

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
  const { port, metricsPort, host } = config;
  if (metricsPort > 0 && metricsPort === port && hostsWithLoopback.includes(host)) {
    problems.push('METRICS_PORT: is that of PORT as well; choose another one');
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

/** Gives the problems of the files of HTTPS, each and as a pair. Those in `broken` are not judged again. */
function tlsProblems(
  found: ReadonlyMap<string, Found>,
  broken: ReadonlySet<string>,
  readFile: Sources['readFile'],
): string[] {
  const problems: string[] = [];
  const [cert, key] = ['TLS_CERT_FILE', 'TLS_KEY_FILE'].map((env) => {
    const named = broken.has(env) ? undefined : found.get(env);
    return named && attempt(problems, () => readNamed(named, readFile));
  });
  return [...problems, ...certificateProblems(cert, key)];
}

/** Says whether somebody has a key, or can make one: the operator over /admin. `countIssuedKeys` may be costly. */
export function letsSomebodyIn(
  { allowedApiKeys, adminApiKey, dataDir }: Settings,
  countIssuedKeys: (dataDir: string) => number,
): boolean {
  return allowedApiKeys.length > 0 || adminApiKey !== undefined || countIssuedKeys(dataDir) > 0;
}

/** Gives what is wrong with DATA_DIR, or with having no key at all. Those in `broken` are not judged again. */
function keyProblems(
  config: Settings,
  broken: ReadonlySet<string>,
  countIssuedKeys: (dataDir: string) => number,
): string[] {
  if (broken.has('DATA_DIR')) return [];
  let issued: number;
  try {
    issued = countIssuedKeys(config.dataDir);
  } catch (cause) {
    return [`DATA_DIR: ${messageOf(cause)}`];
  }
  const areBroken = broken.has('ALLOWED_API_KEYS') || broken.has('ADMIN_API_KEY');
  return areBroken || letsSomebodyIn(config, () => issued) ? [] : [noKeyProblem];
}

const noKeyProblem =
  'ALLOWED_API_KEYS: no API key is configured and none has been issued, and this gateway never runs open; ' +
  '"llm-gateway serve" proposes a fresh one';

/**
 * Gives the configuration; command line before environment before file before default, and an empty variable is none.
 * Throws a ConfigError with every problem, never with the value of a secret.
 */
export function loadConfig(sources: Sources): Config {
  const { env, file, overrides = {}, readFile, isForStart, countIssuedKeys } = sources;
  const problems: string[] = [];
  const layers = [overrideLayer(overrides), environmentLayer(env)];
  let listed: { value: unknown; path: string } | undefined;
  const values = file && attempt(problems, () => parseFile(file.path, file.text, problems));
  if (file && values) {
    problems.push(...unknownKeys(file.path, values.keys()));
    const value = values.get(upstreamsKey);
    if (value !== undefined) listed = { value, path: file.path };
    layers.push(fileLayer(file.path, values, env));
  }
  // What is not set may stand in a file that could not be read.
  const isFileLost = file !== undefined && values === undefined;
  const broken = new Set<string>();
  const found = new Map<string, Found>();
  const entries = rows.map((row) => {
    const before = problems.length;
    const given = find(row, layers, problems);
    const value = attempt(problems, () => {
      if (given === undefined) {
        return accept(row, { label: row.env, value: row.default, hidden: false });
      }
      const resolved = resolve(row, given, readFile);
      found.set(row.env, resolved);
      return accept(row, resolved);
    });
    if (problems.length > before || (isFileLost && given === undefined)) broken.add(row.env);
    return [propertyOf(row.env), value];
  });
  // The rows are the type's own source; a broken one never leaves this function.
  const config = Object.fromEntries(entries) as Settings;
  problems.push(...contradictions(config, broken));
  if (isForStart) problems.push(...tlsProblems(found, broken, readFile));
  if (countIssuedKeys) problems.push(...keyProblems(config, broken, countIssuedKeys));
  const { upstreams, problems: others } = findUpstreams(
    config,
    listed,
    found.has('LLM_SERVER_URL'),
    sources,
  );
  problems.push(...others);
  if (problems.length > 0) throw new ConfigError(problems);
  return Object.freeze({ ...config, upstreams });
}

/** Gives what is wrong with values of the command line, under the names of the environment. */
export function overrideProblems(overrides: Record<string, string>): string[] {
  const layer = overrideLayer(overrides);
  const problems: string[] = [];
  for (const row of rows) {
    const found = layer(row.env);
    if (found) attempt(problems, () => accept(row, found));
  }
  return problems;
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

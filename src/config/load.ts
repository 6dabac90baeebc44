/**
 * Loads the configuration from its sources and the defaults, and checks all of it: each setting, and what several say
 * together. It reads nothing by itself (each source and `readFile` are arguments) and never quotes a secret's value.
 */
import { certificateProblems } from './certificate.ts';
import { nearest } from './nearest.ts';
import { attempt, InputError } from './problems.ts';
import { settings, valueOf, type Settings } from './settings.ts';
import type { Values } from './row.ts';
import {
  environmentLayer,
  mappingLayer,
  overrideLayer,
  parseFile,
  readNamed,
  type Environment,
  type Found,
  type ReadFile,
} from './sources.ts';
import { readUpstreams, upstreamsOf, type UpstreamSettings } from './upstreams.ts';
import { accept, knownKeys, readRows, unknownKeys } from './values.ts';
import { messageOf } from '../wire/errors.ts';

/** Every setting, and the upstreams that the settings name. */
export type Config = Settings & { readonly upstreams: readonly UpstreamSettings[] };

export interface Sources {
  env: Environment;
  /** The YAML file, if there is one. */
  file?: { path: string; text: string };
  /** The command line, under the names of the environment. */
  overrides?: Record<string, string>;
  readFile: ReadFile;
  /** Whether a gateway is to start with it: then the files of HTTPS are checked as well. */
  isForStart?: true;
  /**
   * Counts the keys that were issued into a DATA_DIR; throws an Error if that folder cannot be used. If this is given, a
   * configuration that lets nobody in is wrong.
   */
  countIssuedKeys?: (dataDir: string) => number;
}

const pairs = [
  ['TRUSTED_USER_HEADER', 'TRUSTED_USER_KEYS'],
  ['TLS_CERT_FILE', 'TLS_KEY_FILE'],
] as const;

/** Listening on one of these is listening on 127.0.0.1 as well. */
const hostsWithLoopback = ['0.0.0.0', '::', 'localhost', '127.0.0.1'];

/** The key of the file's list of upstreams. */
const upstreamsKey = 'upstreams';

/** Returns the upstreams of the file's list, or those that LLM_SERVER_URL names, and what is wrong with them. */
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
  const found = readUpstreams(given.value, label, { env, readFile, slots });
  if (isUrlSet) found.problems.push(`${label} and LLM_SERVER_URL are both set; keep one of them`);
  return found;
}

/** Returns the problems between settings that are good by themselves. Those in `broken` are not checked again. */
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

/** Returns the problems of the files of HTTPS, of each and of the pair. Those in `broken` are not checked again. */
function tlsProblems(
  found: ReadonlyMap<string, Found>,
  broken: ReadonlySet<string>,
  readFile: ReadFile,
): string[] {
  const problems: string[] = [];
  const [cert, key] = ['TLS_CERT_FILE', 'TLS_KEY_FILE'].map((env) => {
    const named = broken.has(env) ? undefined : found.get(env.toLowerCase());
    return named && attempt(problems, () => readNamed(named, readFile));
  });
  return [...problems, ...certificateProblems(cert, key)];
}

/** Returns whether anybody has a key or can make one, as the operator can. `countIssuedKeys` may be costly. */
export function letsSomebodyIn(
  { allowedApiKeys, adminApiKey, dataDir }: Settings,
  countIssuedKeys: (dataDir: string) => number,
): boolean {
  return allowedApiKeys.length > 0 || adminApiKey !== undefined || countIssuedKeys(dataDir) > 0;
}

/** Returns what is wrong with DATA_DIR, or with having no key at all. Those in `broken` are not checked again. */
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
 * Returns the configuration. The command line wins over the environment, that over the file, that over the default; a
 * blank variable counts as not set. Throws an InputError with every problem, never with the value of a secret.
 */
export function loadConfig(sources: Sources): Config {
  const { env, file, overrides = {}, readFile, isForStart, countIssuedKeys } = sources;
  const problems: string[] = [];
  const layers = [overrideLayer(overrides), environmentLayer(env)];
  let listed: { value: unknown; path: string } | undefined;
  const mapping = file && attempt(problems, () => parseFile(file.path, file.text, problems));
  if (file && mapping) {
    const known = [upstreamsKey, ...knownKeys(settings)];
    problems.push(...unknownKeys(file.path, mapping.keys(), known));
    const value = mapping.get(upstreamsKey);
    if (value !== undefined) listed = { value, path: file.path };
    layers.push(mappingLayer(mapping, `${file.path}: `, env));
  }
  const origin = { layers, readFile, labelOf: ({ key }: { key: string }) => key.toUpperCase() };
  const read = readRows(settings, origin, problems);
  const { values: config, found } = read;
  // What is not set may stand in a file that could not be read.
  const isFileLost = file !== undefined && mapping === undefined;
  const lost = settings.filter(({ key }) => isFileLost && !found.has(key));
  const broken = new Set(
    [...read.broken, ...lost.map(({ key }) => key)].map((key) => key.toUpperCase()),
  );
  problems.push(...contradictions(config, broken));
  if (isForStart) problems.push(...tlsProblems(found, broken, readFile));
  if (countIssuedKeys) problems.push(...keyProblems(config, broken, countIssuedKeys));
  const isUrlSet = found.has('llm_server_url');
  const { upstreams, problems: others } = findUpstreams(config, listed, isUrlSet, sources);
  problems.push(...others);
  if (problems.length > 0) throw new InputError(problems, 'The configuration is wrong:');
  return Object.freeze({ ...config, upstreams });
}

/** The key of a setting in the YAML file. */
type SettingKey = (typeof settings)[number]['key'];

/**
 * Returns some of the settings, for commands that need no others: mistakes elsewhere do not stop them. Throws an InputError
 * if one of these is wrong, or if the file is no YAML.
 */
export function loadSome<const Key extends SettingKey>(
  keys: readonly Key[],
  { env, file, overrides = {}, readFile }: Sources,
): Pick<Settings, keyof Values<Extract<(typeof settings)[number], { key: Key }>> & keyof Settings> {
  const problems: string[] = [];
  const layers = [overrideLayer(overrides), environmentLayer(env)];
  // A key that stands twice is a problem only if it is one of these, and then `check-config` tells.
  if (file) layers.push(mappingLayer(parseFile(file.path, file.text, []), `${file.path}: `, env));
  const rows = settings.filter(({ key }) => (keys as readonly string[]).includes(key));
  const origin = { layers, readFile, labelOf: ({ key }: { key: string }) => key.toUpperCase() };
  const { values } = readRows(rows, origin, problems);
  if (problems.length > 0) throw new InputError(problems, 'The configuration is wrong:');
  return values;
}

/**
 * Returns a warning for each variable of the environment that resembles a setting and is none. It quotes no value: the
 * variable may hold a secret.
 */
export function nearMisses(env: Environment): string[] {
  const known = knownKeys(settings).map((key) => key.toUpperCase());
  return Object.keys(env).flatMap((name) => {
    // Variables of other programs are short, and alike by chance: one letter in six may be wrong.
    if (known.includes(name) || !/^\w{5,60}$/.test(name)) return [];
    const near = nearest(name, known, 6);
    return near === undefined ? [] : [`${name}: no setting has this name; did you mean ${near}?`];
  });
}

/** Returns what is wrong with values of the command line, given under the names of the environment. */
export function overrideProblems(overrides: Record<string, string>): string[] {
  const layer = overrideLayer(overrides);
  const problems: string[] = [];
  for (const row of settings) {
    const found = layer(row.key);
    if (found) accept(row, found, problems);
  }
  return problems;
}

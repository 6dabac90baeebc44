#!/usr/bin/env bun
/**
 * The command line. Only this file reads arguments and the environment's settings, and only this file exits.
 */
import './runtime.ts';
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { version } from '../package.json';
import {
  letsSomebodyIn,
  loadConfig,
  loadSome,
  nearMisses,
  overrideProblems,
  type Config,
  type Sources,
} from './config/load.ts';
import { didYouMean } from './config/nearest.ts';
import { InputError } from './config/problems.ts';
import { notedReads } from './config/watchedfiles.ts';
import { optionProblem } from './cli/command.ts';
import { oneLine } from './cli/table.ts';
import { countIssuedKeys, openLedger } from './stores/open.ts';
import { messageOf } from './wire/errors.ts';
import { demoSettings, invitation } from './demo/invitation.ts';
import type { Certificate } from './listen.ts';
import { serve } from './serve.ts';

/** The commands, in the order of the help, with what each is for. */
const summaries = {
  serve: 'run the gateway (the default); settings come from the environment, .env and --config',
  demo: 'run it in front of a built-in simulated engine: no model, no network, no settings',
  keys: 'add, list, show, edit, rotate and revoke API keys; "keys --help" says more',
  usage: 'what has been used, by key, model, day and more; "usage --help" says more',
  backup: 'copy the store to a file, also while a gateway runs on it',
  restore: 'put a backup in the place of the store',
  healthcheck: 'ask the gateway on this machine whether it lives; ends with 0 if so, else with 1',
  'check-config': `print the effective configuration with secrets masked, or every problem in it
                   --schema  print a JSON Schema of the configuration file instead`,
  completion: 'print a script that completes all this in bash, zsh or fish',
} as const;

const commands = [...Object.keys(summaries), 'help'];

const options = {
  config: { type: 'string' },
  host: { type: 'string' },
  port: { type: 'string' },
  schema: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'v' },
} as const;

const usage = `LLM Gateway ${version}: one door in front of your inference server

Usage: llm-gateway [command] [options]

Commands
${Object.entries(summaries)
  .map(([name, summary]) => `  ${name.padEnd(16)} ${summary}\n`)
  .join('')}
Options
  --config FILE    a YAML file with settings; the environment wins over it
  --host HOST      the address to listen on (HOST)
  --port PORT      the port to listen on (PORT)
  --help           this text; "help COMMAND" and "COMMAND --help" say more about those on the store
  --version        the version
`;

type Environment = Record<string, string | undefined>;

/** Ends the process with a message: 2 if the command was given wrongly, 1 for everything else. */
function quit(code: 1 | 2, message: string): never {
  process.stderr.write(`llm-gateway: ${message}\n`);
  process.exit(code);
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function printError(text: string): void {
  process.stderr.write(`${text}\n`);
}

function parseCommandLine(args: string[]) {
  const { values, positionals } = parseArgs({ args, allowPositionals: true, options });
  const [command = 'serve', ...surplus] = positionals;
  if (!commands.includes(command)) {
    throw new Error(`unknown command "${oneLine(command)}"${didYouMean(command, commands)}`);
  }
  if (surplus.length > 0) throw new Error(`unexpected "${oneLine(surplus.join(' '))}"`);
  if (values.schema && command !== 'check-config')
    throw new Error('--schema belongs to check-config');
  const { host, port } = values;
  const overrides = {
    ...(host !== undefined && { HOST: host }),
    ...(port !== undefined && { PORT: port }),
  };
  const problems = overrideProblems(overrides);
  if (problems.length > 0) throw new Error(problems.join('\n'));
  return { ...values, command, overrides };
}

type CommandLine = ReturnType<typeof parseCommandLine>;
type Given = Partial<Pick<CommandLine, 'config' | 'overrides'>>;

function readCommandLine(args: string[]): CommandLine {
  try {
    return parseCommandLine(args);
  } catch (error) {
    return quit(2, `${optionProblem(error, Object.keys(options))}\nTry: llm-gateway --help`);
  }
}

/** Reads a file that the user named; `named` is the setting that names it, for the message. */
function readText(path: string, named = ''): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    return quit(1, `${named}cannot read ${path}: ${messageOf(error)}`);
  }
}

/**
 * Returns the sources that the command line and the environment name. Throws the error of reading the file.
 * @param readFile reads the configuration file and those that it names
 */
function sourcesOf(
  { config, overrides = {} }: Given,
  env: Environment,
  readFile = (path: string) => readFileSync(path, 'utf8'),
): Sources {
  const file = config !== undefined && { file: { path: config, text: readFile(config) } };
  return { env, ...file, overrides, readFile };
}

/** Reads the configuration. Throws an InputError if it is wrong, or the error of reading its file. */
function read(given: Given, env: Environment, more: Partial<Sources>): Config {
  return loadConfig({ ...more, ...sourcesOf(given, env, more.readFile) });
}

/** Returns what `work` reads of the configuration; ends with what is wrong with it. */
function orQuit<T>({ config }: Given, work: () => T): T {
  if (config !== undefined) readText(config);
  try {
    return work();
  } catch (error) {
    if (error instanceof InputError) return quit(1, error.message);
    throw error;
  }
}

/** Reads the configuration; ends with what is wrong with it. */
function load(given: Given, env: Environment, more: Partial<Sources>): Config {
  return orQuit(given, () => read(given, env, more));
}

/**
 * Reads the certificate and its key, if they are configured.
 * @param read reads a file; the setting that names it is for messages
 */
function readCertificate(
  { tlsCertFile, tlsKeyFile }: Config,
  read: (path: string, named: string) => string,
): Certificate | undefined {
  if (tlsCertFile === undefined || tlsKeyFile === undefined) return undefined;
  return {
    cert: read(tlsCertFile, 'TLS_CERT_FILE: '),
    key: read(tlsKeyFile, 'TLS_KEY_FILE: '),
  };
}

/** Reads the configuration of a running gateway again, as strictly as at its start. Throws what `read` throws. */
function readAgain(
  given: Given,
  env: Environment,
  again: Required<Pick<Sources, 'countIssuedKeys' | 'readFile'>>,
): Config {
  const { config: file } = given;
  if (file !== undefined && again.readFile(file).trim() === '') {
    // A start takes it for one that sets nothing; here it had settings.
    throw new InputError([`${file}: the file is empty; write {} to use every default`]);
  }
  return read(given, env, { isForStart: true, ...again });
}

function freshKey(): string {
  return `sk-${Buffer.from(crypto.getRandomValues(new Uint8Array(24))).toString('base64url')}`;
}

/** Returns whether there are keys, or an operator who can make them. */
function hasKeys(config: Config): boolean {
  try {
    return letsSomebodyIn(config, countIssuedKeys);
  } catch (error) {
    return quit(1, `DATA_DIR: ${messageOf(error)}`);
  }
}

/** The commands that work on the store. */
const storeCommands = {
  keys: async () => (await import('./cli/keys.ts')).runKeys,
  usage: async () => (await import('./cli/usage.ts')).runUsage,
  backup: async () => (await import('./cli/backup.ts')).runBackup,
  restore: async () => (await import('./cli/restore.ts')).runRestore,
} as const;
type StoreCommand = keyof typeof storeCommands;

/** Runs a command that works on the store. */
async function runStoreCommand(name: StoreCommand, args: string[], env: Environment) {
  const run = await storeCommands[name]();
  function dataDirOf(file: string | undefined): string {
    const given = file === undefined ? {} : { config: file };
    // A mistake in what only a gateway needs must not lock the operator out of the keys.
    const { dataDir } = orQuit(given, () => loadSome(['data_dir'], sourcesOf(given, env)));
    if (dataDir === 'none') throw new Error('DATA_DIR is none: there is no store to work on');
    return dataDir;
  }
  const code = await run(args, {
    // Waiting for the lock of another process stops nothing else here.
    open: async (file) => await openLedger(dataDirOf(file), 5_000),
    dataDir: dataDirOf,
    epochNow: Date.now,
    print,
    printError,
  });
  // `process.exit` would lose what a pipe has not taken yet.
  process.exitCode = code;
}

/** Returns what can stand behind each command. */
async function nextWords(): Promise<Record<string, string[]>> {
  const [{ optionsOf }, { keyCommands }, { usageCommand }, { backupSyntax }, { restoreSyntax }] =
    await Promise.all([
      import('./cli/command.ts'),
      import('./cli/keys.ts'),
      import('./cli/usage.ts'),
      import('./cli/backup.ts'),
      import('./cli/restore.ts'),
    ]);
  const plain = ['--config', '--host', '--port', '--help'];
  const ofKeys = Object.entries(keyCommands).map(([name, command]) => [
    `keys ${name}`,
    optionsOf(command),
  ]);
  return {
    '': [...commands, ...plain, '--version'],
    serve: plain,
    demo: plain,
    keys: [...Object.keys(keyCommands), '--help'],
    ...Object.fromEntries(ofKeys),
    usage: optionsOf(usageCommand),
    backup: optionsOf(backupSyntax),
    restore: optionsOf(restoreSyntax),
    healthcheck: plain,
    'check-config': [...plain, '--schema'],
    completion: ['bash', 'zsh', 'fish', '--help'],
    help: commands,
  };
}

/** Prints the script of a shell. */
async function printCompletion(args: string[]): Promise<void> {
  const { runCompletion } = await import('./cli/completion.ts');
  process.exitCode = runCompletion(args, await nextWords(), { print, printError });
}

/** Runs the gateway until a signal ends it. */
async function runServe(commandLine: CommandLine, env: Environment): Promise<never> {
  const { files, readFile } = notedReads();
  const config = load(commandLine, env, { isForStart: true, readFile });
  if (!hasKeys(config)) {
    quit(
      1,
      'no API key is configured, and this gateway never runs open.\n' +
        'Put this line into .env (the key is fresh and random) and start again:\n\n' +
        `  ALLOWED_API_KEYS=${freshKey()}\n\n` +
        'or make a key that can be limited and revoked: llm-gateway keys add NAME\n',
    );
  }
  const { ended } = await serve(config, version, readCertificate(config, readText), {
    files,
    load: (countIssuedKeys, readFile) => readAgain(commandLine, env, { countIssuedKeys, readFile }),
    readCertificate: (next) => readCertificate(next, (path) => readFileSync(path, 'utf8')),
  });
  process.exit(await ended);
}

/** Runs the gateway in front of the built-in engine, on loopback unless told otherwise, and says how to try it. */
async function runDemo(commandLine: CommandLine, env: Environment): Promise<never> {
  const { startDemoEngine } = await import('./demo/engine.ts');
  const engine = startDemoEngine({ firstTokenMs: 200, tokensPerSecond: 30 });
  const demoEnv = { ...env, ...demoSettings(engine.url), HOST: '127.0.0.1' };
  const config = load(commandLine, demoEnv, { isForStart: true });
  const { url, ended } = await serve(config, version, undefined);
  if (url !== undefined) {
    print(
      invitation({
        title: `LLM Gateway ${version} in front of its built-in demo engine, which simulates: there is no model behind it.`,
        url,
        key: config.allowedApiKeys[0] ?? '',
        plain: ['/v1/completions', '{"prompt": "Hello!", "max_tokens": 40}'],
        streamed: ['/v1/completions', '{"prompt": "Hello!", "max_tokens": 40, "stream": true}'],
      }),
    );
  }
  process.exit(await ended);
}

/** Asks the gateway that this configuration starts whether it lives. */
async function runHealthcheck(commandLine: CommandLine, env: Environment): Promise<never> {
  const { healthProblem } = await import('./cli/healthcheck.ts');
  const keys = ['host', 'port', 'tls_cert_file'] as const;
  const sources = () => loadSome(keys, sourcesOf(commandLine, env));
  const { host, port, tlsCertFile } = orQuit(commandLine, sources);
  const address = { host, port, isHttps: tlsCertFile !== undefined };
  const problem = await healthProblem(address, fetch);
  if (problem !== undefined) return quit(1, problem);
  return process.exit(0);
}

async function main(env: Environment): Promise<void> {
  const given = process.argv.slice(2);
  // "help keys add" is "keys add --help".
  const isHelp = given[0] === 'help' && given.length > 1;
  const all = isHelp ? [...given.slice(1), '--help'] : given;
  const [name, ...args] = all;
  if (name !== undefined && Object.hasOwn(storeCommands, name)) {
    return await runStoreCommand(name as StoreCommand, args, env);
  }
  if (name === 'completion') return await printCompletion(args);
  const commandLine = readCommandLine(all);
  const { command } = commandLine;
  if (commandLine.help || command === 'help') return print(usage.trimEnd());
  if (commandLine.version) return print(version);
  if (command === 'serve') return await runServe(commandLine, env);
  if (command === 'demo') return await runDemo(commandLine, env);
  if (command === 'healthcheck') return await runHealthcheck(commandLine, env);
  const { configJsonSchema, describeConfig } = await import('./config/describe.ts');
  if (commandLine.schema) return print(JSON.stringify(configJsonSchema(), null, 2));
  const warnings = nearMisses(env).map((warning) => `llm-gateway: warning: ${warning}\n`);
  process.stderr.write(warnings.join(''));
  const config = load(commandLine, env, { isForStart: true, countIssuedKeys });
  print(describeConfig(config).trimEnd());
}

void main(process.env);

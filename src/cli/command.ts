/**
 * Runs a command that works on the stores: reads its arguments, opens and closes the stores, and prints what is wrong. It
 * returns the exit code and does not exit.
 */
import { parseArgs, type ParseArgsOptionsConfig } from 'node:util';
import { messageOf } from '../wire/errors.ts';
import { didYouMean } from '../config/nearest.ts';
import { InputError } from '../config/problems.ts';
import type { LedgerStores } from '../stores/open.ts';
import { json, oneLine } from './table.ts';

/** What a command needs of the process; `print` and `printError` end the line. */
export interface CommandContext {
  /** @param config the file that --config names; rejects with an Error that says why the stores cannot be opened */
  open(config: string | undefined): Promise<LedgerStores>;
  /** Returns the folder of the store, for a command that opens it itself; throws an Error if there is none. */
  dataDir(config: string | undefined): string;
  /** Epoch milliseconds. */
  epochNow(): number;
  print(text: string): void;
  printError(text: string): void;
}

/** 0: done. 1: it could not be done. 2: the command was given wrongly. */
export type ExitCode = 0 | 1 | 2;

/** The command was given wrongly. */
export class Misuse extends Error {}

type Values = Readonly<Record<string, string | boolean | undefined>>;

/** The arguments of a command. */
interface Given {
  values: Values;
  /** The key that the command is about, the name of a new one, or a file; empty if none is given. */
  named: string;
}

/** A command that has been read. */
export interface Call extends CommandContext, Given {
  stores: LedgerStores;
}

/** Which arguments a command takes. */
export interface Syntax {
  help: string;
  options: ParseArgsOptionsConfig;
  /** Whether it is about one key, which must be named. */
  isAboutKey: boolean;
  /** Whether it takes another word: the name of a new key, or a file. */
  takesWord?: true;
}

export interface Command extends Syntax {
  run(call: Call): void | Promise<void>;
}

const commonOptions = {
  config: { type: 'string' },
  help: { type: 'boolean', short: 'h' },
} as const;

/** Returns the options of a command as they are typed: --config and so on. */
export function optionsOf({ options }: Syntax): string[] {
  return Object.keys({ ...options, ...commonOptions }).map((name) => `--${name}`);
}

/** The options that every command has, as its help says. */
export const commonHelp = `
  --config FILE      the configuration whose DATA_DIR is meant, if it is in a file
  --help             this text`;

/**
 * Runs a command with the stores open.
 * @param title what stands behind `llm-gateway` to call it
 */
export async function runCommand(
  command: Command,
  args: readonly string[],
  context: CommandContext,
  title: string,
): Promise<ExitCode> {
  return await obey(command, args, context, title, async (given) => {
    const stores = await context.open(configOf(given));
    try {
      await command.run({ ...context, ...given, stores });
    } finally {
      await stores.close();
    }
  });
}

/** Returns the file that --config names. */
function configOf({ values }: Given): string | undefined {
  return values['config'] as string | undefined; // As declared.
}

/** Reads the arguments of a command and does `work` with them, or prints its help, or what is wrong. */
async function obey(
  syntax: Syntax,
  args: readonly string[],
  context: CommandContext,
  title: string,
  work: (given: Given) => void | Promise<void>,
): Promise<ExitCode> {
  try {
    const given = read(syntax, args);
    if (given.values['help'] === true) context.print(syntax.help);
    else await work(given);
    return 0;
  } catch (error) {
    const isMisuse = error instanceof Misuse || error instanceof InputError;
    const problems = error instanceof InputError ? error.problems : [messageOf(error)];
    for (const problem of problems) context.printError(`llm-gateway: ${problem}`);
    if (isMisuse) context.printError(`Try: llm-gateway ${title} --help`);
    return isMisuse ? 2 : 1;
  }
}

/** Returns the arguments of a command on the file of a backup. */
export function fileSyntax(help: string): Syntax {
  return {
    help: `${help}
  --json             as JSON${commonHelp}`,
    options: { force: { type: 'boolean' }, json: { type: 'boolean' } },
    isAboutKey: false,
    takesWord: true,
  };
}

/**
 * Runs a command on the file of a backup.
 * @param work works on the folder of the store and that file, and returns what came of it, with a text for people
 */
export async function runOnFile(
  syntax: Syntax,
  args: readonly string[],
  context: CommandContext,
  title: string,
  work: (dir: string, file: string, isForced: boolean) => { made: object; text: string },
): Promise<ExitCode> {
  return await obey(syntax, args, context, title, (given) => {
    const { values, named } = given;
    if (named === '') throw new Misuse('name the file of the backup');
    const dir = context.dataDir(configOf(given));
    const { made, text } = work(dir, named, values['force'] === true);
    context.print(values['json'] ? json({ ...made }) : text);
  });
}

/**
 * Returns what is wrong with options, and which one was probably meant if there is none of that name.
 * @param error what `parseArgs` threw
 * @param known the names of the options that there are, without hyphens
 */
export function optionProblem(error: unknown, known: readonly string[]): string {
  const message = messageOf(error);
  const given = /^Unknown option '--([^']+)'/.exec(message)?.[1];
  if (given === undefined) return message;
  const hint = didYouMean(
    `--${given}`,
    known.map((name) => `--${name}`),
  );
  return `there is no option --${oneLine(given)}${hint}`;
}

function read(command: Syntax, args: readonly string[]): Given {
  const { isAboutKey, takesWord } = command;
  const options = { ...command.options, ...commonOptions };
  let parsed;
  try {
    parsed = parseArgs({
      args: [...args],
      allowPositionals: true,
      tokens: true,
      options,
    });
  } catch (error) {
    throw new Misuse(optionProblem(error, Object.keys(options)));
  }
  const [named, ...surplus] =
    isAboutKey || takesWord ? parsed.positionals : ['', ...parsed.positionals];
  // None of them gathers several, and the first of two would be passed over.
  const values = parsed.values as Values;
  const given = parsed.tokens.flatMap((token) => (token.kind === 'option' ? token.name : []));
  const again = given.find((name, index) => given.indexOf(name) < index);
  if (again !== undefined) throw new Misuse(`--${again}: given twice`);
  if (surplus.length > 0) throw new Misuse(`unexpected "${oneLine(surplus.join(' '))}"`);
  if (!named && isAboutKey && values['help'] !== true) {
    throw new Misuse('name the key: its id, or its name if no other key has it');
  }
  return { values, named: named ?? '' };
}

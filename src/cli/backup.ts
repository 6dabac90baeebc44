/**
 * The command `backup`: copies the store to a file, whether or not a gateway runs on it.
 */
import {
  commonHelp,
  configOf,
  Misuse,
  obey,
  type CommandContext,
  type ExitCode,
  type Syntax,
} from './command.ts';
import { json, oneLine } from './table.ts';
import { backUp } from '../stores/open.ts';

/** The arguments of `backup`. */
export const backupSyntax: Syntax = {
  help: `Usage: llm-gateway backup FILE [options]
Copies the store in DATA_DIR to a new file: keys, audit and usage as they are at one moment. A gateway may run on it
meanwhile.

  --force            replace FILE if it is there
  --json             as JSON${commonHelp}`,
  options: { force: { type: 'boolean' }, json: { type: 'boolean' } },
  isAboutKey: false,
  takesWord: true,
};

/** Runs `llm-gateway backup` with the arguments behind it. */
export async function runBackup(
  args: readonly string[],
  context: CommandContext,
): Promise<ExitCode> {
  return await obey(backupSyntax, args, context, 'backup', (given) => {
    const { values, named } = given;
    if (named === '') throw new Misuse('name the file of the backup');
    const dir = context.dataDir(configOf(given));
    const copied = backUp(dir, named, values['force'] === true);
    context.print(
      values['json']
        ? json({ ...copied })
        : `The store in ${dir} is copied to ${oneLine(copied.file)} (${copied.bytes} bytes).`,
    );
  });
}

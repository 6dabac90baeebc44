/**
 * The command `restore`: puts a backup in the place of a store that no gateway runs on.
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
import { restore } from '../stores/open.ts';

/** The arguments of `restore`. */
export const restoreSyntax: Syntax = {
  help: `Usage: llm-gateway restore FILE [options]
Puts a backup in the place of the store in DATA_DIR. The backup is checked first: one that is damaged or of a newer
version changes nothing. No gateway may run on the store meanwhile.

  --force            replace the store that is there; what it holds is lost
  --json             as JSON${commonHelp}`,
  options: { force: { type: 'boolean' }, json: { type: 'boolean' } },
  isAboutKey: false,
  takesWord: true,
};

/** Runs `llm-gateway restore` with the arguments behind it. */
export async function runRestore(
  args: readonly string[],
  context: CommandContext,
): Promise<ExitCode> {
  return await obey(restoreSyntax, args, context, 'restore', (given) => {
    const { values, named } = given;
    if (named === '') throw new Misuse('name the file of the backup');
    const dir = context.dataDir(configOf(given));
    const copied = restore(dir, named, values['force'] === true);
    context.print(
      values['json']
        ? json({ ...copied })
        : `${oneLine(copied.file)} is restored (${copied.bytes} bytes).`,
    );
  });
}

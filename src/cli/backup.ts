/**
 * The command `backup`: copies the store to a file, whether or not a gateway runs on it.
 */
import { fileSyntax, runOnFile, type CommandContext, type ExitCode } from './command.ts';
import { oneLine } from './table.ts';
import { backUp } from '../stores/open.ts';

/** The arguments of `backup`. */
export const backupSyntax = fileSyntax(`Usage: llm-gateway backup FILE [options]
Copies the store in DATA_DIR to a new file: keys, audit and usage as they are at one moment. A gateway may run on it
meanwhile.

  --force            replace FILE if it is there`);

/** Runs `llm-gateway backup` with the arguments behind it. */
export async function runBackup(
  args: readonly string[],
  context: CommandContext,
): Promise<ExitCode> {
  return await runOnFile(backupSyntax, args, context, 'backup', (dir, file, isForced) => {
    const made = backUp(dir, file, isForced);
    const text = `The store in ${dir} is copied to ${oneLine(made.file)} (${made.bytes} bytes).`;
    return { made, text };
  });
}

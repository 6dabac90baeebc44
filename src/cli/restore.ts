/**
 * The command `restore`: puts a backup in the place of a store that no gateway runs on.
 */
import { fileSyntax, runOnFile, type CommandContext, type ExitCode } from './command.ts';
import { oneLine } from './table.ts';
import { restore } from '../stores/open.ts';

/** The arguments of `restore`. */
export const restoreSyntax = fileSyntax(`Usage: llm-gateway restore FILE [options]
Puts a backup in the place of the store in DATA_DIR. The backup is checked first: one that is damaged or of a newer
version changes nothing. No gateway may run on the store meanwhile.

  --force            replace the store that is there; what it holds is lost`);

/** Runs `llm-gateway restore` with the arguments behind it. */
export async function runRestore(
  args: readonly string[],
  context: CommandContext,
): Promise<ExitCode> {
  return await runOnFile(restoreSyntax, args, context, 'restore', (dir, file, isForced) => {
    const made = restore(dir, file, isForced);
    return { made, text: `${oneLine(made.file)} is restored (${made.bytes} bytes).` };
  });
}

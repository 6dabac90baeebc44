/** A command line for tests: commands run on a store in memory, and what they print is given back. */
import { expect, spyOn } from 'bun:test';
import type { CommandContext, ExitCode } from '../../src/cli/command.ts';
import { Store } from '../../src/stores/sqlite/store.ts';

export const epoch = Date.parse('2026-11-24T12:00:00Z');

type Runner = (args: readonly string[], context: CommandContext) => Promise<ExitCode>;

/** Gives a command line whose store stays open from one command to the next, as long as each has closed it. */
export function openTerminal() {
  const store = Store.open(undefined);
  const close = spyOn(store, 'close').mockImplementation(() => {});
  const state = { epoch, opened: 0, config: undefined as string | undefined };

  /** @param line words between spaces, or one by one */
  async function run(runner: Runner, line: string | string[]) {
    const out: string[] = [];
    const errors: string[] = [];
    const code = await runner(typeof line === 'string' ? line.split(' ') : line, {
      open(config) {
        state.opened++;
        state.config = config;
        return store;
      },
      epochNow: () => state.epoch,
      print: (text) => void out.push(text),
      printError: (text) => void errors.push(text),
    });
    expect(close).toHaveBeenCalledTimes(state.opened);
    return { code, out: out.join('\n'), errors: errors.join('\n') };
  }

  return {
    store,
    state,
    run,
    end() {
      close.mockRestore();
      store.close();
    },
  };
}

/** A command line for tests: commands run on stores in memory, and what they print is returned. */
import { expect } from 'bun:test';
import type { CommandContext, ExitCode } from '../../src/cli/command.ts';
import type { LedgerStores } from '../../src/stores/open.ts';
import { SqliteKeys } from '../../src/stores/sqlite/keys.ts';
import { openDatabase } from '../../src/stores/sqlite/schema.ts';
import { SqliteUsage } from '../../src/stores/sqlite/usage.ts';

export const epoch = Date.parse('2026-11-24T12:00:00Z');

type Runner = (args: readonly string[], context: CommandContext) => Promise<ExitCode>;

/** Returns a command line whose stores stay open from one command to the next, as long as each has closed them. */
export function openTerminal() {
  const db = openDatabase(undefined);
  const accounts = new SqliteKeys(db);
  const usage = new SqliteUsage(db);
  const state = { epoch, opened: 0, closed: 0, config: undefined as string | undefined };
  const stores: LedgerStores = {
    accounts,
    usage,
    place: 'memory',
    close: () => void state.closed++,
  };

  /** @param line the words, separated by spaces or as a list */
  async function run(runner: Runner, line: string | string[]) {
    const out: string[] = [];
    const errors: string[] = [];
    const code = await runner(typeof line === 'string' ? line.split(' ') : line, {
      async open(config) {
        state.opened++;
        state.config = config;
        return stores;
      },
      dataDir: () => 'none',
      epochNow: () => state.epoch,
      print: (text) => void out.push(text),
      printError: (text) => void errors.push(text),
    });
    expect(state.closed).toBe(state.opened);
    return { code, out: out.join('\n'), errors: errors.join('\n') };
  }

  return {
    stores,
    accounts,
    usage,
    state,
    run,
    end() {
      db.close(true);
    },
  };
}

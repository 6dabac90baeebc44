/** The arguments of `restore`; what it does is tested where a process does it. */
import { expect, test } from 'bun:test';
import { runRestore } from '../../../src/cli/restore.ts';
import { openTerminal } from '../../support/terminal.ts';

test.each([
  ['--help', 0, ''],
  ['--force', 2, 'name the file'],
  ['one two', 2, 'unexpected "two"'],
  ['one --forse', 2, 'did you mean --force?'],
  ['no-such-file', 1, 'no'],
] as const)('%s ends with %d', async (line, expected, message) => {
  const terminal = openTerminal();
  const { code, errors } = await terminal.run(runRestore, line);
  expect(code).toBe(expected);
  expect(errors).toContain(message);
  terminal.end();
});

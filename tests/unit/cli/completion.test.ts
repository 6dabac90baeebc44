/** The scripts that complete commands: all that they are given stands in them. That a shell obeys is tested with processes. */
import { expect, test } from 'bun:test';
import { runCompletion } from '../../../src/cli/completion.ts';

const next = { '': ['serve', 'keys'], keys: ['add'], 'keys add': ['--name'] };

function complete(...args: string[]) {
  const out: string[] = [];
  const errors: string[] = [];
  const io = {
    print: (text: string) => out.push(text),
    printError: (text: string) => errors.push(text),
  };
  return { code: runCompletion(args, next, io), out: out.join(), errors: errors.join() };
}

test.each(['bash', 'zsh', 'fish'])('%s: every command and what stands behind it', (shell) => {
  const { code, out, errors } = complete(shell);
  expect([code, errors]).toEqual([0, '']);
  for (const text of ['serve keys', "'keys add'", '--name']) {
    expect(out).toContain(text);
  }
});

test.each([
  [[], 'name the shell'],
  [['fishh'], 'did you mean fish?'],
  [['bash', 'now'], 'unexpected "now"'],
  [['\u001b[1m'], 'there is no script'],
])('%j is wrong', (args, message) => {
  const { code, out, errors } = complete(...args);
  expect([code, out]).toEqual([2, '']);
  expect(errors).toContain(message);
  expect(errors).not.toContain('\u001b');
});

/**
 * How a command is run: which arguments it gets, that the store is closed however it ends, and the error of one
 * that is wrong.
 */
import { afterEach, beforeEach, expect, test } from 'bun:test';
import { Misuse, runCommand, type Call, type Command } from '../../../src/cli/command.ts';
import { InputError } from '../../../src/config/problems.ts';
import { epoch, openTerminal } from '../../support/terminal.ts';

let world: ReturnType<typeof openTerminal>;
beforeEach(() => {
  world = openTerminal();
});
afterEach(() => world.end());

/** Runs a command that does this, with one more option. */
function run(line: string, isAboutKey: boolean, work: (call: Call) => void = () => {}) {
  const options = { depth: { type: 'string' } } as const;
  const command: Command = { help: 'Usage: llm-gateway try', options, isAboutKey, run: work };
  return world.run(
    (args, context) => runCommand(command, args, context, 'try'),
    line === '' ? [] : line,
  );
}

test('a command gets its options, the key that it is about, the store and the time', async () => {
  const { code, out } = await run('k1 --depth 3 --config x.yaml', true, (call) => {
    expect(call.stores).toBe(world.stores);
    expect(call.epochNow()).toBe(epoch);
    call.print(`${call.named} ${call.values['depth']}`);
  });
  expect([code, out]).toEqual([0, 'k1 3']);
  expect(world.state.config).toBe('x.yaml');
});

test.each(['--help', '-h', 'k1 --help'])('%s is answered without the store', async (line) => {
  const { code, out, errors } = await run(line, true);
  expect([code, out, errors]).toEqual([0, 'Usage: llm-gateway try', '']);
  expect(world.state.opened).toBe(0);
});

test.each([
  ['--width 3', true, 'there is no option --width'],
  ['k1 --dept 3', true, 'there is no option --dept; did you mean --depth?'],
  ['k1 --depth', true, 'argument missing'],
  ['', true, 'name the key'],
  ['k1 k2 k3', true, 'unexpected "k2 k3"'],
  ['k1 --depth 3 --depth 3', true, '--depth: given twice'],
  ['--config x k1 --config=y', true, '--config: given twice'],
  ['k1', false, 'unexpected "k1"'],
])('%j is wrong where it is about a key: %p', async (line, isAboutKey, message) => {
  const { code, out, errors } = await run(line, isAboutKey);
  expect([code, out]).toEqual([2, '']);
  expect(errors).toStartWith('llm-gateway: ');
  expect(errors).toContain(message);
  expect(errors).toEndWith('\nTry: llm-gateway try --help');
  expect(world.state.opened).toBe(0);
});

const failures: [string, Error, 1 | 2, string][] = [
  ['cannot be done', new Error('no such key'), 1, 'llm-gateway: no such key'],
  [
    'was given wrongly',
    new Misuse('not both'),
    2,
    'llm-gateway: not both\nTry: llm-gateway try --help',
  ],
  [
    'was given what is wrong',
    new InputError(['one', 'two']),
    2,
    'llm-gateway: one\nllm-gateway: two\nTry: llm-gateway try --help',
  ],
];
test.each(failures)('a command that %s says so', async (_, error, expected, text) => {
  const { code, errors } = await run('', false, () => {
    throw error;
  });
  expect([code, errors]).toEqual([expected, text]);
  expect(world.state.opened).toBe(1);
});

test('a store that does not open is reported, not thrown', async () => {
  const errors: string[] = [];
  const command: Command = { help: '', options: {}, isAboutKey: false, run: () => {} };
  const context = {
    async open() {
      throw new Error('data/gateway.sqlite: cannot be opened');
    },
    dataDir: () => 'none',
    epochNow: () => epoch,
    print: () => {},
    printError: (text: string) => void errors.push(text),
  };
  expect(await runCommand(command, [], context, 'try')).toBe(1);
  expect(errors).toEqual(['llm-gateway: data/gateway.sqlite: cannot be opened']);
});

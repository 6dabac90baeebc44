/** Where values come from: which source wins, what is filled in, and which problems of losing sources are reported. */
import { describe, expect, test } from 'bun:test';
import {
  environmentLayer,
  find,
  mappingLayer,
  overrideLayer,
  parseFile,
  readNamed,
  resolve,
} from '../../../src/config/sources.ts';
import type { Row } from '../../../src/config/row.ts';
import { settings } from '../../../src/config/settings.ts';
import { problemsOf } from '../../support/problemsof.ts';

const rowOf = (key: string) => settings.find((row) => row.key === key) as Row;
const env = { NAME: 'x', EMPTY: '', API: 'y', LLM_SERVER_API_KEY: ' engine-key ' };

describe('filling in', () => {
  test.each([
    ['a${NAME}b${API}', 'axby', []],
    ['$${NAME} $NAME', '${NAME} $NAME', []],
    [
      '${EMPTY}${GONE}',
      undefined,
      ['${EMPTY} is not set in the environment', '${GONE} is not set in the environment'],
    ],
    ['x${NAME', undefined, ['a ${ that is not of the form ${NAME}; write $${ for a plain ${']],
    ['${a b}', undefined, ['a ${ that is not of the form ${NAME}; write $${ for a plain ${']],
  ])('%j', (text, filled, wrong) => {
    const { value, problems } = mappingLayer(new Map([['it', text]]), '', env)('it') ?? {};
    expect(problems ?? []).toEqual(wrong.map((problem) => `it: ${problem}`));
    expect(value).toBe(filled as string);
  });
});

describe('a layer', () => {
  const file = mappingLayer(
    new Map<string, unknown>([
      ['host', '${GONE}'],
      ['port', 7],
      ['log_level', ''],
      ['list', ['${NAME}', 1]],
      ['mapping', { a: '${NAME}', b: '$${c}' }],
      ['plain', ['x']],
    ]),
    'f: ',
    env,
  );

  test('returns a value with its place, and `undefined` without a value', () => {
    expect(environmentLayer(env)('llm_server_api_key')).toMatchObject({ value: 'engine-key' });
    expect(environmentLayer(env)('empty')).toBeUndefined();
    expect(overrideLayer({ LOG_LEVEL: '' })('log_level')).toMatchObject({
      label: '--log-level',
      value: '',
    });
    expect(file('port')).toEqual({ label: 'f: port', value: 7, hidden: false });
    expect(file('log_level')).toBeUndefined();
  });

  test('fills in each text of a list and of a mapping, and hides what a variable gave', () => {
    expect(file('list')).toEqual({ label: 'f: list', value: ['x', 1], hidden: true });
    expect(file('mapping')).toMatchObject({ value: { a: 'x', b: '${c}' }, hidden: true });
    expect(file('plain')).toEqual({ label: 'f: plain', value: ['x'], hidden: false });
  });

  test('returns the reason instead of a value if a variable is not set', () => {
    expect(file('host')).toEqual({
      label: 'f: host',
      value: undefined,
      hidden: true,
      problems: ['f: host: ${GONE} is not set in the environment'],
    });
  });

  test('that comes first wins; problems of the others are reported as well', () => {
    const problems: string[] = [];
    const layers = [overrideLayer({ HOST: 'a' }), environmentLayer({ HOST: 'b' }), file];
    const given = find(rowOf('host'), layers, problems);
    expect(given?.direct?.value).toBe('a');
    expect(problems).toEqual(['f: host: ${GONE} is not set in the environment']);
    expect(find(rowOf('log_level'), layers, problems)).toBeUndefined();
  });
});

describe('a secret', () => {
  const row = rowOf('llm_server_api_key');
  const direct = { label: 'KEY', value: 'k', hidden: false };
  const file = { label: 'KEY_FILE', value: '/run/k', hidden: false };

  test('is the value or what its file holds, and is not shown', () => {
    expect(resolve(row, { direct, file: undefined }, () => '')).toEqual({
      ...direct,
      hidden: true,
    });
    expect(resolve(row, { direct: undefined, file }, () => ' k\n')).toEqual({
      label: 'KEY_FILE, the file "/run/k"',
      value: 'k',
      hidden: true,
    });
  });

  test('is not both, and its file must have it', () => {
    expect(problemsOf(() => resolve(row, { direct, file }, () => 'k'))).toEqual([
      'KEY and KEY_FILE are both set; keep one of them',
    ]);
    expect(problemsOf(() => readNamed(file, () => ' '))).toEqual([
      'KEY_FILE: the file "/run/k" is empty',
    ]);
    expect(problemsOf(() => readNamed({ ...file, value: 5 }, () => 'k'))).toEqual([
      'KEY_FILE: found 5; allowed is the path of a file',
    ]);
  });

  test('cannot be read: the code of the failure is reported, and the path unless it comes from a variable', () => {
    const failing = (cause: unknown) => () => {
      throw cause;
    };
    const denied = failing(Object.assign(new Error('denied: /run/k'), { code: 'EACCES' }));
    expect(problemsOf(() => readNamed(file, denied))).toEqual([
      'KEY_FILE: cannot read the file "/run/k" (EACCES)',
    ]);
    expect(problemsOf(() => readNamed({ ...file, hidden: true }, denied))).toEqual([
      'KEY_FILE: cannot read the file (EACCES)',
    ]);
    for (const cause of [new Error('no code'), { code: 'no error' }]) {
      expect(problemsOf(() => readNamed(file, failing(cause)))).toEqual([
        'KEY_FILE: cannot read the file "/run/k"',
      ]);
    }
  });

  test('may be named by another key, and has no value if that could not be filled in', () => {
    const layer = mappingLayer(new Map([['llm_server_api_key_file', '${GONE}']]), 'f: ', env);
    const problems: string[] = [];
    const given = find(row, [layer], problems);
    expect(problems).toEqual(['f: llm_server_api_key_file: ${GONE} is not set in the environment']);
    const unread = () => {
      throw new Error('it reads a file');
    };
    expect(given && resolve(row, given, unread).value).toBeUndefined();
    expect(given?.file?.label).toBe('f: llm_server_api_key_file');
  });
});

test('a file is one mapping, and its mistakes are told with its path', () => {
  const problems: string[] = [];
  expect([...parseFile('f', 'a: 1\nb: 2\na: 3', problems)]).toEqual([
    ['a', 3],
    ['b', 2],
  ]);
  expect(problems).toEqual(['f: line 3, column 1: this key stands there already']);
  expect(parseFile('f', '', []).size).toBe(0);
  expect(problemsOf(() => parseFile('f', 'a: [', []))).toEqual([
    expect.stringMatching(/^f: line 1, column \d+: /),
  ]);
  expect(problemsOf(() => parseFile('f', 'secret', []))).toEqual([
    'f: found 6 characters (not shown); allowed is a mapping of settings',
  ]);
  expect(problemsOf(() => parseFile('f', '- a', []))).toEqual([
    'f: found a list; allowed is a mapping of settings',
  ]);
});

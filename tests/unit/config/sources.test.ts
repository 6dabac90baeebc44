/** Where values come from: which source wins, what is filled in, and what is told of sources that lose. */
import { describe, expect, test } from 'bun:test';
import {
  attempt,
  ConfigError,
  environmentLayer,
  fileLayer,
  find,
  interpolate,
  overrideLayer,
  parseFile,
  readNamed,
  resolve,
} from '../../../src/config/sources.ts';
import { rows, type Row } from '../../../src/config/settings.ts';

const rowOf = (env: string) => rows.find((row) => row.env === env) as Row;
const env = { NAME: 'x', EMPTY: '', API: 'y', LLM_SERVER_API_KEY: ' engine-key ' };

/** Gives what is refused, each problem. */
function problemsOf(work: () => unknown): string[] {
  const problems: string[] = [];
  expect(attempt(problems, work)).toBeUndefined();
  return problems;
}

describe('filling in', () => {
  test.each([
    ['a${NAME}b${API}', 'axby', []],
    ['$${NAME} $NAME', '${NAME} $NAME', []],
    [
      '${EMPTY}${GONE}',
      '',
      ['${EMPTY} is not set in the environment', '${GONE} is not set in the environment'],
    ],
    ['${a b}', '', ['a ${ that is not of the form ${NAME}; write $${ for a plain ${']],
  ])('%j', (text, filled, wrong) => {
    const problems: string[] = [];
    expect(interpolate(text, env, problems)).toBe(filled);
    expect(problems).toEqual(wrong);
  });
});

describe('a layer', () => {
  const file = fileLayer(
    'f',
    new Map<string, unknown>([
      ['host', '${GONE}'],
      ['port', 7],
      ['log_level', ''],
    ]),
    env,
  );

  test('gives a value with its place, and nothing where it has none', () => {
    expect(environmentLayer(env)('LLM_SERVER_API_KEY')).toMatchObject({ value: 'engine-key' });
    expect(environmentLayer(env)('EMPTY')).toBeUndefined();
    expect(overrideLayer({ LOG_LEVEL: '' })('LOG_LEVEL')).toMatchObject({
      label: '--log-level',
      value: '',
    });
    expect(file('PORT')).toEqual({ label: 'f: port', value: 7, hidden: false });
    expect(file('LOG_LEVEL')).toBeUndefined();
  });

  test('gives no value but the reason where a variable is not set', () => {
    expect(file('HOST')).toEqual({
      label: 'f: host',
      value: undefined,
      hidden: true,
      problems: ['f: host: ${GONE} is not set in the environment'],
    });
  });

  test('that comes first wins; what is wrong with the others is told all the same', () => {
    const problems: string[] = [];
    const layers = [overrideLayer({ HOST: 'a' }), environmentLayer({ HOST: 'b' }), file];
    const given = find(rowOf('HOST'), layers, problems);
    expect(given?.direct?.value).toBe('a');
    expect(problems).toEqual(['f: host: ${GONE} is not set in the environment']);
    expect(find(rowOf('LOG_LEVEL'), layers, problems)).toBeUndefined();
  });
});

describe('a secret', () => {
  const row = rowOf('LLM_SERVER_API_KEY');
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
});

test('a file is one mapping, and its mistakes are told with its path', () => {
  const problems: string[] = [];
  expect([...parseFile('f', 'a: 1\nb: 2\na: 3', problems)]).toEqual([
    ['a', 3],
    ['b', 2],
  ]);
  expect(problems).toEqual(['f: line 3, column 1: this key stands there already']);
  expect(parseFile('f', '', []).size).toBe(0);
  expect(problemsOf(() => parseFile('f', '- a', []))).toEqual([
    'f: found a list; allowed is a mapping of settings',
  ]);
});

test('what is no problem of the configuration is thrown on', () => {
  const problems: string[] = [];
  const work = () => {
    throw new TypeError('of another kind');
  };
  expect(() => attempt(problems, work)).toThrow(TypeError);
  expect(new ConfigError(['one', 'two']).message).toBe('The configuration is wrong:\n- one\n- two');
});

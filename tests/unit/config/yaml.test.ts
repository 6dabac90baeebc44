/** The reading of YAML: values as they are, each mistake with its line and column, and nothing of the text quoted. */
import { describe, expect, test } from 'bun:test';
import { readYaml } from '../../../src/config/yaml.ts';

describe('a text that is good', () => {
  test.each([
    ['', null],
    ['# nothing yet\n', null],
    ['port: 1\nhost: x\r\n', { port: 1, host: 'x' }],
    [
      'a: on\nb: yes\nc: true\nd: ~\ne: 0.5\nf: "7"',
      { a: 'on', b: 'yes', c: true, d: null, e: 0.5, f: '7' },
    ],
    ['4: x\n1.0: y', { '4': 'x', '1.0': 'y' }],
    ['a: &one {b: 1}\nc:\n  <<: *one\n  d: 2', { a: { b: 1 }, c: { b: 1, d: 2 } }],
    ['- 1\n- [2, 3]', [1, [2, 3]]],
  ])('%j', (text, value) => {
    expect(readYaml(text)).toEqual({ value, problems: [] });
  });

  test('keeps a key that names the prototype as a key', () => {
    expect(Object.keys(readYaml('__proto__: 1').value as object)).toEqual(['__proto__']);
  });
});

describe('a key that stands twice', () => {
  test('is told for each, with the values of all', () => {
    expect(readYaml('port: 1\nhost: a\nport: 2\n"host": b\n')).toEqual({
      value: { port: 2, host: 'b' },
      problems: [
        'line 3, column 1: this key stands there already',
        'line 4, column 1: this key stands there already',
      ],
    });
  });

  test('is told in an entry of a list, too, and is none in another entry', () => {
    const text = 'upstreams:\n  - url: a\n  - url: b\n    id: c\n    url: d\n';
    expect(readYaml(text).problems).toEqual(['line 5, column 5: this key stands there already']);
  });
});

describe('a text that is no YAML', () => {
  test.each([
    ['port: 1\nhost x\nlog_level: INFO\n', 'line 2, column 1: '],
    ['port: [1', 'line 1, column 9: '],
    ['a: 1\n\tb: 2', 'line 2, column 1: '],
    ['a: 1\nb: "x\nc: 2', 'line 3, column 5: '],
    ['a:\n  - b: 1\n   c: 2', 'line 3, column 1: '],
    ['port: 1\n}: 3\nhost: x\nlog_level: y', 'line 2, column 1: this cannot stand here'],
    ['a: 1\nkey: value: other', 'line 2, column 6: '],
    ['a: @secret', 'line 1, column 4: a value that begins with @ or ` needs quotes'],
    [
      'a: 1\nb: *secret',
      'line 2, column 4: no anchor has this name; a value that begins with * needs quotes',
    ],
    ['a: "\\Usecrets"', 'line 1, column 5: no such escape; '],
    ['a: |secret\n  b', 'line 1, column 5: this cannot stand here'],
    ['a: !secret b', 'line 1, column 4: no such tag; a value that begins with ! needs quotes'],
    ['a: !x!secret b', 'line 1, column 4: no such tag; '],
    ['%SECRET 1\n---\na: 1', 'line 1, column 1: a line that begins with % is a directive, '],
    ['? [secret]\n: 1', 'line 1, column 3: a list or a mapping is no key'],
    ['port: 1\n---\nhost: x', 'line 2, column 1: a second document begins; one is allowed'],
  ])('is told by its first mistake: %j', (text, problem) => {
    const { value, problems } = readYaml(text);
    expect(problems).toEqual([expect.stringContaining(problem)]);
    expect(value).toBeUndefined();
    expect(problems.join()).not.toContain('secret');
  });

  test('is one whose aliases stand for too much', () => {
    const levels = Array.from({ length: 9 }, (_, level) => {
      return `l${level + 1}: &l${level + 1} [${Array(9).fill(`*l${level}`).join(', ')}]`;
    });
    expect(readYaml(['l0: &l0 x', ...levels].join('\n'))).toEqual({
      value: undefined,
      problems: ['its aliases stand for too much'],
    });
  });
});

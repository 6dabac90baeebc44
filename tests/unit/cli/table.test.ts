/**
 * Rows as text: aligned columns, CSV as in RFC 4180, and no cell that controls the terminal or
 * the spreadsheet.
 */
import { describe, expect, test } from 'bun:test';
import { csv, json, oneLine, table } from '../../../src/cli/table.ts';

describe('a table', () => {
  test('has its columns one below the other, numbers at their end', () => {
    const rows = [
      ['k1', 'alice', '7'],
      ['k2', 'Bo', '1200'],
    ];
    expect(table(['id', 'name', 'requests'], rows, 2).split('\n')).toEqual([
      'id  name   requests',
      'k1  alice         7',
      'k2  Bo         1200',
    ]);
  });

  test('aligns by the width of a text on the screen, and ends no line with a space', () => {
    const rows = [
      ['山田', 'x'],
      ['a', ''],
    ];
    expect(table([], rows)).toBe('山田  x\na');
  });

  test('shows no control characters, and each row on one line', () => {
    expect(oneLine('x\u001b[2J\u202Ey\n\u2028')).toBe('x\uFFFD[2J\uFFFDy\uFFFD\uFFFD');
    expect(table(['a\nb'], [['\u001b[31m']])).toBe('a\uFFFDb\n\uFFFD[31m');
  });
});

describe('CSV', () => {
  test('ends its lines with CR LF, the last one with CR alone: printing adds the LF', () => {
    expect(
      csv([
        ['a', 'b'],
        [1, null],
        [undefined, 0.5],
      ]),
    ).toBe('a,b\r\n1,\r\n,0.5\r');
  });

  test('quotes what would end a field, here or where a semicolon does', () => {
    expect(csv([['a,b', 'c"d', 'g', 'h;=1']])).toBe('"a,b","c""d",g,"h;=1"\r');
  });

  test('has nothing that a terminal obeys, on one line', () => {
    const row = ['x\u001b[2J', 'a\nb', '\u009b31m', '\u202e', '\u2028', 'é🙂', '\t=1'];
    expect(csv([row])).toBe('x\uFFFD[2J,a\uFFFDb,\uFFFD31m,\uFFFD,\uFFFD,é🙂,\uFFFD=1\r');
  });

  test.each(['=1', '+1', '-1', '@x', '＝1', '＋1', '－1', '＠x'])('%j is no formula', (text) => {
    expect(csv([[text, 'm']])).toMatch(new RegExp(`^"?'${text.replace('+', '\\+')}"?,m\r$`));
  });

  test('leaves numbers as they are', () => {
    expect(csv([[-1]])).toBe('-1\r');
  });
});

test('JSON is the same value, and has nothing that a terminal obeys', () => {
  const value = { model: 'x\u001b[2J\n\u009b\u007f\u202e\u2028\u{e0001}é🙂', list: [1, null] };
  const text = json(value);
  expect(JSON.parse(text)).toEqual(value);
  expect(text.replaceAll('\n', '')).toBe(oneLine(text.replaceAll('\n', '')));
  expect(text).toContain('é🙂');
  expect(text).toStartWith('{\n  "model"');
});

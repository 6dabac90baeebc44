/**
 * The members of a JSON body, and what stands in place of a value that is too large to be parsed.
 */
import { describe, expect, test } from 'bun:test';
import {
  isText,
  JsonBody,
  listFacts,
  maxParsedBytes,
  maxToolsBytes,
  Unread,
  valueOf,
} from '../../../src/wire/jsonbody.ts';
import { JsonScan } from '../../../src/wire/jsonscan.ts';

function valuesOf(text: string): unknown[] {
  const bytes = Buffer.from(text);
  const scan = new JsonScan(bytes);
  scan.read(bytes.length);
  return scan.members.map((member) => valueOf(bytes, member));
}

test('a body is parsed, and its members found in its bytes', () => {
  const body = JsonBody.parse(Buffer.from('{"a":1.0, "a":[2]}'));
  expect(body.fields).toEqual({ a: [2] });
  expect(body.members.map(({ start, end }) => [start, end])).toEqual([
    [5, 8],
    [14, 17],
  ]);
});

test('members that were found already are not looked for again', () => {
  const members = [{ key: 'b', start: 0, end: 1 }];
  expect(new JsonBody(Buffer.from('{"a":1}'), {}, members).members).toBe(members);
});

describe('a value of a large body', () => {
  test('is parsed while it is small', () => {
    expect(valuesOf('{"a":"x","b":[1,{}],"c":null,"d":1.5}')).toEqual(['x', [1, {}], null, 1.5]);
    const fits = 'x'.repeat(maxParsedBytes - 2);
    const tool = 'x'.repeat(maxToolsBytes - 4);
    expect(valuesOf(`{"a":"${fits}","tools":["${tool}"]}`)).toEqual([fits, [tool]]);
    expect(valuesOf(`{"a":"${fits}x","tools":["${tool}x"]}`)).toEqual([
      new Unread('text', 0, 0),
      new Unread('list', 1, 0),
    ]);
  });

  test('is known by its kind and its elements when it is large', () => {
    const long = 'x'.repeat(maxParsedBytes);
    expect(valuesOf(`{"a":"${long}","b":["${long}",1,[2]],"c":{"d":"${long}"}}`)).toEqual([
      new Unread('text', 0, 0),
      new Unread('list', 3, 1),
      new Unread('object', 0, 0),
    ]);
    expect(valuesOf(`{"a":1${'0'.repeat(maxParsedBytes)}}`)).toEqual([Number.NaN]);
  });
});

test('a text is a text whether it was parsed or not', () => {
  expect(['x', '', new Unread('text', 0, 0)].map(isText)).toEqual([true, true, true]);
  expect([1, null, undefined, ['x'], new Unread('list', 0, 0)].map(isText)).not.toContain(true);
});

test('a list has elements whether it was parsed or not', () => {
  expect(listFacts([1, 'a', [2]])).toEqual({ items: 3, numbers: 1 });
  expect(listFacts(new Unread('list', 3, 1))).toMatchObject({ items: 3, numbers: 1 });
  for (const value of ['x', {}, null, undefined, new Unread('text', 0, 0)]) {
    expect(listFacts(value)).toBeUndefined();
  }
});

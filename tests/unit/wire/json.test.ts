/**
 * JSON read and edited in its bytes, compared with JSON.parse on random documents. Each document is built together with
 * its expected value, so that no second parser has to be trusted.
 */
import { describe, expect, test } from 'bun:test';
import { GatewayError } from '../../../src/wire/errors.ts';
import {
  editJson,
  isList,
  isRecord,
  lastValueOf,
  parseObject,
  spans,
  textOf,
} from '../../../src/wire/json.ts';
import { JsonBody } from '../../../src/wire/jsonbody.ts';
import { forSeeds, type Random } from '../../support/random.ts';

const cases = 1_500;

const scalars = [
  '1.0',
  '-0',
  '0.30000000000000004',
  '12345678901234567890',
  '1E+2',
  '5e-324',
  'true',
  'false',
  'null',
  '""',
  '"Привет 👋🏽"',
  '"usage"',
  '"say \\"usage\\": 5"',
  '"the end is \\"usage"',
  String.raw`"\\"`,
  String.raw`"\\\""`,
  String.raw`"}]{[,:"`,
  String.raw`"\ud83d\ude00 \u0000 \/"`,
];

/** Key literals and their values; some escape a plain letter. */
const keys = [
  ['"model"', 'model'],
  ['"usage"', 'usage'],
  [String.raw`"us\u0061ge"`, 'usage'],
  ['"max_tokens"', 'max_tokens'],
  [String.raw`"a\"b"`, 'a"b'],
  [String.raw`"c\\"`, 'c\\'],
  ['"ключ"', 'ключ'],
  ['""', ''],
  ['"0"', '0'],
  ['"{"', '{'],
] as const;

function space(random: Random): string {
  return random.oneIn(3) ? random.pick([' ', '\n', '\t', '\r\n  ', '  ']) : '';
}

/**
 * Returns a value's text; adds every value of a key written `"usage"` to `usages`, in the order in which they begin.
 */
function valueText(random: Random, depth: number, usages: string[]): string {
  const kind = depth === 0 ? 0 : random.below(4);
  if (kind < 2) return random.pick(scalars);
  const parts: string[] = [];
  for (let i = random.below(4); i > 0; i--) {
    if (kind === 2) {
      parts.push(space(random) + valueText(random, depth - 1, usages) + space(random));
      continue;
    }
    const [literal] = random.pick(keys);
    const place = literal === '"usage"' ? usages.push('') - 1 : -1;
    const value = valueText(random, depth - 1, usages);
    if (place !== -1) usages[place] = value;
    parts.push(
      `${space(random)}${literal}${space(random)}:${space(random)}${value}${space(random)}`,
    );
  }
  const inside = parts.length > 0 ? parts.join(',') : space(random);
  return kind === 2 ? `[${inside}]` : `{${inside}}`;
}

interface Member {
  key: string;
  /** The text before the value: separator, white space, key, colon. */
  before: string;
  value: string;
}

function members(random: Random): Member[] {
  return Array.from({ length: random.below(7) }, () => {
    const [literal, key] = random.pick(keys);
    const before = `${space(random)}${literal}${space(random)}:${space(random)}`;
    return { key, before, value: valueText(random, 3, []) + space(random) };
  });
}

/** A value's bytes do not include the white space around it. */
function objectText(list: readonly Member[], opening: string, edits: Record<string, unknown> = {}) {
  const inside = list.map(({ key, before, value }) => {
    const after = value.slice(value.trimEnd().length);
    return before + (Object.hasOwn(edits, key) ? JSON.stringify(edits[key]) + after : value);
  });
  return `${opening}{${inside.join(',')}}\n`;
}

const newValues = [7, 1.5, 'ё"\\', null, true, [], { include_usage: true }, [{ a: [1] }]];

function edit(bytes: Uint8Array, edits: Record<string, unknown>): Uint8Array {
  return Buffer.concat(editJson(JsonBody.parse(bytes), edits));
}

describe('editJson', () => {
  test('changes every value of the given keys, and no other byte', async () => {
    await forSeeds(cases, (random) => {
      const list = members(random);
      const opening = space(random);
      const present = list.filter(() => random.oneIn(2)).map(({ key }) => key);
      const edits = Object.fromEntries(present.map((key) => [key, random.pick(newValues)]));
      const edited = edit(Buffer.from(objectText(list, opening)), edits);
      expect(textOf(edited)).toBe(objectText(list, opening, edits));
    });
  });

  test('adds missing keys after the opening brace, and changes no other byte', async () => {
    await forSeeds(cases, (random) => {
      const list = members(random);
      const opening = space(random);
      const edits = { 'new "key"': random.pick(newValues), [random.pick(keys)[1]]: 'changed' };
      const text = objectText(list, opening);
      const edited = textOf(edit(Buffer.from(text), edits));
      expect(JSON.parse(edited)).toEqual({ ...JSON.parse(text), ...edits });
      expect(edited.startsWith(`${opening}{`)).toBe(true);
      expect(edited.endsWith(objectText(list, opening, edits).slice(opening.length + 1))).toBe(
        true,
      );
    });
  });

  test('returns equal bytes when there is nothing to edit', async () => {
    await forSeeds(200, (random) => {
      const text = objectText(members(random), space(random));
      expect(textOf(edit(Buffer.from(text), {}))).toBe(text);
    });
  });

  test('does not change bytes that are not UTF-8', () => {
    const broken = Buffer.from('{"a":"\xff\xc3","n":1.0}', 'latin1');
    const edited = Buffer.from(edit(broken, { n: 2 }));
    expect(edited.toString('latin1')).toBe('{"a":"\xff\xc3","n":2}');
  });

  test('does not treat names that every object inherits as edits', () => {
    const text = '{"constructor":1.0,"toString":2.0}';
    expect(textOf(edit(Buffer.from(text), {}))).toBe(text);
  });

  test('edits a view into a larger buffer without reading beyond it', () => {
    const large = Buffer.from('{"x":0}{"n":1.0}{"n":3}');
    expect(textOf(edit(large.subarray(7, 16), { n: 2 }))).toBe('{"n":2}');
  });
});

describe('a byte order mark', () => {
  const marked = Buffer.from('\ufeff {"model":"a","n":1.0}');

  test('is skipped when the object is read', () => {
    expect(parseObject(marked)).toEqual({ model: 'a', n: 1 });
    expect(spans(marked).map(({ key }) => key)).toEqual(['model', 'n']);
  });

  test('is kept when the object is edited', () => {
    const edited = edit(marked, { model: 'b', stream: true });
    expect(textOf(edited)).toBe('\ufeff {"stream":true,"model":"b","n":1.0}');
  });

  test.each(['\ufeff', '\ufeff\ufeff{}', '{}\ufeff', '\ufeff[]'])('refuses %j', (text) => {
    expect(() => parseObject(Buffer.from(text))).toThrow(
      expect.objectContaining({ code: 'invalid_json' }),
    );
  });
});

describe('spans', () => {
  test('returns the members of an object in order, each with the bytes of its value', async () => {
    await forSeeds(cases, (random) => {
      const list = members(random);
      const bytes = Buffer.from(objectText(list, space(random)));
      const found = spans(bytes);
      expect(found.map(({ key }) => key)).toEqual(list.map(({ key }) => key));
      expect(found.map(({ start, end }) => textOf(bytes, start, end))).toEqual(
        list.map(({ value }) => value.trimEnd()),
      );
      JSON.parse(textOf(bytes));
    });
  });

  test('returns the elements of an array, and those of a nested value', async () => {
    await forSeeds(cases, (random) => {
      const elements = Array.from({ length: random.below(6) }, () => valueText(random, 3, []));
      const inside = elements.map((element) => space(random) + element + space(random)).join(',');
      const prefix = '{"data": ';
      const bytes = Buffer.from(`${prefix}[${inside}]}`);
      const found = spans(bytes, prefix.length);
      expect(found.map(({ start, end }) => textOf(bytes, start, end))).toEqual(elements);
      expect(found.map(({ key }) => key)).toEqual(elements.map((_, i) => String(i)));
      JSON.parse(textOf(bytes));
    });
  });

  test.each(['', ' ', '1', '"{}"', 'null', '{}', ' [ ] '])('returns none for %j', (text) => {
    expect(spans(Buffer.from(text))).toEqual([]);
  });

  test.each([
    ['[1,', 1],
    ['[1 2]', 1],
    ['{"a":1 "b":2}', 1],
    ['{}":1', 0],
  ])('of %j, which is no JSON, are those in front of the fault', (text, count) => {
    expect(spans(Buffer.from(text))).toHaveLength(count);
  });
});

test('a key that is no JSON string is what stands there, and a string ends at its quote', () => {
  const bytes = Buffer.from(String.raw`{"a\x":"y"1}`);
  const [member] = spans(bytes);
  expect(member?.key).toBe(String.raw`"a\x"`);
  expect(textOf(bytes, member?.start, member?.end)).toBe('"y"');
});

test.each([
  ['[1]', true],
  ['[', true],
  ['{}', false],
  [' []', false],
  ['', false],
])('of %j it is %p that it begins as a list', (text, expected) => {
  expect(isList(Buffer.from(text))).toBe(expected);
});

describe('lastValueOf', () => {
  test('returns the value of the last such key at any depth', async () => {
    await forSeeds(cases, (random) => {
      const usages: string[] = [];
      const text = valueText(random, 5, usages);
      const last = usages.at(-1);
      expect(lastValueOf(Buffer.from(text), 'usage')).toEqual(
        last === undefined ? undefined : JSON.parse(last),
      );
    });
  });

  test('ignores a string value that equals the key', () => {
    const bytes = Buffer.from('{"usage":{"prompt_tokens":3},"object":"usage"}');
    expect(lastValueOf(bytes, 'usage')).toEqual({ prompt_tokens: 3 });
  });

  test('ignores a longer key that ends like the key', () => {
    const bytes = Buffer.from(String.raw`{"usage":1,"my \"usage":2}`);
    expect(lastValueOf(bytes, 'usage')).toBe(1);
  });

  test('ignores the key inside a quoted text', () => {
    const text = JSON.stringify({ usage: 1, content: '"usage": 2' });
    expect(lastValueOf(Buffer.from(text), 'usage')).toBe(1);
  });

  test('reads frames of an event stream', () => {
    const frames = 'data: {"usage":null}\n\ndata: {"usage" : {"a":1.0}}\r\n\r\ndata: [DONE]\n\n';
    expect(lastValueOf(Buffer.from(frames), 'usage')).toEqual({ a: 1 });
  });

  test.each(['', '"usage"', '{"usage":', '{"usage":{"a":1', '{"usage":"x', '{"usage":1x}'])(
    'returns undefined for %j, which is cut or not JSON',
    (text) => {
      expect(lastValueOf(Buffer.from(text), 'usage')).toBeUndefined();
    },
  );
});

describe('bytes that are not JSON', () => {
  function scan(bytes: Uint8Array): void {
    for (const { start, end } of spans(bytes)) {
      if (start < 0 || start > end || end > bytes.length) throw new Error(`[${start}, ${end})`);
    }
    lastValueOf(bytes, 'usage');
  }

  test('never make the scanner throw or read beyond the bytes', async () => {
    await forSeeds(3_000, (random) => {
      const bytes = Buffer.from(
        Array.from({ length: random.below(80) }, () =>
          random.pick([
            '{',
            '}',
            '[',
            ']',
            '"',
            '\\',
            ',',
            ':',
            ' ',
            '\n',
            'a',
            '1',
            '"usage"',
            '\xff',
          ]),
        ).join(''),
        'latin1',
      );
      scan(bytes);
    });
  });

  test('never make the scanner throw when JSON is cut or one of its bytes is wrong', async () => {
    await forSeeds(cases, (random) => {
      const bytes = Buffer.from(objectText(members(random), space(random)));
      if (random.oneIn(2)) return scan(bytes.subarray(0, random.below(bytes.length)));
      bytes[random.below(bytes.length)] = random.below(256);
      return scan(bytes);
    });
  });

  test.each(['{', '[', '"', '\\', ',', '[,', '{"a":', '"\\', '\\"', '{"usage":', ' ', '}', '":'])(
    'many of %j in a row are scanned to their end',
    (text) => {
      const bytes = Buffer.alloc(64 * 1024, text);
      for (const opening of ['', '{', '[', '{"usage":'])
        scan(Buffer.concat([Buffer.from(opening), bytes]));
    },
  );
});

describe('parseObject', () => {
  test('returns the members of an object', () => {
    expect(parseObject(Buffer.from(' {"prompt":"Да","n":[1]}\n'))).toEqual({
      prompt: 'Да',
      n: [1],
    });
  });

  const refused = [
    '',
    ' ',
    '[]',
    '"x"',
    '1',
    'null',
    '{',
    '{"a":1,}',
    "{'a':1}",
    '{}{}',
    '\x1f\x8b',
  ];
  test.each(refused)('refuses %j as invalid_json', (text) => {
    expect(() => parseObject(Buffer.from(text))).toThrow(
      expect.objectContaining({ code: 'invalid_json', status: 400 }),
    );
  });

  test('refuses what only begins a little like a byte order mark', () => {
    expect(() => parseObject(Uint8Array.of(0x20, 0xbb, 0x20, 0x7b, 0x7d))).toThrow(GatewayError);
  });

  test.each([
    ['', 'The body is empty'],
    ['{', 'The body is not valid JSON'],
    ['[]', 'The body must be one JSON object, such as {"prompt": "Hello"}.'],
  ])('says of %j what is wrong with it', (text, message) => {
    expect(() => parseObject(Buffer.from(text))).toThrow(message);
  });

  test('keeps what the parser said as the cause', () => {
    expect(() => parseObject(Buffer.from('{'))).toThrow(
      expect.objectContaining({ cause: expect.any(SyntaxError) as unknown }),
    );
  });

  test('never quotes the body in its message', () => {
    const thrown = (() => {
      try {
        return parseObject(Buffer.from('{"prompt": secretword}'));
      } catch (error) {
        return error;
      }
    })();
    expect(thrown).toBeInstanceOf(GatewayError);
    expect((thrown as GatewayError).message).not.toContain('secretword');
  });

  test('refuses very deep nesting with a GatewayError', () => {
    const bytes = Buffer.alloc(4 * 1024 * 1024, '{"a":');
    expect(() => parseObject(bytes)).toThrow(GatewayError);
  });
});

test('only an object that is no list is a record', () => {
  expect([{}, { a: 1 }].map(isRecord)).toEqual([true, true]);
  expect([null, undefined, [], 'a', 1, true].map(isRecord)).not.toContain(true);
});

/**
 * The scan of a large body, beside JSON.parse: it takes and refuses the same, whatever pieces it reads, and finds the
 * same members.
 */
import { describe, expect, test } from 'bun:test';
import { JsonScan, maxDepth, maxMembers } from '../../../src/wire/jsonscan.ts';
import { spans, textOf } from '../../../src/wire/json.ts';
import { forSeeds, type Random } from '../../support/random.ts';

function scan(bytes: Uint8Array, pieceBytes = bytes.length + 1): JsonScan {
  const found = new JsonScan(bytes);
  while (!found.read(pieceBytes));
  return found;
}

function outcomeOf(read: () => unknown): string {
  try {
    read();
    return 'taken';
  } catch {
    return 'refused';
  }
}

/** Returns what JSON.parse makes of a text that has to be an object. */
function parsed(text: string): Record<string, unknown> {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('none');
  return value as Record<string, unknown>;
}

const pieces = [
  ...'{}[]:,"\\ \n',
  '0',
  '-',
  '1',
  '.',
  'e',
  'E',
  '+',
  '12',
  '-0.5e+7',
  '1E2',
  '01',
  '.5',
  '1.',
  'true',
  'false',
  'null',
  'nul',
  'tru',
  '"a"',
  '"model":',
  String.raw`"\u00e9"`,
  String.raw`"\u00g9"`,
  String.raw`"\x"`,
  '"\t"',
  '"é🙂"',
  '[1,2]',
  '{"b":[]}',
  '\u00a0',
  String.raw`"\\"`,
  String.raw`"\"`,
];

/** Returns a text that is often JSON: a good one, with a few random changes. */
function anyText(random: Random): string {
  const value = (depth: number): string => {
    const kind = depth === 0 ? 2 : random.below(3);
    if (kind === 2) return random.pick(['1', '-0.5e+7', '"é"', 'true', 'null', '""', '[]', '{}']);
    const inside = Array.from({ length: random.below(4) }, (_, i) =>
      kind === 0 ? value(depth - 1) : `"k${i}":${value(depth - 1)}`,
    );
    return kind === 0 ? `[${inside.join(' ,')}]` : `{ ${inside.join(',')}}`;
  };
  let text = `{"a":${value(3)},"b":${value(2)}}`;
  for (let i = random.below(3); i > 0; i--) {
    const at = random.below(text.length + 1);
    text = text.slice(0, at) + random.pick(pieces) + text.slice(at + random.below(3));
  }
  return text;
}

describe('the syntax', () => {
  test('is that of JSON.parse', async () => {
    const seen = new Set<string>();
    await forSeeds(6_000, (random) => {
      const text = anyText(random);
      const outcome = outcomeOf(() => parsed(text));
      seen.add(outcome);
      const bytes = Buffer.from(text);
      expect(`${outcomeOf(() => scan(bytes))}: ${text}`).toBe(`${outcome}: ${text}`);
      expect(outcomeOf(() => scan(bytes, 1 + random.below(5)))).toBe(outcome);
    });
    expect([...seen].sort()).toEqual(['refused', 'taken']);
  });

  test.each([
    '',
    ' ',
    '{',
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,}',
    '{"a":1}}',
    '{"a":1} x',
    '{"a":"',
    '{a:1}',
    "{'a':1}",
    '{"a":NaN}',
    '{"a":1 2}',
    '{"a":[1}',
    '{"a":{]}',
    '{"a":[}',
    '{]',
    '{"a":00}',
    '{"a":-}',
    '{"a":1.}',
    '{"a":1e}',
    '{"a":+1}',
    '{"a":"\n"}',
    '{"a" "b"}',
    '[]',
    '"a"',
    '1',
    'null',
    '\ufeff\ufeff{}',
  ])('refuses %j', (text) => {
    expect(() => scan(Buffer.from(text))).toThrow(
      expect.objectContaining({ code: 'invalid_json', status: 400 }),
    );
  });

  test.each(['{}', ' {} ', '\ufeff{"a":1}', '{"a":-0.0e-0}', '{"":{}}', '{"__proto__":1}'])(
    'takes %j',
    (text) => {
      expect(outcomeOf(() => scan(Buffer.from(text)))).toBe('taken');
    },
  );
});

describe('the members', () => {
  test('are those of the bytes, in whatever pieces they are read', async () => {
    await forSeeds(2_000, (random) => {
      const text = anyText(random);
      const bytes = Buffer.from(text);
      if (outcomeOf(() => parsed(text)) === 'refused') return;
      const found = scan(bytes, 1 + random.below(7)).members;
      expect(found.map(({ key, start, end }) => ({ key, start, end }))).toEqual(spans(bytes));
      for (const { key, start, end, items, numbers } of found) {
        const value: unknown = JSON.parse(textOf(bytes, start, end));
        const list: unknown[] = Array.isArray(value) ? value : [];
        const expected = [list.length, list.filter((item) => typeof item === 'number').length];
        expect([key, items, numbers]).toEqual([key, ...expected]);
      }
    });
  });

  test('are at most as many as a body may have', () => {
    const bodyOf = (count: number) =>
      Buffer.from(`{${Array.from({ length: count }, (_, i) => `"${i}":{"a":1,"b":2}`).join()}}`);
    expect(scan(bodyOf(maxMembers)).members.length).toBe(maxMembers);
    expect(() => scan(bodyOf(maxMembers + 1))).toThrow(/more than 1000 members/);
  });

  test('have names of bounded length', () => {
    const bodyOf = (length: number) => Buffer.from(`{"${'n'.repeat(length)}":1}`);
    expect(scan(bodyOf(998)).members.length).toBe(1);
    expect(() => scan(bodyOf(999))).toThrow(/name of a member .* more than 1000 bytes/);
    expect(scan(Buffer.from(`{"a":{"${'n'.repeat(2_000)}":1}}`)).members.length).toBe(1);
  });

  test('nest as deep as a body may', () => {
    const bodyOf = (depth: number) =>
      Buffer.from(`{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`);
    expect(scan(bodyOf(maxDepth)).members.length).toBe(1);
    expect(() => scan(bodyOf(maxDepth + 1))).toThrow(/more than 500 deep/);
  });
});

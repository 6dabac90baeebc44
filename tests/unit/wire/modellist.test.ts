/**
 * Engines' lists of models: one model looked up, some left out, several lists joined, always in the engines' own bytes.
 */
import { describe, expect, test } from 'bun:test';
import { textOf } from '../../../src/wire/json.ts';
import { mergeModels, modelIdsOf, pickOf } from '../../../src/wire/modellist.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { forSeeds } from '../../support/random.ts';

const list = Buffer.from(
  `{"object":"list", "models":[{"id":"decoy"}],
   "data": [ {"id":"qwen3-8b","created":1.0} , {"meta":{"id":"nested"},"id":"org/name:Q4_K_M", "size":12345678901234567890},
   {"object":"model"}, "text", {"id":"модель"} ]}`,
);

const lookup = routes.find(({ path }) => path === '/v1/models/*') as Route;

const asked = (url: string, headers = {}) => ({ url, headers: new Headers(headers) });
const noContext = () => undefined;

/** Looks a model up as a client does, whose key may use the models that are allowed; `undefined` for all. */
function find(id: string, bytes: Uint8Array = list, allowed?: readonly string[]): string {
  const pick = pickOf(lookup, asked(`/v1/models/${encodeURIComponent(id)}`), allowed, noContext);
  return textOf(pick?.(bytes) ?? new Uint8Array());
}

describe('a look-up by a name without its tag', () => {
  const tagged = Buffer.from(
    '{"data":[{"id":"llama3:latest"},{"id":"qwen:latest","n":1.0},{"id":"qwen"}]}',
  );
  const latest = '{"id":"llama3:latest"}';

  test('finds the name with Ollama’s tag, but prefers the name itself', () => {
    expect(find('llama3', tagged)).toBe(latest);
    expect(find('qwen', tagged)).toBe('{"id":"qwen"}');
    expect(() => find('llama3:8b', tagged)).toThrow();
    expect(() => find('llama', tagged)).toThrow();
  });

  test('finds it for keys that may use either name, and for no other key', () => {
    for (const allowed of [['llama3'], ['llama3:latest']]) {
      expect(find('llama3', tagged, allowed)).toBe(latest);
    }
    for (const allowed of [[], ['qwen'], ['llama3:8b']]) {
      expect(() => find('llama3', tagged, allowed)).toThrow(
        expect.objectContaining({ code: 'model_not_found' }),
      );
    }
    expect(() => find('llama3:latest', tagged, ['llama3'])).toThrow();
  });
});

describe('a look-up', () => {
  test.each([
    ['qwen3-8b', '{"id":"qwen3-8b","created":1.0}'],
    [
      'org/name:Q4_K_M',
      '{"meta":{"id":"nested"},"id":"org/name:Q4_K_M", "size":12345678901234567890}',
    ],
    ['модель', '{"id":"модель"}'],
  ])('returns the entry of %j as the engine wrote it', (id, entry) => {
    expect(find(id)).toBe(entry);
  });

  test.each([
    String.raw`{"data":[{"id":"org\/name"}]}`,
    String.raw`{"data":[{"id":"\u006frg/name"}]}`,
  ])('finds an id that the engine writes with escapes: %s', (text) => {
    expect(find('org/name', Buffer.from(text))).toBe(text.slice('{"data":['.length, -2));
  });

  test.each(['', 'qwen3', 'decoy', 'nested', 'model', 'text', 'QWEN3-8B', '"qwen3-8b"'])(
    'does not find %j',
    (id) => {
      expect(() => find(id)).toThrow(
        expect.objectContaining({ code: 'model_not_found', status: 404, param: 'model' }),
      );
    },
  );

  test.each([
    '',
    '{}',
    '[]',
    '{"data":null}',
    '{"data":{"id":"x"}}',
    '{"data":[{"id":"x"',
    'no JSON',
    '{"data":[',
  ])('finds nothing in %j', (text) => {
    expect(() => find('y', Buffer.from(text))).toThrow(
      expect.objectContaining({ code: 'model_not_found' }),
    );
  });
});

describe('a list for a key that may use some models', () => {
  test('keeps the entries of those names in their own bytes', () => {
    const [a, b] = ['{"id":"a", "n":1.0}', '{ "id":"b"}'];
    const list = Buffer.from(`{"models":[1],"data":[${a},${b},{"id":"c"}],"object":"list"}`);
    const models = routes.find(({ path }) => path === '/v1/models') as Route;
    const only = (...names: string[]) =>
      textOf(pickOf(models, asked('/v1/models'), names, noContext)?.(list) ?? new Uint8Array());
    expect(only('a', 'b')).toBe(`{"object":"list","data":[${a},${b}]}`);
    expect(only('b', 'x')).toBe(`{"object":"list","data":[${b}]}`);
    expect(only('x')).toBe('{"object":"list","data":[]}');
  });

  test("keeps those that a name without Ollama's tag stands for", () => {
    const list = Buffer.from('{"data":[{"id":"a:latest"},{"id":"b"},{"id":"b:latest"}]}');
    const models = routes.find(({ path }) => path === '/v1/models') as Route;
    const only = textOf(
      pickOf(models, asked('/v1/models'), ['a', 'b'], noContext)?.(list) ?? new Uint8Array(),
    );
    expect(only).toBe('{"object":"list","data":[{"id":"a:latest"},{"id":"b"}]}');
  });
});

describe('modelIdsOf', () => {
  test('returns the names in a list, each once', () => {
    const list =
      '{"object":"list","models":[{"id":"z"}],"data":[{"id":"a","created":1.0},{"id":"b"},{"id":"a"}]}';
    expect(modelIdsOf(Buffer.from(list))).toEqual(['a', 'b']);
    expect(modelIdsOf(Buffer.from(String.raw`{"data":[{"id":"org\/м"}]}`))).toEqual(['org/м']);
  });

  test('leaves out entries without a name', () => {
    const list = '{"data":[{"id":1},{},null,"a",["id"],{"id":""},{"id":"b"},{"id":"c"';
    expect(modelIdsOf(Buffer.from(list))).toEqual(['b']);
  });

  test.each([
    '',
    '{}',
    '[]',
    'null',
    '{"data":null}',
    '{"data":{"id":"x"}}',
    '{"data":"x"}',
    '<html>',
    '{"data":[',
  ])('returns no names of %j', (text) => {
    expect(modelIdsOf(Buffer.from(text))).toEqual([]);
  });
});

describe('mergeModels', () => {
  function merged(...lists: [string, Record<string, string>?][]): string {
    return textOf(
      mergeModels(lists.map(([list, aliases = {}]) => ({ list: Buffer.from(list), aliases }))),
    );
  }

  test('keeps the bytes of each entry, and the first of those with the same id', () => {
    const one = '{"id":"a", "size":12345678901234567890,"x":1.0}';
    const two = String.raw`{ "meta":{"n":[1,2]},"id":"b\/\u043c" }`;
    const text = merged([`{"data":[ ${one} ]}`], [`{"object":"list","data":[{"id":"a"},${two}]}`]);
    expect(text).toBe(`{"object":"list","data":[${one},${two}]}`);
  });

  test('puts the aliases behind the models, each once, and none that is the name of a model', () => {
    const text = merged(
      ['{"data":[{"id":"a"}]}', { fast: 'a', b: 'a' }],
      ['{"data":[{"id":"b"}]}', { fast: 'b', 'say "hi"': 'b' }],
    );
    const alias = (id: string) => ({
      id,
      object: 'model',
      created: 0,
      owned_by: 'llm-gateway',
    });
    expect(JSON.parse(text)).toEqual({
      object: 'list',
      data: [{ id: 'a' }, { id: 'b' }, alias('fast'), alias('say "hi"')],
    });
  });

  test('returns an empty list of nothing', () => {
    expect(merged()).toBe('{"object":"list","data":[]}');
    expect(merged(['<html>'], ['{"data":null}'])).toBe('{"object":"list","data":[]}');
  });

  test('is JSON whatever the lists were', async () => {
    const pieces = [
      '{"data":[',
      '{"id":"a"}',
      '{"id":"b"',
      '}',
      ']',
      ',',
      '"',
      '{',
      '[',
      'x',
      '\\',
      '1',
    ];
    await forSeeds(2_000, (random) => {
      const noise = () =>
        Array.from({ length: random.below(9) }, () => random.pick(pieces)).join('');
      const text = merged([`{"data":[${noise()}`], [noise(), { fast: 'a' }]);
      const { data } = JSON.parse(text) as { data: { id: string }[] };
      expect(data.map(({ id }) => id)).toEqual([...new Set(data.map(({ id }) => id))]);
    });
  });
});

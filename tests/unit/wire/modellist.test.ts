/**
 * Looking one model up in an engine's list, which returns the engine's own bytes.
 */
import { describe, expect, test } from 'bun:test';
import { textOf } from '../../../src/wire/json.ts';
import { findModel } from '../../../src/wire/modellist.ts';

const list = Buffer.from(
  `{"object":"list", "models":[{"id":"decoy"}],
   "data": [ {"id":"qwen3-8b","created":1.0} , {"meta":{"id":"nested"},"id":"org/name:Q4_K_M", "size":12345678901234567890},
   {"object":"model"}, "text", {"id":"модель"} ]}`,
);

function find(id: string, bytes: Uint8Array = list): string {
  return textOf(findModel(bytes, id));
}

describe('findModel by a name without its tag', () => {
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
      expect(textOf(findModel(tagged, 'llama3', allowed))).toBe(latest);
    }
    for (const allowed of [[], ['qwen'], ['llama3:8b']]) {
      expect(() => findModel(tagged, 'llama3', allowed)).toThrow(
        expect.objectContaining({ code: 'model_not_found' }),
      );
    }
    expect(() => findModel(tagged, 'llama3:latest', ['llama3'])).toThrow();
  });
});

describe('findModel', () => {
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

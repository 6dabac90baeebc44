/**
 * Lists of models in Anthropic's shape: what is told of a model, and pages.
 */
import { describe, expect, test } from 'bun:test';
import { anthropicList, anthropicModel } from '../../../src/wire/anthropicmodels.ts';
import type { GatewayError } from '../../../src/wire/errors.ts';

const unknown = () => undefined;
const bytes = (value: unknown) => Buffer.from(JSON.stringify(value));
const read = (json: Uint8Array) => JSON.parse(String(Buffer.from(json)));

describe('a model', () => {
  test('has every field of the API; what nobody tells is null, and its date the epoch', () => {
    expect(read(anthropicModel(bytes({ id: 'org/m' }), unknown))).toEqual({
      type: 'model',
      id: 'org/m',
      display_name: 'org/m',
      created_at: '1970-01-01T00:00:00Z',
      max_input_tokens: null,
      max_tokens: null,
      capabilities: null,
      lifecycle: 'active',
      line: null,
      deprecated_at: null,
      retires_at: null,
    });
  });

  test.each([
    [{ max_model_len: 4096 }, 4096],
    [{ meta: { n_ctx: 8192 } }, 8192],
    [{ context_length: 1024 }, 1024],
    [{ max_model_len: null, meta: null, context_length: '9' }, 77],
    [{}, 77],
  ])('has the context that its engine tells: %j', (more, expected) => {
    const model = read(anthropicModel(bytes({ id: 'm', ...more }), () => 77));
    expect(model.max_input_tokens).toBe(expected);
  });

  test.each([
    [1_795_478_400, '2026-11-24T00:00:00Z'],
    [1e300, '1970-01-01T00:00:00Z'],
    ['yesterday', '1970-01-01T00:00:00Z'],
  ])('was created when its engine says: %p', (created, expected) => {
    expect(read(anthropicModel(bytes({ id: 'm', created }), unknown)).created_at).toBe(expected);
  });
});

describe('a list', () => {
  const list = bytes({ data: ['a', 'b', 'c', 'd'].map((id) => ({ id })) });
  const page = (search: string) => {
    const { data, ...more } = read(anthropicList(list, search, unknown));
    return [data.map(({ id }: { id: string }) => id).join(''), more];
  };
  const more = (has_more: boolean, first_id: string | null, last_id: string | null) => {
    return { has_more, first_id, last_id };
  };

  test.each([
    ['', 'abcd', more(false, 'a', 'd')],
    ['?limit=1000', 'abcd', more(false, 'a', 'd')],
    ['?limit=2', 'ab', more(true, 'a', 'b')],
    ['?limit=2&after_id=b', 'cd', more(false, 'c', 'd')],
    ['?limit=1&after_id=b', 'c', more(true, 'c', 'c')],
    ['?after_id=d', '', more(false, null, null)],
    ['?limit=2&before_id=d', 'bc', more(true, 'b', 'c')],
    ['?before_id=b', 'a', more(false, 'a', 'a')],
  ])('%j is a page', (search, ids, rest) => {
    expect(page(search)).toEqual([ids, rest]);
  });

  test.each([
    ['?limit=0', 'limit'],
    ['?limit=x', 'limit'],
    ['?limit=1001', 'limit'],
    ['?after_id=z', 'after_id'],
    ['?before_id=', 'before_id'],
  ])('%j is an error', (search, param) => {
    const expected: Partial<GatewayError> = { code: 'invalid_field', param };
    expect(() => page(search)).toThrow(expect.objectContaining(expected));
  });

  test.each(['', 'null', '[]', '{"data":{}}', '{"data":[null,1,{"id":2}]}'])(
    'without models is empty: %j',
    (text) => {
      const empty = { data: [], has_more: false, first_id: null, last_id: null };
      expect(read(anthropicList(Buffer.from(text), '', unknown))).toEqual(empty);
    },
  );
});

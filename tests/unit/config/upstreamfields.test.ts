/** What an entry of the upstreams may have: its JSON Schema and its table. */
import { describe, expect, test } from 'bun:test';
import { Value } from '@sinclair/typebox/value';
import { upstreamsJsonSchema, upstreamsMarkdown } from '../../../src/config/upstreamfields.ts';

describe('an entry', () => {
  test('as a JSON Schema takes what is read, and refuses what is not', () => {
    const schema = JSON.parse(JSON.stringify(upstreamsJsonSchema));
    const { items } = schema;
    expect(items.required).toEqual(['url']);
    expect(Object.keys(items.properties)).toEqual([
      'url',
      'id',
      'api_key',
      'api_key_file',
      'kind',
      'models',
      'aliases',
      'slots',
      'weight',
      'drain',
    ]);
    for (const property of Object.values<{ description: string }>(items.properties)) {
      expect(property.description).toEndWith('.');
    }
    const check = (entry: object) =>
      Value.Check(upstreamsJsonSchema, [{ url: 'http://a', ...entry }]);
    const good = [
      {},
      { slots: 4 },
      { slots: '${N}' },
      { slots: { x: '${N}' } },
      { drain: '${YES}' },
      { models: ['x'] },
      { aliases: { a: 'x' } },
      { kind: 'vllm' },
      { api_key_file: 'x' },
      { weight: 0.5 },
    ];
    for (const entry of good) expect([entry, check(entry)]).toEqual([entry, true]);
    const bad = [
      { slots: 0 },
      { slots: { x: 0 } },
      { drain: 'yes' },
      { models: [] },
      { models: 'x' },
      { aliases: { a: 1 } },
      { kind: 'tgi' },
      { weight: 0 },
      { name: 'x' },
      { url: undefined },
    ];
    for (const entry of bad) expect([entry, check(entry)]).toEqual([entry, false]);
  });

  test('as a table has a line for each key, with its default and what it allows', () => {
    const lines = upstreamsMarkdown().trimEnd().split('\n');
    expect(lines).toHaveLength(2 + 9);
    for (const line of lines) expect(line.split('|')).toHaveLength(5);
    expect(lines.at(-1)).toStartWith('| `drain` | `false` | ');
    expect(lines[4]).toStartWith('| `api_key`, `api_key_file` |  | ');
  });
});

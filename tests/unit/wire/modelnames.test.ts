/** Where an engine may read the name of a model in addition to the member that is checked. */
import { describe, expect, test } from 'bun:test';
import {
  foldedName,
  namesModelElsewhere,
  namesModelInQuery,
} from '../../../src/wire/modelnames.ts';

describe('a member of a body', () => {
  test.each([
    'Model',
    'MODEL',
    'model[]',
    'model[0]',
    'models',
    'Model\u017F',
    'fallbac\u212As',
    'lora_path',
    'draft_model',
    'adapter_id',
  ])('%j may name a model', (name) => {
    expect(namesModelElsewhere(name)).toBe(true);
  });

  test.each(['model', 'model_', 'a_model', 'messages', 'modality', ''])(
    '%j does not name another model',
    (name) => {
      expect(namesModelElsewhere(name)).toBe(false);
    },
  );
});

describe('a query', () => {
  test.each([
    '?model=b',
    '?model',
    '?x=1&model=b',
    '?x=1;model=b',
    '?%6dodel=b',
    '?Model=b',
    '?+model=b',
    '?model[]=b',
    '?models=b',
    '?%u006dodel=b',
    '?model%=b',
  ])('%j names a model', (search) => {
    expect(namesModelInQuery(search)).toBe(true);
  });

  test.each(['', '?', '?x=model', '?x=1&y=2', '?my_model=b'])('%j names none', (search) => {
    expect(namesModelInQuery(search)).toBe(false);
  });
});

test('Ollama compares names without regard to case and to the tag latest', () => {
  expect([foldedName('A:Latest'), foldedName('a:8b')]).toEqual(['a', 'a:8b']);
});

/** SGLang's own id of a request: whose it is made unique, and how. */
import { expect, test } from 'bun:test';
import { ridEdit } from '../../../src/relay/uniquerid.ts';

const uniqueId = 'mine-0123abcd';

test.each(['sglang', 'openai', 'unknown'] as const)(
  'gets the suffix at a server of kind %s',
  (kind) => {
    expect(ridEdit({ rid: 'x' }, kind, uniqueId)).toEqual({ rid: 'x-0123abcd' });
    expect(ridEdit({ rid: ['x', 'x'] }, kind, uniqueId)).toEqual({
      rid: ['x-0123abcd-0', 'x-0123abcd-1'],
    });
  },
);

test.each([[undefined], [null], [7], [['x', 7]], [{}]])('stays as it is where it is %j', (rid) => {
  expect(ridEdit({ rid }, 'sglang', uniqueId)).toBeUndefined();
});

test.each(['llama.cpp', 'vllm', 'ollama'] as const)('stays as it is at %s', (kind) => {
  expect(ridEdit({ rid: 'x' }, kind, uniqueId)).toBeUndefined();
});

/** What decides about models in memory becomes spaces, whatever its spelling; every other byte stays. */
import { expect, test } from 'bun:test';
import { JsonBody } from '../../../src/wire/jsonbody.ts';
import { leaveModelsAlone } from '../../../src/wire/ollamabody.ts';

function left(text: string): string {
  const bytes = new Uint8Array(Buffer.from(text));
  leaveModelsAlone(JsonBody.parse(bytes));
  expect(bytes.length).toBe(Buffer.byteLength(text));
  const after = Buffer.from(bytes).toString();
  JSON.parse(after);
  return after.replaceAll(/ +/g, ' ');
}

test.each([
  ['{"keep_alive":0}', '{ }'],
  ['{"keep_alive":0,"a":1.0}', '{ "a":1.0}'],
  ['{"a":1.0,"keep_alive":"5m"}', '{"a":1.0 }'],
  ['{"a":1,"keep_alive":-1,"b":2}', '{"a":1 ,"b":2}'],
  ['{"keep_alive":0,"Keep_Alive":0,"a":1}', '{ "a":1}'],
  ['{"a":1,"keep_alive":0,"keep_alive":0}', '{"a":1 }'],
  ['{"keep_alive":0,"a":1,"keep_alive":[{}],"b":2,"keep_alive":null}', '{ "a":1 ,"b":2 }'],
  ['{"\\u006beep_alive":0}', '{ }'],
  ['{"\u212aeep_alive":0}', '{ }'],
  ['{"a":{"keep_alive":0}}', '{"a":{"keep_alive":0}}'],
])('%s becomes %s', (before, after) => {
  expect(left(before)).toBe(after);
});

test.each([
  ['{"options":{"num_ctx":9}}', '{"options":{ }}'],
  ['{"options":{"num_ctx":9,"seed":1,"num_gpu":0}}', '{"options":{ "seed":1 }}'],
  [
    '{"options":{"seed":1,"num_thread":2,"NUM_BATCH":3,"top_k":4}}',
    '{"options":{"seed":1 ,"top_k":4}}',
  ],
  ['{"Option\u017f":{"main_gpu":1,"use_mmap":true}}', '{"Option\u017f":{ }}'],
  ['{"options":null,"options":{"num_ctx":1},"keep_alive":1}', '{"options":null,"options":{ } }'],
  ['{"options":[{"num_ctx":1}]}', '{"options":[{"num_ctx":1}]}'],
])('of options: %s becomes %s', (before, after) => {
  expect(left(before)).toBe(after);
});

test('a body without any of it stays as it is', () => {
  const text =
    '{ "model" : "m", "options": {"num_predict": 5, "temperature": 1.0} , "x":"keep_alive"}';
  const bytes = new Uint8Array(Buffer.from(text));
  leaveModelsAlone(JsonBody.parse(bytes));
  expect(Buffer.from(bytes).toString()).toBe(text);
});

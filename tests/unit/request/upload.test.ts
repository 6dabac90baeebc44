/**
 * A body in parts is the same bytes, whole or in pieces.
 */
import { expect, test } from 'bun:test';
import { uploadOf } from '../../../src/request/upload.ts';

const large = Buffer.alloc(1_500_000, 'large');
const [before, after] = [Buffer.from('before'), Buffer.from('after')];

test.each([
  ['one', [before]],
  ['several', [before, Buffer.alloc(0), after]],
  ['one large', [large]],
  ['a large one among small ones', [before, large, Buffer.alloc(0), after]],
])('parts come one after another: %s', async (_, parts) => {
  const { body, contentLength } = uploadOf(parts);
  const whole = Buffer.concat(parts);
  expect(Buffer.from(await new Response(body).bytes()).equals(whole)).toBe(true);
  expect(contentLength).toBe(whole.length > 1_048_576 ? String(whole.length) : undefined);
});

test('a small body that is one part is not copied', () => {
  expect(uploadOf([before]).body).toBe(before);
});

test('no piece is asked for before the one before it is taken', async () => {
  const reader = (uploadOf([large]).body as ReadableStream<Uint8Array>).getReader();
  const { value } = await reader.read();
  expect(value?.length).toBeLessThan(large.length);
  await reader.cancel();
});

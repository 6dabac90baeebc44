/**
 * Digests that are made in slices are those of all the bytes.
 */
import { expect, test } from 'bun:test';
import { digestOf, sliceBytes } from '../../../src/request/digest.ts';

test('the digest is that of the parts one after another', async () => {
  const large = Buffer.alloc(2 * sliceBytes + 3, 'large');
  const whole = Buffer.concat([Buffer.from('é'), large, Buffer.from('end')]);
  const expected = new Bun.CryptoHasher('sha256').update(whole).digest('base64');
  expect(await digestOf(['é', large, 'end'])).toBe(expected);
});

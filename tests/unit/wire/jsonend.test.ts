/**
 * Whether JSON that comes in pieces is whole, beside JSON.parse.
 */
import { expect, test } from 'bun:test';
import { JsonEnd } from '../../../src/wire/jsonend.ts';
import { forSeeds, type Random } from '../../support/random.ts';

function anyJson(random: Random, depth: number): unknown {
  const kind = depth === 0 ? 2 : random.below(3);
  if (kind === 2) return random.pick([1.5, 'a', '"', '\\', '}]', '\\"', true, null]);
  const items = Array.from({ length: random.below(4) }, () => anyJson(random, depth - 1));
  return kind === 0 ? items : Object.fromEntries(items.map((item, i) => [`{"${i}`, item]));
}

test('it is whole when it has ended, and at no byte before', async () => {
  await forSeeds(500, (random) => {
    const bytes = Buffer.from(JSON.stringify([anyJson(random, 3)]));
    const end = new JsonEnd();
    expect(end.isWhole).toBe(false);
    for (let at = 0; at < bytes.length;) {
      const next = Math.min(bytes.length, at + 1 + random.below(5));
      end.add(bytes.subarray(at, next));
      at = next;
      expect(end.isWhole).toBe(at === bytes.length);
    }
    end.add(Buffer.from(' \n'));
    expect(end.isWhole).toBe(true);
  });
});

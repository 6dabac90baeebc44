/** Which requests are refused because of their Host headers. */
import { expect, test } from 'bun:test';
import { hostRefusal } from '../../../src/http/host.ts';

test.each<[string | undefined, boolean]>([
  [undefined, false],
  ['', false],
  ['a:12000', false],
  ['a, a', false],
  ['a, A', false],
  ['a, b', true],
  ['a,a,b', true],
  ['a,', true],
])('the host %j is refused: %p', (host, isRefused) => {
  const headers: Record<string, string> = host === undefined ? {} : { host };
  const refusal = hostRefusal(new Request('http://gateway/', { headers }));
  expect(refusal?.code).toBe(isRefused ? 'invalid_field' : undefined);
});

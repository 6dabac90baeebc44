/** Which answers are redirects, and what the client and the log get. */
import { describe, expect, test } from 'bun:test';
import { isRedirect, redirected } from '../../../src/relay/redirect.ts';

test.each([
  [200, false],
  [299, false],
  [300, true],
  [301, true],
  [304, false],
  [307, true],
  [308, true],
  [399, true],
  [400, false],
])('%d is a redirect: %p', (status, isOne) => {
  expect(isRedirect(status)).toBe(isOne);
});

describe('the error', () => {
  function answer(location: string | undefined): Response {
    const headers: Record<string, string> = location === undefined ? {} : { location };
    const made = new Response(null, { status: 307, headers });
    return Object.defineProperty(made, 'url', { value: 'http://engine:8000/v1/models' });
  }

  test.each([
    ['https://10.1.2.3/v1/models/?token=x', 'https://10.1.2.3/v1/models/:'],
    ['https://user:password@10.1.2.3/', 'https://10.1.2.3/:'],
    ['/elsewhere/', 'http://engine:8000/elsewhere/:'],
    ['http://', 'no valid address:'],
  ])('says in the log where %s leads, and nothing of it to the client', (location, shown) => {
    const { message, cause } = redirected(answer(location));
    expect(cause).toMatchObject({ code: expect.stringContaining(`it redirects to ${shown}`) });
    expect(cause).not.toMatchObject({ code: expect.stringMatching(/token|password/) });
    expect(message).not.toMatch(/10\.1|engine:8000/);
  });

  test('is cut where the address is long', () => {
    const { cause } = redirected(answer(`/${'a'.repeat(5_000)}`));
    expect(String((cause as { code: string }).code).length).toBeLessThan(300);
  });
});

/** Whether the limits of a key allow everything. */
import { expect, test } from 'bun:test';
import { isUnlimited } from '../../../src/accounts/limits.ts';
import type { Limits } from '../../../src/request/caller.ts';

const none: Limits[] = [
  {},
  { budgets: [] },
  {
    requestsPerMinute: undefined,
    tokensPerMinute: undefined,
    concurrentRequests: undefined,
    budgets: undefined,
  },
];
test.each(none)('%j is no limit', (limits) => {
  expect(isUnlimited(limits)).toBe(true);
});

const some: Limits[] = [
  { requestsPerMinute: 1 },
  { tokensPerMinute: 1 },
  { concurrentRequests: 1 },
  { budgets: [{ tokens: 1, per: 'month' }] },
];
test.each(some)('%j is one', (limits) => {
  expect(isUnlimited(limits)).toBe(false);
});

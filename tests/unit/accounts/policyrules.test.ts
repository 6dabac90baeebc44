/**
 * What each member of a policy may be, as a flag and in JSON. How the rules are put together is tested with the policy.
 */
import { describe, expect, test } from 'bun:test';
import { names, rules, type Name } from '../../../src/accounts/policyrules.ts';

const now = Date.parse('2026-11-24T12:00:00Z');
const dayMs = 86_400_000;

/** Returns what a flag means; `null` where it is not allowed. */
function fromFlag(flag: string, text: string): unknown {
  const name = names.find((each) => rules[each].flag === flag);
  if (name === undefined) throw new Error(`there is no --${flag}`);
  return rules[name].accept(rules[name].decode(text), now);
}

describe('a flag', () => {
  test.each([
    ['1/day', 1],
    ['500k/day', 500_000],
    ['1.1M/day', 1_100_000],
    ['2g/day', 2_000_000_000],
  ])('reads the budget %s', (text, tokens) => {
    expect(fromFlag('budget-tokens', text)).toEqual([{ tokens, per: 'day' }]);
  });

  test.each([
    ['name', ' alice ', 'alice'],
    ['models', 'a, b/c:q4,', ['a', 'b/c:q4']],
    ['rpm', '60', 60],
    ['tpm', '20k', 20_000],
    ['tpm', '1.1M', 1_100_000],
    ['weight', '0.01', 0.01],
    ['priority', 'Batch', 'batch'],
    ['expires', 'never', undefined],
    ['expires', '90d', now + 90 * dayMs],
    ['expires', '2027-01-01', Date.parse('2027-01-01')],
    ['user-header', 'X-OpenWebUI-User-Id', 'x-openwebui-user-id'],
  ])('--%s %j means %p', (flag, text, value) => {
    expect<unknown>(fromFlag(flag, text)).toEqual(value);
  });

  test.each([
    ['name', ''],
    ['name', ' '],
    ['name', 'a\nb'],
    ['name', 'a\u001b[2Jb'],
    ['name', 'a\u202Eb'],
    ['name', 'x'.repeat(101)],
    ['rpm', '0'],
    ['rpm', '1.5'],
    ['rpm', '-1'],
    ['rpm', 'many'],
    ['tpm', ''],
    ['concurrent', '9007199254740993'],
    ['budget-tokens', '1M'],
    ['budget-tokens', '1M/year'],
    ['budget-tokens', '0/day'],
    ['budget-tokens', '1.5/day'],
    ['budget-tokens', '1M/day,2M/day'],
    ['budget-tokens', '1M/day,'],
    ['models', ' , '],
    ['models', 'a,b,a'],
    ['weight', '0'],
    ['weight', '0.009'],
    ['weight', '101'],
    ['weight', 'Infinity'],
    ['priority', 'urgent'],
    ['expires', '0d'],
    ['expires', '2026-11-24T11:59Z'],
    ['expires', '2026-02-30'],
    ['expires', 'soon'],
    ['user-header', 'authorization'],
    ['user-header', 'X-Api-Key'],
    ['user-header', 'cookie'],
    ['user-header', 'Proxy-Authorization'],
    ['user-header', 'x user'],
  ])('--%s is not %j', (flag, text) => {
    expect(fromFlag(flag, text)).toBeNull();
  });
});

describe('in JSON', () => {
  test.each<[Name, unknown]>([
    ['name', 7],
    ['requestsPerMinute', '60'],
    ['tokensPerMinute', 1.5],
    ['concurrentRequests', Infinity],
    ['budgets', []],
    ['budgets', '1M/day'],
    ['budgets', [{ tokens: 1 }]],
    ['budgets', [{ tokens: 1, per: 'day', zone: 'UTC' }]],
    ['models', 'a'],
    ['models', []],
    ['models', ['']],
    ['weight', '1'],
    ['priority', 1],
    ['expiresAt', now + dayMs],
    ['userHeader', ['x-user']],
  ])('%s is not %j', (name, value) => {
    expect(rules[name].accept(value, now)).toBeNull();
  });
});

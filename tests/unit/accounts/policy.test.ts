/**
 * What a key may do, read from flags and from JSON by one set of rules: how a policy is made and changed, and with
 * which texts all problems are reported.
 */
import { describe, expect, test } from 'bun:test';
import {
  changeFromFlags,
  changeFromJson,
  policyFlags,
  policyFromFlags,
  policyFromJson,
} from '../../../src/accounts/policy.ts';
import { problemsOf } from '../../support/problemsof.ts';
import { fullPolicy, plainPolicy } from '../../support/samples.ts';

const now = Date.parse('2026-11-24T12:00:00Z');

const fullFlags = {
  name: 'Bücher-Bot "№ 2"',
  rpm: '60',
  tpm: '20000',
  concurrent: '2',
  'budget-tokens': '1M/day, 1.5m/month',
  models: 'a, b/c:q4,',
  weight: '0.5',
  priority: 'Batch',
  expires: '90d',
  'user-header': 'X-OpenWebUI-User-Id',
};

const fullJson = {
  name: 'Bücher-Bot "№ 2"',
  limits: fullPolicy.limits,
  models: ['a', 'b/c:q4'],
  weight: 0.5,
  priority: 'batch',
  userHeader: 'X-OpenWebUI-User-Id',
  expiresAt: '90d',
};

describe('a policy', () => {
  test('is the same from flags and from JSON', () => {
    expect(policyFromFlags(fullFlags, now)).toEqual(fullPolicy);
    expect(policyFromJson(fullJson, now)).toEqual(fullPolicy);
  });

  test('needs only a name', () => {
    expect(policyFromFlags({ name: ' alice ' }, now)).toEqual(plainPolicy);
    expect(policyFromJson({ name: 'alice' }, now)).toEqual(plainPolicy);
  });

  test('has its defaults where JSON says null', () => {
    const body = {
      name: 'alice',
      limits: null,
      models: null,
      weight: null,
      priority: null,
      userHeader: null,
      expiresAt: null,
    };
    expect(policyFromJson(body, now)).toEqual(plainPolicy);
    const limits = { requestsPerMinute: null, budgets: null };
    expect(policyFromJson({ name: 'alice', limits }, now)).toEqual(plainPolicy);
  });

  test('can have no limit in time', () => {
    expect(policyFromFlags({ name: 'alice', expires: 'never' }, now).expiresAt).toBeUndefined();
    expect(policyFromJson({ name: 'alice', expiresAt: 'never' }, now).expiresAt).toBeUndefined();
  });

  test('passes over flags that are not its own', () => {
    expect(policyFromFlags({ name: 'alice', config: 'x.yaml', json: true }, now)).toEqual(
      plainPolicy,
    );
    expect(Object.keys(policyFlags).sort()).toEqual(Object.keys(fullFlags).sort());
  });

  test.each([[[]], [5]])('does not take %j for limits', (limits) => {
    expect(problemsOf(() => policyFromJson({ name: 'alice', limits }, now))).toEqual([
      expect.stringMatching(/^limits: found .*; allowed is an object of limits, or null$/),
    ]);
  });

  test('says all that is wrong at once', () => {
    expect(problemsOf(() => policyFromFlags({ rpm: 'x', weight: '0' }, now))).toEqual([
      '--name: missing; allowed is 1 to 100 printable characters',
      '--rpm: found "x"; allowed is a whole number from 1 up, or such as 20k',
      '--weight: found "0"; allowed is a number from 0.01 to 100',
    ]);
    const body = JSON.parse('{"rpm": 1, "limits": {"tpm": 1}, "weight": 0, "__proto__": {}}');
    expect(problemsOf(() => policyFromJson(body, now))).toEqual([
      'name: missing; allowed is 1 to 100 printable characters',
      '"rpm": a policy has no such member',
      '"__proto__": a policy has no such member',
      'limits."tpm": a policy has no such member',
      'weight: found 0; allowed is a number from 0.01 to 100',
    ]);
  });

  test('takes limits only inside of limits', () => {
    expect(problemsOf(() => policyFromJson({ name: 'a', budgets: [] }, now))).toEqual([
      '"budgets": a policy has no such member',
    ]);
    expect(problemsOf(() => policyFromJson({ name: 'a', limits: { weight: 1 } }, now))).toEqual([
      'limits."weight": a policy has no such member',
    ]);
  });
});

describe('a change', () => {
  test('has what was named and nothing else', () => {
    expect(changeFromJson({ name: 'bob', weight: 2 }, fullPolicy, now)).toEqual({
      name: 'bob',
      weight: 2,
    });
  });

  test('leaves the limits that it does not name', () => {
    const limits = { requestsPerMinute: 5, budgets: null };
    expect(changeFromJson({ limits }, fullPolicy, now)).toEqual({
      limits: { requestsPerMinute: 5, tokensPerMinute: 20_000, concurrentRequests: 2 },
    });
  });

  test('clears with null', () => {
    const body = { limits: null, models: null, weight: null, userHeader: null, expiresAt: null };
    const change = changeFromJson(body, fullPolicy, now);
    expect(Object.keys(change).sort()).toEqual(Object.keys(body).sort());
    expect({ ...fullPolicy, ...change }).toEqual({
      ...plainPolicy,
      name: fullPolicy.name,
      priority: 'batch',
    });
  });

  test('is the same from flags, where the word none clears', () => {
    const flags = { rpm: '5', 'budget-tokens': 'none', weight: '2', config: 'x.yaml' };
    const body = { limits: { requestsPerMinute: 5, budgets: null }, weight: 2 };
    expect(changeFromFlags(flags, fullPolicy, now)).toEqual(changeFromJson(body, fullPolicy, now));
    const { name: _, ...cleared } = Object.fromEntries(
      Object.keys(fullFlags).map((flag, index) => [flag, index % 2 ? 'none' : ' None']),
    );
    const change = changeFromFlags(cleared, fullPolicy, now);
    expect({ ...fullPolicy, ...change }).toEqual({ ...plainPolicy, name: fullPolicy.name });
  });

  test('can call a key none, which takes no name away', () => {
    expect(changeFromFlags({ name: 'none' }, fullPolicy, now)).toEqual({ name: 'none' });
  });

  test('says all that is wrong, with the word that clears, and that it is none', () => {
    expect(problemsOf(() => changeFromFlags({ rpm: 'x', name: '' }, fullPolicy, now))).toEqual([
      '--name: found ""; allowed is 1 to 100 printable characters',
      '--rpm: found "x"; allowed is a whole number from 1 up, or such as 20k, or none',
    ]);
    const body = { weight: 0, limits: { tokensPerMinute: 'none' } };
    expect(problemsOf(() => changeFromJson(body, fullPolicy, now))).toEqual([
      'weight: found 0; allowed is a number from 0.01 to 100, or null',
      'limits.tokensPerMinute: found "none"; allowed is a whole number from 1 up, or such as 20k, or null',
    ]);
    expect(problemsOf(() => changeFromFlags({ config: 'x.yaml' }, fullPolicy, now))).toEqual([
      'no option says what to change',
    ]);
  });

  test('cannot take the name away', () => {
    expect(problemsOf(() => changeFromJson({ name: null }, fullPolicy, now))).toEqual([
      'name: found nothing; allowed is 1 to 100 printable characters',
    ]);
  });

  test('must change something that a policy has', () => {
    expect(problemsOf(() => changeFromJson({}, fullPolicy, now))).toEqual([
      'the body changes nothing',
    ]);
    expect(problemsOf(() => changeFromJson({ limits: {} }, fullPolicy, now))).toEqual([
      'the body changes nothing',
    ]);
    expect(problemsOf(() => changeFromJson({ id: 'x', digest: 'y' }, fullPolicy, now))).toEqual([
      '"id": a policy has no such member',
      '"digest": a policy has no such member',
    ]);
  });
});

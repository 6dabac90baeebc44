/**
 * What a key may do, read from flags and from JSON by one set of rules: what is taken, what is refused and in which
 * words, and what is shown of a key.
 */
import { describe, expect, test } from 'bun:test';
import { issueKey, rotateKey, type KeyPolicy } from '../../src/keys.ts';
import {
  changeFromJson,
  keyView,
  parseDuration,
  parseSince,
  policyFlags,
  policyFromFlags,
  policyFromJson,
  PolicyError,
  readSpan,
} from '../../src/policy.ts';

const now = Date.parse('2026-11-24T12:00:00Z');
const dayMs = 86_400_000;

/** Gives the problems that are told. */
function problemsOf(work: () => unknown): readonly string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof PolicyError) return error.problems;
    throw error;
  }
  return [];
}

const plain: KeyPolicy = {
  name: 'alice',
  limits: {},
  models: undefined,
  weight: 1,
  priority: 'interactive',
  userHeader: undefined,
  expiresAt: undefined,
};

const full: KeyPolicy = {
  name: 'alice',
  limits: {
    requestsPerMinute: 60,
    tokensPerMinute: 20_000,
    concurrentRequests: 2,
    budgets: [
      { tokens: 1_000_000, per: 'day' },
      { tokens: 1_500_000, per: 'month' },
    ],
  },
  models: ['a', 'b/c:q4'],
  weight: 0.5,
  priority: 'batch',
  userHeader: 'x-openwebui-user-id',
  expiresAt: now + 90 * dayMs,
};

const fullFlags = {
  name: 'alice',
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
  name: 'alice',
  limits: full.limits,
  models: ['a', 'b/c:q4'],
  weight: 0.5,
  priority: 'batch',
  userHeader: 'X-OpenWebUI-User-Id',
  expiresAt: '90d',
};

describe('durations', () => {
  test.each([
    ['7d', 7 * dayMs],
    ['24h', dayMs],
    ['30m', 1_800_000],
    ['90s', 90_000],
    ['0s', 0],
    ['36500d', 36_500 * dayMs],
  ])('%s is %d ms', (text, ms) => {
    expect(parseDuration(text)).toBe(ms);
  });

  test.each(['', '7', 'd', '-7d', '7.5d', '7 d', '7D', '7w', '1d2h', '36501d', '99999999999s'])(
    '%j is none',
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );
});

describe('since', () => {
  test('is a duration ago, or an ISO date', () => {
    expect(parseSince('7d', now)).toBe(now - 7 * dayMs);
    expect(parseSince('2026-11-01', now)).toBe(Date.parse('2026-11-01T00:00:00Z'));
    expect(parseSince('2026-11-01T10:00', now)).toBe(Date.parse('2026-11-01T10:00:00Z'));
    expect(parseSince('2026-11-01T10:00:30.5+02:00', now)).toBe(
      Date.parse('2026-11-01T08:00:30.5Z'),
    );
    expect(parseSince('2024-02-29', now)).toBe(Date.parse('2024-02-29T00:00:00Z'));
  });

  test.each(['', 'yesterday', '2026-02-30', '2026-13-01', '2026-11-01T25:00', '1.11.2026', '2026'])(
    'is not %j',
    (text) => {
      expect(parseSince(text, now)).toBeUndefined();
    },
  );
});

describe('a policy', () => {
  test('is the same from flags and from JSON', () => {
    expect(policyFromFlags(fullFlags, now)).toEqual(full);
    expect(policyFromJson(fullJson, now)).toEqual(full);
  });

  test('needs only a name', () => {
    expect(policyFromFlags({ name: ' alice ' }, now)).toEqual(plain);
    expect(policyFromJson({ name: 'alice' }, now)).toEqual(plain);
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
    expect(policyFromJson(body, now)).toEqual(plain);
    const limits = { requestsPerMinute: null, budgets: null };
    expect(policyFromJson({ name: 'alice', limits }, now)).toEqual(plain);
  });

  test('can have no limit in time', () => {
    expect(policyFromFlags({ name: 'alice', expires: 'never' }, now).expiresAt).toBeUndefined();
    expect(policyFromJson({ name: 'alice', expiresAt: 'never' }, now).expiresAt).toBeUndefined();
  });

  test.each([
    ['1/day', 1],
    ['500k/day', 500_000],
    ['1.1M/day', 1_100_000],
    ['2g/day', 2_000_000_000],
  ])('reads the budget %s', (text, tokens) => {
    const { limits } = policyFromFlags({ name: 'alice', 'budget-tokens': text }, now);
    expect(limits.budgets).toEqual([{ tokens, per: 'day' }]);
  });

  test('passes over flags that are not its own', () => {
    expect(policyFromFlags({ name: 'alice', config: 'x.yaml', json: true }, now)).toEqual(plain);
    expect(Object.keys(policyFlags).sort()).toEqual(Object.keys(fullFlags).sort());
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
    ['user-header', 'x user'],
  ])('does not take --%s %j', (flag, text) => {
    const [problem, ...others] = problemsOf(() =>
      policyFromFlags({ name: 'alice', [flag]: text }, now),
    );
    expect(others).toEqual([]);
    expect(problem).toStartWith(`--${flag}: found `);
    expect(problem).toContain('; allowed is ');
  });

  test.each<[string, object]>([
    ['name', { name: 7 }],
    ['name', { name: null }],
    ['limits', { limits: [] }],
    ['limits', { limits: 5 }],
    ['limits.requestsPerMinute', { limits: { requestsPerMinute: '60' } }],
    ['limits.tokensPerMinute', { limits: { tokensPerMinute: 1.5 } }],
    ['limits.concurrentRequests', { limits: { concurrentRequests: Infinity } }],
    ['limits.budgets', { limits: { budgets: [] } }],
    ['limits.budgets', { limits: { budgets: '1M/day' } }],
    ['limits.budgets', { limits: { budgets: [{ tokens: 1 }] } }],
    ['limits.budgets', { limits: { budgets: [{ tokens: 1, per: 'day', zone: 'UTC' }] } }],
    ['models', { models: 'a' }],
    ['models', { models: [] }],
    ['models', { models: [''] }],
    ['weight', { weight: '1' }],
    ['priority', { priority: 1 }],
    ['expiresAt', { expiresAt: now + dayMs }],
    ['userHeader', { userHeader: ['x-user'] }],
  ])('does not take a %s like %j', (place, body) => {
    const [problem, ...others] = problemsOf(() => policyFromJson({ name: 'alice', ...body }, now));
    expect(others).toEqual([]);
    expect(problem).toStartWith(`${place}: found `);
  });

  test('says all that is wrong at once', () => {
    expect(problemsOf(() => policyFromFlags({ rpm: 'x', weight: '0' }, now))).toEqual([
      '--name: missing; allowed is 1 to 100 printable characters',
      '--rpm: found "x"; allowed is a whole number from 1 up',
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
    expect(changeFromJson({ name: 'bob', weight: 2 }, full, now)).toEqual({
      name: 'bob',
      weight: 2,
    });
  });

  test('leaves the limits that it does not name', () => {
    const limits = { requestsPerMinute: 5, budgets: null };
    expect(changeFromJson({ limits }, full, now)).toEqual({
      limits: { requestsPerMinute: 5, tokensPerMinute: 20_000, concurrentRequests: 2 },
    });
  });

  test('clears with null', () => {
    const body = { limits: null, models: null, weight: null, userHeader: null, expiresAt: null };
    const change = changeFromJson(body, full, now);
    expect(Object.keys(change).sort()).toEqual(Object.keys(body).sort());
    expect({ ...full, ...change }).toEqual({ ...plain, priority: 'batch' });
  });

  test('cannot take the name away', () => {
    expect(problemsOf(() => changeFromJson({ name: null }, full, now))).toEqual([
      'name: found nothing; allowed is 1 to 100 printable characters',
    ]);
  });

  test('must change something that a policy has', () => {
    expect(problemsOf(() => changeFromJson({}, full, now))).toEqual(['the body changes nothing']);
    expect(problemsOf(() => changeFromJson({ limits: {} }, full, now))).toEqual([
      'the body changes nothing',
    ]);
    expect(problemsOf(() => changeFromJson({ id: 'x', digest: 'y' }, full, now))).toEqual([
      '"id": a policy has no such member',
      '"digest": a policy has no such member',
    ]);
  });
});

describe('what is asked of the usage', () => {
  const columns = ['key', 'model', 'day'] as const;
  const options = { columns, epochMs: now, prefix: '--' };

  test('is by default the first column of the last seven days', () => {
    expect(readSpan({}, options)).toEqual({ by: ['key'], since: now - 7 * dayMs, until: now });
  });

  test('names each column once, in the order given', () => {
    const given = { by: 'model, key,model', since: '2026-11-01', until: '1d' };
    expect(readSpan(given, options)).toEqual({
      by: ['model', 'key'],
      since: Date.parse('2026-11-01'),
      until: now - dayMs,
    });
    expect(readSpan({ by: '' }, options).by).toEqual([]);
  });

  test('says all that is wrong at once', () => {
    const problems = problemsOf(() =>
      readSpan({ by: 'model,color', since: 'x', until: 'y' }, options),
    );
    expect(problems).toHaveLength(3);
    expect(problems[0]).toBe('--by: found "color"; allowed are key, model, day');
    expect(problems[1]).toBe(
      '--until: found "y"; allowed is a duration such as 7d, 24h, 30m or 90s ago, or an ISO date such as 2027-01-31 or 2027-01-31T18:00Z (UTC where it names no zone)',
    );
  });

  test('lies between since and until', () => {
    expect(problemsOf(() => readSpan({ since: '1d', until: '2d' }, options))).toEqual([
      '--since: not before --until; nothing lies between them',
    ]);
  });
});

describe('the view of a key', () => {
  test('has its policy and its times, and neither secret nor digest', () => {
    const { key, record } = issueKey(full, now);
    const view = keyView(record, now);
    expect(view).toEqual({
      id: record.id,
      name: 'alice',
      hint: `sk-gw-${record.id}-…`,
      state: 'active',
      createdAt: '2026-11-24T12:00:00.000Z',
      expiresAt: '2027-02-22T12:00:00.000Z',
      revokedAt: null,
      replacedUntil: null,
      models: ['a', 'b/c:q4'],
      weight: 0.5,
      priority: 'batch',
      userHeader: 'x-openwebui-user-id',
      limits: full.limits,
    });
    const text = JSON.stringify(view);
    expect(text).not.toContain(record.digest);
    expect(text).not.toContain(key);
  });

  test('says what there is not', () => {
    const view = keyView(issueKey(plain, now).record, now);
    expect(view).toMatchObject({ models: null, userHeader: null, expiresAt: null, limits: {} });
  });

  test('says until when the secret before is accepted', () => {
    const { record } = issueKey(plain, now);
    const rotated = { ...record, ...rotateKey(record, 1_000, now).change };
    expect(keyView(rotated, now).replacedUntil).toBe('2026-11-24T12:00:01.000Z');
    expect(keyView(rotated, now + 1_000).replacedUntil).toBeNull();
  });

  test('says that it has expired or was revoked', () => {
    const { record } = issueKey(full, now);
    expect(keyView(record, now + 90 * dayMs).state).toBe('expired');
    const revoked = { ...record, revokedAt: now };
    expect(keyView(revoked, now)).toMatchObject({
      state: 'revoked',
      revokedAt: '2026-11-24T12:00:00.000Z',
    });
  });
});

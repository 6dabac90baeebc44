/**
 * Times as people write them, and the span of a usage report: what is accepted, and what is refused with which text.
 */
import { describe, expect, test } from 'bun:test';
import { parseDuration, parseSince, readSpan } from '../../../src/accounts/timespan.ts';
import { problemsOf } from '../../support/problemsof.ts';

const now = Date.parse('2026-11-24T12:00:00Z');
const dayMs = 86_400_000;

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

  test('reports every problem at once', () => {
    const problems = problemsOf(() =>
      readSpan({ by: 'model,color', since: 'x', until: 'y' }, options),
    );
    expect(problems).toHaveLength(3);
    expect(problems[0]).toBe('--by: found "color"; allowed are key, model, day');
    expect(problems[1]).toBe(
      '--until: found "y"; allowed is a duration such as 7d, 24h, 30m or 90s ago, or an ISO date such as 2027-01-31 or 2027-01-31T18:00Z (UTC if it names no zone)',
    );
  });

  test('lies between since and until', () => {
    expect(problemsOf(() => readSpan({ since: '1d', until: '2d' }, options))).toEqual([
      '--since: not before --until; nothing lies between them',
    ]);
  });
});

/**
 * The row of a request: which parts of its record are kept, and in which form.
 */
import { describe, expect, test } from 'bun:test';
import { rowOf } from '../../../src/accounts/usage.ts';
import { settlement, usageRow } from '../../support/samples.ts';

const now = Date.UTC(2026, 10, 5, 13, 30);

describe('rowOf', () => {
  test('keeps what a settlement says', () => {
    const times = { queuedMs: 12.34, firstByteMs: 80.06, engineMs: 900, totalMs: 912.34 };
    expect(rowOf(settlement(times), now + 0.4)).toEqual({
      ...usageRow({
        at: now,
        requestId: 'id-1',
        keyId: '00112233',
        principal: '00112233/eva',
        queuedMs: 12.3,
        firstTokenMs: 80.1,
        engineMs: 900,
        totalMs: 912.3,
        promptTokens: 100,
        cachedTokens: 60,
        completionTokens: 11,
      }),
      uuid: undefined,
    });
  });

  test('has one name for all models that no engine serves, and the model that has run instead', () => {
    const asked = settlement({ askedModel: 'made-up', servedModel: undefined });
    expect(rowOf(asked, now, false)).toMatchObject({ model: 'unknown', servedModel: undefined });
    const ran = settlement({ askedModel: 'gpt', servedModel: 'qwen' });
    expect(rowOf(ran, now, false)).toMatchObject({ model: undefined, servedModel: 'qwen' });
    expect(rowOf(ran, now)).toMatchObject({ model: 'gpt', servedModel: 'qwen' });
  });

  test.each([
    ['of a plain answer', { stream: false }],
    ['of an error of the engine', { status: 500 }],
    ['of a failure inside an answer', { code: 'upstream_failed', outcome: 'failed' }],
    ['of an answer out of the cache', { isCacheHit: true }],
    ['that never came', { firstByteMs: undefined }],
  ] as const)('the first byte %s is no first token', (_, changes) => {
    expect(rowOf(settlement(changes), now).firstTokenMs).toBeUndefined();
  });

  test.each([1.5, -1, Number.NaN, Infinity, 1e300, '7' as unknown as number])(
    'an engine that counts %p tokens has not counted',
    (count) => {
      const row = rowOf(settlement({ promptTokens: count, completionTokens: count }), now);
      expect(row).toMatchObject({ promptTokens: undefined, completionTokens: undefined });
    },
  );

  test('bounds what clients name', () => {
    const long = 'm'.repeat(10_000);
    const row = rowOf(settlement({ askedModel: long, servedModel: long }), now);
    expect([row.model, row.servedModel]).toEqual([long.slice(0, 200), long.slice(0, 200)]);
  });

  test.each([
    ['key', undefined],
    ['key/eva', 'eva'],
    ['key/eva/tom', 'eva/tom'],
  ])('the user of %p is %p', (principal, user) => {
    const caller = { ...settlement().caller, keyId: 'key', principal };
    expect(rowOf(settlement({ caller }), now)).toMatchObject({ keyId: 'key', principal, user });
  });
});

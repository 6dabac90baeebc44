/** The parts of a gateway: which of them a configuration needs, and that they are wired together. */
import { describe, expect, test } from 'bun:test';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keyOptions } from '../../src/gateway.ts';
import { configOf, partsOf } from '../support/gatewayparts.ts';
import { key } from '../support/gatewayprocess.ts';

describe('a plain configuration', () => {
  test('has no cache, no tracing and no operator', async () => {
    using made = await partsOf();
    const { cache, tracing, adminKey, metricsToken } = made.parts;
    expect([cache, tracing, adminKey, metricsToken]).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });

  test('takes its keys, its engine and its bounds', async () => {
    using made = await partsOf({ MAX_BODY_BYTES: '1234' });
    const { keys, fleet, maxBodyBytes, version } = made.parts;
    expect(keys.find(key, new Headers(), Date.now())).toMatchObject({ hint: '…-1' });
    expect(fleet.upstreams.map(({ id }) => id)).toEqual(['engine']);
    expect([maxBodyBytes, version]).toEqual([1234, '1.2.3']);
  });
});

test.each([
  ['RESPONSE_CACHE', 'on', 'cache'],
  ['ADMIN_API_KEY', 'sk-admin-of-this-test', 'adminKey'],
  ['METRICS_TOKEN', 'metrics-token-of-this-test', 'metricsToken'],
] as const)('with %s=%s there is the part for it', async (name, value, part) => {
  using made = await partsOf({ [name]: value });
  expect(made.parts[part]).not.toBeUndefined();
});

test('the view of the operator is masked', async () => {
  using made = await partsOf();
  expect(made.parts.mask(`a ${key} b`)).toBe('a *** b');
});

test('a store that cannot be opened is an error that names its file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
  const file = join(folder, 'file');
  writeFileSync(file, 'no folder');
  await expect(partsOf({ DATA_DIR: join(file, 'data') })).rejects.toThrow(file);
  rmSync(folder, { recursive: true });
});

test('a ring of keys learns which of them are trusted and which are batch', () => {
  const config = configOf({
    ALLOWED_API_KEYS: 'sk-trusted-1,sk-batch-1',
    TRUSTED_USER_KEYS: 'sk-trusted-1',
    TRUSTED_USER_HEADER: 'X-User-Id',
    BATCH_API_KEYS: 'sk-batch-1',
  });
  const { trusted, batch, userHeader, hintOf } = keyOptions(config);
  expect([trusted, batch]).toEqual([['sk-trusted-1'], ['sk-batch-1']]);
  expect(userHeader?.toLowerCase()).toBe('x-user-id');
  expect(hintOf('sk-0123456789abc')).toBe('sk-…9abc');
});

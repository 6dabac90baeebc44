/**
 * The stores of a gateway and of a command: where they are, that both see the same, and that all are closed together.
 */
import { afterAll, expect, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Calendar } from '../../../src/accounts/calendar.ts';
import { issueKey } from '../../../src/accounts/keys.ts';
import { countIssuedKeys, openLedger, openStores } from '../../../src/stores/open.ts';
import { plainPolicy, usageRow } from '../../support/samples.ts';

const root = mkdtempSync(join(tmpdir(), 'llm-gateway-open-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const all = { since: 0, until: Number.MAX_SAFE_INTEGER, by: [] };

test('a gateway and a command that open one folder see the same keys and rows', async () => {
  const dir = join(root, 'shared');
  const gateway = await openStores(dir, new Calendar());
  const command = await openLedger(dir);
  const { record } = issueKey(plainPolicy, 0);
  await command.accounts.addKey(record, 'cli');
  await gateway.usage.insertUsage([usageRow()]);
  expect(await gateway.accounts.keys()).toEqual([record]);
  expect(countIssuedKeys(dir)).toBe(1);
  expect(await command.usage.usage(all)).toMatchObject([{ requests: 1 }]);
  expect(command.place).toBe(join(dir, 'gateway.sqlite'));
  await command.close();
  await gateway.close();
});

test('without a folder nothing is kept, and each has its own', async () => {
  const [one, other] = [await openLedger(undefined), await openLedger(undefined)];
  expect(one.place).toBe('memory');
  await one.usage.insertUsage([usageRow()]);
  expect(await other.usage.usage(all)).toMatchObject([{ requests: 0 }]);
  await one.close();
  await other.close();
});

test('closing ends a report that is being made', async () => {
  const { usage, close } = await openLedger(undefined);
  await usage.insertUsage(Array.from({ length: 1_000 }, () => usageRow()));
  const reports = Promise.allSettled([usage.usage(all)]);
  await Promise.resolve();
  await close();
  expect(await reports).toMatchObject([{ status: 'rejected', reason: { code: 'shutting_down' } }]);
});

/**
 * The audit log: what the operator did, over HTTP or at the command line, the latest first, and never a secret.
 */
import { afterAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { send } from '../support/rawclient.ts';
import { runCommand } from '../support/gatewayprocess.ts';
import { admin, issueKey, startOperated } from '../support/operator.ts';

setDefaultTimeout(60_000);

const stage = await startOperated(1);
const { gateway, folder } = stage;
afterAll(() => stage[Symbol.asyncDispose]());

describe('the audit log', () => {
  interface Entry extends Record<string, unknown> {
    detail: string | null;
  }
  const entries = async (limit: number) =>
    (await admin(gateway, `GET /admin/audit?limit=${limit}`)).json['data'] as Entry[];

  test('says who did what and when, the latest first, and never a secret', async () => {
    const from = Date.now();
    const made = await issueKey(gateway, { name: 'audited', weight: 2 });
    const path = `/admin/keys/${made.id}`;
    await admin(gateway, `PATCH ${path}`, { weight: 3 });
    const { json } = await admin(gateway, `POST ${path}/rotate`, { grace: '1h' });
    await admin(gateway, `DELETE ${path}`);
    // A request that was refused or changed nothing has no entry.
    await admin(gateway, `DELETE ${path}`);
    await admin(gateway, `PATCH ${path}`, { weight: 4 });
    const log = await entries(4);
    expect(log.map(({ action }) => action)).toEqual([
      'key_revoked',
      'key_rotated',
      'key_changed',
      'key_added',
    ]);
    for (const entry of log) {
      expect(entry).toMatchObject({ actor: 'admin', keyId: made.id, name: 'audited' });
      expect(Date.parse(String(entry['at']))).toBeGreaterThanOrEqual(from);
    }
    expect(log[2]?.detail).toBe('{"weight":3}');
    expect(JSON.parse(log[3]?.detail ?? '')).toMatchObject({ name: 'audited', weight: 2 });
    expect(log[3]?.detail).not.toContain('revokedAt');
    const text = JSON.stringify(await entries(1000));
    for (const secret of [made.key, String(json['key'])]) {
      expect(text).not.toContain(secret.slice(-43));
      expect(text).not.toContain(new Bun.CryptoHasher('sha256').update(secret).digest('hex'));
    }
  });

  test('has what the operator has stopped, and what came from the command line', async () => {
    const headers = { 'X-Request-Id': 'audited-stop', 'X-Demo-Fault': 'stall=1' };
    const body = { prompt: 'x', max_tokens: 3000, stream: true };
    const stream = await send(gateway.url, { body, headers });
    await stream.hasBytes();
    await admin(gateway, 'DELETE /admin/requests/audited-stop');
    await stream.ended();
    expect((await entries(1))[0]).toMatchObject({
      actor: 'admin',
      action: 'request_stopped',
      detail: expect.stringMatching(/^audited-stop-[0-9a-f]{8}$/),
    });
    const args = ['keys', 'revoke', (await issueKey(gateway, { name: 'someone' })).id];
    expect((await runCommand(args, { DATA_DIR: folder })).code).toBe(0);
    expect((await entries(1))[0]).toMatchObject({ actor: 'cli', action: 'key_revoked' });
  });

  test('has at most as many entries as requested', async () => {
    expect(await entries(2)).toHaveLength(2);
    for (const wrong of ['limit=0', 'limit=x', 'limit=1001', 'limit=1&limit=2', 'more=1']) {
      const refused = await admin(gateway, `GET /admin/audit?${wrong}`);
      expect(refused).toMatchObject({ status: 400, code: 'invalid_field' });
    }
  });
});

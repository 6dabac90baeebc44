/**
 * What every AccountStore does, whatever it is made of: keys as they were, changes that do not undo each other, an audit
 * log, and notice of what another process has changed.
 */
import { afterEach, describe, expect, test } from 'bun:test';
import { issueKey, rotateKey, type IssuedKey, type KeyPolicy } from '../../src/accounts/keys.ts';
import type { AccountStore, KeyChange } from '../../src/accounts/keystore.ts';
import type { Limits } from '../../src/request/caller.ts';
import { fullPolicy, plainPolicy } from '../support/samples.ts';
import { until } from '../support/wait.ts';

const now = Date.UTC(2026, 10, 5, 13, 30);
const hourMs = 3_600_000;

/** A store that has nothing yet. */
export interface OpenAccounts {
  store: AccountStore;
  /** Opens the same keys as another process does; absent if no other can. */
  other?: () => AccountStore;
  close(): void | Promise<void>;
}

function issued(policy: KeyPolicy = plainPolicy, at = now): IssuedKey {
  return issueKey(policy, at).record;
}

/** Changes a key in a way that no test asks about. */
async function change(
  store: AccountStore,
  id: string,
  changes: KeyChange | ((key: IssuedKey) => KeyChange),
) {
  const changeOf = typeof changes === 'function' ? changes : () => changes;
  return await store.changeKey({ id, changeOf, action: 'key_changed', actor: 'admin', at: now });
}

/** Returns the message of what this throws or rejects with. */
async function failure(act: () => unknown): Promise<string> {
  try {
    await act();
  } catch (error) {
    return (error as Error).message;
  }
  return 'no failure';
}

export function accountContract(name: string, open: () => OpenAccounts | Promise<OpenAccounts>) {
  describe(`accounts, ${name}`, () => {
    const opened: OpenAccounts[] = [];
    afterEach(async () => {
      for (const each of opened.splice(0)) await each.close();
    });

    async function fresh(): Promise<OpenAccounts> {
      const made = await open();
      opened.push(made);
      return made;
    }

    test('keys come back as they were, oldest first', async () => {
      const { store, other } = await fresh();
      const keys = [issued(fullPolicy), issued(plainPolicy), issued(plainPolicy, now - 1)] as const;
      for (const key of keys) await store.addKey(key, 'cli');
      const [first, second, third] = keys;
      expect(await store.keys()).toEqual([third, first, second]);
      if (other) expect(await other().keys()).toEqual([third, first, second]);
    });

    test('each key has another id and another digest', async () => {
      const { store } = await fresh();
      const key = issued();
      await store.addKey(key, 'cli');
      for (const same of [{ id: key.id }, { digest: key.digest }]) {
        const add = () => store.addKey({ ...issued(), ...same }, 'cli');
        expect(await failure(add)).not.toBe('no failure');
      }
      expect(await store.keys()).toEqual([key]);
      expect(await store.audit(10)).toHaveLength(1);
    });

    test('a change changes what it names, and nothing else', async () => {
      const { store } = await fresh();
      const [key, other] = [issued(fullPolicy), issued(plainPolicy)];
      await store.addKey(key, 'cli');
      await store.addKey(other, 'cli');
      const changes: KeyChange = { weight: 4, models: undefined, expiresAt: undefined };
      const changed = await change(store, key.id, changes);
      expect(changed).toEqual({ ...key, ...changes });
      expect(await store.keys()).toEqual([changed as IssuedKey, other]);
    });

    test('a key keeps its id and its age whatever a change holds', async () => {
      const { store } = await fresh();
      const key = issued();
      await store.addKey(key, 'cli');
      await change(store, key.id, Object.assign({ weight: 2 }, { id: 'another', createdAt: 1 }));
      expect(await store.keys()).toEqual([{ ...key, weight: 2 }]);
    });

    test('a key is rotated and revoked', async () => {
      const { store } = await fresh();
      const key = issued();
      await store.addKey(key, 'cli');
      const rotated = rotateKey(key, hourMs, now).change;
      await change(store, key.id, rotated);
      const [{ replaced } = key] = await store.keys();
      expect(replaced).toEqual({ digest: key.digest, until: now + hourMs });
      await change(store, key.id, { replaced: undefined });
      expect((await store.keys())[0]?.replaced).toBeUndefined();
      await change(store, key.id, { revokedAt: now });
      expect(await store.keys()).toEqual([{ ...key, digest: rotated.digest, revokedAt: now }]);
    });

    test('a key that is not there cannot change', async () => {
      const { store } = await fresh();
      expect(await change(store, 'nobody', { weight: 2 })).toBeUndefined();
      expect(await store.audit(10)).toEqual([]);
    });

    test('a change that refuses leaves the key as it is', async () => {
      const { store } = await fresh();
      const key = issued();
      await store.addKey(key, 'cli');
      function refuse(current: IssuedKey): never {
        expect(current).toEqual(key);
        throw new Error('not that one');
      }
      expect(await failure(() => change(store, key.id, refuse))).toBe('not that one');
      expect(await store.keys()).toEqual([key]);
      expect(await store.audit(10)).toHaveLength(1);
      await change(store, key.id, { weight: 2 });
      expect(await store.keys()).toEqual([{ ...key, weight: 2 }]);
    });

    test('the audit log says who did what and when, the latest first', async () => {
      const { store } = await fresh();
      const key = issued(fullPolicy);
      const { id } = key;
      await store.addKey(key, 'cli');
      const changes = { weight: 3, models: undefined };
      const [by, rotation] = [{ id, actor: 'admin' }, rotateKey(key, hourMs, now).change];
      await store.changeKey({ ...by, changeOf: () => changes, action: 'key_changed', at: now + 1 });
      await store.changeKey({
        ...by,
        changeOf: () => rotation,
        action: 'key_rotated',
        at: now + 2,
      });
      const stopped = {
        at: now + 3.5,
        actor: 'admin',
        action: 'request_stopped' as const,
        keyId: undefined,
        name: undefined,
        detail: 'request-1',
      };
      await store.note(stopped);
      const ofKey = { keyId: id, name: key.name };
      expect(await store.audit(10)).toEqual([
        { ...stopped, at: now + 4 },
        {
          ...ofKey,
          at: now + 2,
          actor: 'admin',
          action: 'key_rotated',
          detail: JSON.stringify({ replacedUntil: now + hourMs }),
        },
        {
          ...ofKey,
          at: now + 1,
          actor: 'admin',
          action: 'key_changed',
          detail: JSON.stringify({ models: null, weight: 3 }),
        },
        { ...ofKey, at: now, actor: 'cli', action: 'key_added', detail: expect.any(String) },
      ]);
      expect(await store.audit(1)).toHaveLength(1);
      const added = JSON.parse((await store.audit(10))[3]?.detail ?? '{}');
      expect(added).toEqual(fullPolicy);
    });

    test('changes of one key at the same time undo nothing', async () => {
      const { store, other = () => store } = await fresh();
      const key = issued();
      await store.addKey(key, 'cli');
      const another = other();
      await change(store, key.id, { weight: 2 });
      await change(another, key.id, { name: 'bob' });
      expect(await store.keys()).toEqual([{ ...key, weight: 2, name: 'bob' }]);
      const limit = (at: AccountStore, limits: Limits) =>
        change(at, key.id, (current) => ({ limits: { ...current.limits, ...limits } }));
      await Promise.all([
        limit(store, { requestsPerMinute: 5 }),
        limit(another, { tokensPerMinute: 9 }),
      ]);
      const limits = { requestsPerMinute: 5, tokensPerMinute: 9 };
      expect((await store.keys())[0]?.limits).toEqual(limits);
    });

    test('a watcher hears of what another process changes, until it stops', async () => {
      const { store, other } = await fresh();
      let heard = 0;
      const stop = store.watch(() => void heard++);
      try {
        if (other === undefined) return;
        const another = other();
        const key = issued();
        await another.addKey(key, 'cli');
        await until('the addition is heard of', () => heard > 0);
        expect(await store.keys()).toEqual([key]);
        const before = heard;
        await change(another, key.id, { weight: 2 });
        await until('the change is heard of', () => heard > before);
      } finally {
        stop();
      }
    });
  });
}

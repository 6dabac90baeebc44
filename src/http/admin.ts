/**
 * What the operator may do over HTTP: keys, usage, the requests in flight, the audit log. It is mounted if there is an
 * ADMIN_API_KEY, and shows a key once: in the answer to the request that made it.
 */
import { Elysia } from 'elysia';
import type { AccountSync } from '../accounts/sync.ts';
import { answering, type CorsHeaders } from '../wire/cors.ts';
import { GatewayError, messageOf } from '../wire/errors.ts';
import { parseObject } from '../wire/json.ts';
import { issueKey, rotateKey, type IssuedKey } from '../accounts/keys.ts';
import { keyView } from '../accounts/keyview.ts';
import type { LiveRequests } from '../request/inflight.ts';
import type { LiveRequest } from '../request/live.ts';
import type { LiveFeed } from '../observe/liveview.ts';
import type { Log } from '../log/log.ts';
import { changeFromJson, policyFromJson } from '../accounts/policy.ts';
import type { AccountStore, AuditAction, AuditEntry, KeyChange } from '../accounts/keystore.ts';
import type { MaybePromise } from '../accounts/limits.ts';
import { parseDuration } from '../accounts/timespan.ts';
import { usageColumns } from '../accounts/usage.ts';
import type { Caller } from '../request/caller.ts';
import { operatorAuth } from './auth.ts';
import { reading, readSmall, readObject, parametersOf } from './input.ts';
import { type UsageReader, usageFor } from './usage.ts';

function auditView(entry: AuditEntry) {
  const { actor, action, keyId, name, detail } = entry;
  return {
    at: new Date(entry.at).toISOString(),
    actor,
    action,
    keyId: keyId ?? null,
    name: name ?? null,
    detail: detail ?? null,
  };
}

const defaultAuditEntries = 100;
const maxAuditEntries = 1_000;

function auditLimit(text: string | undefined): number {
  if (text === undefined) return defaultAuditEntries;
  const limit = /^\d+$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= maxAuditEntries) return limit;
  const message = `"limit" must be a whole number from 1 to ${maxAuditEntries}.`;
  throw new GatewayError('invalid_field', { message, param: 'limit' });
}

/** Returns for how long the old secret of a key that is rotated is still accepted, in milliseconds. */
function graceOf(body: Record<string, unknown>): number {
  const { grace = '0s', ...others } = body;
  const graceMs = typeof grace === 'string' ? parseDuration(grace) : undefined;
  if (graceMs !== undefined && Object.keys(others).length === 0) return graceMs;
  const message = 'The body may be {"grace": "24h"}: how long the old key is still accepted.';
  throw new GatewayError('invalid_field', { message, param: 'grace' });
}

export interface AdminOptions extends UsageReader {
  accountStore: AccountStore;
  adminKey: string;
  live: LiveRequests;
  feed: LiveFeed;
  corsHeaders: CorsHeaders;
  /** Takes keys out of a text. */
  mask: (text: string) => string;
  log: Log;
  accountSync: Pick<AccountSync, 'changed' | 'revoke'>;
}

const actor = 'admin';

/**
 * Writes to the store. Throws `store_unavailable` if that fails: the disk is full, or another process holds it.
 * @param state how things stand then
 */
async function written<T>(write: () => MaybePromise<T>, state = 'Nothing has changed'): Promise<T> {
  try {
    return await write();
  } catch (cause) {
    if (cause instanceof GatewayError) throw cause;
    throw new GatewayError('store_unavailable', {
      message: `The store cannot be written (${messageOf(cause)}). ${state}; try again.`,
      headers: { 'retry-after': '1' },
      cause,
    });
  }
}

/** The plugin with everything under `/admin`. */
export function admin(options: AdminOptions) {
  const {
    accountStore: store,
    adminKey,
    live,
    feed,
    epochNow,
    corsHeaders,
    mask,
    log,
    accountSync,
  } = options;
  const answer = answering(corsHeaders);

  function view(record: IssuedKey) {
    return keyView(record, epochNow());
  }

  async function known(id: string): Promise<IssuedKey> {
    const record = (await store.keys()).find((key) => key.id === id);
    if (record === undefined) throw new GatewayError('key_not_found');
    return record;
  }

  /**
   * Writes what changes of a key, and has it take effect.
   * @param failed how things stand if it cannot be written
   */
  async function write(
    id: string,
    action: AuditAction,
    changeOf: (key: IssuedKey) => KeyChange,
    failed?: string,
  ): Promise<IssuedKey> {
    const edit = { id, changeOf, action, actor, at: epochNow() };
    const record = await written(() => store.changeKey(edit), failed);
    if (record === undefined) throw new GatewayError('key_not_found');
    await accountSync.changed();
    return record;
  }

  /** Changes a key that can still change: what is revoked stays so. */
  function change(
    id: string,
    action: AuditAction,
    changeOf: (key: IssuedKey) => KeyChange,
  ): Promise<IssuedKey> {
    return write(id, action, function changeLiving(key) {
      if (key.revokedAt === undefined) return changeOf(key);
      const message = 'This key is revoked; it cannot be changed any more. Make a new one.';
      throw new GatewayError('invalid_field', { message });
    });
  }

  /**
   * Returns the open request with that unique id, or the only one whose client calls it so. Throws `request_not_found`, or
   * `invalid_field` if several clients do.
   */
  function openRequest(id: string): LiveRequest {
    const open = [...live];
    const exact = open.find(({ uniqueId }) => uniqueId === id);
    const [found, ...others] = exact ? [exact] : open.filter((each) => each.id === id);
    if (found === undefined) throw new GatewayError('request_not_found');
    if (others.length === 0) return found;
    throw new GatewayError('invalid_field', {
      message: `${others.length + 1} open requests have this id. GET /admin/requests shows the unique id of each; send that.`,
      param: 'id',
    });
  }

  /** Notes who was stopped. If it cannot be noted, the log says so: what is stopped stays stopped. */
  async function noteStopped({ keyId, name }: Caller, detail: string): Promise<void> {
    try {
      await store.note({ at: epochNow(), actor, action: 'request_stopped', keyId, name, detail });
    } catch (error) {
      const what = 'the operator has stopped a request, and the audit log cannot be written';
      log.error({ requestId: detail, keyId, reason: messageOf(error) }, what);
    }
  }

  return new Elysia({ name: 'admin' })
    .use(operatorAuth(adminKey))
    .get('/admin/keys', async function listKeys({ request }) {
      return answer(request, { data: (await store.keys()).map(view) });
    })
    .post(
      '/admin/keys',
      async function addKey({ request }) {
        const body = await readObject(request);
        const policy = reading(() => policyFromJson(body, epochNow()));
        const { key, record } = issueKey(policy, epochNow());
        await written(() => store.addKey(record, actor));
        await accountSync.changed();
        return answer(request, { ...view(record), key }, 201);
      },
      { parse: 'none' },
    )
    .get('/admin/keys/:id', async function showKey({ request, params }) {
      return answer(request, view(await known(params.id)));
    })
    .patch(
      '/admin/keys/:id',
      async function changeKey({ request, params }) {
        const body = await readObject(request);
        const record = await change(params.id, 'key_changed', (key) =>
          reading(() => changeFromJson(body, key, epochNow())),
        );
        return answer(request, view(record));
      },
      { parse: 'none' },
    )
    .delete(
      '/admin/keys/:id',
      async function revokeKey({ request, params }) {
        const record = await known(params.id);
        // A repeat finds it done.
        if (record.revokedAt !== undefined) return answer(request, view(record));
        // Here at once, also if the store cannot be written.
        accountSync.revoke(params.id);
        const failed = 'The key is refused until this gateway ends';
        const revoke = ({ revokedAt = epochNow() }: IssuedKey) => ({ revokedAt });
        return answer(request, view(await write(params.id, 'key_revoked', revoke, failed)));
      },
      { parse: 'none' },
    )
    .post(
      '/admin/keys/:id/rotate',
      async function rotate({ request, params }) {
        const body = await readSmall(request);
        const graceMs = body.length === 0 ? 0 : graceOf(parseObject(body));
        let made = '';
        const record = await change(params.id, 'key_rotated', (current) => {
          const rotated = rotateKey(current, graceMs, epochNow());
          made = rotated.key;
          return rotated.change;
        });
        return answer(request, { ...view(record), key: made });
      },
      { parse: 'none' },
    )
    .get('/admin/usage', async function reportUsage({ request }) {
      return answer(request, await usageFor(request, options, usageColumns));
    })
    .get('/admin/audit', async function reportAudit({ request }) {
      const { limit } = parametersOf(request.url, ['limit']);
      const entries = await store.audit(auditLimit(limit));
      return answer(request, { data: entries.map(auditView) });
    })
    .get('/admin/requests', function listRequests({ request }) {
      return answer(request, feed.current);
    })
    .get('/admin/live', function watchLive({ request }) {
      return new Response(request.method === 'HEAD' ? null : feed.open(request.signal), {
        headers: {
          ...corsHeaders(request.headers.get('origin')),
          'content-type': 'text/event-stream; charset=utf-8',
          'cache-control': 'no-store',
          // nginx would hold the events back.
          'x-accel-buffering': 'no',
        },
      });
    })
    .delete(
      '/admin/requests/:id',
      async function stopRequest({ request, params }) {
        const found = openRequest(params.id);
        found.abort('stopped_by_operator');
        await noteStopped(found.caller, mask(found.uniqueId));
        const headers = {
          ...corsHeaders(request.headers.get('origin')),
          'cache-control': 'no-store',
        };
        return new Response(null, { status: 204, headers });
      },
      { parse: 'none' },
    );
}

/**
 * What the store writes into its tables of keys, of the audit log and of usage, and reads out of them. Pure; it lets no
 * key and no digest into the audit log.
 */
import type { IssuedKey, KeyPolicy } from '../../accounts/keys.ts';
import type { AuditAction, AuditEntry, KeyChange } from '../../accounts/keystore.ts';
import type { UsageRow } from '../../accounts/usage.ts';

/** Nothing of a policy but these gets into the file. */
const policyFields = Object.keys({
  name: true,
  limits: true,
  models: true,
  weight: true,
  priority: true,
  userHeader: true,
  expiresAt: true,
} satisfies Record<keyof KeyPolicy, true>);

/** Returns what there is of a policy, as JSON. */
function policyText(policy: Partial<KeyPolicy>): string {
  const fields = policyFields.filter((name) => name in policy);
  return JSON.stringify(
    Object.fromEntries(fields.map((name) => [name, Reflect.get(policy, name)])),
  );
}

/** Returns what the audit log says of a change. */
export function detailOf(change: KeyChange): string {
  const shown: Record<string, unknown> = {};
  for (const name of policyFields) {
    if (name in change) shown[name] = Reflect.get(change, name) ?? null;
  }
  // Nothing makes a key valid again, so there is no `null` to tell.
  if (change.revokedAt !== undefined) shown['revokedAt'] = change.revokedAt;
  if (change.replaced !== undefined) shown['replacedUntil'] = change.replaced.until;
  return JSON.stringify(shown);
}

export interface KeyRow {
  [column: string]: string | number | null;
  id: string;
  digest: string;
  policy: string;
  createdAt: number;
  revokedAt: number | null;
  replacedDigest: string | null;
  replacedUntil: number | null;
}

export function rowOf(key: IssuedKey): KeyRow {
  return {
    id: key.id,
    digest: key.digest,
    policy: policyText(key),
    createdAt: key.createdAt,
    revokedAt: key.revokedAt ?? null,
    replacedDigest: key.replaced?.digest ?? null,
    replacedUntil: key.replaced?.until ?? null,
  };
}

export function keyOf(row: KeyRow): IssuedKey {
  const { id, digest, createdAt, revokedAt, replacedDigest, replacedUntil } = row;
  const isReplaced = replacedDigest !== null && replacedUntil !== null;
  return {
    // `rowOf` has written it; what is absent was `undefined`.
    ...(JSON.parse(row.policy) as KeyPolicy),
    id,
    digest,
    createdAt,
    revokedAt: revokedAt ?? undefined,
    replaced: isReplaced ? { digest: replacedDigest, until: replacedUntil } : undefined,
  };
}

export interface AuditRow {
  at: number;
  actor: string;
  action: AuditAction;
  keyId: string | null;
  name: string | null;
  detail: string | null;
}

export function entryOf({ keyId, name, detail, ...row }: AuditRow): AuditEntry {
  return {
    ...row,
    keyId: keyId ?? undefined,
    name: name ?? undefined,
    detail: detail ?? undefined,
  };
}

/** The columns of a row that are written; the file computes `user` from the principal. */
export const usageFields = Object.keys({
  uuid: true,
  at: true,
  requestId: true,
  keyId: true,
  principal: true,
  keyName: true,
  route: true,
  priority: true,
  model: true,
  servedModel: true,
  upstream: true,
  status: true,
  code: true,
  outcome: true,
  stream: true,
  queuedMs: true,
  firstTokenMs: true,
  engineMs: true,
  totalMs: true,
  promptTokens: true,
  cachedTokens: true,
  completionTokens: true,
  tokensAre: true,
  isCacheHit: true,
} satisfies Record<Exclude<keyof UsageRow, 'user'>, true>) as (keyof UsageRow)[];

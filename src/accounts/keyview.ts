/**
 * A key of the store as the operator sees it. Neither its secret nor a digest is in it.
 */
import { hintOfIssued, stateOf, type IssuedKey } from './keys.ts';
import type { Limits, Priority } from '../request/caller.ts';

/** A key as the operator sees it; times in ISO form. */
export interface KeyView {
  id: string;
  name: string;
  hint: string;
  state: ReturnType<typeof stateOf>;
  createdAt: string;
  expiresAt: string | null;
  revokedAt: string | null;
  /** Until when the secret before the last rotation is still accepted; `null` when it is not any more. */
  replacedUntil: string | null;
  models: readonly string[] | null;
  weight: number;
  priority: Priority;
  userHeader: string | null;
  limits: Limits;
}

function isoOf(epochMs: number | undefined): string | null {
  return epochMs === undefined ? null : new Date(epochMs).toISOString();
}

/**
 * Returns what may be shown of a key.
 * @param epochMs now, in epoch milliseconds
 */
export function keyView(record: IssuedKey, epochMs: number): KeyView {
  const { id, name, weight, priority, limits, replaced } = record;
  const isReplacedValid = replaced !== undefined && replaced.until > epochMs;
  return {
    id,
    name,
    hint: hintOfIssued(id),
    state: stateOf(record, epochMs),
    createdAt: new Date(record.createdAt).toISOString(),
    expiresAt: isoOf(record.expiresAt),
    revokedAt: isoOf(record.revokedAt),
    replacedUntil: isReplacedValid ? isoOf(replaced.until) : null,
    models: record.models ?? null,
    weight,
    priority,
    userHeader: record.userHeader ?? null,
    limits,
  };
}

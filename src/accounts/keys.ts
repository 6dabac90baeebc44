/**
 * The keys of the store: what each may do, how one is made and replaced, and whether it is accepted. Of a key only a
 * digest is kept.
 */
import type { Limits, Priority } from '../request/caller.ts';

/** What a key of the store may do; all of it can change while the gateway runs. Times in epoch milliseconds. */
export interface KeyPolicy {
  name: string;
  limits: Limits;
  /** Names of the models that it may use; `undefined` for all. */
  models: readonly string[] | undefined;
  weight: number;
  priority: Priority;
  /** The header in which it names the user whom it speaks for; `undefined` if it speaks only for itself. */
  userHeader: string | undefined;
  expiresAt: number | undefined;
}

/** A key of the store: `sk-gw-<id>-<secret>`, of which only a digest is kept. */
export interface IssuedKey extends KeyPolicy {
  /** The public part: in logs and records. */
  id: string;
  /** SHA-256 of the whole key, in hex. */
  digest: string;
  createdAt: number;
  revokedAt: number | undefined;
  /** The secret that a rotation has replaced, and until when it is still accepted. */
  replaced: { digest: string; until: number } | undefined;
}

const issuedForm = /^sk-gw-([0-9a-f]{10})-/;
/** Random bytes of a public id, and of a secret. */
const idBytes = 5;
const secretBytes = 32;

/** Returns the SHA-256 digest of a key. */
export function digestOf(key: string): Buffer {
  return Bun.CryptoHasher.hash('sha256', key);
}

function random(bytes: number): Buffer {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(bytes)));
}

function makeKey(id: string): { key: string; digest: string } {
  const key = `sk-gw-${id}-${random(secretBytes).toString('base64url')}`;
  return { key, digest: digestOf(key).toString('hex') };
}

/**
 * Makes a key with 256 random bits of secret; only the result has it.
 * @param now epoch milliseconds
 */
export function issueKey(policy: KeyPolicy, now: number): { key: string; record: IssuedKey } {
  const id = random(idBytes).toString('hex');
  const { key, digest } = makeKey(id);
  const record = { ...policy, id, digest, createdAt: now, revokedAt: undefined };
  return { key, record: { ...record, replaced: undefined } };
}

/**
 * Makes a new secret for a key of the store.
 * @param graceMs how long the old one is still accepted, in milliseconds
 * @param now epoch milliseconds
 */
export function rotateKey(
  { id, digest }: IssuedKey,
  graceMs: number,
  now: number,
): { key: string; change: Pick<IssuedKey, 'digest' | 'replaced'> } {
  const fresh = makeKey(id);
  const replaced = graceMs > 0 ? { digest, until: now + graceMs } : undefined;
  return { key: fresh.key, change: { digest: fresh.digest, replaced } };
}

/** Returns the public id in a key of the store; `undefined` if the text does not have the form of one. */
export function issuedIdOf(key: string): string | undefined {
  return issuedForm.exec(key)?.[1];
}

/** Returns what people may see of a key of the store. */
export function hintOfIssued(id: string): string {
  return `sk-gw-${id}-…`;
}

/** Returns whether a key of the store is accepted at a time, in epoch milliseconds. */
export function stateOf(
  { revokedAt, expiresAt }: Pick<IssuedKey, 'revokedAt' | 'expiresAt'>,
  now: number,
): 'active' | 'expired' | 'revoked' {
  if (revokedAt !== undefined) return 'revoked';
  return expiresAt !== undefined && expiresAt <= now ? 'expired' : 'active';
}

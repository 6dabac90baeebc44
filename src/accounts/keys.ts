/**
 * The API keys that this gateway accepts, of the configuration and of the store, and who is behind one. It keeps
 * digests, never a key.
 */
import { GatewayError } from '../wire/errors.ts';
import type { Limits, Priority, Caller } from '../request/caller.ts';

/** What a key of the store may do; all of it can change while the gateway runs. Times in epoch milliseconds. */
export interface KeyPolicy {
  name: string;
  limits: Limits;
  /** Names of the models that it may use; `undefined` for all. */
  models: readonly string[] | undefined;
  weight: number;
  priority: Priority;
  /** The header in which it names the user whom it speaks for; `undefined` where it speaks for itself alone. */
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
  /** What a rotation has replaced, and until when it is still accepted. */
  replaced: { digest: string; until: number } | undefined;
}

/** What is compared with a presented key, and who is behind it. */
interface KeyRecord {
  digest: Buffer;
  caller: Caller;
  /** Whether the key may name the user whom it speaks for. */
  isTrusted: boolean;
}

export interface KeyOptions {
  /** Those of the keys that may name a user. */
  trusted: readonly string[];
  /** Those of them whose requests wait behind interactive ones. */
  batch: readonly string[];
  /** The header in which a trusted key names its user. */
  userHeader: string | undefined;
  /** Gives the part of a key that people may see. */
  hintOf: (key: string) => string;
}

/** Reads a header of the request. */
type Headers = Pick<globalThis.Headers, 'get'>;

/** A user's name stands in logs and records. */
const maxUserLength = 128;
const issuedForm = /^sk-gw-([0-9a-f]{10})-/;
/** Of a public id, and of a secret. */
const idBytes = 5;
const secretBytes = 32;

function digestOf(key: string): Buffer {
  return new Bun.CryptoHasher('sha256').update(key).digest();
}

function random(bytes: number): Buffer {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(bytes)));
}

function makeKey(id: string): { key: string; digest: string } {
  const key = `sk-gw-${id}-${random(secretBytes).toString('base64url')}`;
  return { key, digest: digestOf(key).toString('hex') };
}

/**
 * Makes a key with 256 random bits of secret; nothing but what is given back here knows it.
 * @param now epoch milliseconds
 */
export function issueKey(policy: KeyPolicy, now: number): { key: string; record: IssuedKey } {
  const id = random(idBytes).toString('hex');
  const { key, digest } = makeKey(id);
  const record = { ...policy, id, digest, createdAt: now, revokedAt: undefined };
  return { key, record: { ...record, replaced: undefined } };
}

/**
 * Makes a new secret for a key.
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

/** Gives the public part of what has the form of a key of the store; `undefined` of anything else. */
export function issuedIdOf(key: string): string | undefined {
  return issuedForm.exec(key)?.[1];
}

/** Gives what people may see of a key of the store. */
export function hintOfIssued(id: string): string {
  return `sk-gw-${id}-…`;
}

/** Says whether a key of the store is accepted. */
export function stateOf(
  { revokedAt, expiresAt }: Pick<IssuedKey, 'revokedAt' | 'expiresAt'>,
  now: number,
): 'active' | 'expired' | 'revoked' {
  if (revokedAt !== undefined) return 'revoked';
  return expiresAt !== undefined && expiresAt <= now ? 'expired' : 'active';
}

/** Gives a function that says, in constant time, whether what is presented is one of some secrets. */
export function isOneOf(secrets: readonly string[]): (presented: string) => boolean {
  const digests = secrets.map(digestOf);
  return (presented) => {
    const digest = digestOf(presented);
    let isFound = false;
    for (const each of digests) isFound = crypto.timingSafeEqual(each, digest) || isFound;
    return isFound;
  };
}

/** Gives the caller of a trusted key: the user whom it names, or itself. */
function forUser(caller: Caller, user: string | null): Caller {
  if (!user) return caller;
  return { ...caller, principal: `${caller.keyId}/${user.slice(0, maxUserLength)}` };
}

export class KeyRing {
  #records: KeyRecord[] = [];
  #userHeader: string | undefined;
  #issued = new Map<string, { key: IssuedKey; caller: Caller }>();
  /** Ended here, whatever the store says. */
  readonly #revoked = new Set<string>();

  /**
   * @param keys the accepted keys of the configuration
   */
  constructor(keys: readonly string[], options: KeyOptions) {
    this.replace(keys, options);
  }

  /** Accepts these keys of the configuration from now on, and no others of it. */
  replace(keys: readonly string[], { trusted, batch, userHeader, hintOf }: KeyOptions): void {
    this.#userHeader = userHeader;
    this.#records = keys.map((key) => {
      const digest = digestOf(key);
      const keyId = digest.toString('hex').slice(0, 8);
      const hint = hintOf(key);
      const caller: Caller = {
        keyId,
        principal: keyId,
        hint,
        name: hint,
        weight: 1,
        priority: batch.includes(key) ? 'batch' : 'interactive',
        limits: noLimits,
        models: undefined,
      };
      return { digest, caller, isTrusted: trusted.includes(key) };
    });
  }

  /** Accepts these keys of the store from now on, and no others of it. */
  replaceIssued(keys: readonly IssuedKey[]): void {
    this.#issued = new Map(
      keys.map((key) => {
        const { id, name, weight, priority, limits, models } = key;
        const hint = hintOfIssued(id);
        const caller = { keyId: id, principal: id, hint, name, weight, priority, limits, models };
        return [id, { key, caller }];
      }),
    );
  }

  /** Accepts a key of the store no more, from now on. */
  revoke(id: string): void {
    this.#revoked.add(id);
  }

  /** Says whether a key of the store has been revoked, so that what it has running must end. */
  isRevoked(keyId: string): boolean {
    return this.#revoked.has(keyId) || this.#issued.get(keyId)?.key.revokedAt !== undefined;
  }

  /**
   * Finds the caller behind a key, compared in constant time. Throws `invalid_api_key` where it is not one of ours,
   * `key_revoked` and `key_expired` where it was.
   * @param headers where a trusted key names its user
   * @param now epoch milliseconds
   */
  find(presented: string, headers: Headers, now: number): Caller {
    const digest = digestOf(presented);
    const id = issuedIdOf(presented);
    const issued = id === undefined ? undefined : this.#issued.get(id);
    if (issued !== undefined) {
      const caller = findIssued(issued, digest, headers, now);
      if (this.#revoked.has(issued.key.id)) throw new GatewayError('key_revoked');
      return caller;
    }
    let found: KeyRecord | undefined;
    // Every record, whether or not one has matched already.
    for (const record of this.#records) {
      // Of the global object: importing node:crypto costs a tenth of the start-up time.
      if (crypto.timingSafeEqual(record.digest, digest)) found = record;
    }
    if (found === undefined) throw new GatewayError('invalid_api_key');
    const { caller, isTrusted } = found;
    if (!isTrusted || this.#userHeader === undefined) return caller;
    return forUser(caller, headers.get(this.#userHeader));
  }
}

const noLimits: Limits = {};

function findIssued(
  { key, caller }: { key: IssuedKey; caller: Caller },
  digest: Buffer,
  headers: Headers,
  now: number,
): Caller {
  const { replaced, userHeader } = key;
  const isCurrent = crypto.timingSafeEqual(Buffer.from(key.digest, 'hex'), digest);
  const wasCurrent =
    replaced !== undefined &&
    replaced.until > now &&
    crypto.timingSafeEqual(Buffer.from(replaced.digest, 'hex'), digest);
  if (!isCurrent && !wasCurrent) throw new GatewayError('invalid_api_key');
  const state = stateOf(key, now);
  if (state !== 'active') throw new GatewayError(`key_${state}`);
  return userHeader === undefined ? caller : forUser(caller, headers.get(userHeader));
}

/**
 * The API keys that this gateway accepts, of the configuration and of the store, and the caller behind each. It keeps
 * digests, never a key.
 */
import type { Caller, Limits } from '../request/caller.ts';
import { GatewayError } from '../wire/errors.ts';
import { type IssuedKey, digestOf, hintOfIssued, issuedIdOf, stateOf } from './keys.ts';

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
  /** Those of the keys whose requests wait behind interactive ones. */
  batch: readonly string[];
  /** The header in which a trusted key names its user. */
  userHeader: string | undefined;
  /** Returns the part of a key that people may see. */
  hintOf: (key: string) => string;
}

/** Reads a header of the request. */
type Headers = Pick<globalThis.Headers, 'get'>;

/** A user's name stands in logs and records. */
const maxUserLength = 128;
/** What a terminal may obey: a header can have the upper half of these. */
const control = /[\p{C}\p{Zl}\p{Zp}]/gu;

/** Returns the caller of a trusted key: the user whom it names, or the key itself. */
function forUser(caller: Caller, user: string | null): Caller {
  if (!user) return caller;
  const name = user.slice(0, maxUserLength).replace(control, '\uFFFD');
  return { ...caller, principal: `${caller.keyId}/${name}` };
}

export class KeyRing {
  #records: KeyRecord[] = [];
  #userHeader: string | undefined;
  #issued = new Map<string, { key: IssuedKey; caller: Caller }>();
  /** Revoked by this process, even if the store could not be written. */
  readonly #revoked = new Set<string>();

  /**
   * @param keys the accepted keys of the configuration
   */
  constructor(keys: readonly string[], options: KeyOptions) {
    this.replace(keys, options);
  }

  /** From now on accepts these keys of the configuration, and no others of it. */
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

  /** From now on accepts these keys of the store, and no others of it. */
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

  /** How many keys of the store there are, those included that are no longer accepted. */
  get issuedCount(): number {
    return this.#issued.size;
  }

  /** From now on refuses a key of the store. */
  revoke(id: string): void {
    this.#revoked.add(id);
  }

  /** Returns whether a key of the store has been revoked, so that its running requests must end. */
  isRevoked(keyId: string): boolean {
    return this.#revoked.has(keyId) || this.#issued.get(keyId)?.key.revokedAt !== undefined;
  }

  /**
   * Returns the caller behind a key, compared in constant time. Throws `invalid_api_key` if the key is not accepted, or
   * `key_revoked` or `key_expired` if it is no longer accepted.
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
      // The global `crypto`: importing node:crypto costs a tenth of the start-up time.
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

/**
 * The API keys that this gateway accepts, and who is behind one. It keeps digests, never a key.
 */

import type { Limits } from './limits.ts';
import type { Priority } from './queue.ts';

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

/** Who sent a request, and who is served. */
export interface Caller {
  /** Names the key in logs and records; derived from its digest. */
  keyId: string;
  /** Who is served: the key itself, or the user whom a trusted key names. Queues, limits and counters go by this. */
  principal: string;
  /** The end of the key, for people: `sk-…4f2a`. */
  hint: string;
  /** What share of the engines' time is this caller's, beside others of the same class. */
  weight: number;
  /** The best class that its requests can have. */
  priority: Priority;
  /** What people call the key; its hint where nobody has named it. */
  name: string;
  limits: Limits;
  /** Names of the models that it may use; `undefined` for all. */
  models: readonly string[] | undefined;
}

interface KeyRecord {
  digest: Buffer;
  keyId: string;
  hint: string;
  /** Whether the key may name the user whom it speaks for. */
  isTrusted: boolean;
  priority: Priority;
}

export interface KeyOptions {
  /** Those of the keys that may name a user. */
  trusted: readonly string[];
  /** Those of them whose requests wait behind interactive ones. */
  batch: readonly string[];
  /** Gives the part of a key that people may see. */
  hintOf: (key: string) => string;
}

/** A user's name stands in logs and records. */
const maxUserLength = 128;

function digestOf(key: string): Buffer {
  return new Bun.CryptoHasher('sha256').update(key).digest();
}

export class KeyRing {
  #records: KeyRecord[] = [];

  /**
   * @param keys the accepted keys
   */
  constructor(keys: readonly string[], options: KeyOptions) {
    this.replace(keys, options);
  }

  /** Accepts these keys from now on, and no others. */
  replace(keys: readonly string[], options: KeyOptions): void {
    const { trusted, batch, hintOf } = options;
    this.#records = keys.map((key) => {
      const digest = digestOf(key);
      const keyId = digest.toString('hex').slice(0, 8);
      return {
        digest,
        keyId,
        hint: hintOf(key),
        isTrusted: trusted.includes(key),
        priority: batch.includes(key) ? 'batch' : 'interactive',
      };
    });
  }

  /**
   * Finds the caller behind a key; `undefined` when it is not one of ours. Every record is compared in constant time,
   * whether or not one has matched already.
   * @param user the value of the trusted user header; ignored for keys that are not trusted with it
   */
  find(presented: string, user: string | null): Caller | undefined {
    const digest = digestOf(presented);
    let found: KeyRecord | undefined;
    for (const record of this.#records) {
      // Of the global object: importing node:crypto costs a tenth of the start-up time.
      if (crypto.timingSafeEqual(record.digest, digest)) found = record;
    }
    if (found === undefined) return undefined;
    const { keyId, hint, isTrusted, priority } = found;
    return {
      keyId,
      principal: isTrusted && user ? `${keyId}/${user.slice(0, maxUserLength)}` : keyId,
      hint,
      weight: 1,
      priority,
      name: hint,
      limits: {},
      models: undefined,
    };
  }
}

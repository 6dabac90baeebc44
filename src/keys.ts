/**
 * The API keys that this gateway accepts, and who is behind one. It keeps digests, never a key.
 */

/** Who sent a request, and who is served. */
export interface Caller {
  /** Names the key in logs and records; derived from its digest. */
  keyId: string;
  /** Who is served: the key itself, or the user whom a trusted key names. Queues, limits and counters go by this. */
  principal: string;
  /** The end of the key, for people: `sk-…4f2a`. */
  hint: string;
}

interface KeyRecord {
  digest: Buffer;
  keyId: string;
  hint: string;
  /** Whether the key may name the user whom it speaks for. */
  isTrusted: boolean;
}

/** A user's name stands in logs and records. */
const maxUserLength = 128;

function digestOf(key: string): Buffer {
  return new Bun.CryptoHasher('sha256').update(key).digest();
}

export class KeyRing {
  readonly #records: KeyRecord[];

  /**
   * @param keys the accepted keys
   * @param trusted those of them that may name a user
   * @param hintOf gives the part of a key that people may see
   */
  constructor(
    keys: readonly string[],
    trusted: readonly string[],
    hintOf: (key: string) => string,
  ) {
    this.#records = keys.map((key) => {
      const digest = digestOf(key);
      const keyId = digest.toString('hex').slice(0, 8);
      return { digest, keyId, hint: hintOf(key), isTrusted: trusted.includes(key) };
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
    const { keyId, hint, isTrusted } = found;
    return {
      keyId,
      principal: isTrusted && user ? `${keyId}/${user.slice(0, maxUserLength)}` : keyId,
      hint,
    };
  }
}

/**
 * The memory of the bodies of all requests: what has been promised to bodies that are on their way, and what holds bodies
 * that wait for an engine or are being sent to one. A body has its memory before its first byte is read, so that one that
 * was begun can always finish.
 */
import { GatewayError } from '../wire/errors.ts';

export interface BodyMemoryOptions {
  /** Most bytes of all bodies together, and of those of one key. */
  maxBytes: number;
  maxBytesPerKey: number;
}

/** One key gets this share, so that one whose bodies trickle in does not shut the others out. */
const shareOfKey = 1 / 4;
const shareOfMachine = 1 / 16;

/**
 * Returns the bounds for a machine. One body as large as it may be always fits in.
 * @param setting MAX_BODY_BYTES_TOTAL; `undefined` for a share of the memory
 * @param maxBodyBytes of one body
 */
export function bodyBounds(
  setting: number | undefined,
  maxBodyBytes: number,
  memoryBytes: number,
): BodyMemoryOptions {
  const maxBytes = Math.max(setting ?? Math.floor(memoryBytes * shareOfMachine), maxBodyBytes);
  return { maxBytes, maxBytesPerKey: Math.max(Math.floor(maxBytes * shareOfKey), maxBodyBytes) };
}

export class BodyMemory {
  #bytes = 0;
  /** By id of the key. A key that holds nothing keeps its entry: there are few keys and many requests. */
  readonly #bytesOf = new Map<string, number>();

  constructor(private readonly options: BodyMemoryOptions) {}

  /** What all bodies hold together. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes memory for the bodies of a key. Throws `queue_full` if there is not enough. */
  take(keyId: string, bytes: number): void {
    const { maxBytes, maxBytesPerKey } = this.options;
    const ofKey = (this.#bytesOf.get(keyId) ?? 0) + bytes;
    const isOfKey = ofKey > maxBytesPerKey;
    if (isOfKey || this.#bytes + bytes > maxBytes) {
      const whose = isOfKey ? 'this API key' : 'all clients';
      const bound = isOfKey ? maxBytesPerKey : maxBytes;
      throw new GatewayError('queue_full', {
        message: `The bodies of the open requests of ${whose} would be more than ${bound} bytes (MAX_BODY_BYTES_TOTAL). Retry-After says when to retry.`,
        headers: { 'retry-after': '1' },
      });
    }
    this.#bytes += bytes;
    this.#bytesOf.set(keyId, ofKey);
  }

  giveBack(keyId: string, bytes: number): void {
    this.#bytes -= bytes;
    this.#bytesOf.set(keyId, (this.#bytesOf.get(keyId) ?? 0) - bytes);
  }
}

/**
 * Digests of large bodies, made in slices that give way to everybody else.
 */
import { pace } from './pace.ts';

/** What is hashed between two looks at the clock: a millisecond of work or two. */
export const sliceBytes = 1024 * 1024;

/** Returns the SHA-256 of the parts one after another, in base64. */
export async function digestOf(parts: readonly (string | Uint8Array)[]): Promise<string> {
  const hasher = new Bun.CryptoHasher('sha256');
  for (const part of parts) {
    if (typeof part === 'string') hasher.update(part);
    else {
      for (let at = 0; at < part.length; at += sliceBytes) {
        if (part.length > sliceBytes && pace.isUp()) await pace.turn();
        hasher.update(part.subarray(at, at + sliceBytes));
      }
    }
  }
  return hasher.digest('base64');
}

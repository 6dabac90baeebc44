/** What a value of unknown type is: it looks, and neither reads nor changes anything. */

/** Says whether it has members by name: an object, and no list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

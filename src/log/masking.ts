/**
 * Masks secrets in texts, and shortens keys so that they may be shown.
 */

/**
 * Text that looks like a key is masked even if it is not a configured secret; the public part of an issued key is not.
 */
const keyLike = /\bsk-(?!gw-[0-9a-f]{10}-…)[\w-]{6,}/g;

const bearer = /\b(Bearer )[\w.~+/=-]{6,}/gi;

/** Some engines accept any word as a key; masking every `x` would make the lines unreadable. */
const minSecretLength = 6;

/** Returns a function that replaces every secret, and any text that looks like a key, with `***`. */
export function secretMasker(secrets: readonly string[]): (text: string) => string {
  const escaped = (text: string) => JSON.stringify(text).slice(1, -1);
  // A log line is JSON and may contain JSON as text, so a secret can be escaped twice.
  const long = secrets.filter((secret) => secret.length >= minSecretLength);
  const forms = long.flatMap((secret) => [secret, escaped(secret), escaped(escaped(secret))]);
  const literals = [...new Set(forms)].sort((a, b) => b.length - a.length);
  return (text) => {
    let masked = text;
    for (const literal of literals) masked = masked.replaceAll(literal, '***');
    return masked.replace(keyLike, '***').replace(bearer, '$1***');
  };
}

/**
 * Returns the part of a key that logs may show: the first 3 and last 4 characters if it has 16 or more, the last 2 if
 * it has 8 or more, nothing of a shorter key.
 */
export function maskKey(key: string): string {
  if (key.length >= 16) return `${key.slice(0, 3)}…${key.slice(-4)}`;
  return key.length >= 8 ? `…${key.slice(-2)}` : '…';
}

/**
 * What takes secrets out of texts, and what may be shown of a key.
 */

/** What looks like a key is masked even where nobody has registered it; the public part of one of the store stays. */
const keyLike = /\bsk-(?!gw-[0-9a-f]{10}-…)[\w-]{6,}/g;

const bearer = /\b(Bearer )[\w.~+/=-]{6,}/gi;

/** Some engines want any word for a key; to mask `x` everywhere would make the lines unreadable. */
const minSecretLength = 6;

/** Gives a function that replaces every secret, and whatever looks like a key, by `***`. */
export function secretMasker(secrets: readonly string[]): (text: string) => string {
  const escaped = (text: string) => JSON.stringify(text).slice(1, -1);
  // A line can hold JSON that holds JSON.
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
 * Gives what logs may show of a key: its first 3 and last 4 characters when it has 16 or more, its last 2 when it has 8
 * or more, nothing of a shorter one.
 */
export function maskKey(key: string): string {
  if (key.length >= 16) return `${key.slice(0, 3)}…${key.slice(-4)}`;
  return key.length >= 8 ? `…${key.slice(-2)}` : '…';
}

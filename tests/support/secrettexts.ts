/** Secrets that are hard to mask, and the forms in which they may stand in a text. */

export const secrets = [
  'sk-plain-key-1',
  'plainpassword',
  'with"quote"inside',
  'back\\slash\\key',
  'q"and\\both/1',
  'dots.(star)*[x]{2}|$^+?-key',
  'plainpassword-longer',
];

/** The forms of a secret in a text: plain, in JSON, in JSON within JSON. */
export function forms(secret: string): string[] {
  const inJson = JSON.stringify(secret).slice(1, -1);
  return [...new Set([secret, inJson, JSON.stringify(inJson).slice(1, -1)])];
}

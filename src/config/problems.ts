/**
 * What is wrong with input: the error that carries every problem at once, and what a message may quote of a value. Which
 * values are allowed is not known here.
 */

/** The input is wrong: one line for each problem, with its place, what was found and what is allowed. */
export class InputError extends Error {
  override readonly name = 'InputError';

  /** @param heading the first line of the message; below it the problems are a list */
  constructor(
    readonly problems: readonly string[],
    heading?: string,
  ) {
    const lines = heading === undefined ? problems : [heading, ...problems.map((p) => `- ${p}`)];
    super(lines.join('\n'));
  }
}

/** Returns what `work` returns. If it throws an InputError, adds its problems to `problems` and returns `undefined`. */
export function attempt<T>(problems: string[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    problems.push(...error.problems);
    return undefined;
  }
}

/** Returns what a message may say of a value: nothing of a hidden one, nor of what may be a URL with credentials. */
export function shown(value: unknown, hidden: boolean): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value !== 'string') return hidden ? `a ${typeof value} without quotes` : `${value}`;
  if (hidden || value.length > 80 || /[@?#\r\n]/.test(value)) {
    return `${value.length} characters (not shown)`;
  }
  return JSON.stringify(value);
}

/** Returns the words between commas, without empty ones. */
export function partsOf(text: string): string[] {
  return text.split(',').flatMap((part) => part.trim() || []);
}

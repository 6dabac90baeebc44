/**
 * What people give in a flag, a query or a body: a list of words, and the error that says all that is wrong. What each
 * thing may be is not known here.
 */

/** What was given is wrong: one line for every problem, with its place, what was found, what is allowed. */
export class InputError extends Error {
  override readonly name = 'InputError';

  constructor(readonly problems: readonly string[]) {
    super(problems.join('\n'));
  }
}

/** Gives the words between commas; empty ones are left out. */
export function partsOf(text: string): string[] {
  return text.split(',').flatMap((part) => part.trim() || []);
}

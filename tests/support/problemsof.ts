/** The problems with which input is refused, for tests. */
import { InputError } from '../../src/config/problems.ts';

/** Returns the problems of the InputError that is thrown; an empty list without one. */
export function problemsOf(work: () => unknown): readonly string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof InputError) return error.problems;
    throw error;
  }
  return [];
}

/** What input is refused with, for tests. */
import { InputError } from '../../src/config/problems.ts';

/** Returns the problems that are told; none where there are none. */
export function problemsOf(work: () => unknown): readonly string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof InputError) return error.problems;
    throw error;
  }
  return [];
}

/**
 * Finds the known name that somebody who typed another one probably meant. It suggests nothing where the two have too
 * little in common.
 */
import { editDistance } from '../wire/editdistance.ts';

/** Longer words are no typing errors, and comparing them would cost time. */
const maxLength = 60;

/** Returns a name without what is often spelled otherwise: its case, hyphens and underscores. */
function lettersOf(name: string): string {
  return name.toLowerCase().replace(/[_-]/g, '');
}

/**
 * Returns the known name that is nearest to `given`; `undefined` if none is near.
 * @param lettersPerMistake how many letters a name must have for each mistake in it
 */
export function nearest(
  given: string,
  known: Iterable<string>,
  lettersPerMistake = 3,
): string | undefined {
  if (given.length > maxLength) return undefined;
  const letters = lettersOf(given);
  let best: string | undefined;
  let least = Math.floor(letters.length / lettersPerMistake) + 1;
  for (const name of known) {
    const distance = editDistance(letters, lettersOf(name), 1);
    if (distance < least) [best, least] = [name, distance];
  }
  return best;
}

/** Returns a question that names what was probably meant, to follow an error; empty if nothing is near. */
export function didYouMean(given: string, known: Iterable<string>): string {
  const name = nearest(given, known);
  return name === undefined ? '' : `; did you mean ${name}?`;
}

/**
 * Finds the known name that somebody who typed another one probably meant. It suggests nothing where the two have too
 * little in common.
 */

/** Longer words are no typing errors, and comparing them would cost time. */
const maxLength = 60;

/** Returns a name without what is often spelled otherwise: its case, hyphens and underscores. */
function lettersOf(name: string): string {
  return name.toLowerCase().replace(/[_-]/g, '');
}

/** Returns how many letters must be added, removed, replaced or swapped with their neighbour to turn `a` into `b`. */
function distanceOf(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const isSame = a[row - 1] === b[column - 1];
      const isSwap = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      current[column] = Math.min(
        (last[column] as number) + 1,
        (current[column - 1] as number) + 1,
        (last[column - 1] as number) + (isSame ? 0 : 1),
        isSwap ? (beforeLast[column - 2] as number) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    [beforeLast, last] = [last, current];
  }
  return last[b.length] as number;
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
    const distance = distanceOf(letters, lettersOf(name));
    if (distance < least) [best, least] = [name, distance];
  }
  return best;
}

/** Returns a question that names what was probably meant, to follow an error; empty if nothing is near. */
export function didYouMean(given: string, known: Iterable<string>): string {
  const name = nearest(given, known);
  return name === undefined ? '' : `; did you mean ${name}?`;
}

/**
 * How far two words are apart. Pure.
 */

/**
 * Returns how many letters must be added, removed or replaced to turn `a` into `b`.
 * @param swapCost what it costs to swap two neighbours; 2 is what replacing both does (Levenshtein), 1 takes a swap for
 * one mistake (optimal string alignment)
 */
export function editDistance(a: string, b: string, swapCost: 1 | 2): number {
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
        isSwap ? (beforeLast[column - 2] as number) + swapCost : Number.POSITIVE_INFINITY,
      );
    }
    [beforeLast, last] = [last, current];
  }
  return last[b.length] as number;
}

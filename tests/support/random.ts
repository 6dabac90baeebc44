/**
 * A small seeded source of randomness for tests, so that every case can be run again from the number that is printed
 * when it fails. It is no source of secrets.
 */

export interface Random {
  /** A whole number from 0 up to, not including, `limit`. */
  below(limit: number): number;
  /** `true` once in `n` times. */
  oneIn(n: number): boolean;
  pick<T>(items: readonly T[]): T;
}

/** Mulberry32: 32 bits of state, good enough to vary cases. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  function below(limit: number): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * limit);
  }
  return {
    below,
    oneIn: (n) => below(n) === 0,
    pick: <T>(items: readonly T[]): T => items[below(items.length)] as T,
  };
}

/**
 * Runs `body` for `cases` seeds in a row; a failure names the seed. FUZZ_SEED runs that one seed alone, FUZZ_CASES at most
 * so many; FUZZ_FIRST begins with that seed in place of 1, FUZZ_TIMES takes so many times as many.
 */
export async function forSeeds(
  cases: number,
  body: (random: Random) => void | Promise<void>,
): Promise<void> {
  const chosen = process.env['FUZZ_SEED'];
  const first = Number(chosen ?? process.env['FUZZ_FIRST'] ?? 1);
  const wanted = cases * Number(process.env['FUZZ_TIMES'] ?? 1);
  const most = Number(process.env['FUZZ_CASES'] ?? wanted);
  const count = chosen === undefined ? Math.min(wanted, most) : 1;
  for (let seed = first; seed < first + count; seed++) {
    try {
      await body(randomFrom(seed));
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new Error(`FUZZ_SEED=${seed}: ${reason}`, { cause: error });
    }
  }
}

/**
 * Whose tests are measured: the files that decide and compute, each with unit tests of its own that open no socket. And
 * the mutants that nothing can tell from the code, so that the score counts only what a test could notice.
 */

/** Paths in src without `.ts`. */
export const files: readonly string[] = [
  'scheduling/queue',
  'scheduling/lanes',
  'scheduling/turn',
  'stores/memory/shares',
  'scheduling/heap',
  'scheduling/affinity',
  'stores/memory/gcra',
  'stores/memory/counters',
  'accounts/calendar',
  'accounts/keys',
  'accounts/keyring',
  'engines/prefixes',
  'engines/breaker',
  'engines/retry',
  'cache/cache',
  'request/cost',
  'wire/sse',
  'wire/json',
  'wire/multipart',
  'wire/headers',
  'wire/tokens',
];

/** A mutant that behaves as the code does: no test can kill it. */
export interface Equivalent {
  file: string;
  /** The line of the source, trimmed; its first one where the mutant takes several. */
  line: string;
  /** What the mutant changes, as it stands in the source, and into what. */
  original: string;
  replacement: string;
  reason: string;
}

export const equivalents: readonly Equivalent[] = [];

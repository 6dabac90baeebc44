/**
 * What a part of the fuzzing has found: how many cases passed, which failed, and what could not run, which never counts
 * as passed.
 */

export interface FuzzOptions {
  cases: number;
  /** The first of the seeds. */
  seed: number;
  log: (line: string) => void;
}

/** So many failures of a part are printed; all are counted. */
const shownFailures = 20;

export class Tally {
  passed = 0;
  failed = 0;
  /** Why the part, or something of it, did not run. */
  readonly skipped: string[] = [];

  constructor(private readonly print: (line: string) => void) {}

  /** Counts a case: passed without a reason, else failed for that reason, which is printed. */
  judge(name: string, reason: string | undefined): void {
    if (reason === undefined) this.passed++;
    else this.fail(`${name}: ${reason}`);
  }

  fail(what: string): void {
    this.failed++;
    if (this.failed <= shownFailures) this.print(`FAILED ${what}`);
    if (this.failed === shownFailures) this.print('more failures are counted, but not printed');
  }

  /** Something is missing on this machine. In CI (`CI=true`) that is a failure. */
  skip(why: string): void {
    if (process.env['CI'] === 'true') return this.fail(`skipped in CI: ${why}`);
    this.skipped.push(why);
    this.print(`SKIPPED ${why}`);
  }

  /** Returns the line that ends the part. */
  summary(name: string): string {
    const skipped = this.skipped.length > 0 ? `, ${this.skipped.length} skipped` : '';
    return `${name}: ${this.passed} passed, ${this.failed} failed${skipped}`;
  }
}

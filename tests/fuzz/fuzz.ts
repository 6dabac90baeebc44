/**
 * `bun run fuzz [--quick] [--seed N] [--cases N] [PART...]`: random input against a running gateway. Each part ends with
 * a line "N passed, N failed". It exits with 0 when all passed, with 1 when something failed, and with 2 when something
 * could not run.
 */
import { parseArgs } from 'node:util';
import { fuzzForms } from './forms.ts';
import { fuzzMalformed } from './malformed.ts';
import { fuzzSpecification } from './specification.ts';
import { Tally, type FuzzOptions } from './tally.ts';
import { fuzzUnits } from './units.ts';

interface FuzzPart {
  name: string;
  run: (tally: Tally, options: FuzzOptions) => Promise<void>;
  /** How many cases by default, and with `--quick`. */
  cases: number;
  quickCases: number;
  /** A part that takes longer counts as failed. */
  withinMs: number;
}

const parts: readonly FuzzPart[] = [
  { name: 'units', run: fuzzUnits, cases: 10, quickCases: 1, withinMs: 600_000 },
  { name: 'forms', run: fuzzForms, cases: 20_000, quickCases: 2_000, withinMs: 600_000 },
  { name: 'malformed', run: fuzzMalformed, cases: 20_000, quickCases: 1_500, withinMs: 900_000 },
  {
    name: 'specification',
    run: fuzzSpecification,
    cases: 10_000,
    quickCases: 300,
    withinMs: 1_800_000,
  },
];

async function runPart(part: FuzzPart, options: FuzzOptions): Promise<Tally> {
  const tally = new Tally(console.log);
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(new Error(`not done after ${part.withinMs} ms`)),
    part.withinMs,
  );
  try {
    await Promise.race([part.run(tally, options), late.promise]);
  } catch (error) {
    tally.fail(`${part.name} broke off: ${error instanceof Error ? error.stack : error}`);
  } finally {
    clearTimeout(timer);
  }
  if (tally.passed + tally.failed + tally.skipped.length === 0) tally.fail('no case ran');
  return tally;
}

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: 'boolean', default: false },
      seed: { type: 'string' },
      cases: { type: 'string' },
    },
  });
  const unknown = positionals.filter((name) => !parts.some((part) => part.name === name));
  if (unknown.length > 0) throw new Error(`no part ${unknown}; ${parts.map(({ name }) => name)}`);
  const seed = Number(values.seed ?? Math.floor(Math.random() * 1e9));
  if (!Number.isSafeInteger(seed)) throw new Error('--seed takes a whole number');
  console.log(`seed ${seed} (again with: bun run fuzz --seed ${seed})`);
  const tallies: Tally[] = [];
  for (const part of parts) {
    if (positionals.length > 0 && !positionals.includes(part.name)) continue;
    const cases = Number(values.cases ?? (values.quick ? part.quickCases : part.cases));
    console.log(`\n===== ${part.name}, ${cases} =====`);
    const startedAt = performance.now();
    const tally = await runPart(part, { cases, seed, log: console.log });
    const seconds = Math.round((performance.now() - startedAt) / 1000);
    console.log(`${tally.summary(part.name)} (${seconds} s)`);
    tallies.push(tally);
  }
  const total = (of: (tally: Tally) => number) => tallies.reduce((sum, each) => sum + of(each), 0);
  const failed = total((tally) => tally.failed);
  const skipped = total((tally) => tally.skipped.length);
  console.log(`\nseed ${seed}${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  console.log(`${total((tally) => tally.passed)} passed, ${failed} failed`);
  if (failed > 0) return 1;
  return skipped > 0 ? 2 : 0;
}

process.exit(await main());

/**
 * The random tests of the unit suite with seeds that the suite does not use: frames cut anywhere, JSON read and edited
 * in its bytes, forms, the queue. Each counts as one case, for all of its seeds.
 */
import { join } from 'node:path';
import type { FuzzOptions, Tally } from './tally.ts';

const root = join(import.meta.dir, '../..');
const files = [
  'relay/stream.fuzz',
  'scheduling/queue.fuzz',
  'wire/json',
  'wire/multipart',
  'wire/sse',
].map((name) => `tests/unit/${name}.test.ts`);

/** @param cases how many times as many seeds as in the suite */
export async function fuzzUnits(tally: Tally, { cases, seed, log }: FuzzOptions): Promise<void> {
  const child = Bun.spawn(['bun', 'test', '--timeout=300000', ...files], {
    cwd: root,
    env: { ...process.env, FUZZ_FIRST: String(seed), FUZZ_TIMES: String(cases) },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'pipe',
  });
  const [output, code] = await Promise.all([child.stderr.text(), child.exited]);
  const count = (word: string) => {
    return Number(new RegExp(`^ *(\\d+) ${word}$`, 'm').exec(output)?.[1] ?? 0);
  };
  tally.passed += count('pass');
  for (let i = count('fail') + count('skip'); i > 0; i--) tally.fail('a test, see below');
  if (code !== 0) {
    log(output);
    if (tally.failed === 0) tally.fail(`bun test ended with code ${code}`);
  }
}

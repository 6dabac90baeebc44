/**
 * `bun run mutants [FILE...]`: mutation testing. StrykerJS changes a file of src in one small place after another, and the
 * unit tests of that file alone should fail each time. It works on a copy in the folder for temporary files. Survivors are
 * printed, and the figures go to results.json. Without a FILE it takes the whole list in files.ts; that takes an hour.
 */
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { equivalents, files, quickTests } from './files.ts';
import { scoreOf, survivorsOf, type Report, type Score } from './score.ts';

const root = join(import.meta.dir, '../..');
const resultsPath = join(import.meta.dir, 'results.json');
/** A run of the tests may take 3 times what it takes with the code as it is, and this: a busy machine kills no mutant. */
const timeoutMS = 15_000;
const timeoutFactor = 3;
/** Of the random cases of a test, for each mutant. */
const fuzzCases = 50;

/** Returns the unit tests of a file of src, as paths from the root. */
function testsOf(file: string): string[] {
  const found = ['test', 'fuzz.test']
    .map((kind) => `tests/unit/${file}.${kind}.ts`)
    .filter((path) => existsSync(join(root, path)));
  if (found.length === 0) throw new Error(`src/${file}.ts has no unit test of its own name`);
  return found;
}

/** Returns the command that runs the unit tests of a file of src, until one fails. */
function commandOf(file: string): string {
  const only = quickTests[file] === undefined ? '' : `--test-name-pattern '${quickTests[file]}' `;
  return `bun test --bail --timeout=60000 ${only}${testsOf(file).join(' ')}`;
}

/** Returns a copy of what the tests need, without tsconfig.json, for which Stryker would need TypeScript. */
function copyProject(): string {
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-mutants-'));
  for (const path of ['src', 'tests', 'deploy', 'package.json', 'bunfig.toml', 'README.md']) {
    cpSync(join(root, path), join(folder, path), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
  return folder;
}

/** Runs Stryker on one file in the copy. Throws an Error with its output when the tests fail on the code as it is. */
async function mutate(folder: string, file: string): Promise<Report> {
  const config = {
    testRunner: 'command',
    commandRunner: { command: commandOf(file) },
    mutate: [`src/${file}.ts`],
    plugins: [],
    reporters: ['json'],
    jsonReporter: { fileName: 'report.json' },
    disableTypeChecks: false,
    concurrency: 2,
    timeoutMS,
    timeoutFactor,
    logLevel: 'warn',
  };
  writeFileSync(join(folder, 'stryker.config.json'), JSON.stringify(config));
  const stryker = join(root, 'node_modules/@stryker-mutator/core/bin/stryker.js');
  const child = Bun.spawn(['bun', stryker, 'run'], {
    cwd: folder,
    env: { ...process.env, FUZZ_CASES: String(fuzzCases) },
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'inherit',
  });
  const [output, code] = await Promise.all([child.stdout.text(), child.exited]);
  if (code !== 0) throw new Error(`Stryker ended with ${code} for ${file}: ${output}`);
  return JSON.parse(readFileSync(join(folder, 'report.json'), 'utf8')) as Report;
}

/** Returns `wire/sse` for `src/wire/sse.ts`, `wire/sse.ts` and `wire/sse`. */
function nameOf(argument: string): string {
  return argument.replace(/^(\.\/)?src\//, '').replace(/\.ts$/, '');
}

async function main(): Promise<void> {
  const chosen = process.argv.slice(2).map(nameOf);
  const folder = copyProject();
  const remove = () => rmSync(folder, { recursive: true, force: true });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => (remove(), process.exit(1)));
  }
  try {
    for (const file of chosen.length > 0 ? chosen : files) {
      const report = await mutate(folder, file);
      const own = equivalents.filter((each) => each.file === file);
      const { survivors, stale } = survivorsOf(report, own);
      const score = scoreOf(report, own);
      for (const line of survivors) console.log(`survived: ${line}`);
      for (const line of stale) console.log(`in files.ts, but no survivor: ${line}`);
      const { percent, killed, timedOut, survived, equivalent } = score;
      console.log(
        `${file}: ${percent} % (${killed} killed, ${timedOut} timed out, ${survived} survived, ${equivalent} equivalent)`,
      );
      if (files.includes(file)) writeResult(file, score);
    }
  } finally {
    remove();
  }
}

/** Puts the score of a file into results.json and keeps those of the others. */
function writeResult(file: string, score: Score): void {
  const before = existsSync(resultsPath) ? JSON.parse(readFileSync(resultsPath, 'utf8')) : {};
  const all: Record<string, object> = { ...before };
  all[file] = { date: new Date().toISOString().slice(0, 10), ...score };
  const kept = files.filter((each) => each in all).map((each) => [each, all[each]]);
  writeFileSync(resultsPath, `${JSON.stringify(Object.fromEntries(kept), null, 2)}\n`);
}

await main();

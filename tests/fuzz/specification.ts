/**
 * Requests that schemathesis makes from the gateway's own specification, valid ones and others, with a client's key and
 * with the operator's. Each answer must fit the specification, and none may be a 500 of the gateway.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDemoEngine } from '../../src/demo/engine.ts';
import type { FuzzOptions, Tally } from './tally.ts';
import { clientKey, operatorKey, startTarget, type Target } from './target.ts';
import { fuzzTools, missingPython } from './tools.ts';

/**
 * What answers are held against. A body that the specification does not allow may be answered with 200 by an engine,
 * because bodies pass unchanged; only the operator's routes are the gateway's own.
 */
const checks = [
  'no_internal_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
  'unsupported_method',
  'allow_header_conformance',
  'ignored_auth',
];

interface Round {
  name: string;
  key: string;
  /** Options that choose the paths. */
  paths: string[];
  moreChecks: string[];
  /** Of all the cases, roughly. */
  share: number;
  operations: number;
}

/** The operator's feed never ends, so that each case would take until its deadline: tests/e2e/live has it. */
const endless = '^/admin/live$';

const rounds: readonly Round[] = [
  {
    name: 'a client',
    key: clientKey,
    paths: ['--exclude-path-regex=^/(admin|metrics)'],
    moreChecks: ['accepts_valid_data'],
    share: 0.8,
    operations: 38,
  },
  {
    name: 'the operator',
    key: operatorKey,
    paths: ['--include-path-regex=^/(admin|metrics)', `--exclude-path-regex=${endless}`],
    moreChecks: ['rejects_invalid_data', 'accepts_valid_data'],
    share: 0.2,
    operations: 10,
  },
];

/** About so many cases are made for each operation by the boundaries of its fields, however few are asked for. */
const boundaryCases = 110;
/** A run of schemathesis may take this long. Its own --max-time is no bound: it repeats until that time is spent. */
const withinMs = 900_000;
/** An answer that takes longer is a hang. */
const answerWithinSeconds = 20;

/** What is used of the report of a run. */
interface Report {
  test_cases: {
    generated: number;
    with_failures: number;
    errored: number;
    /** Not judged, because no check is for them. */
    without_checks: number;
  };
  failures: unknown[];
  errors: unknown[];
}

/** Runs schemathesis once, and returns its report. */
async function run(url: string, round: Round, examples: number, seed: number, phases: string) {
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-schemathesis-'));
  const report = join(folder, 'report.json');
  try {
    const child = Bun.spawn(
      [
        join(fuzzTools.python, '../schemathesis'),
        'run',
        `${url}/openapi.json`,
        `--header=Authorization: Bearer ${round.key}`,
        `--checks=${[...checks, ...round.moreChecks].join(',')}`,
        `--phases=${phases}`,
        `--max-examples=${examples}`,
        `--seed=${seed}`,
        `--request-timeout=${answerWithinSeconds}`,
        '--workers=2',
        '--generation-database=none',
        '--report=json',
        `--report-json-path=${report}`,
        '--continue-on-failure',
        '--suppress-health-check=all',
        '--warnings=off',
        '--output-sanitize=false',
        '--no-color',
        ...round.paths,
      ],
      {
        cwd: folder,
        env: {
          PATH: process.env['PATH'],
          HOME: folder,
          PYTHONPATH: import.meta.dir,
          PYTHONDONTWRITEBYTECODE: '1',
          SCHEMATHESIS_HOOKS: 'schemathesis_hooks',
        },
        stdin: 'ignore',
        stdout: 'pipe',
        stderr: 'pipe',
        timeout: withinMs,
      },
    );
    const [output, errors] = await Promise.all([
      child.stdout.text(),
      child.stderr.text(),
      child.exited,
    ]);
    return { report: readReport(report), output: output + errors };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function readReport(path: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Report;
  } catch {
    return undefined; // It ended before it wrote one; its output says why.
  }
}

/** Runs schemathesis with one key until there are so many cases. */
async function runRound(
  tally: Tally,
  round: Round,
  { gateway }: Target,
  { cases, seed, log }: FuzzOptions,
): Promise<void> {
  let done = 0;
  for (let i = 0; done < cases; i++) {
    // The boundaries are the same for each seed: they are tried once, and not where few cases are asked for.
    const hasBoundaries = i === 0 && cases > 2 * boundaryCases * round.operations;
    const made = hasBoundaries ? boundaryCases * round.operations : 0;
    const examples = Math.max(1, Math.ceil((cases - done - made) / round.operations));
    const phases = hasBoundaries ? 'examples,coverage,fuzzing' : 'examples,fuzzing';
    const { report, output } = await run(gateway.url, round, examples, seed + i, phases);
    if (report === undefined || report.test_cases.generated === report.test_cases.without_checks) {
      log(output);
      return tally.fail(`schemathesis made no case as ${round.name}`);
    }
    const { generated, with_failures: failed, errored, without_checks } = report.test_cases;
    const judged = generated - without_checks;
    done += judged;
    tally.passed += judged - failed - errored;
    for (let bad = failed + errored; bad > 0; bad--) tally.fail(`a case as ${round.name}`);
    if (failed + errored > 0 || report.errors.length > 0) log(output);
    if (report.errors.length > 0 && errored === 0) tally.fail(`${report.errors.length} errors`);
    log(`${judged} cases as ${round.name}, seed ${seed + i}`);
  }
}

/** Asks about `cases` requests of all routes. */
export async function fuzzSpecification(tally: Tally, options: FuzzOptions): Promise<void> {
  const why = await missingPython(options.log);
  if (why !== undefined) return tally.skip(`schemathesis: ${why}`);
  const engine = startDemoEngine({ models: ['alpha', 'beta'], slots: 8 });
  try {
    await using target = await startTarget(engine.url, { DEFAULT_MODEL: 'alpha' });
    for (const round of rounds) {
      const cases = Math.ceil(options.cases * round.share);
      await runRound(tally, round, target, { ...options, cases });
    }
    for (const trouble of await target.troubles()) tally.fail(trouble);
  } finally {
    await engine.stop();
  }
}

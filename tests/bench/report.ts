/**
 * The figures: medians over the rounds, ratios within a round, the table, and where it is written. It says whether a target
 * is met and never fails for it.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { contenderNames, type ContenderName } from './contenders.ts';

/** What one run of the bench does. */
export interface Plan {
  quick: boolean;
  rounds: number;
  contenders: readonly ContenderName[];
  /** A temporary folder for configurations and binaries. */
  folder: string;
  /** Failures that did not end the run; any entry fails it. */
  failures: string[];
}

/** One line of the table; `rounds` holds every value behind it, so that the spread can be seen. */
export interface Row {
  name: string;
  unit: string;
  rounds: Partial<Record<ContenderName, number[]>>;
  /** The target: the most that the gateway should need. */
  target?: number;
}

export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/** One measure over several rounds in which every contender takes its turn. */
export class Series {
  private readonly rounds: Partial<Record<ContenderName, number[]>> = {};

  constructor(
    private readonly name: string,
    private readonly unit = '',
  ) {}

  add(contender: ContenderName, value: number): void {
    (this.rounds[contender] ??= []).push(value);
  }

  row(target?: number): Row {
    const { name, unit, rounds } = this;
    return { name, unit, rounds, ...(target === undefined ? {} : { target }) };
  }

  /** Each contender's value divided by that of `base` in the same round. */
  ratioTo(base: ContenderName, name: string, target?: number): Row {
    return this.compared(base, name, '×', (value, ofBase) => value / ofBase).row(target);
  }

  /** Each other contender's value minus that of `base` in the same round. */
  addedTo(base: ContenderName, name: string): Row {
    const row = this.compared(base, name, this.unit, (value, ofBase) => value - ofBase).row();
    delete row.rounds[base];
    return row;
  }

  private compared(
    base: ContenderName,
    name: string,
    unit: string,
    compare: (value: number, ofBase: number) => number,
  ): Series {
    const series = new Series(name, unit);
    for (const contender of contenderNames) {
      this.rounds[contender]?.forEach((value, round) => {
        const ofBase = this.rounds[base]?.[round];
        if (ofBase !== undefined) series.add(contender, compare(value, ofBase));
      });
    }
    return series;
  }
}

const root = join(import.meta.dir, '../..');

const labels: Record<ContenderName, string> = {
  direct: 'direct',
  nginx: 'nginx',
  bare: 'Bun.serve + fetch',
  before: 'gateway of `BENCH_BEFORE`',
  gateway: '**gateway**',
  'gateway-llama': 'gateway, kind `llama.cpp`',
};

function format(value: number, unit: string): string {
  const size = Math.abs(value);
  let digits = 2;
  if (unit !== '×' && size >= 10) digits = size >= 100 ? 0 : 1;
  return value.toLocaleString('en-US', {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

function verdict(row: Row): string {
  const measured = row.rounds.gateway;
  if (row.target === undefined) return '';
  const bound = `≤ ${row.target}${row.unit === '×' ? '×' : ` ${row.unit}`}`;
  if (!measured) return `${bound}: not measured`;
  return median(measured) <= row.target ? `${bound}: met` : `${bound}: **not met**`;
}

/** The table in Markdown: a row for each measure, a column for each contender, the target and whether it is met last. */
export function renderTable(rows: Row[]): string {
  const shown = contenderNames.filter((name) => rows.some((row) => row.rounds[name]));
  const measured = rows.filter((row) => shown.some((name) => row.rounds[name]));
  const lines = measured.map((row) => {
    const cells = shown.map((name) => {
      const values = row.rounds[name];
      return values ? format(median(values), row.unit) : '';
    });
    const name = row.unit && row.unit !== '×' ? `${row.name}, ${row.unit}` : row.name;
    return `| ${[name, ...cells, verdict(row)].join(' | ')} |`;
  });
  return [
    `| | ${shown.map((name) => labels[name]).join(' | ')} | target |`,
    `|---|${'---:|'.repeat(shown.length)}---|`,
    ...lines,
  ].join('\n');
}

/** The lowest and the highest value of every measure over its rounds, as a table in Markdown. */
export function renderSpread(rows: Row[]): string {
  const shown = contenderNames.filter((name) => rows.some((row) => row.rounds[name]));
  const lines = rows.map((row) => {
    const cells = shown.map((name) => {
      const values = row.rounds[name];
      if (!values) return '';
      return `${format(Math.min(...values), row.unit)} – ${format(Math.max(...values), row.unit)}`;
    });
    return `| ${[row.name, ...cells].join(' | ')} |`;
  });
  return [
    `| lowest – highest | ${shown.map((name) => labels[name]).join(' | ')} |`,
    `|---|${'---:|'.repeat(shown.length)}`,
    ...lines,
  ].join('\n');
}

/** Formats generated files, so that the format check accepts them. */
function formatFiles(...files: string[]): void {
  Bun.spawnSync(['bun', 'fmt', ...files], { cwd: root });
}

/** Saves table and figures as `NAME.md` and `NAME.json` in tests/bench/results; returns the folder. */
export function save(name: string, text: string, figures: object): string {
  const folder = join(import.meta.dir, 'results');
  mkdirSync(folder, { recursive: true });
  const files = [join(folder, `${name}.md`), join(folder, `${name}.json`)] as const;
  writeFileSync(files[0], `${text}\n`);
  writeFileSync(files[1], `${JSON.stringify(figures, null, 2)}\n`);
  formatFiles(...files);
  return folder;
}

/** Puts `text` between the README's markers of that name; throws when they are not there. */
export function writeReadme(text: string, name = 'bench'): void {
  const file = join(root, 'README.md');
  const readme = readFileSync(file, 'utf8');
  const between = new RegExp(`(<!-- ${name}:start -->\\n)[^]*?(<!-- ${name}:end -->)`);
  if (!between.test(readme))
    throw new Error(`README.md has no ${name}:start and ${name}:end markers`);
  writeFileSync(
    file,
    readme.replace(between, (_, start: string, end: string) => `${start}${text}\n${end}`),
  );
  formatFiles(file);
}

/** What a report of Stryker says: which mutants survived, and the share of those that a test could kill and did. */
import type { Equivalent } from './files.ts';

interface Place {
  line: number;
  column: number;
}

interface Mutant {
  mutatorName: string;
  replacement: string;
  status: string;
  location: { start: Place; end: Place };
}

/** The part of Stryker's JSON report that is read. */
export interface Report {
  files: Record<string, { source: string; mutants: Mutant[] }>;
}

export interface Score {
  /** Killed and timed out of all that are not equivalent, rounded down to one decimal. */
  percent: number;
  /** A test failed. */
  killed: number;
  /** The tests did not end, as in an endless loop. */
  timedOut: number;
  survived: number;
  equivalent: number;
}

interface Survivor {
  place: string;
  line: string;
  original: string;
  replacement: string;
}

/** Returns the text between two places, whose lines and columns count from 1. */
function textAt(source: string, { start, end }: Mutant['location']): string {
  const lines = source.split('\n').slice(start.line - 1, end.line);
  lines[lines.length - 1] = (lines.at(-1) ?? '').slice(0, end.column - 1);
  lines[0] = (lines[0] ?? '').slice(start.column - 1);
  return lines.join('\n');
}

function survivorsIn(report: Report): Survivor[] {
  return Object.entries(report.files).flatMap(([path, { source, mutants }]) =>
    mutants
      .filter(({ status }) => status === 'Survived' || status === 'NoCoverage')
      .map(({ location, replacement }) => ({
        place: `${path}:${location.start.line}:${location.start.column}`,
        line: (source.split('\n')[location.start.line - 1] ?? '').trim(),
        original: textAt(source, location),
        replacement,
      })),
  );
}

const isSame = (one: Survivor, other: Equivalent) =>
  one.line === other.line &&
  one.original === other.original &&
  one.replacement === other.replacement;

/** Returns a line for each survivor that is not equivalent, and one for each equivalent that did not survive. */
export function survivorsOf(report: Report, equivalents: readonly Equivalent[]) {
  const all = survivorsIn(report);
  const survivors = all
    .filter((each) => !equivalents.some((other) => isSame(each, other)))
    .map(({ place, original, replacement }) => `${place}  ${original}  →  ${replacement}`);
  const stale = equivalents
    .filter((other) => !all.some((each) => isSame(each, other)))
    .map(({ file, original, replacement }) => `${file}  ${original}  →  ${replacement}`);
  return { survivors, stale };
}

/** Counts the mutants of a report. */
export function scoreOf(report: Report, equivalents: readonly Equivalent[]): Score {
  const mutants = Object.values(report.files).flatMap((file) => file.mutants);
  const killed = mutants.filter(({ status }) => status === 'Killed').length;
  const timedOut = mutants.filter(({ status }) => status === 'Timeout').length;
  const survivors = survivorsIn(report);
  const equivalent = survivors.filter((each) =>
    equivalents.some((other) => isSame(each, other)),
  ).length;
  const survived = survivors.length - equivalent;
  const noticed = killed + timedOut;
  const percent = Math.floor((1000 * noticed) / (noticed + survived)) / 10;
  return { percent, killed, timedOut, survived, equivalent };
}

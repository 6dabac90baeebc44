/**
 * The series of numbers that Prometheus reads: counters and histograms, which add up by the values of labels, and gauges,
 * which are read when they are asked for. prometheus.ts writes them out.
 *
 * They are our own because of what a request costs: to add one up takes 1.2 µs here and 2.3 µs with prom-client 15.1.3,
 * whose loading takes 50 to 100 ms of a start (tests/bench/series.ts, Bun 1.4.5, November 2026).
 */

export type Labels = Readonly<Record<string, string>>;

/** One line of the exposition; `metricName` where it is not that of the family. */
export interface Sample {
  labels: Labels;
  value: number;
  metricName?: string;
}

/** One name of the exposition, and what is read of it at a scrape. */
export interface Family {
  type: 'counter' | 'gauge' | 'histogram';
  name: string;
  help: string;
  labelNames: readonly string[];
  read: () => Iterable<Sample>;
}

/** Of every name but those that all Prometheus clients share. */
const prefix = 'llm_gateway_';
/** The clients or the operator may name any number of things; a label has this many values. */
export const maxLabelValues = 100;
const maxLabelLength = 200;
/** The label of whatever is one too many. */
export const other = 'other';

/** The values that a label has: the first hundred that came, and `other` for all that came later. */
export class LabelValues {
  readonly #seen = new Set<string>();

  has(value: string): boolean {
    return this.#seen.has(value);
  }

  of(value: string): string {
    if (this.#seen.has(value)) return value;
    // Lone surrogates would leave as the same three bytes, and two series under one name spoil a scrape.
    const text = value.slice(0, maxLabelLength).toWellFormed();
    if (!this.#seen.has(text) && this.#seen.size >= maxLabelValues) return other;
    this.#seen.add(text);
    return text;
  }
}

/** One step down a tree of label values; the last one has the numbers. */
class Branch<Cell> {
  readonly branches = new Map<string, Branch<Cell>>();
  cell: Cell | undefined;
}

/** Numbers by the values of labels, found by one look-up for each label. */
class Cells<Cell> implements Iterable<[Labels, Cell]> {
  readonly #root = new Branch<Cell>();
  readonly #rows: [Labels, Cell][] = [];

  constructor(
    readonly labelNames: readonly string[],
    readonly fresh: () => Cell,
  ) {
    if (labelNames.length === 0) this.of([]);
  }

  of(values: readonly string[]): Cell {
    let branch = this.#root;
    for (const value of values) {
      let next = branch.branches.get(value);
      if (next === undefined) branch.branches.set(value, (next = new Branch()));
      branch = next;
    }
    branch.cell ??= this.#add(values);
    return branch.cell;
  }

  #add(values: readonly string[]): Cell {
    const cell = this.fresh();
    const labels = Object.fromEntries(this.labelNames.map((name, i) => [name, values[i] ?? '']));
    this.#rows.push([labels, cell]);
    return cell;
  }

  [Symbol.iterator](): Iterator<[Labels, Cell]> {
    return this.#rows[Symbol.iterator]();
  }
}

/** A counter. */
export class Count implements Family {
  readonly type = 'counter';
  readonly name: string;
  readonly #cells: Cells<{ value: number }>;

  constructor(
    name: string,
    readonly help: string,
    readonly labelNames: readonly string[],
  ) {
    this.name = prefix + name;
    this.#cells = new Cells(labelNames, () => ({ value: 0 }));
  }

  /** A 0 shows that it is counted; what is below adds nothing, nor does `NaN`, which would stay for ever. */
  add(value: number | undefined, ...labels: readonly string[]): void {
    if (value !== undefined && value >= 0) this.#cells.of(labels).value += value;
  }

  *read(): Iterable<Sample> {
    for (const [labels, { value }] of this.#cells) yield { labels, value };
  }
}

/** A histogram of seconds. */
export class Distribution implements Family {
  readonly type = 'histogram';
  readonly name: string;
  readonly #cells: Cells<{ counts: number[]; sum: number }>;

  constructor(
    name: string,
    readonly help: string,
    readonly bounds: readonly number[],
    readonly labelNames: readonly string[],
  ) {
    this.name = prefix + name;
    // One more than there are bounds: for what is above all of them.
    const fresh = () => ({ counts: Array<number>(bounds.length + 1).fill(0), sum: 0 });
    this.#cells = new Cells(labelNames, fresh);
  }

  observe(milliseconds: number, ...labels: readonly string[]): void {
    const { bounds } = this;
    const seconds = milliseconds / 1000;
    let bucket = 0;
    while (bucket < bounds.length && seconds > (bounds[bucket] as number)) bucket++;
    const cell = this.#cells.of(labels);
    cell.counts[bucket] = (cell.counts[bucket] ?? 0) + 1;
    cell.sum += seconds;
  }

  *read(): Iterable<Sample> {
    const { name, bounds } = this;
    for (const [labels, { counts, sum }] of this.#cells) {
      let value = 0;
      for (const [i, count] of counts.entries()) {
        value += count;
        const le = i < bounds.length ? `${bounds[i]}` : '+Inf';
        yield { metricName: `${name}_bucket`, labels: { ...labels, le }, value };
      }
      yield { metricName: `${name}_sum`, labels, value: sum };
      yield { metricName: `${name}_count`, labels, value };
    }
  }
}

/** Returns a family of numbers that are read when they are asked for. */
export function gauge(
  name: string,
  help: string,
  labelNames: readonly string[],
  read: () => Iterable<Sample>,
): Family {
  return { type: 'gauge', name: prefix + name, help, labelNames, read };
}

/** Returns a family of one number without labels. */
export function single(name: string, help: string, read: () => number): Family {
  return gauge(name, help, [], () => [{ labels: {}, value: read() }]);
}

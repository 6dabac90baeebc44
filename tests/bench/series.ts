/**
 * What it costs to add up one settled request: our own counters and histograms and prom-client's, with the same series
 * and the same label values, in alternating rounds. Run it with `bun tests/bench/series.ts`. The gateway itself does not use
 * prom-client.
 */
import { Counter, Histogram, Registry } from 'prom-client';
import { Count, Distribution } from '../../src/observe/series.ts';

const rounds = 9;
const requests = 200_000;
const bounds = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600];

/** The counters of observe/metrics.ts with their labels, and how many histograms have which. */
const counters: [string, string[]][] = [
  ['requests_total', ['route', 'status', 'code', 'outcome']],
  ['engine_seconds_total', ['model', 'upstream', 'key']],
  ['prompt_tokens_total', ['model', 'key']],
  ['cached_tokens_total', ['model', 'key']],
  ['completion_tokens_total', ['model', 'key']],
];
const histograms: [string, string[]][] = [
  ['request_duration_seconds', ['route']],
  ['queue_wait_seconds', []],
  ['time_to_first_token_seconds', ['model']],
  ['time_per_output_token_seconds', ['model']],
  ['overhead_seconds', []],
];

/** Label values of the request `i`: 3 routes, 8 keys, 4 models, 2 upstreams. */
function valuesOf(i: number): Record<string, string> {
  return {
    route: ['/v1/chat/completions', '/v1/completions', '/v1/embeddings'][i % 3] as string,
    status: '200',
    code: 'none',
    outcome: 'done',
    model: `model-${i % 4}`,
    upstream: `engine-${i % 2}`,
    key: `key-${i % 8}`,
  };
}

type Labels = Record<string, string>;

const series = [...counters, ...histograms].map(([, labels]) => labels);
/** The labels of each series for each sample, by name and in order, so that only the adding up is timed. */
const byName: Labels[][] = [];
const inOrder: string[][][] = [];
for (let i = 0; i < 240; i++) {
  const values = valuesOf(i);
  const of = (label: string) => values[label] as string;
  byName.push(
    series.map((labels) => Object.fromEntries(labels.map((label) => [label, of(label)]))),
  );
  inOrder.push(series.map((labels) => labels.map(of)));
}

type Settle = (i: number) => void;

function ours(): Settle {
  const counts = counters.map(([name, labels]) => new Count(name, name, labels));
  const spreads = histograms.map(([name, labels]) => new Distribution(name, name, bounds, labels));
  return (i) => {
    const labels = inOrder[i % 240] as string[][];
    let at = 0;
    for (const count of counts) count.add(12, ...(labels[at++] as string[]));
    for (const spread of spreads) spread.observe(i % 5_000, ...(labels[at++] as string[]));
  };
}

function theirs() {
  const registers = [new Registry()];
  const counts = counters.map(([name, labelNames]) => {
    return new Counter({ name, help: name, labelNames, registers });
  });
  const spreads = histograms.map(([name, labelNames]) => {
    return new Histogram({ name, help: name, labelNames, registers, buckets: bounds });
  });
  return { counts, spreads };
}

function theirsByName(): Settle {
  const { counts, spreads } = theirs();
  return (i) => {
    const labels = byName[i % 240] as Labels[];
    let at = 0;
    for (const count of counts) count.inc(labels[at++] as Labels, 12);
    for (const spread of spreads) spread.observe(labels[at++] as Labels, (i % 5_000) / 1_000);
  };
}

function theirsInOrder(): Settle {
  const { counts, spreads } = theirs();
  return (i) => {
    const labels = inOrder[i % 240] as string[][];
    let at = 0;
    for (const count of counts) count.labels(...(labels[at++] as string[])).inc(12);
    for (const spread of spreads) {
      spread.labels(...(labels[at++] as string[])).observe((i % 5_000) / 1_000);
    }
  };
}

const contenders = {
  'our own': ours(),
  'prom-client, labels by name': theirsByName(),
  'prom-client, labels in order': theirsInOrder(),
};
const times = new Map(Object.keys(contenders).map((name) => [name, [] as number[]]));
for (let round = 0; round < rounds; round++) {
  for (const [name, settle] of Object.entries(contenders)) {
    const begun = performance.now();
    for (let i = 0; i < requests; i++) settle(i);
    times.get(name)?.push(((performance.now() - begun) * 1_000) / requests);
  }
}
for (const [name, all] of times) {
  const sorted = all.slice(1).toSorted((a, b) => a - b);
  const median = sorted[sorted.length >> 1]?.toFixed(2);
  console.log(
    `${name}: ${median} µs a request (${sorted[0]?.toFixed(2)} – ${sorted.at(-1)?.toFixed(2)})`,
  );
}

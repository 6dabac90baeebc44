/**
 * The Grafana dashboard queries only what exists: every name and every label in its expressions is one that the gateway
 * exports. That Prometheus takes the expressions is tested with a real one.
 */
import { describe, expect, test } from 'bun:test';
import dashboard from '../../deploy/grafana/llm-gateway.json';
import { Metrics } from '../../src/observe/metrics.ts';
import { settlement, upstream } from '../support/samples.ts';

const expressions = dashboard.panels.flatMap(({ title, targets }) =>
  targets.map(({ expr, legendFormat }) => ({ title, expr, legendFormat })),
);

/** Returns the labels of every name that a gateway exports once it has counted each kind of event. */
async function exported(): Promise<Map<string, Set<string>>> {
  const engine = upstream('engine');
  engine.slotsFor('qwen');
  const source = new Metrics({
    live: [],
    fleet: { upstreams: [engine] },
    pool: { queued: 0 },
    ledger: { lagMs: 0, waiting: 0 },
    version: '1.2.3',
  });
  source.settled(settlement());
  source.settled(settlement({ status: 429, code: 'rate_limited', outcome: 'failed' }));
  const text = await (await source.answer()).text();
  const labels = new Map<string, Set<string>>();
  for (const [, name = '', pairs = ''] of text.matchAll(/^([a-z_]+)(?:\{(.*)\})? /gm)) {
    // Every scrape adds these two.
    const known = labels.get(name) ?? new Set(['instance', 'job']);
    for (const [, label = ''] of pairs.matchAll(/(\w+)="/g)) known.add(label);
    labels.set(name, known);
  }
  return labels;
}

/** Returns the names of metrics in an expression, and all labels that it chooses or groups by. */
function partsOf(expr: string): { names: string[]; labels: string[] } {
  const groups = [...expr.matchAll(/\b(?:by|on|without|ignoring) \(([^)]*)\)/g)];
  const matchers = [...expr.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)];
  const labels = [
    ...groups.flatMap(([, list = '']) => list.split(/,\s*/)),
    ...matchers.map(([, label = '']) => label),
  ];
  return { names: expr.match(/\b(?:llm_gateway|process)_\w+/g) ?? [], labels };
}

const known = await exported();

test('the export has the names that the dashboard is checked against', () => {
  expect(known.size).toBeGreaterThan(30);
  for (const labels of known.values()) expect(labels.size).toBeGreaterThan(1);
});

describe.each(expressions)('$title: $expr', ({ expr, legendFormat }) => {
  const { names, labels } = partsOf(expr);

  test('names only metrics that exist', () => {
    expect(names.length).toBeGreaterThan(0);
    expect(names.filter((name) => !known.has(name))).toEqual([]);
  });

  test('uses only labels that these have', () => {
    const has = new Set(names.flatMap((name) => [...(known.get(name) ?? [])]));
    expect(labels.filter((label) => !has.has(label))).toEqual([]);
  });

  test('has in its legend only labels that are left', () => {
    const shown = Array.from(legendFormat.matchAll(/\{\{(\w+)\}\}/g), ([, label]) => label);
    const isAggregated = /^(sum|max|histogram_quantile)/.test(expr);
    const left = isAggregated ? labels : ['instance', 'job'];
    expect(shown.filter((label) => !left.includes(label ?? ''))).toEqual([]);
  });

  test('asks for the rate of a counter, never of a gauge, and never for a bare counter', () => {
    for (const name of names) {
      const isCounter = /_(total|bucket|sum|count)$/.test(name);
      expect(new RegExp(`rate\\(${name}\\b`).test(expr)).toBe(isCounter);
    }
  });
});

test('every panel has its own place and its own id', () => {
  const ids = dashboard.panels.map(({ id }) => id);
  expect(new Set(ids).size).toBe(ids.length);
  const cells = dashboard.panels.flatMap(({ gridPos: { x, y, w } }) =>
    Array.from({ length: w }, (_, i) => `${x + i}/${y}`),
  );
  expect(new Set(cells).size).toBe(cells.length);
  expect(dashboard.panels.every(({ gridPos: { x, w, h } }) => x + w <= 24 && h === 8)).toBe(true);
});

test('every exported metric of requests and upstreams is on the dashboard', () => {
  const shown = expressions.flatMap(({ expr }) => partsOf(expr).names);
  const own = [...known.keys()].filter((name) => name.startsWith('llm_gateway_'));
  const missing = own.filter((name) => !/_(sum|count)$/.test(name) && !shown.includes(name));
  expect(missing).toEqual([]);
});

test('it queries the chosen data source', () => {
  const [variable, ...others] = dashboard.templating.list;
  expect(others).toEqual([]);
  expect(variable).toMatchObject({ name: 'datasource', type: 'datasource', query: 'prometheus' });
  for (const { datasource, targets } of dashboard.panels) {
    for (const source of [datasource, ...targets.map((target) => target.datasource)]) {
      expect(source).toEqual({ type: 'prometheus', uid: '${datasource}' });
    }
  }
});

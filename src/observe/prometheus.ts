/**
 * Writes series in Prometheus' text format, version 0.0.4. Pure but for the reading of the series.
 * Source: https://prometheus.io/docs/instrumenting/exposition_formats/
 */
import type { Family, Labels } from './series.ts';

/** The content type of the text. */
export const textFormat = 'text/plain; version=0.0.4; charset=utf-8';

/** Returns the text of these families, each with its help, its type and its samples of this moment. */
export function textOf(families: Iterable<Family>): string {
  let text = '';
  for (const family of families) {
    const { type, name, help } = family;
    text += `# HELP ${name} ${escaped(help)}\n# TYPE ${name} ${type}\n`;
    for (const { metricName = name, labels, value } of family.read()) {
      text += `${metricName}${labelsText(labels)} ${numberText(value)}\n`;
    }
  }
  return text;
}

function labelsText(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${escaped(value).replaceAll('"', '\\"')}"`,
  );
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}

function numberText(value: number): string {
  if (value === Infinity) return '+Inf';
  return value === -Infinity ? '-Inf' : `${value}`;
}

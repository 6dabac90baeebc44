/** The README's tables of settings and of the members of an upstream, made from the tables of the configuration. */
import { keysOf, useOf, type Row } from '../../src/config/row.ts';
import { settings } from '../../src/config/settings.ts';
import { upstreamFields } from '../../src/config/upstreamfields.ts';
import { isRecord } from '../../src/wire/json.ts';

/** Returns the README's table of settings. */
export function settingsMarkdown(): string {
  return table('Setting', settings, (key) => key.toUpperCase());
}

/** Returns the README's table of what an upstream can have. */
export function upstreamsMarkdown(): string {
  return table('Key', upstreamFields, (key) => key);
}

function table(heading: string, rows: readonly Row[], nameOf: (key: string) => string): string {
  const lines = rows.map((row) => {
    const names = keysOf(row).map((key) => `\`${nameOf(key)}\``);
    const fallback = defaultText(row.default);
    return `| ${names.join(', ')} | ${fallback && `\`${fallback}\``} | ${useOf(row)} |`;
  });
  return [`| ${heading} | Default | What it is |`, '| --- | --- | --- |', ...lines, ''].join('\n');
}

function defaultText(fallback: unknown): string {
  return isRecord(fallback) ? Bun.YAML.stringify(fallback) : [fallback ?? []].flat().join(',');
}

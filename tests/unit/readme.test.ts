/**
 * The README says what the code says: its table of settings, its commands, its links.
 */
import { expect, test } from 'bun:test';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { scripts } from '../../package.json';
import { settingsMarkdown } from '../../src/config.ts';

const root = join(import.meta.dir, '../..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');

/** The cells of a table, whatever their padding. */
function cellsOf(table: string): string[][] {
  const rows = table
    .split('\n')
    .filter((line) => line.startsWith('|') && !/^\|[\s|:-]+$/.test(line));
  return rows.map((row) => row.split(/(?<!\\)\|/).map((cell) => cell.trim()));
}

test('has the table of settings that the settings give', () => {
  const between = /<!-- settings:start -->([^]*)<!-- settings:end -->/.exec(readme)?.[1] ?? '';
  expect(cellsOf(between).length).toBeGreaterThan(10);
  expect(cellsOf(between)).toEqual(cellsOf(settingsMarkdown()));
});

test('names only commands that there are', () => {
  const named = [...readme.matchAll(/\bbun(?:@[\d.]+)? run ([\w:-]+)/g)].map(([, name]) => name);
  expect(named.length).toBeGreaterThan(5);
  for (const name of named) expect(Object.keys(scripts)).toContain(name as string);
});

test('links only to files that there are', () => {
  const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map(([, path]) => path as string);
  expect(links.length).toBeGreaterThan(2);
  for (const path of links) expect([path, existsSync(join(root, path))]).toEqual([path, true]);
});

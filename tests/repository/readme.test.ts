/**
 * The README agrees with the code: its tables of settings and of upstreams, its commands, its links.
 */
import { expect, test } from 'bun:test';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { scripts } from '../../package.json';
import { settings } from '../../src/config/settings.ts';
import { upstreamFields } from '../../src/config/upstreamfields.ts';
import { files as measured } from '../mutants/files.ts';
import mutants from '../mutants/results.json';
import type { Score } from '../mutants/score.ts';
import { settingsMarkdown, upstreamsMarkdown } from '../support/readmetables.ts';

const root = join(import.meta.dir, '../..');
const readme = readFileSync(join(root, 'README.md'), 'utf8');

/** The cells of a table, whatever their padding. */
function cellsOf(table: string): string[][] {
  const rows = table
    .split('\n')
    .filter((line) => line.startsWith('|') && !/^\|[\s|:-]+$/.test(line));
  return rows.map((row) => row.split(/(?<!\\)\|/).map((cell) => cell.trim()));
}

/** Returns the text between the two markers of that name. */
function between(name: string): string {
  const [, text] = readme.split(new RegExp(`<!-- ${name}:(?:start|end) -->`));
  return text ?? '';
}

test('has the table that is made from the settings', () => {
  const cells = cellsOf(between('settings'));
  expect(cells).toEqual(cellsOf(settingsMarkdown()));
  expect(cells).toHaveLength(1 + settings.length);
  expect(cells).toContainEqual([
    '',
    '`PORT`',
    '`12000`',
    'Port to listen on; 0 takes any free one. Allowed: a whole number from 0 to 65535.',
    '',
  ]);
  expect(cells.map(([, names]) => names)).toContain('`ADMIN_API_KEY`, `ADMIN_API_KEY_FILE`');
});

test('has the table that is made from the fields of an upstream', () => {
  const cells = cellsOf(between('upstreams'));
  expect(cells).toEqual(cellsOf(upstreamsMarkdown()));
  expect(cells).toHaveLength(1 + upstreamFields.length);
  expect(cells.map(([, names, fallback]) => [names, fallback])).toEqual([
    ['Key', 'Default'],
    ['`url`', ''],
    ['`id`', ''],
    ['`api_key`, `api_key_file`', ''],
    ['`kind`', '`auto`'],
    ['`models`', ''],
    ['`aliases`', '`{}`'],
    ['`slots`', ''],
    ['`weight`', '`1`'],
    ['`drain`', '`false`'],
  ]);
});

test('names only commands that exist', () => {
  const named = [...readme.matchAll(/\bbun(?:@[\d.]+)? run ([\w:-]+)/g)].map(([, name]) => name);
  expect(named.length).toBeGreaterThan(5);
  for (const name of named) expect(Object.keys(scripts)).toContain(name as string);
});

test('has the figures of the mutation tests that were measured last', () => {
  const scores = Object.values(mutants as Record<string, Score & { date: string }>);
  const noticed = scores.reduce((sum, { killed, timedOut }) => sum + killed + timedOut, 0);
  const all = scores.reduce((sum, { survived }) => sum + survived, noticed);
  const percent = Math.floor((1000 * noticed) / all) / 10;
  const least = Math.min(...scores.map((score) => score.percent));
  const last = scores
    .map(({ date }) => date)
    .toSorted()
    .at(-1);
  const figures = `${last} they noticed ${percent} % of the ${all.toLocaleString('en')} mutants that a test can notice, and at least ${least} % in each file.`;
  expect(Object.keys(mutants)).toEqual([...measured]);
  expect(readme.replaceAll(/\s+/g, ' ')).toContain(figures);
});

test('links only to files that exist', () => {
  const links = [...readme.matchAll(/\]\(([^)#:]+)\)/g)].map(([, path]) => path as string);
  expect(links.length).toBeGreaterThan(2);
  for (const path of links) expect([path, existsSync(join(root, path))]).toEqual([path, true]);
});

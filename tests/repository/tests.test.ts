/**
 * Where tests and their helpers stand: tests/unit mirrors src file by file, and a helper has a name that no file of src
 * has, so that a name means one thing.
 */
import { expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const root = join(import.meta.dir, '../..');

/** Files of src without a unit test of the same path, and what tests them. */
const exceptions: Record<string, string> = {
  index: 'the command line: tests/e2e/command-line, check-config and demo-command run it',
  listen: 'opens servers and renews certificates: tests/e2e/tls, shutdown and command-line run it',
  runtime: 'replaces the process at its start: every end-to-end test runs it',
  serve: 'starts, drains and exits: tests/e2e/shutdown and tls run it',
  'pages/openapi/accounts': 'a part of one document: tests/unit/pages/openapi',
  'pages/openapi/anthropic': 'a part of one document: tests/unit/pages/openapi',
  'pages/openapi/audio': 'a part of one document: tests/unit/pages/openapi',
  'pages/openapi/engines': 'a part of one document: tests/unit/pages/openapi',
  'pages/openapi/errors': 'a part of one document: tests/unit/pages/openapi',
  'pages/openapi/images': 'a part of one document: tests/unit/pages/openapi',
  'pages/openapi/ollama': 'a part of one document: tests/unit/pages/openapi',
  'pages/openapi/openai': 'a part of one document: tests/unit/pages/openapi',
  'pages/openapi/parts': 'a part of one document: tests/unit/pages/openapi',
  'pages/openapi/public': 'a part of one document: tests/unit/pages/openapi',
  'pages/openapi/responses': 'a part of one document: tests/unit/pages/openapi',
  'pages/openapi/security': 'a part of one document: tests/unit/pages/openapi',
  start: 'loads runtime, then index: every binary in tests/e2e begins there',
  'wire/kinds': 'a list of names, with nothing that it does',
};

/** Returns the names below a folder with that ending, without it. */
function namesIn(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(ending) && !file.endsWith('.d.ts'))
    .map((file) => file.slice(0, -ending.length))
    .sort();
}

const sources = namesIn('src', '.ts');
const tests = namesIn('tests/unit', '.test.ts').map((name) => name.replace(/\.fuzz$/, ''));
const transpiler = new Bun.Transpiler({ loader: 'ts', trimUnusedImports: true });

/** Whether a file of src has code, not only types. */
function hasCode(name: string): boolean {
  const source = readFileSync(join(root, 'src', `${name}.ts`), 'utf8').replace(/^#!.*/, '');
  return (
    transpiler
      .transformSync(source)
      .replace(/^export \{\s*\};?/m, '')
      .trim() !== ''
  );
}

test('every unit test has a file of src of the same path', () => {
  expect(tests.filter((name) => !sources.includes(name))).toEqual([]);
});

test('every file of src with code has a unit test of the same path, or a reason why not', () => {
  const untested = sources.filter((name) => hasCode(name) && !tests.includes(name));
  expect(untested).toEqual(Object.keys(exceptions).sort());
});

test('no helper of the tests has the name of a file of src', () => {
  const taken = new Set(
    readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((file) => /\.(ts|js)$/.test(file))
      .map((file) => basename(file).replace(/\..*/, '')),
  );
  const helpers = ['support', 'browser', 'clients', 'real', 'mutants', 'fuzz', 'soak'].flatMap(
    (folder) =>
      namesIn(`tests/${folder}`, '.ts')
        .filter((name) => !name.endsWith('.test'))
        .map((name) => `${folder}/${name}`),
  );
  expect(helpers.length).toBeGreaterThan(10);
  expect(helpers.filter((name) => taken.has(basename(name)))).toEqual([]);
});

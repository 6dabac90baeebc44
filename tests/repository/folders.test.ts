/**
 * The folders of src: a folder is a subject, a file is a feature, and imports go downwards only. A folder imports from
 * those below it and from its own files, and no file imports itself by way of others; a type counts as an import.
 */
import { describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/**
 * From the top down. Only some may have plugins of Elysia (`serve`), and only they and some others may open sockets
 * (`connect`), so that the tests of all the rest never wait.
 */
const folders: readonly { name: string; may?: 'serve' | 'connect'; is: string }[] = [
  { name: '', may: 'serve', is: 'what starts a process' },
  { name: 'http', may: 'serve', is: 'the plugins that app.ts composes' },
  { name: 'cli', is: 'one file a command' },
  { name: 'pages', may: 'serve', is: 'what a browser gets' },
  { name: 'relay', may: 'connect', is: 'one request to one engine and back' },
  { name: 'observe', may: 'connect', is: 'who watches and changes nothing' },
  { name: 'stores', is: 'implementations of the contracts of accounts and scheduling' },
  { name: 'scheduling', is: 'who runs when and where' },
  { name: 'accounts', is: 'who may use how much, and what was used' },
  { name: 'engines', may: 'connect', is: 'the inference servers' },
  { name: 'cache', is: 'answers kept for repeats' },
  { name: 'request', is: 'one request as everybody sees it' },
  { name: 'config', is: 'settings, their sources, their checks' },
  { name: 'demo', may: 'connect', is: 'the simulated engine' },
  { name: 'log', is: 'lines and masks' },
  { name: 'wire', is: 'what stands in a message' },
];

const src = join(import.meta.dir, '../../src');
const names = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))
  .map((file) => file.slice(0, -3))
  .sort();

function folderOf(name: string): string {
  return name.includes('/') ? (name.split('/', 1)[0] as string) : '';
}

function levelOf(name: string): number {
  return folders.findIndex((folder) => folder.name === folderOf(name));
}

/** Returns the source without its comments. */
function codeOf(name: string): string {
  return readFileSync(join(src, `${name}.ts`), 'utf8')
    .replace(/^\s*\/\*[^]*?\*\//gm, '')
    .replace(/(^|\s)\/\/.*$/gm, '$1');
}

/** Returns what a source imports: statements, types among them, re-exports and calls of `import`. */
function importsOf(code: string): string[] {
  const statements = code.matchAll(
    /^(?:import|export)\b(?:[\w\s{},*]*?\bfrom)?\s*['"]([^'"]+)['"]/gm,
  );
  const calls = code.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g);
  return [...statements, ...calls].map((match) => match[1] as string);
}

/** Returns the name of the file of src that `name` imports, `undefined` for anything else. */
function fileOf(name: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.') || !specifier.endsWith('.ts')) return undefined;
  return relative(src, join(src, dirname(name), specifier)).slice(0, -3);
}

const imported = new Map(
  names.map((name) => {
    const files = importsOf(codeOf(name)).map((specifier) => fileOf(name, specifier));
    return [name, files.filter((file) => file !== undefined)];
  }),
);

test('the table has every folder of src, and no other', () => {
  const found = new Set(names.map(folderOf));
  expect(folders.map(({ name }) => name).sort()).toEqual([...found].sort());
});

test('imports go downwards, or stay in their folder', () => {
  const upwards = names.flatMap((name) =>
    (imported.get(name) ?? [])
      .filter((other) => folderOf(other) !== folderOf(name) && levelOf(other) <= levelOf(name))
      .map((other) => `${name} -> ${other}`),
  );
  expect(upwards).toEqual([]);
});

test('stores are used by their contracts: only open.ts names an implementation', () => {
  const inside = names.filter((name) => folderOf(name) === 'stores');
  const outside = names.filter((name) => folderOf(name) !== 'stores');
  const found = outside.flatMap((name) => imported.get(name) ?? []);
  const opened = new Set(found.filter((name) => inside.includes(name)));
  expect([...opened]).toEqual(['stores/open']);
  const importing = outside.filter((name) => importsOf(codeOf(name)).includes('bun:sqlite'));
  expect(importing).toEqual([]);
});

test('the simulated engine imports nothing of the gateway but wire', () => {
  const demo = names.filter((name) => folderOf(name) === 'demo');
  const others = demo.flatMap((name) => imported.get(name) ?? []).map(folderOf);
  expect([...new Set(others)].sort()).toEqual(['demo', 'wire']);
});

test('no file imports itself by way of others', () => {
  const done = new Set<string>();
  function assertNoCircle(name: string, path: readonly string[]): void {
    if (path.includes(name)) throw new Error([...path, name].join(' -> '));
    if (done.has(name)) return;
    for (const other of imported.get(name) ?? []) assertNoCircle(other, [...path, name]);
    done.add(name);
  }
  for (const name of names) assertNoCircle(name, []);
  expect(done.size).toBe(names.length);
});

test('the imports that are read are those that the transpiler sees, and types', () => {
  const transpiler = new Bun.Transpiler({ loader: 'ts' });
  for (const name of names) {
    const source = readFileSync(join(src, `${name}.ts`), 'utf8').replace(/^#!.*/, '');
    const read = importsOf(codeOf(name));
    for (const { path } of transpiler.scanImports(source)) expect(read).toContain(path);
  }
  expect(
    importsOf(`import './a.ts';
import type { A } from './b.ts';
import {
  b,
  type C,
} from './c.ts';
export * from './d.ts';
export { x } from "./e.ts";
const f = await import('./f.ts');
export const g = 'from "./g.ts"';`),
  ).toEqual(['./a.ts', './b.ts', './c.ts', './d.ts', './e.ts', './f.ts']);
});

const serving = /^(@elysiajs\/|elysia\b)/;
const sockets = /^(node:)?(net|tls|http|https|http2|dgram|dns|dns\/promises)$|^(undici|ws)$/;
const connecting =
  /\bfetch\(|\bnew (WebSocket|EventSource)\b|\bBun\.(serve|listen|connect|udpSocket|redis|sql|dns|FetchSession|fetch)\b/;

describe.each(folders.filter(({ may }) => may !== 'serve'))('$name', ({ name: folder, may }) => {
  const own = names.filter((name) => folderOf(name) === folder);

  test('does not import Elysia', () => {
    const found = own.filter((name) => importsOf(codeOf(name)).some((each) => serving.test(each)));
    expect(found).toEqual([]);
  });

  if (may === 'connect') return;

  test('opens no socket', () => {
    const found = own.filter((name) => {
      const code = codeOf(name);
      return connecting.test(code) || importsOf(code).some((each) => sockets.test(each));
    });
    expect(found).toEqual([]);
  });
});

test('only the command line reads the environment and arguments, and only it exits', () => {
  const reading = names.filter((name) =>
    /\bprocess\b.*\b(env|argv|exit)\b|\b(env|argv)\b.*= process\b/.test(codeOf(name)),
  );
  // src/runtime.ts is the part of the command line that must come before every other import.
  expect(reading).toEqual(['index', 'runtime']);
});

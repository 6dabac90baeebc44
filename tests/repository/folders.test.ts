/**
 * The import ranks: a file of src imports only from a lower rank, which forbids cycles and keeps the graph shallow.
 * Ranks 0 to 3 neither import Elysia nor open sockets, so that their tests never wait. A type counts as an import.
 */
import { describe, expect, test } from 'bun:test';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const words = (text: string) => text.trim().split(/\s+/);

/** The files of each rank, from 0 up. */
const ranks: readonly (readonly string[])[] = [
  words(
    `wire/bytes config/certificate request/cost scheduling/lingering wire/errors stores/memory/gcra scheduling/heap config/problems demo/invitation log/log wire/headers accounts/calendar wire/record runtime stores/sqlite/schema observe/series config/settings scheduling/shares engines/slots cli/table config/yaml
      pages/openapi/parts demo/figures demo/gate demo/model demo/run demo/wire`,
  ),
  words(`scheduling/affinity engines/breaker engines/probe observe/prometheus wire/json scheduling/lanes accounts/limits wire/multipart http/paths wire/routes engines/connections config/sources accounts/timespan wire/sse engines/progress
    pages/openapi/accounts pages/openapi/anthropic pages/openapi/audio pages/openapi/engines pages/openapi/openai pages/openapi/public pages/openapi/responses
    demo/events demo/faults demo/prompts demo/shapes demo/workshop`),
  words(
    `stores/memory/counters relay/lastframes config/upstreamfields wire/modellist scheduling/reservations scheduling/turn`,
  ),
  words(`stores/memory/limits scheduling/queue`),
  words(`engines/catalog wire/cors accounts/keys engines/contextcheck wire/prompt engines/retry config/upstreams
    pages/openapi/errors demo/generate demo/http demo/lookups`),
  words(
    `http/auth cache/key config/load relay/queuefeedback accounts/keyview wire/listing request/live accounts/policyrules engines/upstream pages/openapi demo/answers`,
  ),
  words(
    `observe/accesslog request/body relay/failure cache/recording config/secrets accounts/policy relay/stream wire/tokens observe/tracing accounts/usage engines/watch pages/docs demo/engine`,
  ),
  words(
    `relay/answer request/job cache/cache pages/dashboard accounts/ledger accounts/quota http/errorrenderer stores/sqlite/rows accounts/totals`,
  ),
  words(`scheduling/charges engines/fleet stores/sqlite/store`),
  words(`accounts/sync cli/command stores/sqlite/datadir engines/health scheduling/placing`),
  words(`scheduling/admission cli/keys cli/usage`),
  words(`scheduling/pool`),
  words(`relay/attempt observe/gauges http/info observe/liveview`),
  words(`http/admin relay/exchange observe/metrics`),
  words(`http/proxy`),
  words(`http/app`),
  words(`gateway`),
  words(`reload`),
  words(`serve`),
  words(`index`),
];

const src = join(import.meta.dir, '../../src');
const names = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts'))
  .map((file) => file.slice(0, -3))
  .sort();

function rankOf(name: string): number {
  return ranks.findIndex((rank) => rank.includes(name));
}

/** Gives the source without its comments. */
function codeOf(name: string): string {
  return readFileSync(join(src, `${name}.ts`), 'utf8')
    .replace(/^\s*\/\*[^]*?\*\//gm, '')
    .replace(/(^|\s)\/\/.*$/gm, '$1');
}

/** Gives what a source imports: statements, types among them, re-exports and calls of `import`. */
function importsOf(code: string): string[] {
  const statements = code.matchAll(
    /^(?:import|export)\b(?:[\w\s{},*]*?\bfrom)?\s*['"]([^'"]+)['"]/gm,
  );
  const calls = code.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g);
  return [...statements, ...calls].map((match) => match[1] as string);
}

/** Gives the name of the file of src that `name` imports, `undefined` for a package. */
function fileOf(name: string, specifier: string): string | undefined {
  if (!specifier.startsWith('.') || !specifier.endsWith('.ts')) return undefined;
  const path = relative(src, join(src, dirname(name), specifier));
  return path.slice(0, -3);
}

test('the table has every file of src, each once, and no other', () => {
  expect(ranks.flat().sort()).toEqual(names);
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

describe.each(names)('%s.ts', (name) => {
  const imports = importsOf(codeOf(name));

  test('imports only from lower ranks', () => {
    const tooHigh = imports.filter((specifier) => {
      const file = fileOf(name, specifier);
      return file !== undefined && rankOf(file) >= rankOf(name);
    });
    expect(tooHigh).toEqual([]);
  });

  test('names the files of src that it imports as ./name.ts', () => {
    const relative = imports.filter((specifier) => specifier.startsWith('.'));
    const other = relative.filter(
      (specifier) => fileOf(name, specifier) === undefined && !specifier.startsWith('./dashboard/'),
    );
    expect(other).toEqual(name === 'index' ? ['../package.json'] : []);
  });
});

const sockets = /^(node:)?(net|tls|http|https|http2|dgram|dns|dns\/promises)$|^(undici|ws)$/;
const opening =
  /\bfetch\(|\bnew (WebSocket|EventSource)\b|\bBun\.(serve|listen|connect|udpSocket|redis|sql|dns|FetchSession|fetch)\b/;

describe.each(ranks.slice(0, 4).flat())('%s.ts, of the ranks 0 to 3,', (name) => {
  const code = codeOf(name);

  test('does not import Elysia', () => {
    expect(
      importsOf(code).filter((specifier) => /^(@elysiajs\/|elysia\b)/.test(specifier)),
    ).toEqual([]);
  });

  test('opens no socket', () => {
    expect(importsOf(code).filter((specifier) => sockets.test(specifier))).toEqual([]);
    expect(code).not.toMatch(opening);
  });
});

test('only the command line reads the environment and arguments, and only it exits', () => {
  const reading = names.filter((name) =>
    /\bprocess\b.*\b(env|argv|exit)\b|\b(env|argv)\b.*= process\b/.test(codeOf(name)),
  );
  // runtime.ts is the part of the command line that must come before every other import.
  expect(reading).toEqual(['index', 'runtime']);
});

/**
 * The upstreams of the configuration: what is read of each, what is refused and with which text, and that no key is
 * shown.
 */
import { describe, expect, test } from 'bun:test';
import {
  readUpstreams,
  upstreamsOf,
  type UpstreamSettings,
} from '../../../src/config/upstreams.ts';

const env: Record<string, string> = {
  KEY: 'sk-secret-of-variable',
  N: '3',
  YES: 'True',
  HOST: 'gpu',
};
const files: Record<string, string> = { '/run/key': 'sk-secret-of-file\n', '/run/empty': ' \n' };
const label = 'gateway.yaml: upstreams';

/** Reads a list with `${NAME}` from `env` and files from `files`. */
function read(list: unknown, slots: UpstreamSettings['slots'] = 'auto') {
  const readFile = (path: string) => {
    const text = files[path];
    if (text !== undefined) return text;
    throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
  };
  return readUpstreams(list, label, { env, readFile, slots });
}

function accepted(list: unknown, slots?: UpstreamSettings['slots']): UpstreamSettings[] {
  const { upstreams, problems } = read(list, slots);
  expect(problems).toEqual([]);
  return upstreams;
}

/** Returns the problems of a single upstream with a good URL, without their label. */
function problemsOf(upstream: object): string[] {
  const { problems } = read([{ url: 'http://a', ...upstream }]);
  return problems.map((problem) => problem.replaceAll(`${label}[1]`, '@'));
}

const plain = {
  id: 'engine',
  url: 'http://a',
  apiKey: undefined,
  kind: 'auto',
  models: undefined,
  aliases: {},
  slots: 'auto',
  weight: 1,
  drain: false,
} as const satisfies UpstreamSettings;

describe('an upstream', () => {
  test('needs a URL, and has a default for everything else', () => {
    expect(accepted([{ url: 'http://a' }])).toStrictEqual([plain]);
    expect(accepted([{ url: 'http://a', id: null, models: null, slots: '', drain: null }])).toEqual(
      [plain],
    );
  });

  test('returns what it has', () => {
    const upstream = {
      url: 'http://A:8080/llm/v1/completions',
      id: 'gpu-1',
      api_key: 'sk-secret-of-entry',
      kind: 'vLLM',
      models: ['x', 'org/y:Q4'],
      aliases: { fast: 'x' },
      slots: { x: 2, 'org/y:Q4': 65_536 },
      weight: 0.5,
      drain: true,
    };
    const { api_key: apiKey, ...others } = upstream;
    const wanted = { ...others, apiKey, url: 'http://a:8080/llm', kind: 'vllm' };
    expect(accepted([upstream])).toEqual([wanted as UpstreamSettings]);
  });

  test('is named by its place, unless it is the only one or has a name', () => {
    const ids = (list: object[]) => accepted(list).map(({ id }) => id);
    expect(ids([{ url: 'http://a' }, { url: 'http://b', id: 'x' }, { url: 'http://c' }])).toEqual([
      'engine-1',
      'x',
      'engine-3',
    ]);
    expect(ids([{ url: 'http://a' }])).toEqual(['engine']);
  });

  test('has the slots that are given for all, unless it has its own', () => {
    const list = [{ url: 'http://a' }, { url: 'http://b', slots: 'Unbounded' }];
    expect(accepted(list, 4).map(({ slots }) => slots)).toEqual([4, 'unbounded']);
  });

  test('is filled in from variables, in whatever kind of value', () => {
    const upstream = {
      url: 'http://${HOST}:${N}',
      api_key: '${KEY}',
      models: ['m${N}'],
      aliases: { fast: 'm${N}' },
      slots: '${N}',
      weight: '${N}.5',
      drain: '${YES}',
    };
    expect(accepted([upstream])).toEqual([
      {
        ...plain,
        url: 'http://gpu:3',
        apiKey: 'sk-secret-of-variable',
        models: ['m3'],
        aliases: { fast: 'm3' },
        slots: 3,
        weight: 3.5,
        drain: true,
      },
    ]);
    expect(accepted([{ url: 'http://a', slots: { x: '${N}' } }])[0]?.slots).toEqual({ x: 3 });
  });

  test('may have its key in a file', () => {
    const [upstream] = accepted([{ url: 'http://a', api_key_file: '/run/key' }]);
    expect(upstream?.apiKey).toBe('sk-secret-of-file');
  });
});

describe('what is refused', () => {
  test.each([
    ['text', '4 characters (not shown)'],
    [null, 'nothing'],
    [{ url: 'http://a' }, 'a mapping'],
    [[], 'an empty list'],
  ])('%j is no list of upstreams', (list, found) => {
    expect(read(list)).toEqual({
      upstreams: [],
      problems: [`${label}: found ${found}; allowed is a list of upstreams`],
    });
  });

  test('an upstream that is no mapping, by its place', () => {
    expect(read([{ url: 'http://a' }, 'http://b', null]).problems).toEqual([
      `${label}[2]: found 8 characters (not shown); allowed is a mapping with a url`,
      `${label}[3]: found nothing; allowed is a mapping with a url`,
    ]);
  });

  const slots =
    'allowed is auto, unbounded, a whole number from 1 to 65536, or a mapping of models to such numbers';
  const id = 'allowed is 1 to 64 of the characters A-Z, a-z, 0-9, dot, _ and -';
  test.each([
    [{ id: 'a b' }, `@.id: found "a b"; ${id}`],
    [{ id: 'x'.repeat(65) }, `@.id: found "${'x'.repeat(65)}"; ${id}`],
    [{ id: 7 }, `@.id: found 7; ${id}`],
    [
      { kind: 'tgi' },
      '@.kind: found "tgi"; allowed is one of auto, llama.cpp, vllm, sglang, ollama, openai (in any case)',
    ],
    [{ slots: 0 }, `@.slots: found 0; ${slots}`],
    [{ slots: 65_537 }, `@.slots: found 65537; ${slots}`],
    [{ slots: 'many' }, `@.slots: found "many"; ${slots}`],
    [{ slots: [1] }, `@.slots: found a list; ${slots}`],
    [
      { slots: { x: 1, y: 1.5 } },
      '@.slots: entry 2 of 2, found 1.5; allowed is a whole number from 1 to 65536',
    ],
    [{ weight: 0 }, '@.weight: found 0; allowed is a number above 0, at most 1000'],
    [{ weight: 1_001 }, '@.weight: found 1001; allowed is a number above 0, at most 1000'],
    [{ weight: '-1' }, '@.weight: found "-1"; allowed is a number above 0, at most 1000'],
    [{ drain: 'yes' }, '@.drain: found "yes"; allowed is true or false'],
    [{ drain: 1 }, '@.drain: found 1; allowed is true or false'],
    [{ models: 'x' }, '@.models: found "x"; allowed is a list of names of models'],
    [{ models: [] }, '@.models: found an empty list; allowed is a list of names of models'],
    [
      { models: ['x', 7] },
      '@.models: entry 2 of 2, found 7; allowed is the name of a model, at most 200 characters',
    ],
    [{ models: ['x', 'y', 'x'] }, '@.models: entry 3 repeats entry 1'],
    [
      { aliases: ['x'] },
      '@.aliases: found a list; allowed is a mapping of further names to names of models',
    ],
    [
      { aliases: { a: 'x', b: ['y'] } },
      '@.aliases: entry 2 of 2, found a list; allowed is the name of a model, at most 200 characters',
    ],
    [
      { aliases: { '': 'x' } },
      '@.aliases: entry 1 of 1, its name: found ""; allowed is a name, at most 200 characters, with * at its end alone',
    ],
    [
      { aliases: { 'a*b': 'x' } },
      '@.aliases: entry 1 of 1, its name: found "a*b"; allowed is a name, at most 200 characters, with * at its end alone',
    ],
  ])('%j', (upstream, problem) => {
    expect(problemsOf(upstream)).toEqual([problem]);
  });

  test.each([
    [{}, 'not set'],
    [{ url: '' }, 'not set'],
    [
      { url: 'nowhere' },
      'found "nowhere" (it does not start with http:// or https://, or is no URL)',
    ],
    [
      { url: 'http://a,http://b' },
      'found "http://a,http://b" (several servers are several entries of the list)',
    ],
    [{ url: 7 }, 'found 7'],
  ])('as a URL: %j', (upstream, problem) => {
    const allowed = 'an http:// or https:// URL, with or without /v1/completions, without commas';
    expect(read([upstream])).toEqual({
      upstreams: [],
      problems: [`${label}[1].url: ${problem}; allowed is ${allowed}`],
    });
  });

  test('a key that no upstream has, with a near one or all that there are', () => {
    const known =
      'there are url, id, api_key, api_key_file, kind, models, aliases, slots, weight, drain';
    expect(problemsOf({ apiKey: 'x', Weight: 1, name: 'x', 'KEY=sk-1 a': 1 })).toEqual([
      '@: no setting is called "apiKey"; did you mean api_key?',
      '@: no setting is called "Weight"; did you mean weight?',
      `@: no setting is called "name"; ${known}`,
      `@: a key of 10 characters (not shown) is no name of a setting; ${known}`,
    ]);
  });

  test('an id or a URL that stands twice, whatever its form', () => {
    const list = [
      { url: 'http://a' },
      { url: 'http://b', id: 'x' },
      { url: 'http://A/v1/', id: 'y' },
      { url: 'http://d', id: 'x' },
      { url: 'http://e', id: 'engine-1' },
    ];
    expect(read(list).problems).toEqual([
      `${label}[3].url: repeats that of ${label}[1]`,
      `${label}[4].id: repeats that of ${label}[2]`,
      `${label}[5].id: repeats that of ${label}[1]`,
    ]);
  });

  test('an id or a URL that stands twice, together with everything else that is wrong with both', () => {
    const list = [
      { id: 'a', url: 'http://a', weight: -1 },
      { id: 'a', url: 'nowhere' },
      { id: 'a b', url: 'http://a' },
      { id: 'c d', slots: 0 },
    ];
    const { upstreams, problems } = read(list);
    expect(upstreams).toEqual([]);
    expect(problems.map((problem) => problem.replace(/: (found|not set).*/, ''))).toEqual([
      `${label}[1].weight`,
      `${label}[2].url`,
      `${label}[3].id`,
      `${label}[4].url`,
      `${label}[4].id`,
      `${label}[4].slots`,
      `${label}[2].id: repeats that of ${label}[1]`,
      `${label}[3].url: repeats that of ${label}[1]`,
    ]);
  });

  test('an id that is refused, which does not become the default one', () => {
    const list = [
      { id: 'a b', url: 'http://a' },
      { id: 'engine-1', url: 'http://b' },
    ];
    const { upstreams, problems } = read(list);
    expect(upstreams.map(({ url }) => url)).toEqual(['http://b']);
    expect(problems).toEqual([expect.stringContaining(`${label}[1].id: found "a b"`)]);
  });

  test('a variable that is not set, once for its value', () => {
    const upstream = { slots: '${GONE}', models: ['x', '${GONE}'] };
    expect(problemsOf(upstream)).toEqual([
      '@.models: ${GONE} is not set in the environment',
      '@.slots: ${GONE} is not set in the environment',
    ]);
  });

  test('a key together with its file, and a file that is missing, empty or no path', () => {
    expect(problemsOf({ api_key: 'sk-secret', api_key_file: '/run/key' })).toEqual([
      '@.api_key and @.api_key_file are both set; keep one of them',
    ]);
    expect(problemsOf({ api_key_file: '/run/gone' })).toEqual([
      '@.api_key_file: cannot read the file "/run/gone" (ENOENT)',
    ]);
    expect(problemsOf({ api_key_file: '/run/empty' })).toEqual([
      '@.api_key_file: the file "/run/empty" is empty',
    ]);
    expect(problemsOf({ api_key_file: 5 })).toEqual([
      '@.api_key_file: found 5; allowed is the path of a file',
    ]);
  });

  test('every problem of every upstream is reported at once', () => {
    const { upstreams, problems } = read([
      { url: 'nowhere', slots: -1, weight: 0 },
      { url: 'http://a' },
      { id: '', kind: 'x' },
    ]);
    expect(problems.map((problem) => /upstreams\S+(?=:)/.exec(problem)?.[0])).toEqual([
      'upstreams[1].url',
      'upstreams[1].slots',
      'upstreams[1].weight',
      'upstreams[3].url',
      'upstreams[3].kind',
    ]);
    expect(upstreams.map(({ id }) => id)).toEqual(['engine-2']);
  });
});

test('a URL with credentials in it is refused with the name of what takes a key', () => {
  for (const url of ['http://user:pw@a', 'http://a/?key=x', 'http://a/#x']) {
    expect(problemsOf({ url })).toEqual([
      expect.stringContaining('no query, fragment or credentials in it, use api_key for a key'),
    ]);
  }
});

test('no problem shows a key, a URL with credentials, or the value of a variable', () => {
  files['/run/spaced'] = 'sk-secret of file';
  const { problems } = read([
    { url: 'http://user:sk-secret@a', api_key: 'sk-secret key', id: '${KEY} x', kind: '${KEY}' },
    { url: 'http://b', api_key: { 'sk-secret': 1 }, models: ['${KEY}', '${KEY}'], slots: '${KEY}' },
    { url: 'http://c', api_key_file: '/run/spaced', aliases: { x: '${KEY}\n' }, weight: '${KEY}' },
    { 'api_key: sk-secret': 1, url: 'sk-secret-?' },
  ]);
  expect(problems.length).toBeGreaterThan(9);
  for (const problem of problems) expect(problem).not.toContain('secret');
});

describe('upstreamsOf', () => {
  const shared = { apiKey: 'sk-secret-shared', kind: 'vllm', slots: 4 } as const;

  test('returns one upstream for each URL, all with the shared settings', () => {
    const wanted = { ...plain, ...shared };
    expect(upstreamsOf(['http://a'], shared)).toStrictEqual([wanted]);
    expect(upstreamsOf(['http://a', 'http://b'], shared)).toStrictEqual([
      { ...wanted, id: 'engine-1' },
      { ...wanted, id: 'engine-2', url: 'http://b' },
    ]);
    expect(upstreamsOf([], shared)).toEqual([]);
  });
});

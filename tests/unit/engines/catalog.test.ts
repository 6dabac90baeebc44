/**
 * Which upstream serves which model: names, aliases, what is not known yet, and the lists of several engines as one.
 */
import { describe, expect, test } from 'bun:test';
import { Catalog, type CatalogOptions } from '../../../src/engines/catalog.ts';
import type { Served } from '../../../src/engines/naming.ts';
import { GatewayError } from '../../../src/wire/errors.ts';
import { forSeeds } from '../../support/random.ts';

function served(upstream: string, models?: string[], aliases: Record<string, string> = {}): Served {
  return { upstream, kind: 'vllm', models, aliases };
}

function catalog(list: Served[], options: Partial<CatalogOptions> = {}): Catalog {
  return new Catalog(list, { defaultModel: undefined, anyModelName: true, ...options });
}

/** Returns the error of a request that must be refused. */
function refusal(of: Catalog, model: string | undefined, needsModel = true): GatewayError {
  try {
    of.resolve(model, needsModel);
  } catch (error) {
    if (error instanceof GatewayError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

const two = [served('a', ['small'], { fast: 'small' }), served('b', ['large', 'vision'])];

describe('a named model', () => {
  test('runs where it is served, its bytes unchanged', () => {
    const list = [served('a', ['x', 'y']), served('b', ['y', 'z']), served('c', ['z'])];
    const choice = (model: string) => catalog(list).resolve(model, true);
    expect(choice('x')).toEqual({ upstreams: ['a'], rewrite: undefined, model: 'x' });
    expect(choice('y')).toEqual({ upstreams: ['a', 'b'], rewrite: undefined, model: 'y' });
    expect(choice('z')).toEqual({ upstreams: ['b', 'c'], rewrite: undefined, model: 'z' });
  });

  test('does not run where the models are not known, when it is known where it is served', () => {
    const list = [served('a', ['x']), served('b')];
    expect(catalog(list).resolve('x', true).upstreams).toEqual(['a']);
  });

  test('that nobody is known to serve runs where the models are not known', () => {
    const list = [served('a', ['x']), served('b'), served('c')];
    const choice = { upstreams: ['b', 'c'], rewrite: undefined, model: undefined };
    expect(catalog(list).resolve('y', true)).toEqual(choice);
    expect(catalog([served('a')]).resolve('y', true).upstreams).toEqual(['a']);
  });

  test('that nobody serves is not found, and the message names models and aliases', () => {
    const error = refusal(catalog(two), 'gpt-9');
    expect(error).toMatchObject({ code: 'model_not_found', status: 404, param: 'model' });
    expect(error.message).toEndWith('Served here: small, large, vision, fast.');
    expect(error.message).not.toContain('gpt-9');
  });

  test('the message names twenty and counts the rest', () => {
    const many = Array.from({ length: 25 }, (_, i) => `m${i}`);
    const { message } = refusal(catalog([served('a', many)]), 'gpt-9');
    expect(message).toContain('m0, m1, ');
    expect(message).toContain('m19 and 5 more');
    expect(message).not.toContain('m20');
  });

  test.each(['constructor', '__proto__', 'toString', 'hasOwnProperty', ''])(
    'is nothing that every object has: %j',
    (model) => {
      expect(refusal(catalog(two), model).code).toBe('model_not_found');
    },
  );

  test('is needed by a tokenizing route as well', () => {
    expect(catalog(two).resolve('small', false).upstreams).toEqual(['a']);
    expect(refusal(catalog(two), 'gpt-9', false).code).toBe('model_not_found');
  });
});

describe('an alias', () => {
  test('becomes the name that the upstream knows', () => {
    const choice = { upstreams: ['a'], rewrite: { a: 'small' }, model: 'small' };
    expect(catalog(two).resolve('fast', true)).toEqual(choice);
  });

  test('may stand for another model at each upstream', () => {
    const list = [served('a', ['x'], { fast: 'x' }), served('b', ['y'], { fast: 'y' })];
    const choice = { upstreams: ['a', 'b'], rewrite: { a: 'x', b: 'y' }, model: 'x' };
    expect(catalog(list).resolve('fast', true)).toEqual(choice);
  });

  test('in one upstream and a model in another: both may run it', () => {
    const list = [served('a', ['x'], { y: 'x' }), served('b', ['y'])];
    const choice = { upstreams: ['a', 'b'], rewrite: { a: 'x' }, model: 'y' };
    expect(catalog(list).resolve('y', true)).toEqual(choice);
  });

  test('comes before a model of the same name in the same upstream', () => {
    const list = [served('a', ['x', 'y'], { y: 'x' })];
    expect(catalog(list).resolve('y', true).rewrite).toEqual({ a: 'x' });
  });

  test('is known while the models are not, and is not followed by another', () => {
    const list = [served('a', undefined, { one: 'two', two: 'three' }), served('b')];
    const choice = { upstreams: ['a'], rewrite: { a: 'two' }, model: 'two' };
    expect(catalog(list).resolve('one', true)).toEqual(choice);
  });

  test('for its own name changes nothing', () => {
    const list = [served('a', ['x', 'y'], { x: 'x' })];
    expect(catalog(list).resolve('x', true).rewrite).toBeUndefined();
  });
});

describe('a pattern of names', () => {
  const list = [
    served('a', ['small', 'claude-own'], {
      'claude-*': 'small',
      '*': 'small',
      'claude-x': 'claude-own',
    }),
    served('b', ['large'], { 'claude-opus*': 'large', '*': 'large' }),
  ];

  test.each([
    ['claude-haiku', { a: 'small' }],
    ['claude-opus-4', { b: 'large' }],
    ['claude-opus', { b: 'large' }],
    ['gpt-9', { a: 'small', b: 'large' }],
    ['claude-x', { a: 'claude-own' }],
    ['claude-own', undefined],
    ['large', undefined],
  ])('of the longest that matches serves %s, unless the name itself is known', (name, rewrite) => {
    expect(catalog(list).resolve(name, true).rewrite as unknown).toEqual(rewrite);
  });

  test('comes before an upstream of which nothing is known', () => {
    const some = [served('a', ['x'], { 'gpt-*': 'x' }), served('b')];
    expect(catalog(some).resolve('gpt-9', true).upstreams).toEqual(['a']);
    expect(catalog(some).resolve('other', true).upstreams).toEqual(['b']);
  });

  test('is no name: it is not listed, and nobody can ask for it by its text', () => {
    const of = catalog(list);
    expect(of.names()).toEqual(['small', 'claude-own', 'large', 'claude-x']);
    expect(of.hasName('claude-haiku')).toBe(false);
    expect(of.hasName('*')).toBe(false);
  });

  test('has one choice for all its names', () => {
    const of = catalog(list);
    expect(of.resolve('claude-1', true)).toBe(of.resolve('claude-2', true));
  });

  test('may be the target of the default model', () => {
    const of = catalog(list, { defaultModel: 'claude-opus-9' });
    expect(of.resolve(undefined, true).rewrite).toEqual({ b: 'large' });
  });

  test('is nothing that a key may use: what is served counts', () => {
    const may = (name: string, ...allowed: string[]) => {
      try {
        return catalog(list).resolve(name, true, allowed).model;
      } catch (error) {
        return (error as GatewayError).code;
      }
    };
    expect(may('claude-haiku', 'small')).toBe('small');
    expect(may('claude-haiku', 'large')).toBe('model_not_allowed');
    expect(may('claude-haiku', 'claude-haiku')).toBe('model_not_allowed');
    expect(may('claude-haiku', 'claude-*', '*')).toBe('model_not_allowed');
  });
});

describe("Ollama's names", () => {
  const ollama = (upstream: string, ...models: string[]): Served => {
    return { ...served(upstream, models), kind: 'ollama' };
  };
  const of = () => catalog([ollama('a', 'qwen3:8b', 'Llama3.2:latest'), served('b', ['QWEN3'])]);

  test.each([
    ['Qwen3:8B', 'qwen3:8b'],
    ['llama3.2', 'Llama3.2:latest'],
    ['LLAMA3.2:LATEST', 'Llama3.2:latest'],
  ])('are found in any case, with and without the tag, and put in as listed: %s', (name, model) => {
    const choice = { upstreams: ['a'], rewrite: { a: model }, model };
    expect(of().resolve(name, true)).toEqual(choice);
  });

  test('of other engines are not', () => {
    expect(refusal(of(), 'qwen3').code).toBe('model_not_found');
  });

  test('in other letters share one choice, and are no names to keep', () => {
    const list = of();
    expect(list.resolve('Qwen3:8B', true)).toBe(list.resolve('QWEN3:8b', true));
    expect([list.hasName('Qwen3:8B'), list.hasName('qwen3:8b')]).toEqual([false, true]);
  });

  test('are those of a key in any case, too', () => {
    expect(of().resolve('Llama3.2:latest', true, ['llama3.2']).upstreams).toEqual(['a']);
    expect(of().resolve('QWEN3:8B', true, ['Qwen3:8b']).upstreams).toEqual(['a']);
    expect(() => of().resolve('QWEN3', true, ['qwen3'])).toThrow('may use only');
  });
});

describe('the tag that Ollama adds', () => {
  test('is found, and the name stays as the client wrote it', () => {
    const list = [served('a', ['llama3:latest', 'qwen3:8b'])];
    const choice = { upstreams: ['a'], rewrite: undefined, model: 'llama3:latest' };
    expect(catalog(list).resolve('llama3', true)).toEqual(choice);
    expect(refusal(catalog(list), 'qwen3').code).toBe('model_not_found');
  });

  test('is put in where another upstream means its own model by the name', () => {
    const list = [served('a', ['llama3']), served('b', ['llama3:latest'])];
    const choice = { upstreams: ['a', 'b'], rewrite: { b: 'llama3:latest' }, model: 'llama3' };
    expect(catalog(list).resolve('llama3', true)).toEqual(choice);
  });

  test('is put in for an alias', () => {
    const list = [served('a', ['llama3:latest', 'x'], { l: 'llama3', llama3: 'llama3:latest' })];
    expect(catalog(list).resolve('l', true).rewrite).toEqual({ a: 'llama3:latest' });
    expect(catalog(list).resolve('llama3', true).rewrite).toEqual({ a: 'llama3:latest' });
  });
});

describe('a single upstream with a single model', () => {
  test('takes any name, its bytes unchanged, and its model is the one that it has', () => {
    const choice = { upstreams: ['a'], rewrite: undefined, model: 'x' };
    const single = catalog([served('a', ['x'], { fast: 'x' })]);
    expect(single.resolve('gpt-9', true)).toEqual(choice);
    expect(single.resolve('fast', true).rewrite).toEqual({ a: 'x' });
  });

  test('takes only its own names when that is turned off', () => {
    const single = catalog([served('a', ['x'])], { anyModelName: false });
    expect(refusal(single, 'gpt-9').code).toBe('model_not_found');
    expect(single.resolve('x', true).model).toBe('x');
  });

  test('is the same as several upstreams that have one model between them', () => {
    const replicas = [served('a', ['x']), served('b', ['x'])];
    const choice = { upstreams: ['a', 'b'], rewrite: undefined, model: 'x' };
    expect(catalog(replicas).resolve('gpt-9', true)).toEqual(choice);
    expect(refusal(catalog(replicas, { anyModelName: false }), 'gpt-9').code).toBe(
      'model_not_found',
    );
  });

  test('is another thing than several models', () => {
    expect(refusal(catalog([served('a', ['x', 'y'])]), 'gpt-9').code).toBe('model_not_found');
  });
});

describe('no model', () => {
  test('is the only one that there is, wherever it is served, its bytes unchanged', () => {
    const choice = { upstreams: ['a', 'b'], rewrite: undefined, model: 'x' };
    const list = [served('a', ['x'], { fast: 'x' }), served('b', ['x']), served('c')];
    expect(catalog(list).resolve(undefined, true)).toEqual(choice);
    expect(catalog(list).resolve(undefined, false)).toEqual(choice);
  });

  test('runs anywhere while nothing is known', () => {
    const choice = { upstreams: ['a', 'b'], rewrite: undefined, model: undefined };
    expect(catalog([served('a'), served('b')]).resolve(undefined, true)).toEqual(choice);
    expect(catalog([served('a')]).resolve(undefined, true).upstreams).toEqual(['a']);
    expect(catalog([]).resolve(undefined, true).upstreams).toEqual([]);
  });

  test('is refused where there are several, and the message names them', () => {
    const error = refusal(catalog(two), undefined);
    expect(error).toMatchObject({ code: 'model_required', status: 400, param: 'model' });
    expect(error.message).toEndWith('Served here: small, large, vision, fast.');
    expect(refusal(catalog([served('a', ['x', 'y'])]), undefined).code).toBe('model_required');
    const partly = catalog([served('a', ['x', 'y']), served('b')]);
    expect(refusal(partly, undefined).code).toBe('model_required');
  });

  test('is no matter to a route that runs none, where there is one upstream', () => {
    const choice = { upstreams: ['a'], rewrite: undefined, model: undefined };
    expect(catalog([served('a', ['x', 'y'])]).resolve(undefined, false)).toEqual(choice);
    expect(refusal(catalog(two), undefined, false).code).toBe('model_required');
  });
});

describe('the default model', () => {
  test('is put in, under the name by which each upstream knows it', () => {
    const list = [...two, served('c', ['other'], { vision: 'other' })];
    for (const needsModel of [true, false]) {
      const choice = catalog(list, { defaultModel: 'vision' }).resolve(undefined, needsModel);
      const rewrite = { b: 'vision', c: 'other' };
      expect(choice).toEqual({ upstreams: ['b', 'c'], rewrite, model: 'vision' });
    }
  });

  test('is put in for a caller that may use it alone, also where no model runs', () => {
    const withDefault = catalog(two, { defaultModel: 'vision' });
    for (const needsModel of [true, false]) {
      expect(withDefault.resolve(undefined, needsModel, ['vision']).model).toBe('vision');
      expect(() => withDefault.resolve(undefined, needsModel, ['small'])).toThrow(
        'may use only these models: small.',
      );
    }
  });

  test('is not checked where its name does not go to the engine and no model runs', () => {
    const single = catalog([served('a', ['x'])], { defaultModel: 'x' });
    expect(single.resolve(undefined, false, ['y']).upstreams).toEqual(['a']);
    expect(() => single.resolve(undefined, true, ['y'])).toThrow('may use only these models: y.');
  });

  test('may be an alias', () => {
    const choice = catalog(two, { defaultModel: 'fast' }).resolve(undefined, true);
    expect(choice).toEqual({ upstreams: ['a'], rewrite: { a: 'small' }, model: 'small' });
  });

  test('is put in where the models are not known', () => {
    const list = [served('a', ['x']), served('b')];
    const choice = catalog(list, { defaultModel: 'y' }).resolve(undefined, true);
    expect(choice).toEqual({ upstreams: ['b'], rewrite: { b: 'y' }, model: 'y' });
  });

  test.each(['x', 'fast', 'any'])(
    'changes no byte where one upstream has one model: %j',
    (defaultModel) => {
      const single = catalog([served('a', ['x'], { fast: 'x' })], { defaultModel });
      const choice = { upstreams: ['a'], rewrite: undefined, model: 'x' };
      expect(single.resolve(undefined, true)).toEqual(choice);
    },
  );

  test('that nobody serves is not found, but by a route that runs none', () => {
    const options = { defaultModel: 'gone' };
    const error = refusal(catalog(two, options), undefined);
    expect(error).toMatchObject({ code: 'model_not_found', param: 'model' });
    expect(error.message).toContain('default model');
    const single = catalog([served('a', ['x', 'y'])], options);
    expect(refusal(single, undefined).code).toBe('model_not_found');
    expect(single.resolve(undefined, false).upstreams).toEqual(['a']);
  });

  test('says nothing about a request that names a model', () => {
    expect(catalog(two, { defaultModel: 'vision' }).resolve('small', true).model).toBe('small');
  });
});

test('the same request gets the same object, and names that clients make up share one', () => {
  const list = catalog([...two, served('c')], { defaultModel: 'small' });
  for (const model of ['small', 'fast', undefined]) {
    expect(list.resolve(model, true)).toBe(list.resolve(model, true));
    expect(list.resolve(model, false)).toBe(list.resolve(model, true));
  }
  expect(list.resolve('made-up-1', true)).toBe(list.resolve('made-up-2', true));
  const single = catalog([served('a', ['x'])]);
  expect(single.resolve('made-up', true)).toBe(single.resolve(undefined, true));
});

test('names gives models, then aliases, each once', () => {
  const list = [...two, served('c', ['small'], { fast: 'small', large: 'small' }), served('d')];
  expect(catalog(list).names()).toEqual(['small', 'large', 'vision', 'fast']);
});

test('a choice names only upstreams that there are, and leads each to a name that it knows', async () => {
  const names = ['a', 'b', 'c', 'a:latest'];
  await forSeeds(2_000, (random) => {
    const some = () => names.filter(() => random.oneIn(3));
    const list = Array.from({ length: 1 + random.below(3) }, (_, i) => {
      const aliases = Object.fromEntries(some().map((name) => [name, random.pick(names)]));
      return served(`u${i}`, random.oneIn(4) ? undefined : some(), aliases);
    });
    const options = {
      defaultModel: random.pick([undefined, ...names]),
      anyModelName: random.oneIn(2),
    };
    const asked = random.pick([undefined, 'd', ...names]);
    let choice;
    try {
      choice = catalog(list, options).resolve(asked, random.oneIn(2));
    } catch (error) {
      const codes = ['model_not_found', 'model_required'];
      expect(codes).toContain((error as GatewayError).code);
      return;
    }
    expect(new Set(choice.upstreams).size).toBe(choice.upstreams.length);
    for (const id of choice.upstreams) {
      const { models, aliases } = list.find(({ upstream }) => upstream === id) as Served;
      const sent = choice.rewrite?.[id] ?? asked;
      const isListed = sent === undefined || !models || models.includes(sent);
      const isTarget = sent !== undefined && Object.values(aliases).includes(sent);
      const isTagged = models?.includes(`${sent}:latest`) ?? false;
      const isOnly = new Set(list.flatMap((each) => each.models ?? [])).size === 1;
      const isAlone = list.length === 1 || isOnly;
      const takesAny = isAlone && (options.anyModelName || asked === undefined);
      expect(isListed || isTarget || isTagged || takesAny).toBe(true);
    }
    for (const id of Object.keys(choice.rewrite ?? {})) expect(choice.upstreams).toContain(id);
  });
});

describe('a caller that may use some models only', () => {
  function may(of: Catalog, model: string | undefined, ...allowed: string[]): boolean {
    try {
      of.resolve(model, true, allowed);
      return true;
    } catch (error) {
      if (error instanceof GatewayError && error.code === 'model_not_allowed') return false;
      throw error;
    }
  }

  test('may name those, and aliases of them, by either name', () => {
    const of = catalog(two);
    expect(may(of, 'small', 'small')).toBe(true);
    expect(may(of, 'fast', 'small')).toBe(true);
    expect(may(of, 'fast', 'fast')).toBe(true);
    expect(may(of, 'small', 'fast')).toBe(false);
    expect(may(of, 'large', 'small', 'vision')).toBe(false);
    expect(may(of, 'large')).toBe(false);
  });

  test('may leave the name out where the default is one of them', () => {
    expect(may(catalog(two, { defaultModel: 'large' }), undefined, 'large')).toBe(true);
    expect(may(catalog(two, { defaultModel: 'large' }), undefined, 'small')).toBe(false);
    expect(may(catalog([served('a', ['x'])]), undefined, 'x')).toBe(true);
  });

  test('gets no other model by a name that a single server takes for any', () => {
    const of = catalog([served('a', ['x'])]);
    expect(may(of, 'gpt-4', 'gpt-4')).toBe(false);
    expect(may(of, 'gpt-4', 'x')).toBe(true);
  });

  test('must name one of them where nobody knows what there is', () => {
    const of = catalog([served('a')]);
    expect(may(of, 'x', 'x')).toBe(true);
    expect(may(of, 'y', 'x')).toBe(false);
    expect(may(of, undefined, 'x')).toBe(false);
  });

  test('is told which', () => {
    expect(() => catalog(two).resolve('large', true, ['small', 'fast'])).toThrow('small, fast');
  });
});

describe('upstreams are connected', () => {
  const groups = (list: Served[], options: Partial<CatalogOptions> = {}) =>
    catalog(list, options)
      .connected()
      .map((ids) => ids.toSorted().join(' '))
      .toSorted();

  test('by a model that both serve, also by way of others', () => {
    const list = [
      served('a', ['x']),
      served('b', ['z']),
      served('c', ['x', 'y']),
      served('d', ['y', 'w']),
    ];
    expect(groups(list)).toEqual(['a c d', 'b']);
  });

  test('by an alias', () => {
    const list = [served('a', ['x'], { fast: 'x' }), served('b', ['y'], { fast: 'y' })];
    expect(groups(list)).toEqual(['a b']);
    expect(groups([served('a', ['x'], { y: 'x' }), served('b', ['y'])])).toEqual(['a b']);
  });

  test('where their models are not known, with each other', () => {
    expect(groups([served('a'), served('b'), served('c', ['x'])])).toEqual(['a b', 'c']);
  });

  test('by the default model', () => {
    const list = [served('a', ['x']), served('b', ['x:latest']), served('c', ['y'])];
    expect(groups(list, { defaultModel: 'x' })).toEqual(['a b', 'c']);
  });

  test('as often as they may run the same request, and only then', async () => {
    await forSeeds(200, (random) => {
      const names = ['x', 'y', 'z', 'w'];
      const ids = ['a', 'b', 'c', 'd', 'e'].slice(0, 1 + random.below(5));
      const list = ids.map((id) => {
        const models = random.oneIn(5) ? undefined : names.filter(() => random.oneIn(3));
        return served(id, models, random.oneIn(3) ? { [random.pick(names)]: 'x' } : {});
      });
      const of = catalog(list);
      const found = of.connected();
      expect(found.flat().toSorted()).toEqual(ids);
      for (const model of [...names, 'unknown', undefined]) {
        let upstreams: readonly string[] = [];
        try {
          ({ upstreams } = of.resolve(model, true));
        } catch (error) {
          expect(error).toBeInstanceOf(GatewayError);
        }
        expect(found.filter((group) => upstreams.some((id) => group.includes(id))).length).toBe(
          Math.min(1, upstreams.length),
        );
      }
    });
  });
});

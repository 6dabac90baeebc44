/** The upstreams that there are: who serves what, what a reload keeps, and who can be spared. */
import { describe, expect, test } from 'bun:test';
import type { Fleet } from '../../../src/engines/fleet.ts';
import type { Domain, SlotSet } from '../../../src/engines/slots.ts';
import type { Upstream } from '../../../src/engines/upstream.ts';
import { listOf } from '../../../src/wire/modellist.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { jobOf, callerOf, fleetOf, see, settingsOf } from '../../support/schedulingworld.ts';

const settings = { defaultModel: undefined, anyModelName: 'on' } as const;

describe('a reload', () => {
  test('keeps an upstream whose URL, kind and key are the same, with its new settings', () => {
    const fleet = fleetOf([settingsOf('a')]);
    const [before] = fleet.upstreams;
    const wanted = settingsOf('renamed', { url: 'http://a.invalid', slots: 5 });
    expect(fleet.replace({ ...settings, upstreams: [wanted] })).toEqual({ added: [], gone: [] });
    expect(fleet.upstreams[0]).toBe(before as never);
    expect(before?.settings).toBe(wanted);
  });

  test('makes one anew whose key or kind has changed, and says which are gone', () => {
    for (const change of [{ apiKey: 'sk-new' }, { kind: 'vllm' }] as const) {
      const fleet = fleetOf([settingsOf('a'), settingsOf('b')]);
      const [a, b] = fleet.upstreams;
      const { added, gone } = fleet.replace({ ...settings, upstreams: [settingsOf('a', change)] });
      expect(added.map(({ id }) => id)).toEqual(['a']);
      expect(gone).toEqual([a, b] as never);
      expect(a?.state).toBe('drained');
    }
  });
});

test('a name may be that of a model where it is listed, or at an upstream that lists none', () => {
  const fleet = fleetOf([settingsOf('a', { models: ['x'] }), settingsOf('b')]);
  expect(fleet.mayHaveName('x', undefined)).toBe(true);
  expect(fleet.mayHaveName('y', undefined)).toBe(false);
  expect([fleet.mayHaveName('y', 'a'), fleet.mayHaveName('y', 'b')]).toEqual([false, true]);
});

test('the context of a model is the least that an upstream with that model alone tells', () => {
  const fleet = fleetOf([
    settingsOf('a', { models: ['x'] }),
    settingsOf('b', { models: ['x'] }),
    settingsOf('c', { models: ['x', 'y'] }),
  ]);
  expect(fleet.contextOf('x')).toBeUndefined();
  const tokens = [8_000, 4_000, 1_000];
  for (const [i, upstream] of fleet.upstreams.entries()) {
    upstream.saw({ kind: 'vllm', contextTokens: tokens[i] as number });
  }
  expect([fleet.contextOf('x'), fleet.contextOf('y')]).toEqual([4_000, undefined]);
});

describe('where a request may run', () => {
  test('is where an engine of a kind is that serves the route', () => {
    const fleet = fleetOf([
      settingsOf('a', { models: ['x'], kind: 'vllm' }),
      settingsOf('b', { models: ['x'], kind: 'llama.cpp' }),
      settingsOf('c', { models: ['x'], kind: 'auto' }),
      settingsOf('d', { models: ['y'], kind: 'ollama' }),
    ]);
    const at = (path: string, model = 'x') => {
      const route = routes.find((each) => each.path === path) as Route;
      return fleet.resolve(jobOf('k', { route, model }));
    };
    expect(at('/v1/completions').upstreams).toEqual(['a', 'b', 'c']);
    expect(at('/pooling').upstreams).toEqual(['a', 'c']);
    expect(at('/infill').upstreams).toEqual(['b', 'c']);
    expect(at('/pooling')).toBe(at('/pooling'));
    expect(() => at('/pooling', 'y')).toThrow(
      '/pooling: it is a route of vllm, and here is ollama',
    );
    // One turns out to be of another kind.
    fleet.upstreams[2]?.saw({ kind: 'ollama' });
    expect(fleet.renew()).toBe(true);
    expect(at('/infill').upstreams).toEqual(['b']);
  });

  test('is where its model is', () => {
    const fleet = fleetOf([
      settingsOf('a', { models: ['x'] }),
      settingsOf('b', { models: ['x', 'y'] }),
    ]);
    const at = (model: string) => {
      const { slotSets } = fleet.groupOf(fleet.resolve(jobOf('k', { model })));
      return slotSets.map((slots) => fleet.ownerOf(slots).id);
    };
    expect([at('x'), at('y')]).toEqual([['a', 'b'], ['b']]);
    expect(() => at('z')).toThrow('Served here: x, y.');
  });

  test('is nowhere for a key that may not use it', () => {
    const fleet = fleetOf([settingsOf('a', { models: ['x', 'y'] })]);
    const caller = callerOf('k', { models: ['y'] });
    expect(() => fleet.resolve(jobOf('k', { caller, model: 'x' }))).toThrow('only these models');
  });

  test('of a list of models is anywhere, whatever the key may use', () => {
    const fleet = fleetOf([settingsOf('a', { models: ['x', 'y'] })]);
    fleet.replace({
      upstreams: fleet.upstreams.map((each) => each.settings),
      defaultModel: 'x',
      anyModelName: 'on',
    });
    fleet.renew();
    const caller = callerOf('k', { models: ['y'] });
    const free = { caller, needsModel: false, units: 0 };
    expect(fleet.resolve(jobOf('k', { ...free, takesModel: false })).upstreams).toEqual(['a']);
    expect(() => fleet.resolve(jobOf('k', free))).toThrow('only these models');
  });

  test('is found anew only when something else is served', () => {
    const fleet = fleetOf([settingsOf('a')]);
    expect(fleet.renew()).toBe(false);
    for (const upstream of fleet.upstreams) upstream.listed(listOf(['x']), ['x']);
    expect(fleet.renew()).toBe(true);
    expect(fleet.renew()).toBe(false);
  });

  test('is one slot set for all models, or one a model where slots are given by model', () => {
    const slots = { x: 2 };
    const fleet = fleetOf([settingsOf('a', { models: ['x', 'y'], slots })]);
    for (const upstream of fleet.upstreams) upstream.saw({ kind: 'llama.cpp', slots: 8 });
    const stationOf = (model: string) => {
      return fleet.groupOf(fleet.resolve(jobOf('k', { model }))).slotSets[0];
    };
    // The engine's own number counts for what the mapping leaves out.
    expect([stationOf('x')?.capacity, stationOf('y')?.capacity]).toEqual([2, 8]);
    expect(stationOf('y')?.isOpen).toBe(true);
  });
});

describe('an upstream', () => {
  test('can be spared when another serves all of its models', () => {
    const fleet = fleetOf([
      settingsOf('a', { models: ['x'] }),
      settingsOf('b', { models: ['x', 'y'] }),
    ]);
    const [a, b] = fleet.upstreams;
    expect([a, b].map((each) => each && fleet.canSpare(each))).toEqual([true, false]);
    b?.loads(true);
    expect(a && fleet.canSpare(a)).toBe(false);
  });

  test.each(['failed5xx', 'reset'] as const)(
    'that was set aside is taken back when no other can do without it (%s)',
    (event) => {
      const fleet = fleetOf([settingsOf('a'), settingsOf('b')]);
      const [a, b] = fleet.upstreams;
      for (let i = 0; i < 10; i++) a?.breaker[event](`caller-${i}`, 0, true);
      expect([a?.state, fleet.hasSetAside()]).toEqual(['away', true]);
      fleet.recall();
      expect(a?.state).toBe('away');
      b?.breaker.unreachable(0);
      fleet.recall();
      expect(a?.state).toBe('up');
    },
  );

  test('that is set aside takes nothing, but for one that refuses quickly and is alone', () => {
    const fleet = fleetOf([settingsOf('a')]);
    const [a] = fleet.upstreams;
    const [slots] = fleet.groupOf(fleet.resolve(jobOf('k'))).slotSets;
    a?.breaker.unreachable(0);
    fleet.refresh(1);
    expect(slots?.isOpen).toBe(false);
    a?.refuses(true);
    fleet.refresh(1);
    expect(slots?.isOpen).toBe(true);
  });
});

test('the list of models is that of the engines, or of the configuration', () => {
  const fleet = fleetOf([settingsOf('a', { models: ['x'], aliases: { y: 'x' } }), settingsOf('b')]);
  expect(fleet.hasOneList).toBe(false);
  const { data } = JSON.parse(Buffer.from(fleet.models()).toString());
  expect(data.map(({ id }: { id: string }) => id)).toEqual(['x', 'y']);
  const single = fleetOf([settingsOf('a')]);
  single.upstreams.forEach(see);
  expect(single.hasOneList).toBe(true);
});

describe('domains', () => {
  const models = (names: Record<string, string[]>) =>
    Object.entries(names).map(([id, served]) => settingsOf(id, { models: served }));
  const ids = (fleet: Fleet) => fleet.domains.map(({ domain }) => domain.id).toSorted();

  test('have the engines that a model connects, and stay what they are while those do', () => {
    const fleet = fleetOf(models({ a: ['x'], b: ['x', 'y'], c: ['z'] }));
    expect(ids(fleet)).toEqual(['a b', 'c']);
    const [a, b] = fleet.upstreams;
    expect(a?.domain).toBe(b?.domain as never);
    const before = a?.domain;
    fleet.replace({ ...settings, upstreams: models({ a: ['x'], b: ['x'], c: ['w'] }) });
    fleet.renew();
    expect([a?.domain, b?.domain]).toEqual([before, before] as never);
  });

  test('that merge and split are new ones, which know what they were made of', () => {
    const fleet = fleetOf(models({ a: ['x'], b: ['x'], c: ['z'] }));
    const [a, , c] = fleet.upstreams as [Upstream, Upstream, Upstream];
    const [pair, alone] = [a.domain, c.domain];
    fleet.replace({ ...settings, upstreams: models({ a: ['x'], b: ['z'], c: ['z'] }) });
    fleet.renew();
    expect(ids(fleet)).toEqual(['a', 'b c']);
    const originsOf = (domain: Domain) =>
      fleet.domains.find((each) => each.domain === domain)?.origins;
    expect(originsOf(a.domain)).toEqual([pair]);
    expect(new Set(originsOf(c.domain))).toEqual(new Set([alone, pair]));
  });

  test('are those of all slots of an engine, old and new', () => {
    const slots = { x: 1, y: 2 };
    const upstream = settingsOf('a', { models: ['x', 'y'], slots });
    const fleet = fleetOf([upstream]);
    const slotsOf = (model: string) =>
      fleet.groupOf(fleet.resolve(jobOf('k', { model }))).slotSets[0] as SlotSet;
    expect(slotsOf('x').domain).toBe(slotsOf('y').domain);
    const other = settingsOf('b', { models: ['x'] });
    fleet.replace({ ...settings, upstreams: [upstream, other] });
    const before = slotsOf('x');
    fleet.renew();
    expect(before.domain.id).toBe('a b');
    expect(slotsOf('y').domain).toBe(before.domain);
  });
});

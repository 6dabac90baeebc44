/** A configuration that is read again: what it changes, what it refuses, and what it says about the rest. */
import { describe, expect, mock, spyOn, test } from 'bun:test';
import type { ResponseCache } from '../../src/cache/cache.ts';
import { InputError } from '../../src/config/problems.ts';
import type { Certificate } from '../../src/listen.ts';
import { watchConfig, type Reloading } from '../../src/reload.ts';
import { configOf, partsOf } from '../support/gatewayparts.ts';
import { key } from '../support/gatewayprocess.ts';

type Load = Reloading['load'];

const nextKey = 'sk-of-the-next-configuration';

/** A gateway that reads what `load` returns at each signal. */
async function watched(
  load: Load,
  env: Record<string, string> = {},
  isDraining = () => false,
  { certificate, renew = () => {} }: { certificate?: Certificate; renew?: () => void } = {},
) {
  const made = await partsOf(env);
  const parts = { ...made.parts, isDraining };
  const reloading = { files: [], load, readCertificate: () => certificate };
  const unwatch = watchConfig(made.config, reloading, parts, { secrets: made.secrets, renew });
  return {
    ...made,
    parts,
    unwatch,
    reload: () => void process.emit('SIGHUP', 'SIGHUP'),
    messages: () => made.lines.map(({ msg }) => msg),
    [Symbol.dispose]() {
      unwatch();
      made[Symbol.dispose]();
    },
  };
}

const isKnown = ({ parts }: Awaited<ReturnType<typeof watched>>, secret: string) => {
  try {
    return parts.keys.find(secret, new Headers(), Date.now()) !== undefined;
  } catch {
    return false;
  }
};

test('new keys and engines count at once, and old keys no more', async () => {
  const next = configOf({ ALLOWED_API_KEYS: nextKey, LLM_SERVER_URL: 'http://127.0.0.1:2' });
  using gateway = await watched(() => next);
  expect([isKnown(gateway, key), isKnown(gateway, nextKey)]).toEqual([true, false]);
  gateway.reload();
  expect([isKnown(gateway, key), isKnown(gateway, nextKey)]).toEqual([false, true]);
  expect(gateway.parts.fleet.upstreams.map(({ settings }) => settings.url)).toEqual([
    'http://127.0.0.1:2',
  ]);
  expect(gateway.messages()).toEqual(['configuration reloaded']);
});

test('a new key is masked, and the old one still is', async () => {
  using gateway = await watched(() => configOf({ ALLOWED_API_KEYS: 'plain-word-as-a-key' }), {
    ALLOWED_API_KEYS: 'another-word-as-a-key',
  });
  gateway.reload();
  expect(gateway.secrets.maskKeys('plain-word-as-a-key another-word-as-a-key')).toBe('*** ***');
});

test('kept answers are dropped', async () => {
  using gateway = await watched(() => configOf({ RESPONSE_CACHE: 'on' }), { RESPONSE_CACHE: 'on' });
  const cache = gateway.parts.cache as ResponseCache;
  const clear = spyOn(cache, 'clear');
  gateway.reload();
  expect(clear).toHaveBeenCalledTimes(1);
});

describe('a configuration that is wrong', () => {
  test.each([
    [new InputError(['PORT: no number']), ['PORT: no number']],
    [new Error('cannot read'), ['Error: cannot read']],
  ])('changes nothing, and its problems are logged: %s', async (error, problems) => {
    using gateway = await watched(() => {
      throw error;
    });
    gateway.reload();
    expect(isKnown(gateway, key)).toBe(true);
    expect(gateway.lines).toMatchObject([{ level: 50, problems }]);
  });
});

describe('a certificate', () => {
  const certificate = { cert: 'a certificate', key: 'its key' };
  const next = () => configOf({ ALLOWED_API_KEYS: nextKey });
  const draining = () => false;

  test('is read again with the configuration', async () => {
    const renew = mock();
    using gateway = await watched(next, {}, draining, { certificate, renew });
    gateway.reload();
    expect(renew.mock.calls).toEqual([[certificate]]);
    expect(isKnown(gateway, nextKey)).toBe(true);
  });

  test('that cannot be used changes nothing', async () => {
    const renew = () => {
      throw new Error('no such certificate');
    };
    using gateway = await watched(next, {}, draining, { certificate, renew });
    gateway.reload();
    expect(isKnown(gateway, nextKey)).toBe(false);
    expect(gateway.lines).toMatchObject([{ level: 50, problems: ['Error: no such certificate'] }]);
  });

  test('of another path waits for a restart', async () => {
    const renew = mock();
    const moved = () => ({ ...next(), tlsCertFile: '/other.pem' });
    using gateway = await watched(moved, {}, draining, { certificate, renew });
    gateway.reload();
    expect(renew).not.toHaveBeenCalled();
    expect(gateway.lines.at(-1)).toMatchObject({ settings: ['tlsCertFile'] });
  });
});

test('the keys of the store count as keys of clients', async () => {
  let issued = -1;
  const load: Load = (count) => ((issued = count()), configOf());
  using gateway = await watched(load);
  gateway.reload();
  expect(issued).toBe(0);
});

test('settings that need a restart are named as long as they differ from what the process runs on', async () => {
  const other = { PORT: '12345', MAX_BODY_BYTES: '99999' };
  let env: Record<string, string> = other;
  using gateway = await watched(() => configOf(env));
  for (const _time of ['first', 'second']) {
    gateway.reload();
    expect(gateway.lines.at(-1)).toMatchObject({ level: 40, msg: 'these need a restart' });
    const [settings] = gateway.lines.slice(-1).map((line) => line['settings'] as string[]);
    expect(settings?.toSorted()).toEqual(['maxBodyBytes', 'port']);
  }
  env = {};
  gateway.reload();
  expect(gateway.lines.at(-1)).toMatchObject({ msg: 'configuration reloaded' });
});

test('a gateway that drains reads nothing any more', async () => {
  let reads = 0;
  using gateway = await watched(
    () => (reads++, configOf()),
    {},
    () => true,
  );
  gateway.reload();
  expect([reads, gateway.lines]).toEqual([0, []]);
});

test('what no longer watches takes no signal and leaves no listener', async () => {
  const before = process.listenerCount('SIGHUP');
  let reads = 0;
  using gateway = await watched(() => (reads++, configOf()));
  expect(process.listenerCount('SIGHUP')).toBe(before + 1);
  gateway.unwatch();
  gateway.reload();
  expect([reads, process.listenerCount('SIGHUP')]).toEqual([0, before]);
});

/**
 * Which callers share which answers of the response cache.
 */
import { expect, test } from 'bun:test';
import { ResponseCache } from '../../../src/cache/cache.ts';
import { Recording, type Kept } from '../../../src/cache/recording.ts';
import { reuse, type Reuse } from '../../../src/relay/reuse.ts';
import type { Caller } from '../../../src/request/caller.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import { JsonBody } from '../../../src/wire/jsonbody.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { caller } from '../../support/samples.ts';
import { jobOf } from '../../support/schedulingworld.ts';

const json = JsonBody.parse(Buffer.from('{"prompt":"Hi","temperature":0}'));

function start() {
  const cache = new ResponseCache({ maxBytes: 1e6, ttlMs: 1_000, now: () => 0 });
  return function look(more: Partial<Reuse> = {}, who: Partial<Caller> = {}) {
    const request = new LiveRequest('id', routes[0] as Route, { ...caller, ...who }, 0);
    const asked = { cache, isCacheShared: false, request, job: jobOf('k'), search: '' };
    return reuse({ ...asked, headers: new Headers(), json, ...more });
  };
}

/** Keeps an answer for a request that was not found. */
async function keep(found: Promise<Kept | Recording> | undefined): Promise<void> {
  const recording = await found;
  if (!(recording instanceof Recording)) throw new Error('it is kept already');
  recording.open(new Response('x', { headers: { 'content-length': '1' } }));
  recording.add(Buffer.from('x'));
  recording.end('done');
}

const isKept = async (found: Promise<Kept | Recording> | undefined) =>
  !((await found) instanceof Recording);

test('the same key gets what it asked for before', async () => {
  const look = start();
  await keep(look());
  expect(await isKept(look())).toBe(true);
  expect(await isKept(look({ search: '?x=1' }))).toBe(false);
});

test('another key does so only if keys share answers and it may use the same models', async () => {
  const other = { keyId: 'other', principal: 'other' };
  const look = start();
  await keep(look());
  expect(await isKept(look({}, other))).toBe(false);
  const shared = { isCacheShared: true };
  await keep(look(shared));
  expect(await isKept(look(shared, other))).toBe(true);
  expect(await isKept(look(shared, { ...other, models: ['m'] }))).toBe(false);
});

test('a request that is not deterministic is not looked up', () => {
  expect(start()({ json: JsonBody.parse(Buffer.from('{"prompt":"Hi"}')) })).toBeUndefined();
});

test('a request that is ended does not wait for an equal one', async () => {
  const look = start();
  const first = look();
  const request = new LiveRequest('id-2', routes[0] as Route, caller, 0);
  const second = look({ request });
  request.abort('total_timeout');
  expect(await second?.catch((error: unknown) => error)).toMatchObject({ code: 'total_timeout' });
  expect(await first).toBeInstanceOf(Recording);
});

/**
 * The requests in flight: who is in, how many each principal has, and when none is left.
 */
import { describe, expect, test } from 'bun:test';
import { LiveRequests } from '../../../src/request/inflight.ts';
import { LiveRequest } from '../../../src/request/live.ts';
import type { Route } from '../../../src/wire/routes.ts';
import { routes } from '../../../src/wire/routes.ts';
import { caller } from '../../support/samples.ts';

function request(principal = caller.principal): LiveRequest {
  return new LiveRequest('id-1', routes[0] as Route, { ...caller, principal }, 1_000);
}

describe('LiveRequests', () => {
  test('knows what is in flight', () => {
    const live = new LiveRequests();
    const [one, two] = [request(), request()];
    live.add(one);
    live.add(two);
    expect(live.size).toBe(2);
    expect(new Set(live)).toEqual(new Set([one, two]));
    expect([live.has(one), live.has(request())]).toEqual([true, false]);
  });

  test('takes each request out once', () => {
    const live = new LiveRequests();
    const one = request();
    live.add(one);
    expect(live.remove(one)).toBe(true);
    expect(live.remove(one)).toBe(false);
    expect(live.size).toBe(0);
  });

  test('aborts every one, also when that takes them out', () => {
    const live = new LiveRequests();
    const all = [request(), request(), request()];
    for (const each of all) {
      live.add(each);
      each.onAbort(() => live.remove(each));
    }
    live.abortAll('shutting_down');
    expect(all.map(({ code }) => code)).toEqual(Array(3).fill('shutting_down'));
    expect(live.size).toBe(0);
  });

  test('counts those of each principal, from the first to the last', () => {
    const live = new LiveRequests();
    const all = [request('a'), request('a'), request('b')];
    for (const each of all) live.add(each);
    expect(['a', 'b', 'c'].map((name) => live.openOf(name))).toEqual([2, 1, 0]);
    for (const each of all) live.remove(each);
    expect(['a', 'b', 'c'].map((name) => live.openOf(name))).toEqual([0, 0, 0]);
  });

  test('is empty at once when there is none', async () => {
    await new LiveRequests().empty();
    expect(new LiveRequests().size).toBe(0);
  });

  test('tells everybody who waits that it is empty, and not earlier', async () => {
    const live = new LiveRequests();
    const [one, two] = [request(), request()];
    live.add(one);
    live.add(two);
    let told = 0;
    const waits = [live.empty(), live.empty()].map((wait) => wait.then(() => told++));
    live.remove(one);
    await Bun.sleep(0);
    expect(told).toBe(0);
    live.remove(two);
    await Promise.all(waits);
    expect(told).toBe(2);
  });
});

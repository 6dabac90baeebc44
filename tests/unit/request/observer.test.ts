/**
 * One observer made of several.
 */
import { expect, test } from 'bun:test';
import { LiveRequest } from '../../../src/request/live.ts';
import { observedBy, type RequestObserver } from '../../../src/request/observer.ts';
import { routes, type Route } from '../../../src/wire/routes.ts';
import { caller, settlement } from '../../support/samples.ts';

test('all hear everything, in their order', () => {
  const heard: unknown[][] = [];
  const named = (name: string): RequestObserver => ({
    started: (request) => void heard.push([name, 'started', request]),
    isLong: (request) => void heard.push([name, 'isLong', request]),
    settled: (record, cause) => void heard.push([name, 'settled', record, cause]),
  });
  const observer = observedBy(named('a'), named('b'));
  const request = new LiveRequest('id', routes[0] as Route, caller, 0);
  const record = settlement();
  observer.started(request);
  observer.isLong(request);
  observer.settled(record, 'why');
  expect(heard).toEqual([
    ['a', 'started', request],
    ['b', 'started', request],
    ['a', 'isLong', request],
    ['b', 'isLong', request],
    ['a', 'settled', record, 'why'],
    ['b', 'settled', record, 'why'],
  ]);
});

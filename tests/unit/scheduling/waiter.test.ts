/** A waiter before it waits, and the head of a line. */
import { expect, test } from 'bun:test';
import { Heap } from '../../../src/scheduling/heap.ts';
import { headOf, type Line, type Waiter } from '../../../src/scheduling/waiter.ts';
import { waiterOf } from '../../support/schedulingworld.ts';

test('a waiter that has not entered stands nowhere and was passed over by nobody', () => {
  const { order, passed, line, spot, promised } = waiterOf('k', { slotSets: [] });
  expect({ order, passed, line, spot, promised }).toEqual({
    order: 0,
    passed: 0,
    line: undefined,
    spot: undefined,
    promised: undefined,
  });
});

test('the head of a line is its oldest', () => {
  const waiters = new Heap<Waiter>((a, b) => a.order - b.order);
  const [young, old] = [3, 1].map((order) => {
    return Object.assign(waiterOf('k', { slotSets: [] }), { order });
  }) as [Waiter, Waiter];
  for (const waiter of [young, old]) waiters.set(waiter);
  expect(headOf({ waiters } as unknown as Line)).toBe(old); // No other member of a line is read.
});

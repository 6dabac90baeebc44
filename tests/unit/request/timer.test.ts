/**
 * The timer by the clock: it calls back, unless it is called off.
 */
import { expect, test } from 'bun:test';
import { setRealTimer } from '../../../src/request/timer.ts';

test('calls back once, and not at all when it is called off', async () => {
  const heard: string[] = [];
  const callOff = setRealTimer(() => heard.push('never'), 1);
  callOff();
  // Of the same length and set later: it comes after the first one would have.
  await new Promise<void>((resolve) => {
    setRealTimer(() => {
      heard.push('once');
      resolve();
    }, 1);
  });
  expect(heard).toEqual(['once']);
});

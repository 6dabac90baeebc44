/**
 * When the lists of models are read again, by a clock that the test moves: at once for the first who asks, once a second
 * at most, and never with a list that is older than the question.
 */
import { expect, test } from 'bun:test';
import { Relisting } from '../../../src/engines/relisting.ts';
import { HandClock, settled } from '../../support/handclock.ts';

function stage() {
  const clock = new HandClock();
  const begun: number[] = [];
  const readings: PromiseWithResolvers<void>[] = [];
  const relisting = new Relisting({
    now: clock.now,
    setTimer: clock.setTimer,
    readLists() {
      begun.push(clock.now());
      const reading = Promise.withResolvers<void>();
      readings.push(reading);
      return reading.promise;
    },
  });
  const served: string[] = [];
  const { signal } = new AbortController();
  const ask = (name: string) => void relisting.read(signal).then(() => served.push(name));
  return { clock, begun, readings, relisting, served, ask };
}

test('those who ask at the same time share one reading, and wait for it', async () => {
  const { begun, readings, served, ask } = stage();
  ask('a');
  ask('b');
  await settled();
  expect([begun, served]).toEqual([[0], []]);
  readings[0]?.resolve();
  await settled();
  expect(served).toEqual(['a', 'b']);
});

test('who asks later gets a reading that begins later, a second after the one before', async () => {
  const { clock, begun, readings, served, ask } = stage();
  ask('a');
  await clock.pass(200);
  ask('b');
  ask('c');
  await clock.pass(799);
  expect(begun).toEqual([0]);
  await clock.pass(1);
  expect(begun).toEqual([0, 1_000]);
  readings[1]?.resolve();
  await settled();
  expect(served).toEqual(['b', 'c']);
  readings[0]?.resolve();
  await settled();
  expect(served).toEqual(['b', 'c', 'a']);
  await clock.pass(5_000);
  ask('d');
  await settled();
  expect(begun).toEqual([0, 1_000, 6_000]);
});

test('who leaves waits no longer, and the others do', async () => {
  const { readings, relisting, served, ask } = stage();
  const leaving = new AbortController();
  const left = relisting.read(leaving.signal).catch((error: Error) => error.message);
  ask('a');
  leaving.abort(new Error('left'));
  expect(await left).toBe('left');
  await settled();
  readings[0]?.resolve();
  await settled();
  expect(served).toEqual(['a']);
});

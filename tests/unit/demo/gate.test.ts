/** The gate that stops the simulated engine's work while it is frozen. */
import { expect, test } from 'bun:test';
import { Gate } from '../../../src/demo/gate.ts';

const stay = new AbortController().signal;

/** Returns how a promise has settled, `open` if it has not. */
async function stateOf(promise: Promise<void>): Promise<string> {
  const ended = promise.then(
    () => 'passed',
    (reason: unknown) => String(reason),
  );
  return Promise.race([ended, new Promise<string>((resolve) => setImmediate(resolve, 'open'))]);
}

test('an open gate lets tasks pass at once', async () => {
  expect(await stateOf(new Gate().passed(stay))).toBe('passed');
});

test('a closed gate lets tasks pass when it is opened', async () => {
  const gate = new Gate();
  gate.set(false);
  const passing = [gate.passed(stay), gate.passed(stay)];
  expect(await Promise.all(passing.map(stateOf))).toEqual(['open', 'open']);
  gate.set(false);
  gate.set(true);
  expect(await Promise.all(passing.map(stateOf))).toEqual(['passed', 'passed']);
  expect(gate.isOpen).toBe(true);
});

test('a gate can be closed again', async () => {
  const gate = new Gate();
  gate.set(false);
  gate.set(true);
  gate.set(false);
  expect(await stateOf(gate.passed(stay))).toBe('open');
});

test('a task that is aborted, before or while it waits, does not wait for the gate', async () => {
  const gate = new Gate();
  gate.set(false);
  const leaving = new AbortController();
  const passing = gate.passed(leaving.signal);
  leaving.abort('left');
  expect(await stateOf(passing)).toBe('left');
  expect(await stateOf(gate.passed(AbortSignal.abort('had left')))).toBe('had left');
});

/**
 * Slices of the event loop, by a clock and a loop of the test.
 */
import { expect, test } from 'bun:test';
import { Pace } from '../../../src/request/pace.ts';

function makeLoop() {
  const loop = { now: 0, turns: [] as (() => void)[] };
  const pace = new Pace({ now: () => loop.now, nextTurn: (turn) => loop.turns.push(turn) });
  /** Runs the next turn of the loop, with what it sets off. */
  async function turn(): Promise<void> {
    loop.turns.shift()?.();
    await new Promise<void>((resolve) => queueMicrotask(resolve));
    await new Promise<void>((resolve) => queueMicrotask(resolve));
  }
  return { loop, pace, turn };
}

/** Works for so many milliseconds, a millisecond between two looks. */
async function work(made: ReturnType<typeof makeLoop>, name: string, ms: number, did: string[]) {
  for (let i = 0; i < ms; i++) {
    if (made.pace.isUp()) await made.pace.turn();
    did.push(name);
    made.loop.now++;
  }
}

test('short work goes on at once, and leaves no turn behind', async () => {
  const made = makeLoop();
  const did: string[] = [];
  void work(made, 'a', 3, did);
  expect(did).toEqual(['a', 'a', 'a']);
  await made.turn();
  expect(made.loop.turns.length).toBe(0);
});

test('long work gives way after each slice', async () => {
  const made = makeLoop();
  const did: string[] = [];
  void work(made, 'a', 10, did);
  expect(did.length).toBe(4);
  await made.turn();
  expect(did.length).toBe(8);
  await made.turn();
  expect(did.length).toBe(10);
});

test('all work of a turn shares one slice, and takes turns', async () => {
  const made = makeLoop();
  const did: string[] = [];
  for (const name of ['a', 'b', 'c']) void work(made, name, 8, did);
  expect(did.join('')).toBe('aaaa');
  for (let i = 0; i < 5; i++) await made.turn();
  expect(did.join('')).toBe('aaaaaaaabbbbccccbbbbcccc');
});

test('work may wait for a turn without a look at the clock', async () => {
  const made = makeLoop();
  let hasTurned = false;
  void made.pace.turn().then(() => (hasTurned = true));
  await made.turn();
  expect(hasTurned).toBe(true);
});

test('the time between two works counts for neither', async () => {
  const made = makeLoop();
  const did: string[] = [];
  void work(made, 'a', 3, did);
  await made.turn();
  made.loop.now += 100;
  void work(made, 'b', 4, did);
  expect(did.join('')).toBe('aaabbbb');
});

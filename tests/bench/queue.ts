/**
 * What a decision of the admission queue costs, by how many wait: a request enters, a slot comes back, the next is
 * granted and charged for. Of one caller and of as many callers as waiters, so that both heaps are seen to be O(log n).
 */
import { Queue, Station, type Waiter } from '../../src/scheduling/queue.ts';
import { randomFrom } from '../support/random.ts';

const sizes = [100, 1_000, 10_000];
const decisions = 40_000;
const slots = 8;
const rounds = 5;

/** Gives the microseconds a decision took, the queue being kept at that many waiters. */
function decide(waiters: number, callers: number): number {
  const random = randomFrom(1);
  const station = new Station('engine', slots, true);
  const group = { key: 'engine', stations: [station] };
  const queue = new Queue<Waiter>({
    limits: () => ({ maxWaiters: 1e9, maxWaitersPerCaller: 1e9, maxBytes: 1e9 }),
    choose: (_, free) => free[0],
  });
  const running: Waiter[] = [];
  let entered = 0;
  function enter(): void {
    queue.enter({
      principal: `caller-${entered++ % callers}`,
      weight: 1,
      maxUnits: Number.POSITIVE_INFINITY,
      priority: 'interactive',
      units: 1,
      bytes: 1_000,
      group,
      enteredAt: 0,
    });
  }
  function start(): void {
    running.push(...queue.dispatch(0).map((grant) => grant.waiter));
  }
  for (let i = 0; i < waiters + slots; i++) enter();
  start();
  const startedAt = Bun.nanoseconds();
  for (let i = 0; i < decisions; i++) {
    enter();
    const ended = running.shift() as Waiter; // All slots are in use.
    queue.charge(ended.principal, random.below(1_000));
    queue.release(station, ended.principal, 1);
    start();
  }
  const us = (Bun.nanoseconds() - startedAt) / 1_000 / decisions;
  if (queue.size !== waiters || station.used !== slots) throw new Error('The queue lost count.');
  return us;
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] as number;
}

const columns = sizes.map((waiters) => ({ waiters, one: [] as number[], many: [] as number[] }));
decide(1_000, 1_000); // Compiled before it is measured.
for (let round = 0; round < rounds; round++) {
  for (const { waiters, one, many } of columns) {
    one.push(decide(waiters, 1));
    many.push(decide(waiters, waiters));
  }
}
console.log('| waiters | of one caller, µs a decision | of as many callers, µs a decision |');
console.log('|---|---|---|');
for (const { waiters, one, many } of columns) {
  console.log(`| ${waiters} | ${median(one).toFixed(2)} | ${median(many).toFixed(2)} |`);
}

/**
 * What a decision of the admission queue costs, by how many wait: a request enters, a slot comes back, the next is
 * granted and charged for. Of one caller and of as many callers as waiters, so that both heaps are seen to be O(log n).
 */
import { SlotSet } from '../../src/engines/slots.ts';
import { Waiter } from '../../src/scheduling/waiter.ts';
import { randomFrom } from '../support/random.ts';
import { partsOf, principalOf, queueOf } from '../support/schedulingworld.ts';

const sizes = [100, 1_000, 10_000];
const decisions = 40_000;
const capacity = 8;
const rounds = 5;

/** Returns the microseconds a decision took, the queue being kept at that many waiters. */
function decide(waiters: number, callers: number): number {
  const random = randomFrom(1);
  const slots = new SlotSet('engine', capacity, true);
  const group = { slotSets: [slots] };
  const queue = queueOf();
  const running: Waiter[] = [];
  const asked = Array.from({ length: callers }, (_, i) => {
    return partsOf(`caller-${i}`, group, { bytes: 1_000 });
  });
  let entered = 0;
  function enter(): void {
    const parts = asked[entered++ % callers] as (typeof asked)[number]; // One for each caller.
    queue.enter(new Waiter(...parts));
  }
  function start(): void {
    running.push(...queue.dispatch(0).map((grant) => grant.waiter));
  }
  for (let i = 0; i < waiters + capacity; i++) enter();
  start();
  const startedAt = Bun.nanoseconds();
  for (let i = 0; i < decisions; i++) {
    enter();
    const ended = running.shift() as Waiter; // All slots are in use.
    queue.charge(slots, principalOf(ended), 'interactive', random.below(1_000));
    queue.release(slots, principalOf(ended), 1);
    start();
  }
  const us = (Bun.nanoseconds() - startedAt) / 1_000 / decisions;
  if (queue.size !== waiters || slots.used !== capacity) throw new Error('The queue lost count.');
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

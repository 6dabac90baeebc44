/**
 * The admission queue under any order of events, against a plain model: no slot is lost or doubled, none stays idle,
 * shares stay within the bound of virtual token counters, and nothing is left behind.
 */
import { describe, expect, test } from 'bun:test';
import type { Queue } from '../../../src/scheduling/queue.ts';
import { Waiter, type Grant } from '../../../src/scheduling/waiter.ts';
import { Domain, SlotSet, type SlotGroup } from '../../../src/engines/slots.ts';
import {
  partsOf,
  principalOf,
  groupOf,
  queueOf,
  succeeding,
  waiterOf,
  type Wanted,
} from '../../support/schedulingworld.ts';
import { forSeeds, randomFrom, type Random } from '../../support/random.ts';
import type { Priority } from '../../../src/request/caller.ts';

class Aged extends Waiter {
  /** Grants on slots of its group since it came: it was passed over no more often. */
  grantsSeen = 0;

  /** @param age in the eyes of the model; those that come back are older than all others */
  constructor(
    readonly age: number,
    ...parts: ConstructorParameters<typeof Waiter>
  ) {
    super(...parts);
  }
}

/** Of all engines of the model. */
const domain = new Domain('all');
const principals = ['a', 'b', 'c', 'd', 'e'];
const weights = [1, 1, 2, 3, 0.5];
const capacities = [0, 1, 2, 3, 5, Number.POSITIVE_INFINITY];

function hasRoom(slots: SlotSet, units: number): boolean {
  if (!slots.isOpen || slots.capacity === 0) return false;
  if (units >= slots.capacity) return slots.used === 0;
  return slots.used + units <= slots.capacity;
}

/** All events of a queue, at random, with the checks that must hold after each. */
class Model {
  readonly slotSets: SlotSet[];
  readonly queue: Queue;
  readonly caps: Record<string, number> = {};
  groups: SlotGroup[];
  waiting: Aged[] = [];
  running: Grant[] = [];
  #held = new Set<Aged>();
  #count = 0;
  #returned = -1e9;

  constructor(
    readonly random: Random,
    readonly canHold: boolean,
  ) {
    this.slotSets = Array.from({ length: 1 + random.below(4) }, (_, i) => {
      return new SlotSet(`s${i}`, random.pick(capacities), !random.oneIn(4), domain);
    });
    this.groups = this.makeGroups();
    for (const principal of principals) {
      this.caps[principal] = random.pick([1, 2, 4, Number.POSITIVE_INFINITY]);
    }
    const limits = random.oneIn(3)
      ? { maxWaiters: random.below(12), maxWaitersPerCaller: random.below(5), maxBytes: 3_000 }
      : { maxWaiters: 1e6, maxWaitersPerCaller: 1e6, maxBytes: 1e9 };
    this.queue = queueOf({
      limits: () => limits,
      choose: (waiter, free) => this.choose(waiter as Aged, free),
    });
  }

  makeGroups(): SlotGroup[] {
    return Array.from({ length: 1 + this.random.below(3) }, () => {
      const some = this.slotSets.filter(() => this.random.oneIn(2));
      return { slotSets: some.length > 0 ? some : [this.random.pick(this.slotSets)] };
    });
  }

  choose(job: Aged, free: readonly SlotSet[]): SlotSet | undefined {
    expect(this.waiting).toContain(job);
    expect(free.length).toBeGreaterThan(0);
    for (const slots of free) {
      expect(job.group.slotSets).toContain(slots);
      expect(slots.isOpen).toBe(true);
      expect(job.job.units === 0 || hasRoom(slots, job.job.units)).toBe(true);
    }
    if (this.canHold && this.random.oneIn(3)) {
      this.#held.add(job);
      return undefined;
    }
    return this.random.pick(free);
  }

  usedBy(principal: string): number {
    const own = this.running.filter(({ waiter }) => principalOf(waiter) === principal);
    return own.reduce((sum, { units }) => sum + units, 0);
  }

  enter(): void {
    const { random } = this;
    const at = random.below(principals.length);
    const principal = principals[at] as string;
    const parts = partsOf(principal, random.pick(this.groups), {
      weight: weights[at] as number,
      maxUnits: this.caps[principal] as number,
      priority: random.oneIn(3) ? 'batch' : 'interactive',
      units: random.pick([0, 1, 1, 1, 1, 2, 3, 9]),
      bytes: random.below(1_000),
    });
    this.add(new Aged(this.#count++, ...parts));
  }

  add(job: Aged, atHead = false): void {
    if (this.queue.enter(job, atHead)) this.waiting.push(job);
    else expect(atHead).toBe(false);
  }

  dispatch(): void {
    this.#held.clear();
    const grants = this.queue.dispatch(0, (grant) => this.granted(grant));
    expect(this.running.slice(this.running.length - grants.length)).toEqual(grants);
    if (!this.canHold) this.expectNothingIdle();
  }

  granted(grant: Grant): void {
    const { slots, units } = grant;
    const waiter = grant.waiter as Aged;
    const { job, group, maxUnits } = waiter;
    expect(this.waiting).toContain(waiter);
    expect(slots.isOpen).toBe(true);
    expect(group.slotSets).toContain(slots);
    expect(units).toBe(Math.min(job.units, slots.capacity));
    if (units > 0) expect(slots.used).toBeLessThanOrEqual(slots.capacity);
    const before = this.usedBy(principalOf(waiter));
    if (job.units > 0 && before > 0) expect(before + job.units).toBeLessThanOrEqual(maxUnits);
    for (const older of this.likeOf(waiter)) {
      if (older.age < waiter.age) expect(this.#held).toContain(older);
    }
    this.waiting = this.waiting.filter((other) => other !== waiter);
    this.running.push(grant);
    for (const other of this.waiting) {
      if (other.group.slotSets.includes(slots) && units > 0) other.grantsSeen++;
    }
    this.expectTrueCounts();
  }

  /** Those that wait in one line with it. */
  likeOf(waiter: Aged): Aged[] {
    const { units, priority } = waiter.job;
    return this.waiting.filter(
      (other) =>
        other.group === waiter.group &&
        other.job.units === units &&
        (units === 0 ||
          (principalOf(other) === principalOf(waiter) && other.job.priority === priority)),
    );
  }

  release(): void {
    if (this.running.length === 0) return;
    const [grant] = this.running.splice(this.random.below(this.running.length), 1);
    const { waiter, slots, units } = grant as Grant;
    this.queue.release(slots, principalOf(waiter), units);
    if (!this.random.oneIn(4)) return;
    // It did not run, and comes back. Only its caller's own can be younger than it.
    const { job, choice, maxUnits } = waiter;
    const group = this.random.pick(this.groups);
    this.add(new Aged(this.#returned++, job, choice, group, maxUnits), true);
  }

  leave(): void {
    if (this.waiting.length === 0) return;
    const job = this.random.pick(this.waiting);
    expect(this.queue.leave(job)).toBe(true);
    expect(this.queue.leave(job)).toBe(false);
    this.waiting = this.waiting.filter((other) => other !== job);
  }

  regroup(): void {
    if (this.random.oneIn(2)) {
      this.slotSets.push(new SlotSet(`s${this.slotSets.length}`, 2, true, domain));
      // Requests on the removed slot set may still end.
      if (this.slotSets.length > 4) this.slotSets.shift();
    }
    this.groups = this.makeGroups();
    this.queue.regroup(succeeding(this.groups), () => this.random.pick(this.groups));
  }

  step(): void {
    const { random, queue } = this;
    const event = random.below(20);
    if (event < 7) this.enter();
    else if (event < 12) this.release();
    else if (event < 13) this.leave();
    else if (event < 15)
      queue.charge(
        random.pick(this.slotSets),
        random.pick(principals),
        random.pick(['interactive', 'batch']),
        random.below(200) - 40,
      );
    else if (event < 16) random.pick(this.slotSets).capacity = random.pick(capacities);
    else if (event < 17) random.pick(this.slotSets).isOpen = !random.oneIn(4);
    else if (event < 18 && random.oneIn(10)) this.regroup();
    else this.dispatch();
    this.expectTrueCounts();
  }

  expectTrueCounts(): void {
    const { queue, waiting, running } = this;
    expect(queue.size).toBe(waiting.length);
    expect(queue.bytes).toBe(waiting.reduce((sum, { job }) => sum + job.bytes, 0));
    for (const principal of principals) {
      const own = waiting.filter((waiter) => principalOf(waiter) === principal);
      expect(queue.waiting(principal)).toBe(own.length);
    }
    for (const slots of new Set([...this.slotSets, ...running.map((grant) => grant.slots)])) {
      const on = running.filter((grant) => grant.slots === slots);
      expect(slots.used).toBe(on.reduce((sum, { units }) => sum + units, 0));
    }
  }

  /** Returns whether it may have been passed over so often that room is kept for it. */
  mayHaveClaim({ job, grantsSeen }: Aged): boolean {
    return job.units > 1 && grantsSeen >= 8;
  }

  /** Returns whether another request of its caller must run before it. */
  isBehindOwn(waiter: Aged): boolean {
    const used = this.usedBy(principalOf(waiter));
    if (used > 0 && used + waiter.job.units > waiter.maxUnits) return true;
    const rank = ({ job }: Aged) => (job.priority === 'interactive' ? 0 : 1);
    return this.waiting.some((other) => {
      if (principalOf(other) !== principalOf(waiter) || other.job.units === 0) return false;
      const isBefore =
        rank(other) < rank(waiter) || (rank(other) === rank(waiter) && other.age < waiter.age);
      const isCapped = used > 0 && used + other.job.units > other.maxUnits;
      return isBefore && (isCapped || this.mayHaveClaim(other));
    });
  }

  expectNothingIdle(): void {
    for (const waiter of this.waiting) {
      const { group, job } = waiter;
      if (job.units === 0) {
        expect(group.slotSets.some(({ isOpen }) => isOpen)).toBe(false);
        continue;
      }
      if (this.isBehindOwn(waiter)) continue;
      for (const slots of group.slotSets) {
        if (!hasRoom(slots, job.units)) continue;
        const keptFor = this.waiting.some(
          (other) => other.group.slotSets.includes(slots) && this.mayHaveClaim(other),
        );
        expect(keptFor).toBe(true);
      }
    }
  }

  drainByLeaving(): void {
    for (const job of this.waiting.splice(0)) this.queue.leave(job);
    this.expectTrueCounts();
  }

  /** Lets everything run and end. */
  drain(): void {
    for (const slots of this.slotSets) Object.assign(slots, { isOpen: true, capacity: 2 });
    const open = { slotSets: this.slotSets };
    this.queue.regroup(succeeding([open]), () => open);
    for (let turn = 0; this.waiting.length + this.running.length > 0; turn++) {
      expect(turn).toBeLessThan(10_000);
      this.dispatch();
      for (const { waiter, slots, units } of this.running.splice(0)) {
        this.queue.release(slots, principalOf(waiter), units);
      }
    }
    this.expectTrueCounts();
  }
}

describe('any order of events', () => {
  test('loses and doubles no slot, and leaves none idle that somebody may use', async () => {
    await forSeeds(150, (random) => {
      const model = new Model(random, false);
      for (let step = 0; step < 300; step++) model.step();
      model.drain();
    });
  });

  test('loses and doubles no slot where waiters are held, and none is held for good', async () => {
    await forSeeds(100, (random) => {
      const model = new Model(random, true);
      for (let step = 0; step < 300; step++) model.step();
      model.drain();
    });
  });
});

/** One of two queues that see the same: what it granted, in order. */
class Twin {
  readonly slotSets = [new SlotSet('a', 3, true), new SlotSet('b', 2, true)];
  readonly queue = queueOf({
    limits: () => ({ maxWaiters: 20, maxWaitersPerCaller: 10, maxBytes: 1e9 }),
  });
  readonly groups = this.slotSets.map((slots) => ({ slotSets: [slots] }));
  readonly running: { slots: SlotSet; principal: string; units: number; priority: Priority }[] = [];
  readonly told: string[] = [];

  constructor(readonly isDirect: boolean) {}

  ask(principal: string, wanted: Partial<Wanted>, at: number): void {
    const waiter = waiterOf(principal, this.groups[at] as SlotGroup, wanted);
    const slots = this.slotSets[at] as SlotSet;
    const units = this.isDirect ? this.queue.admit(waiter, slots) : undefined;
    if (units !== undefined) this.granted({ waiter, slots, units });
    else if (!this.queue.enter(waiter)) this.told.push('full');
    this.dispatch();
  }

  dispatch(): void {
    this.queue.dispatch(0, (grant) => this.granted(grant));
  }

  granted({ waiter, slots, units }: Grant): void {
    const principal = principalOf(waiter);
    const { priority } = waiter.job;
    this.running.push({ slots, principal, units, priority });
    this.told.push(`${principal} ${units} at ${slots.id}`);
    // A request that takes no slot is not charged.
    if (units > 0) this.queue.charge(slots, principal, priority, 10);
  }

  end(at: number, tokens: number): void {
    const [ended] = this.running.splice(at, 1);
    if (ended === undefined) return;
    if (ended.units > 0) {
      this.queue.charge(ended.slots, ended.principal, ended.priority, tokens);
    }
    this.queue.release(ended.slots, ended.principal, ended.units);
    this.dispatch();
  }
}

test('what is admitted at once changes nothing that comes after it', async () => {
  await forSeeds(200, (random) => {
    const [direct, other] = [new Twin(true), new Twin(false)];
    for (let step = 0; step < 400; step++) {
      if (random.oneIn(2)) {
        const at = random.below(principals.length);
        const principal = principals[at] as string;
        const wanted = {
          weight: weights[at] as number,
          maxUnits: random.pick([1, 2, Number.POSITIVE_INFINITY]),
          priority: random.oneIn(4) ? ('batch' as const) : ('interactive' as const),
          units: random.pick([0, 1, 1, 1, 2, 9]),
          bytes: 1,
        };
        const slots = random.below(2);
        for (const twin of [direct, other]) twin.ask(principal, wanted, slots);
      } else {
        const [at, tokens] = [random.below(6), random.below(100)];
        for (const twin of [direct, other]) twin.end(at, tokens);
      }
    }
    expect(direct.told.length).toBeGreaterThan(50);
    expect(direct.told).toEqual(other.told);
  });
});

interface Load {
  principal: string;
  weight: number;
  prompt: number;
  output: number;
}

/** One request of a simulated engine, with the tokens that are left to make. */
class Task extends Waiter {
  constructor(
    readonly prompt: number,
    public left: number,
    ...parts: ConstructorParameters<typeof Waiter>
  ) {
    super(...parts);
  }
}

/**
 * Runs callers that always have work on two engines of three slots, where each slot makes one token a step. Returns
 * the largest spread over time of the difference of two callers' service by weight.
 */
function largestSpread(random: Random, loads: readonly Load[], isCharged: boolean): number {
  const group = groupOf(new SlotSet('a', 3, true), new SlotSet('b', 3, true));
  const queue = queueOf({ choose: (_, free) => random.pick(free) });
  const service = loads.map(() => 0);
  const running = new Set<Grant>();
  const serve = ({ waiter, slots }: Grant, tokens: number) => {
    const principal = principalOf(waiter);
    const at = loads.findIndex((load) => load.principal === principal);
    service[at] = (service[at] ?? 0) + tokens / (loads[at]?.weight ?? 1);
    if (isCharged) queue.charge(slots, principal, 'interactive', tokens);
  };
  const lowest = new Map<string, number>();
  const highest = new Map<string, number>();
  for (let step = 0; step < 4_000; step++) {
    for (const { principal, weight, prompt, output } of loads) {
      while (queue.waiting(principal) < 8) {
        const parts = partsOf(principal, group, { weight, bytes: 0 });
        queue.enter(new Task(random.below(prompt + 1), 1 + random.below(output), ...parts));
      }
    }
    for (const grant of queue.dispatch(step)) {
      running.add(grant);
      serve(grant, (grant.waiter as Task).prompt);
    }
    for (const grant of running) {
      serve(grant, 2);
      if (--(grant.waiter as Task).left > 0) continue;
      running.delete(grant);
      queue.release(grant.slots, principalOf(grant.waiter), grant.units);
    }
    expect(running.size).toBeLessThanOrEqual(6);
    for (const [i, a] of service.entries()) {
      for (const [j, b] of service.entries()) {
        lowest.set(`${i} ${j}`, Math.min(lowest.get(`${i} ${j}`) ?? 0, a - b));
        highest.set(`${i} ${j}`, Math.max(highest.get(`${i} ${j}`) ?? 0, a - b));
      }
    }
  }
  return Math.max(...[...lowest].map(([pair, low]) => (highest.get(pair) ?? 0) - low));
}

describe('a long run of callers that always have work', () => {
  const loads: Load[] = [
    { principal: 'short', weight: 1, prompt: 20, output: 10 },
    { principal: 'long', weight: 1, prompt: 100, output: 150 },
    { principal: 'heavy', weight: 2, prompt: 50, output: 60 },
    { principal: 'heavier', weight: 4, prompt: 10, output: 100 },
  ];
  // Six slots, and the largest request has 100 tokens of prompt and 150 of output, which count twice.
  const atOnce = 6 * (100 + 2 * 150);

  test('serves each pair equally by weight, within twice what all slots can run at once', async () => {
    await forSeeds(5, (random) => {
      expect(largestSpread(random, loads, true)).toBeLessThanOrEqual(2 * atOnce);
    });
  });

  test('goes far beyond that bound without counters', () => {
    expect(largestSpread(randomFrom(1), loads, false)).toBeGreaterThan(4 * atOnce);
  });
});

/** A job that is served a weighted token a step, and when it came to be the head of its caller's line. */
class Sized extends Waiter {
  headSince = 0;

  constructor(
    public left: number,
    ...parts: ConstructorParameters<typeof Waiter>
  ) {
    super(...parts);
  }
}

/**
 * Runs callers of random weights that come and go, on an engine whose slots serve a token a step each. Returns the longest
 * wait of a head, as a part of what the README says that it is at most.
 */
function longestWaitOfHead(random: Random): number {
  const slots = new SlotSet('a', 1 + random.below(6), true);
  const group = { slotSets: [slots] };
  const queue = queueOf();
  const largest = 5 + random.below(100);
  const callers = Array.from({ length: 2 + random.below(12) }, (_, i) => ({
    principal: `caller-${i}`,
    weight: random.pick([0.5, 1, 1, 2, 5]),
    largest: 1 + random.below(largest),
    lines: [] as Sized[],
    isThere: random.oneIn(2),
  }));
  const total = callers.reduce((sum, { weight }) => sum + weight, 0);
  const running = new Set<Grant>();
  let longest = 0;
  function enter(caller: (typeof callers)[number], step: number): void {
    const { principal, weight, lines } = caller;
    const parts = partsOf(principal, group, { weight, bytes: 0 });
    const job = new Sized(1 + random.below(caller.largest), ...parts);
    if (lines.length === 0) job.headSince = step;
    lines.push(job);
    queue.enter(job);
  }
  function granted({ waiter }: Grant, step: number): void {
    const caller = callers.find(({ principal }) => principal === principalOf(waiter));
    if (caller === undefined) return;
    const { lines, weight } = caller;
    expect(lines.shift()).toBe(waiter as Sized);
    if (lines[0] !== undefined) lines[0].headSince = step;
    const share = Math.min(weight, total / callers.length) / total;
    const most = (4 * largest) / share / slots.capacity + largest;
    longest = Math.max(longest, (step - (waiter as Sized).headSince) / most);
  }
  for (let step = 0; step < 3_000; step++) {
    for (const caller of callers) {
      if (random.oneIn(200)) caller.isThere = !caller.isThere;
      while (caller.isThere && caller.lines.length < 4) enter(caller, step);
    }
    for (const grant of queue.dispatch(step)) {
      running.add(grant);
      granted(grant, step);
    }
    for (const grant of running) {
      queue.charge(slots, principalOf(grant.waiter), 'interactive', 1);
      if (--(grant.waiter as Sized).left > 0) continue;
      running.delete(grant);
      queue.release(slots, principalOf(grant.waiter), grant.units);
    }
  }
  return longest;
}

test('the head of a line waits for four times its fair share and one request more at most', async () => {
  let longest = 0;
  await forSeeds(100, (random) => {
    const part = longestWaitOfHead(random);
    expect(part).toBeLessThanOrEqual(1);
    longest = Math.max(longest, part);
  });
  // The bound is not so wide that nothing could break it.
  expect(longest).toBeGreaterThan(0.3);
});

describe('one slot under a flood', () => {
  function flooded(random: Random) {
    const slots = new SlotSet('a', 1 + random.below(4), true);
    const group = { slotSets: [slots] };
    const queue = queueOf();
    const running: Grant[] = [];
    function enter(principal: string, priority: Priority = 'interactive'): Waiter {
      const waiter = waiterOf(principal, group, { priority, bytes: 0 });
      expect(queue.enter(waiter)).toBe(true);
      return waiter;
    }
    /** The oldest request ends, and as many start as can. */
    function turn(): Waiter[] {
      for (const { waiter, units } of running.splice(0, 1)) {
        queue.charge(slots, principalOf(waiter), waiter.job.priority, 50 + random.below(50));
        queue.release(slots, principalOf(waiter), units);
      }
      const grants = queue.dispatch(0);
      running.push(...grants);
      return grants.map(({ waiter }) => waiter);
    }
    return { queue, enter, turn };
  }

  test('a light caller goes first, every time', async () => {
    await forSeeds(50, (random) => {
      const { enter, turn } = flooded(random);
      for (let i = 0; i < 200; i++) enter('flood');
      for (let i = 0; i < 20; i++) {
        for (let pause = random.below(5) + 8; pause > 0; pause--) turn();
        const light = enter('light');
        expect(turn()).toEqual([light]);
        for (let more = 0; more < 20; more++) enter('flood');
      }
    });
  });

  test('batches have a tenth of the tokens, whatever the size of the jobs', async () => {
    await forSeeds(50, (random) => {
      const slots = new SlotSet('a', 1 + random.below(4), true);
      const group = { slotSets: [slots] };
      const queue = queueOf();
      function enter(): void {
        for (const priority of ['interactive', 'batch'] as const) {
          queue.enter(waiterOf(random.pick(principals), group, { priority, bytes: 0 }));
        }
      }
      for (let i = 0; i < 20; i++) enter();
      const largest = { interactive: 1 + random.below(500), batch: 1 + random.below(5_000) };
      const served = { interactive: 0, batch: 0 };
      const running: Grant[] = [];
      for (let turn = 0; turn < 2_000; turn++) {
        enter();
        for (const { waiter, units } of running.splice(0, 1)) {
          const { priority } = waiter.job;
          const tokens = 1 + random.below(largest[priority]);
          served[priority] += tokens;
          queue.charge(slots, principalOf(waiter), priority, tokens);
          queue.release(slots, principalOf(waiter), units);
        }
        running.push(...queue.dispatch(0));
        // Jobs are charged when they end here, so that as many as there are slots can be under way; a batch has its turn
        // when nine usual jobs have gone past it.
        const owed = served.interactive / 9 - served.batch;
        const usual = Math.max(largest.interactive, largest.batch);
        expect(owed).toBeLessThanOrEqual(usual + slots.capacity * largest.interactive);
        expect(owed).toBeGreaterThanOrEqual(-slots.capacity * largest.batch);
      }
      expect(Math.min(served.interactive, served.batch)).toBeGreaterThan(0);
    });
  });
});

test('nothing is kept of waiters that have left', async () => {
  const waiters: WeakRef<object>[] = [];
  const groups: WeakRef<object>[] = [];
  // The queue knows its model by its options, which have the last groups.
  function run(): Queue {
    const model = new Model(randomFrom(7), false);
    for (let step = 0; step < 2_000; step++) {
      const last = model.waiting.at(-1);
      model.step();
      if (step % 10 === 0) model.regroup();
      const now = model.waiting.at(-1);
      if (now !== undefined && now !== last) waiters.push(new WeakRef(now));
      if (step % 10 === 0) groups.push(...model.groups.map((group) => new WeakRef(group)));
    }
    model.drain();
    // And groups of which no reload clears the queue.
    for (let i = 0; i < 300; i++) {
      model.groups = model.makeGroups();
      groups.push(...model.groups.map((group) => new WeakRef(group)));
      model.enter();
      model.drainByLeaving();
    }
    return model.queue;
  }
  const queue = run();
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setImmediate(resolve));
    Bun.gc(true);
  }
  expect(queue.size).toBe(0);
  for (const refs of [waiters, groups]) {
    expect(refs.length).toBeGreaterThan(200);
    // The collector takes for a reference what looks like one on the stack.
    const kept = refs.filter((ref) => ref.deref() !== undefined);
    expect(kept.length).toBeLessThan(refs.length / 20);
  }
});

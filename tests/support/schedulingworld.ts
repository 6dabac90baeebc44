/** Settings, upstreams, jobs, waiters and queues for tests of scheduling, without a socket. */
import { routes, type Route } from '../../src/wire/routes.ts';
import type { Job } from '../../src/request/job.ts';
import { Fleet, type FleetSettings } from '../../src/engines/fleet.ts';
import { Queue, type QueueOptions } from '../../src/scheduling/queue.ts';
import { Lease, type LeaseOptions } from '../../src/scheduling/lease.ts';
import type { SchedulerSettings } from '../../src/scheduling/scheduler.ts';
import { Waiter } from '../../src/scheduling/waiter.ts';
import type { Domain, SlotGroup, SlotSet, Succession } from '../../src/engines/slots.ts';
import { MemoryShares } from '../../src/stores/memory/shares.ts';
import { LocalSlots } from '../../src/stores/memory/slots.ts';
import type { Upstream } from '../../src/engines/upstream.ts';
import type { UpstreamSettings } from '../../src/config/upstreams.ts';
import type { Caller } from '../../src/request/caller.ts';

export function settingsOf(id: string, more: Partial<UpstreamSettings> = {}): UpstreamSettings {
  return {
    id,
    url: `http://${id}.invalid`,
    apiKey: undefined,
    kind: 'llama.cpp',
    models: undefined,
    aliases: {},
    slots: 1,
    weight: 1,
    drain: false,
    ...more,
  };
}

/** Returns the settings of a scheduler with those upstreams, with bounds too high to matter. */
export function schedulerSettings(upstreams: readonly UpstreamSettings[]): SchedulerSettings {
  return {
    upstreams,
    defaultModel: undefined,
    anyModelName: 'on',
    maxSlotsPerCaller: 0,
    maxQueuedRequests: 100,
    maxQueuedPerCaller: 100,
    maxQueuedBytes: 1e6,
    queueTimeoutMs: 0,
    retryPolicy: 'unsent',
    slotReleaseTimeoutMs: 1_000,
    stallTimeoutMs: 0,
    isolatePromptCache: 'off',
    contextPreflight: 'off',
  };
}

/** Makes a fleet whose upstreams have been seen and may be used. */
export function fleetOf(
  upstreams: readonly UpstreamSettings[],
  more: Partial<FleetSettings> = {},
): Fleet {
  const fleet = new Fleet(() => 0);
  fleet.replace({ upstreams, defaultModel: undefined, anyModelName: 'on', ...more });
  for (const upstream of fleet.upstreams) see(upstream);
  fleet.renew();
  fleet.refresh(0);
  return fleet;
}

/** Marks an upstream as probed and up. */
export function see(upstream: Upstream): void {
  upstream.sighted(true);
  upstream.proven(0);
}

export function callerOf(principal: string, more: Partial<Caller> = {}): Caller {
  return {
    keyId: principal,
    principal,
    hint: '…',
    weight: 1,
    priority: 'interactive',
    name: principal,
    limits: {},
    models: undefined,
    ...more,
  } as Caller; // Scheduling reads no other member of a caller.
}

let jobs = 0;

const chatRoute = routes.find(({ path }) => path === '/v1/chat/completions') as Route;

export function jobOf(principal: string, more: Partial<Job> = {}): Job {
  return {
    id: `job-${++jobs}`,
    caller: callerOf(principal),
    route: chatRoute,
    priority: 'interactive',
    model: undefined,
    needsModel: true,
    isModelInUrl: false,
    takesModel: true,
    units: 1,
    bytes: 100,
    promptBytes: 0,
    chain: undefined,
    conversation: undefined,
    served: () => undefined,
    ...more,
  };
}

/** What a test can set of a waiter. */
export interface Wanted {
  weight: number;
  maxUnits: number;
  priority: Job['priority'];
  units: number;
  bytes: number;
}

/** Returns the arguments of a waiter, without bounds other than those that are set. */
export function partsOf(
  principal: string,
  group: SlotGroup,
  { maxUnits = Number.POSITIVE_INFINITY, weight = 1, ...more }: Partial<Wanted> = {},
): ConstructorParameters<typeof Waiter> {
  const job = jobOf(principal, { caller: callerOf(principal, { weight }), ...more });
  const choice = { upstreams: [], rewrite: undefined, model: undefined };
  return [job, choice, group, maxUnits];
}

export function waiterOf(principal: string, group: SlotGroup, more: Partial<Wanted> = {}): Waiter {
  return new Waiter(...partsOf(principal, group, more));
}

export function principalOf({ job }: Waiter): string {
  return job.caller.principal;
}

/** A lease with only a caller and a place. */
export function leaseOf(
  given: Pick<LeaseOptions, 'job' | 'upstream' | 'slots'> & Partial<LeaseOptions>,
): Lease {
  return new Lease({
    units: given.job.units,
    model: undefined,
    edits: undefined,
    matchedBlocks: 0,
    probe: undefined,
    since: 0,
    connection: { init: {}, release: () => {} },
    ended: () => {},
    ...given,
  });
}

/** Returns the group of those slot sets, which are of one domain from now on. */
export function groupOf(...slotSets: [SlotSet, ...SlotSet[]]): SlotGroup {
  for (const slots of slotSets) slots.domain = slotSets[0].domain;
  return { slotSets };
}

/** Returns the domains of those groups as they are after a change that left each as it was, or made it of `origins`. */
export function succeeding(groups: readonly SlotGroup[], ...origins: Domain[]): Succession[] {
  const domains = new Set(groups.flatMap(({ slotSets }) => slotSets.map((slots) => slots.domain)));
  return [...domains].map((domain) => ({
    domain,
    origins: origins.length > 0 ? origins : [domain],
  }));
}

/** A queue without limits, of a gateway that is alone, which takes the first slots that are free. */
export function queueOf(options: Partial<QueueOptions> = {}): Queue {
  return new Queue({
    limits: () => ({ maxWaiters: 1e9, maxWaitersPerCaller: 1e9, maxBytes: 1e9 }),
    choose: (_, free) => free[0],
    broker: new LocalSlots(),
    shares: new MemoryShares(),
    ...options,
  });
}

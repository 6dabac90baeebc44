/** Settings, upstreams and jobs as tests of scheduling want them, without a socket. */
import type { Job } from '../../src/request/job.ts';
import { Fleet, type FleetSettings } from '../../src/engines/fleet.ts';
import type { Waiter } from '../../src/scheduling/lanes.ts';
import type { Group } from '../../src/engines/slots.ts';
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

/** Makes a fleet whose upstreams have been seen and may be used. */
export function fleetOf(
  upstreams: readonly UpstreamSettings[],
  more: Partial<FleetSettings> = {},
): Fleet {
  const fleet = new Fleet();
  fleet.replace({ upstreams, defaultModel: undefined, anyModelName: 'on', ...more });
  for (const upstream of fleet.upstreams) see(upstream);
  fleet.renew();
  fleet.refresh(0);
  return fleet;
}

/** Makes an upstream one that was looked at and found up. */
export function see(upstream: Upstream): void {
  upstream.isSighted = true;
  upstream.provenAt = 0;
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
  } as Caller; // What else a caller has does not matter to scheduling.
}

export function jobOf(principal: string, more: Partial<Job> = {}): Job {
  return {
    caller: callerOf(principal),
    priority: 'interactive',
    model: undefined,
    needsModel: true,
    units: 1,
    bytes: 100,
    promptBytes: 0,
    chain: undefined,
    session: undefined,
    served: () => undefined,
    ...more,
  };
}

/** A waiter that may take as much as there is. */
export function waiterOf(principal: string, group: Group, units: number): Waiter {
  return {
    principal,
    weight: 1,
    maxUnits: Number.POSITIVE_INFINITY,
    priority: 'interactive',
    units,
    bytes: 0,
    group,
    enteredAt: 0,
  };
}

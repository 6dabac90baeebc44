/**
 * What a gateway holds while nothing is asked of it: requests, slots, sockets, descriptors, timers, objects of the
 * runtime. Two of these, taken before and after a load, should be alike.
 */
import { readdirSync, readlinkSync } from 'node:fs';
import { cpuUs, rssBytes } from '../bench/proc.ts';
import { untilIdle } from '../support/gatewayhealth.ts';
import type { Gateway } from '../support/gatewayprocess.ts';
import { soon, until } from '../support/wait.ts';

export interface Footprint {
  descriptors: number;
  sockets: number;
  /** Timers and sleeps that have not fired: each has an object of the kind `Timeout`. */
  timers: number;
  /** All objects of the runtime, by their kind. */
  objects: Record<string, number>;
  /** Processor time while idle, in microseconds a second. */
  idleUsPerSecond: number;
  rssBytes: number;
  heapBytes: number;
}

/** Kinds of objects that belong to requests; what waits for good has a promise. */
const kinds = [
  'AbortController',
  'AbortSignal',
  'ReadableStream',
  'Request',
  'Response',
  'Blob',
  'Promise',
];
const idleMs = 10_000;
/** Sockets that the runtime keeps for the next request, timers of a probe: so many more are no leak. */
const sparePieces = 4;
const spareObjects = 40;

/** Returns the number of descriptors of a process, and of the sockets among them. */
export function descriptorsOf(pid: number): { descriptors: number; sockets: number } {
  const folder = `/proc/${pid}/fd`;
  const names = readdirSync(folder);
  const sockets = names.filter((name) => {
    try {
      return readlinkSync(`${folder}/${name}`).startsWith('socket:');
    } catch {
      return false; // It was closed a moment ago.
    }
  });
  return { descriptors: names.length, sockets: sockets.length };
}

let reports = 0;

/** Returns how many objects of each kind are left after a collection of garbage. */
export async function reportHeap(
  gateway: Gateway,
): Promise<{ heapSize: number; counts: Record<string, number> }> {
  const wanted = ++reports;
  process.kill(gateway.pid, 'SIGUSR2');
  const line = await soon(
    'the report of the heap',
    gateway.logged((each) => each['msg'] === 'heap' && each['report'] === wanted),
  );
  return line as unknown as { heapSize: number; counts: Record<string, number> };
}

/** Measures an idle gateway; takes some seconds. */
export async function measureFootprint(gateway: Gateway): Promise<Footprint> {
  const { pid } = gateway;
  const before = cpuUs([pid]);
  await Bun.sleep(idleMs);
  const idleUsPerSecond = ((cpuUs([pid]) - before) / idleMs) * 1000;
  const { heapSize, counts } = await reportHeap(gateway);
  return {
    ...descriptorsOf(pid),
    timers: counts['Timeout'] ?? 0,
    objects: counts,
    idleUsPerSecond,
    rssBytes: rssBytes([pid]),
    heapBytes: heapSize,
  };
}

/** Waits until nothing runs and what ended has been let go, and then measures. */
export async function settledFootprint(gateway: Gateway, before?: Footprint): Promise<Footprint> {
  await untilIdle(gateway);
  if (before !== undefined) {
    // Connections and timers that are about to end may do so; what stays is judged.
    await until('the sockets are closed', () => {
      return descriptorsOf(gateway.pid).sockets <= before.sockets;
    }).catch(() => {});
  }
  return measureFootprint(gateway);
}

/** Returns what `after` has more than `before` allows, in words. */
export function leaksBetween(before: Footprint, after: Footprint): string[] {
  const leaks: string[] = [];
  const compare = (what: string, had: number, has: number, spare: number) => {
    if (has > had + spare) leaks.push(`${what}: ${has} in place of ${had}`);
  };
  compare('descriptors', before.descriptors, after.descriptors, sparePieces);
  compare('sockets', before.sockets, after.sockets, sparePieces);
  compare('timers', before.timers, after.timers, sparePieces);
  for (const kind of kinds) {
    compare(kind, before.objects[kind] ?? 0, after.objects[kind] ?? 0, spareObjects);
  }
  // Three times as busy while idle, and by more than a hundredth of a core: something repeats itself.
  compare('µs of work a second while idle', 3 * before.idleUsPerSecond, after.idleUsPerSecond, 1e4);
  return leaks;
}

/** Returns a footprint in one line. */
export function describeFootprint(footprint: Footprint): string {
  const { descriptors, sockets, timers, objects, idleUsPerSecond } = footprint;
  const others = kinds.map((kind) => `${kind} ${objects[kind] ?? 0}`);
  const megabytes = (bytes: number) => `${Math.round(bytes / 1e6)} MB`;
  return (
    `${descriptors} descriptors (${sockets} sockets), ${timers} timers, ${others.join(', ')}, ` +
    `${Math.round(idleUsPerSecond)} µs/s idle, ` +
    `RSS ${megabytes(footprint.rssBytes)}, heap ${megabytes(footprint.heapBytes)}`
  );
}

/** Returns the kinds of objects of which there are more than before, the most first; they need not be a leak. */
export function growthBetween(before: Footprint, after: Footprint): string {
  const grown = Object.entries(after.objects)
    .map(([kind, count]) => [kind, count - (before.objects[kind] ?? 0)] as const)
    .filter(([, more]) => more > 0)
    .toSorted(([, a], [, b]) => b - a);
  return grown
    .slice(0, 8)
    .map(([kind, more]) => `${kind} +${more}`)
    .join(', ');
}

/**
 * Whether the memory of a gateway grows. Under load RSS swings by 20 to 40 MB with the heap flat at 11 MB: large bodies that
 * are under way, garbage that is not collected yet, and pages that the allocator holds free for a moment. Even right after
 * a collection it is up to 10 MB too high, since pages that other threads free are returned some 100 ms later. So memory is
 * measured while nothing runs, after collections, once it falls no more; such measures differ by about 1 MB from one
 * round of load to the next, and many of them are judged together.
 */
import { readFileSync } from 'node:fs';
import { untilIdle } from '../support/gatewayhealth.ts';
import type { Gateway } from '../support/gatewayprocess.ts';
import { reportHeap } from './footprint.ts';

/** The memory of an idle gateway, in bytes. */
export interface Memory {
  /** All that is resident. */
  rss: number;
  /** The part that the process wrote: the rest is the program's file, which the system may drop and read again. */
  written: number;
  /** What the objects of the runtime take. */
  heap: number;
}

/** A fall by less than this share is none. */
const fallShare = 0.002;
/** Memory has settled when so many looks in a row have seen no fall. */
const enoughLooks = 3;
const mostLooks = 20;
/** The allocator and the collector return pages within some hundred milliseconds. */
const lookMs = 500;

/** Returns what is resident of a process, in all and without pages of files, in bytes. */
export function residentOf(pid: number): Pick<Memory, 'rss' | 'written'> {
  const status = readFileSync(`/proc/${pid}/status`, 'latin1');
  const bytes = (name: string) =>
    1024 * Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  return { rss: bytes('VmRSS'), written: bytes('RssAnon') };
}

/** Waits until nothing runs and memory falls no more, and returns the least that was seen. */
export async function settledMemory(gateway: Gateway): Promise<Memory> {
  await untilIdle(gateway);
  let least: Memory = { rss: Infinity, written: Infinity, heap: Infinity };
  let looksWithoutFall = 0;
  for (let look = 0; look < mostLooks && looksWithoutFall < enoughLooks; look++) {
    const { heapSize: heap } = await reportHeap(gateway);
    await Bun.sleep(lookMs);
    const { rss, written } = residentOf(gateway.pid);
    looksWithoutFall = written < least.written * (1 - fallShare) ? 0 : looksWithoutFall + 1;
    least = {
      rss: Math.min(rss, least.rss),
      written: Math.min(written, least.written),
      heap: Math.min(heap, least.heap),
    };
  }
  return least;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const half = Math.floor(sorted.length / 2);
  const upper = sorted[half] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * Returns by what share these values grow from the first to the last. The slope is the median of those between any two
 * (Theil and Sen), so that a few that stand out do not matter, and each step of a leak counts.
 */
export function growthOf(values: readonly number[]): number {
  const slopes = values.flatMap((value, i) =>
    values.slice(i + 1).map((later, j) => (later - value) / (j + 1)),
  );
  const rise = median(slopes) * (values.length - 1);
  return rise / (median(values) - rise / 2);
}

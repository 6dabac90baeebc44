/**
 * Preloaded into the gateway of a soak: on SIGUSR2 it collects garbage and prints how many objects of each kind are left,
 * timers among them, as a line like those of the log. With SOAK_LEAK_BYTES it keeps so much of each request for good, so
 * that a soak can be seen to fail.
 */
import { heapStats } from 'bun:jsc';

let report = 0;
process.on('SIGUSR2', () => {
  // Also returns what the allocator holds free to the system.
  Bun.gc(true);
  const { objectTypeCounts: counts, heapSize } = heapStats();
  const line = { level: 'INFO', msg: 'heap', report: ++report, heapSize, counts };
  process.stdout.write(`${JSON.stringify(line)}\n`);
});

const leakBytes = Number(process.env['SOAK_LEAK_BYTES'] ?? 0);
if (leakBytes > 0) {
  const kept: Uint8Array[] = [];
  // Each request that the gateway takes has one.
  globalThis.AbortController = class extends AbortController {
    constructor() {
      super();
      kept.push(new Uint8Array(leakBytes).fill(1));
    }
  };
}

/**
 * Preloaded into the gateway of a soak: on SIGUSR2 it collects garbage and prints how many objects of each kind are left,
 * timers among them, as a line like those of the log.
 */
import { heapStats } from 'bun:jsc';

let report = 0;
process.on('SIGUSR2', () => {
  Bun.gc(true);
  const { objectTypeCounts: counts, heapSize } = heapStats();
  const line = { level: 'INFO', msg: 'heap', report: ++report, heapSize, counts };
  process.stdout.write(`${JSON.stringify(line)}\n`);
});

/**
 * How late the event loop is. It is watched from the first scrape on: before that nobody asks, and the watch costs a
 * little.
 */
import type { monitorEventLoopDelay } from 'node:perf_hooks';
import { single, type Family } from './series.ts';

/** At 20 ms it would cost 0.4 % of a processor, at this 0.1 %; whatever stands still for longer shows all the same. */
const resolutionMs = 100;

/** What is used of the runtime's histogram; nanoseconds. */
type Delays = Pick<ReturnType<typeof monitorEventLoopDelay>, 'count' | 'mean' | 'max' | 'reset'>;

export class EventLoopLag {
  readonly families: readonly Family[];

  constructor(private readonly lag: Delays) {
    const help = 'How late the event loop was since the last scrape';
    // The mean of no sample is NaN.
    const seconds = (nanoseconds: number) => (lag.count === 0 ? 0 : nanoseconds / 1e9);
    this.families = [
      single('event_loop_lag_mean_seconds', `${help}, on average.`, () => seconds(lag.mean)),
      single('event_loop_lag_max_seconds', `${help}, at worst.`, () => seconds(lag.max)),
    ];
  }

  /** Begins to watch. */
  static async watch(): Promise<EventLoopLag> {
    // A start has no time to load this.
    const { monitorEventLoopDelay } = await import('node:perf_hooks');
    const lag = monitorEventLoopDelay({ resolution: resolutionMs });
    lag.enable();
    return new EventLoopLag(lag);
  }

  /** Begins anew: what comes next is since this scrape. */
  reset(): void {
    this.lag.reset();
  }
}

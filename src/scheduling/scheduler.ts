/**
 * The parts that decide where and when requests run, made and wired to each other: the fleet, its health, the pool, the
 * retries and the check of prompts. It decides nothing itself.
 */
import { Pool, type PoolSettings } from './pool.ts';
import type { ShareStore } from './sharestore.ts';
import type { SlotBroker } from './slotbroker.ts';
import { ContextCheck } from '../engines/contextcheck.ts';
import { Fleet, type FleetSettings } from '../engines/fleet.ts';
import { Health } from '../engines/health.ts';
import { Relisting } from '../engines/relisting.ts';
import { Retries, type RetryPolicy } from '../engines/retry.ts';
import { Watch, type WatchEffects } from '../engines/watch.ts';
import type { Log } from '../log/log.ts';
import type { SetTimer } from '../request/timer.ts';

/** What the parts go by; a reload may change all of it. */
export interface SchedulerSettings extends FleetSettings, PoolSettings {
  retryPolicy: RetryPolicy;
  contextPreflight: 'on' | 'off';
}

export interface SchedulerOptions {
  settings: SchedulerSettings;
  log: Log;
  broker: SlotBroker;
  shares: ShareStore;
  /** Milliseconds of a clock that never goes back. */
  now(): number;
  /** Returns numbers from 0 up to, not including, 1. */
  random(): number;
  /** Calls back again and again until that is called off. */
  repeat: SetTimer;
  watch: WatchEffects;
}

export class Scheduler {
  readonly fleet: Fleet;
  readonly health: Health;
  readonly retries: Retries;
  readonly contextCheck: ContextCheck;
  readonly relisting: Relisting;
  readonly pool: Pool;
  #settings: SchedulerSettings;

  /** Nothing is asked and no request runs before `start`. */
  constructor(options: SchedulerOptions) {
    const { settings, log, broker, shares, now, random, repeat, watch } = options;
    this.#settings = settings;
    const fleet = new Fleet(random);
    const health = new Health({
      fleet,
      log,
      now,
      random,
      watch: (watched) => new Watch(watched, watch),
      changed: () => this.pool.changed(),
      loaded: (upstream, load, askedAt) => this.pool.loaded(upstream, load, askedAt),
    });
    const retries = new Retries({ fleet, policy: () => this.#settings.retryPolicy });
    this.fleet = fleet;
    this.health = health;
    this.retries = retries;
    this.contextCheck = new ContextCheck({
      fleet,
      isOn: () => this.#settings.contextPreflight !== 'off',
      post: (upstream, path, body) => health.post(upstream, path, body),
    });
    this.relisting = new Relisting({
      readLists: () => health.readLists(),
      now,
      setTimer: watch.setTimer,
    });
    this.pool = new Pool({
      settings: () => this.#settings,
      fleet,
      health,
      retries,
      broker,
      shares,
      now,
      repeat,
    });
    this.reconfigure(settings);
  }

  /** Begins to look after the upstreams; none gets a request before it was looked at. */
  start(): void {
    this.health.start();
  }

  /** Takes new settings: what runs goes on, what waits may run elsewhere from now on. */
  reconfigure(settings: SchedulerSettings): void {
    this.#settings = settings;
    const { added, gone } = this.fleet.replace(settings);
    for (const upstream of added) this.health.add(upstream);
    for (const upstream of gone) this.health.drop(upstream);
    this.pool.changed();
  }

  async close(): Promise<void> {
    this.health.close();
    await this.pool.close();
  }
}

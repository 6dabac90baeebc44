/**
 * The engines of a soak: simulated ones that fail, load, freeze and restart, one trouble after the other.
 */
import { startDemoEngine, type DemoEngine } from '../../src/demo/engine.ts';
import type { Random } from '../support/random.ts';

/** Three engines with their own ports, which stay theirs over restarts. */
export class FailingEngines {
  readonly #running: (DemoEngine | undefined)[] = [];
  readonly #ports: number[] = [];
  restarts = 0;

  constructor() {
    for (let i = 0; i < 3; i++) {
      const engine = this.#start(0);
      this.#running.push(engine);
      this.#ports.push(engine.port);
    }
  }

  get urls(): string {
    return this.#ports.map((port) => `http://127.0.0.1:${port}`).join(',');
  }

  #start(port: number): DemoEngine {
    return startDemoEngine({
      port,
      slots: 4,
      models: ['demo', 'other'],
      tokensPerSecond: 300,
      firstTokenMs: 20,
      abortLagMs: 50,
    });
  }

  /** Something happens to an engine for a while; it is well again afterwards. */
  async disturb(random: Random): Promise<void> {
    const place = random.below(3);
    const engine = this.#running[place];
    if (engine === undefined) return;
    // Nobody looks at what it has received.
    engine.requests.length = 0;
    const lasts = () => Bun.sleep(500 + random.below(3_000));
    const what = random.below(4);
    if (what === 0) {
      engine.setFailing(random.pick([500, 503, 429]));
      await lasts();
      engine.setFailing(undefined);
    } else if (what === 1) {
      engine.setLoading(true);
      await lasts();
      engine.setLoading(false);
    } else if (what === 2) {
      engine.setFrozen(true);
      await lasts();
      engine.setFrozen(false);
    } else {
      this.#running[place] = undefined;
      await engine.stop();
      await lasts();
      this.#running[place] = this.#start(this.#ports[place] as number);
      this.restarts++;
    }
  }

  async stop(): Promise<void> {
    await Promise.all(this.#running.map((engine) => engine?.stop()));
  }
}

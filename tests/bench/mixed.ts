/**
 * Four kinds of callers on two engines that share no model: what one of them uses on the slow engine must not cost it its
 * place on the other. With the demo engine; times are a fifth of those of real engines of that kind. It judges nothing.
 */
import { startDemoEngine } from '../../src/demo/engine.ts';
import { untilUpstream } from '../support/gatewayhealth.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { send } from '../support/rawclient.ts';

/** What one kind of caller had on the fast engine. */
export interface Served {
  label: string;
  finished: number;
  /** Milliseconds in the queue, of each that finished. */
  waits: number[];
  engineSeconds: number;
}

/** Requests that one caller sends one after the other, in so many loops beside each other. */
interface Load {
  label: string;
  key: string;
  users?: number;
  loops: number;
  models: readonly string[];
  promptWords: number;
  tokens: number;
}

const [wide, small, batch, shared] = ['a', 'b', 'c', 'd'].map((name) => `sk-bench-mixed-${name}`);

const loads: readonly Load[] = [
  {
    label: 'A: 7 loops over both engines',
    key: wide as string,
    loops: 7,
    models: ['fast', 'slow'],
    promptWords: 100,
    tokens: 150,
  },
  {
    label: 'B: 2 loops of small answers on the fast one',
    key: small as string,
    loops: 2,
    models: ['fast'],
    promptWords: 20,
    tokens: 30,
  },
  {
    label: 'C, batch: 4 loops of long prompts over both',
    key: batch as string,
    loops: 4,
    models: ['fast', 'slow'],
    promptWords: 1_500,
    tokens: 50,
  },
  {
    label: 'D: 5 users of one key on the fast one',
    key: shared as string,
    users: 5,
    loops: 1,
    models: ['fast'],
    promptWords: 100,
    tokens: 150,
  },
];

/** Runs all of them for so long; returns what each had on the fast engine. */
export async function runMixed(seconds: number): Promise<Served[]> {
  const speed = { prefillTokensPerSecond: 4_000, firstTokenMs: 10 };
  const fast = startDemoEngine({ ...speed, slots: 4, tokensPerSecond: 140, models: ['fast'] });
  const slow = startDemoEngine({ ...speed, slots: 2, tokensPerSecond: 70, models: ['slow'] });
  await using gateway = await startGateway({
    LLM_SERVER_URL: `${fast.url},${slow.url}`,
    ALLOWED_API_KEYS: [wide, small, batch, shared].join(),
    BATCH_API_KEYS: batch as string,
    TRUSTED_USER_KEYS: shared as string,
    TRUSTED_USER_HEADER: 'x-user',
  });
  for (const id of ['engine-1', 'engine-2']) await untilUpstream(gateway, id, { state: 'up' });
  const endsAt = performance.now() + seconds * 1_000;
  const served = loads.map(({ label }) => ({
    label,
    finished: 0,
    waits: [] as number[],
    engineSeconds: 0,
  }));

  async function loop(load: Load, into: Served, user: number, turn: number): Promise<void> {
    const headers = { Authorization: `Bearer ${load.key}`, 'x-user': `user-${user}` };
    for (let i = turn; performance.now() < endsAt; i++) {
      const model = load.models[i % load.models.length] as string;
      const prompt = `${load.label} ${user} ${i} ${'word '.repeat(load.promptWords)}`;
      const body = { model, prompt, max_tokens: load.tokens, ignore_eos: true };
      const begun = performance.now();
      const exchange = await send(gateway.url, { path: '/v1/completions', headers, body });
      await Promise.race([exchange.ended(), Bun.sleep(Math.max(0, endsAt - performance.now()))]);
      if (exchange.ending === 'open') return exchange.leaveByReset();
      if (exchange.status !== 200) throw new Error(`${load.label}: ${exchange.status}`);
      if (model !== 'fast') continue;
      const waitedMs = Number(exchange.header('x-gateway-queue-ms'));
      into.finished++;
      into.waits.push(waitedMs);
      into.engineSeconds += (performance.now() - begun - waitedMs) / 1_000;
    }
  }

  const loops = loads.flatMap((load, at) =>
    Array.from({ length: load.users ?? 1 }, (_, user) =>
      Array.from({ length: load.loops }, (__, turn) =>
        loop(load, served[at] as Served, user, turn),
      ),
    ).flat(),
  );
  await Promise.all(loops);
  await Promise.all([fast.stop(), slow.stop()]);
  return served;
}

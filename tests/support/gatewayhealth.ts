/** Reads /health of a gateway, and waits until it has the state that a test needs. */
import type { Gateway } from './gatewayprocess.ts';
import { until } from './wait.ts';

export interface UpstreamHealth {
  id: string;
  kind: string;
  state: string;
  slots?: number;
  usedSlots: number;
}

export interface Health {
  inFlight: number;
  queued: number;
  upstreams: UpstreamHealth[];
}

export async function healthOf(gateway: Gateway): Promise<Health> {
  return (await fetch(`${gateway.url}/health`)).json() as Promise<Health>;
}

/** Resolves when the upstream with this id has these values. */
export async function untilUpstream(
  gateway: Gateway,
  id: string,
  expected: Partial<UpstreamHealth>,
): Promise<void> {
  await until(`${id} is ${JSON.stringify(expected)}`, async () => {
    const { upstreams } = await healthOf(gateway);
    const found = upstreams.find((upstream) => upstream.id === id);
    return found !== undefined && Bun.deepMatch(expected, found);
  });
}

/** Resolves when nothing is open or waits at the gateway, and every slot is free; also at the engine, where given. */
export async function untilIdle(gateway: Gateway, engine?: { busySlots(): number }): Promise<void> {
  await until('nothing runs', async () => {
    const { inFlight, queued, upstreams } = await healthOf(gateway);
    const isFree = upstreams.every(({ usedSlots }) => usedSlots === 0);
    return inFlight === 0 && queued === 0 && isFree && (engine?.busySlots() ?? 0) === 0;
  });
}

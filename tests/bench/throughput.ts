/**
 * What scheduling costs a heavy caller: the tokens a second of one key that keeps many requests open, through the
 * gateway and at the engine alone, in turns in one run. It judges nothing.
 */

export interface Throughput {
  /** Tokens a second. */
  alone: number;
  gateway: number;
}

export interface ThroughputPlan {
  engineUrl: string;
  gatewayUrl: string;
  key: string;
  /** Requests that are open at once. */
  open: number;
  /** Requests in each turn, and the tokens of each. */
  requests: number;
  tokens: number;
  turns: number;
}

/** Runs one turn; returns its tokens a second. */
async function turn(url: string, plan: ThroughputPlan): Promise<number> {
  const { key, open, requests, tokens } = plan;
  const body = JSON.stringify({
    prompt: 'Once upon a time',
    max_tokens: tokens,
    ignore_eos: true,
    stream: true,
  });
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' };
  let left = requests;
  async function client(): Promise<void> {
    while (left-- > 0) {
      const init = { method: 'POST', headers, body, keepalive: false };
      const answer = await fetch(`${url}/v1/completions`, init);
      await answer.bytes();
      if (answer.status !== 200) throw new Error(`${url} answers ${answer.status}`);
    }
  }
  const begun = performance.now();
  await Promise.all(Array.from({ length: open }, client));
  return (requests * tokens * 1000) / (performance.now() - begun);
}

/** Measures both in turns; returns the median of each. */
export async function throughputOf(plan: ThroughputPlan): Promise<Throughput> {
  const rates: Throughput[] = [];
  for (let i = 0; i < plan.turns; i++) {
    const alone = await turn(plan.engineUrl, plan);
    rates.push({ alone, gateway: await turn(plan.gatewayUrl, plan) });
  }
  const median = (of: (rate: Throughput) => number) =>
    rates.map(of).toSorted((a, b) => a - b)[rates.length >> 1] ?? Number.NaN;
  return { alone: median(({ alone }) => alone), gateway: median(({ gateway }) => gateway) };
}

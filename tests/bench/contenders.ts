/**
 * Who is compared: the engine itself, nginx, the bare runtime, the gateway with everything on, and on demand the gateway
 * of another checkout. Each proves itself before it is measured; a contender that changes a byte is not timed.
 */
import { join } from 'node:path';
import { gatewayCommand, key } from '../support/gatewayprocess.ts';
import {
  plainAnswer,
  plainRequest,
  streamRequest,
  tail,
  frameBytes,
  transcript,
} from './frames.ts';
import { startProxy } from './nginx.ts';
import { freePort, startServer, withChildren } from './proc.ts';

export const contenderNames = [
  'direct',
  'nginx',
  'bare',
  'before',
  'gateway',
  'gateway-llama',
] as const;
export type ContenderName = (typeof contenderNames)[number];

export interface Contender {
  name: ContenderName;
  port: number;
  /** Its processes; none for the direct way, whose cost is not measured. */
  pids: number[];
  checksKeys: boolean;
  stop(): Promise<void>;
}

/** Starts one contender in front of the engine on `enginePort`. */
export async function startContender(
  name: ContenderName,
  enginePort: number,
  folder: string,
): Promise<Contender> {
  if (name === 'direct') {
    return { name, port: enginePort, pids: [], checksKeys: false, stop: async () => {} };
  }
  const port = await freePort();
  const engine = `http://127.0.0.1:${enginePort}`;
  if (name === 'nginx') {
    const { pid, stop } = await startProxy(folder, port, enginePort, key);
    return { name, port, pids: withChildren(pid), checksKeys: true, stop };
  }
  if (name === 'bare') {
    const command = ['bun', join(import.meta.dir, 'bare.ts'), String(port), engine];
    const { pid, stop } = await startServer(command, port, {
      BUN_CONFIG_MAX_HTTP_REQUESTS: '20000',
    });
    return { name, port, pids: [pid], checksKeys: false, stop };
  }
  const checkout = process.env['BENCH_BEFORE'];
  if (name === 'before' && !checkout) throw new Error('BENCH_BEFORE must name another checkout');
  const command =
    name === 'before'
      ? ['bun', join(`${checkout}`, 'src/index.ts'), 'serve']
      : gatewayCommand('serve');
  const { pid, stop } = await startServer(command, port, {
    HOST: '127.0.0.1',
    PORT: String(port),
    ALLOWED_API_KEYS: key,
    LLM_SERVER_URL: engine,
    LLM_SERVER_KIND: name === 'gateway-llama' ? 'llama.cpp' : 'openai',
    LOG_LEVEL: 'INFO',
  });
  return { name, port, pids: [pid], checksKeys: true, stop };
}

async function post(contender: Contender, body: string, withKey: string): Promise<Response> {
  return fetch(`http://127.0.0.1:${contender.port}/v1/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${withKey}`, 'content-type': 'application/json' },
    body,
  });
}

/** Proves the contender with plain requests; throws with what is wrong. */
export async function provePlain(contender: Contender): Promise<void> {
  const answer = await post(contender, plainRequest, key);
  const text = await answer.text();
  if (answer.status !== 200 || text !== plainAnswer) {
    throw new Error(`${contender.name} is incorrect: ${answer.status} ${text.slice(0, 200)}`);
  }
  if (!contender.checksKeys) return;
  const refused = await post(contender, plainRequest, 'sk-wrong');
  await refused.bytes();
  if (refused.status !== 401 && refused.status !== 403) {
    throw new Error(`${contender.name} is incorrect: ${refused.status} for a wrong key`);
  }
}

/** Proves it with streams: one of `tokens` that must arrive byte for byte, one whose reader leaves, which the engine must notice. */
export async function proveStream(
  contender: Contender,
  enginePort: number,
  tokens: number,
): Promise<void> {
  const answer = await post(contender, streamRequest(tokens), key);
  const bytes = await answer.bytes();
  const expected = Buffer.concat([transcript.subarray(0, tokens * frameBytes), tail]);
  if (answer.status !== 200 || Buffer.compare(bytes, expected) !== 0) {
    throw new Error(`${contender.name} is incorrect: the stream is not what the engine sent`);
  }
  const reader = (await post(contender, streamRequest(8000), key)).body?.getReader();
  await reader?.read();
  await reader?.cancel();
  const giveUpAt = performance.now() + 3_000;
  for (;;) {
    const open = await fetch(`http://127.0.0.1:${enginePort}/streams`).then((r) => r.text());
    if (open === '0') return;
    if (performance.now() > giveUpAt) {
      throw new Error(`${contender.name} is incorrect: the engine works on for a reader that left`);
    }
    await Bun.sleep(10);
  }
}

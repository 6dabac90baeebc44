/**
 * The command `healthcheck`: asks a gateway on this machine whether it lives, for containers. It needs no key and judges
 * neither the certificate nor the engines.
 */
import { messageOf } from '../wire/errors.ts';

/** Where the gateway listens. */
export interface Address {
  host: string;
  /** 0 is any free port, which cannot be known here. */
  port: number;
  isHttps: boolean;
}

/** `fetch`, or what stands for it in tests. */
type Ask = (url: string, init: BunFetchRequestInit) => Promise<Response>;

/** The URL of /health; what listens on every address is asked on loopback. */
export function healthUrl({ host, port, isHttps }: Address): string {
  const asked = { '0.0.0.0': '127.0.0.1', '::': '::1' }[host] ?? host;
  const name = asked.includes(':') ? `[${asked}]` : asked;
  return `${isHttps ? 'https' : 'http'}://${name}:${port}/health`;
}

/**
 * Returns why the gateway at that address does not count as alive; `undefined` if it does.
 * @param timeoutMs how long its answer may take, in milliseconds
 */
export async function healthProblem(
  address: Address,
  ask: Ask,
  timeoutMs = 3_000,
): Promise<string | undefined> {
  if (address.port === 0) return 'PORT is 0, which is any free port: name the port with --port';
  const url = healthUrl(address);
  try {
    const answer = await ask(url, {
      redirect: 'manual',
      signal: AbortSignal.timeout(timeoutMs),
      // It names the host that clients use, not loopback.
      tls: { rejectUnauthorized: false },
    });
    await answer.body?.cancel();
    return answer.ok ? undefined : `${url} answers ${answer.status}`;
  } catch (error) {
    return `${url} does not answer: ${messageOf(error)}`;
  }
}

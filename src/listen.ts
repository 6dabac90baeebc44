/**
 * The addresses that a gateway listens on: whether they are free, the servers on them, and a renewed certificate, which is
 * taken while connections are open.
 */
import type { createApp } from './http/app.ts';
import { dateProblem } from './config/certificate.ts';
import type { Config } from './config/load.ts';
import type { Parts } from './gateway.ts';
import type { Log } from './log/log.ts';
import { metricsServer, type MetricsServer } from './observe/metrics.ts';

type App = ReturnType<typeof createApp>;
/** PEM texts. */
export type Certificate = { cert: string; key: string };

/** An address to listen on, and the settings that choose its port. */
export interface Place {
  hostname: string;
  port: number;
  chosenBy: string;
}

/** How long to wait for the last bytes to be sent. */
const lastBytesMs = 500;

export function placesOf({ host, port, metricsPort }: Config): Place[] {
  const own = { hostname: host, port, chosenBy: '--port or PORT' };
  const scrapes = { hostname: '127.0.0.1', port: metricsPort, chosenBy: 'METRICS_PORT' };
  return metricsPort > 0 ? [own, scrapes] : [own];
}

/** Throws if the address cannot be listened on. Checked first, so that a failed start leaves nothing on disk. */
export function assertFree({ hostname, port }: Place): void {
  const fetch = () => new Response();
  void Bun.serve({ hostname, port, reusePort: false, fetch }).stop(true);
}

/** Logs why the gateway could not listen, and what to do. */
export function explainPlace(error: unknown, { hostname, port, chosenBy }: Place, log: Log): void {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  const reason =
    code === 'EADDRINUSE'
      ? `another program listens there; choose another port with ${chosenBy}`
      : String(error);
  log.error({ hostname, port, code }, `cannot listen on ${hostname}:${port}: ${reason}`);
}

/** The servers of a gateway: for clients and, if METRICS_PORT is set, for scrapes. */
export class Listener {
  #scrapes: MetricsServer | undefined;
  /** Those with an earlier certificate, whose connections are still in use. */
  readonly #earlier = new Set<Bun.Server<undefined>>();

  /** @param certificate for HTTPS; `undefined` for HTTP */
  constructor(
    private readonly app: App,
    private readonly config: Config,
    private readonly parts: Pick<Parts, 'metrics' | 'log' | 'idleSeconds'>,
    private certificate: Certificate | undefined,
  ) {}

  /** Listens. Throws if a port is taken; what listens already must be stopped then. */
  open(): void {
    const { host: hostname, port, metricsPort } = this.config;
    this.app.listen({ hostname, port, ...this.#options() });
    this.#checkDates();
    const { metrics } = this.parts;
    if (metricsPort > 0) this.#scrapes = metricsServer({ metrics, port: metricsPort });
  }

  /**
   * Uses a renewed certificate for new connections: Bun cannot change that of a server, so a second one listens on the same
   * address, and the first ends with its last request. Connections in their handshake at that moment are reset. Throws,
   * and changes nothing, if the certificate cannot be used.
   */
  renew(certificate: Certificate): void {
    const { app, certificate: old } = this;
    const { server: earlier } = app;
    if (old === undefined || earlier === null) return;
    if (certificate.cert === old.cert && certificate.key === old.key) return;
    this.certificate = certificate;
    try {
      app.server = Bun.serve({
        hostname: this.config.host,
        port: earlier.port as number, // It listens on one.
        fetch: app.fetch,
        ...this.#options(),
      });
    } catch (error) {
      this.certificate = old;
      throw error;
    }
    const retired = earlier as Bun.Server<undefined>;
    this.#earlier.add(retired);
    void retired.stop().then(() => this.#earlier.delete(retired));
    this.parts.log.info('the certificate was renewed');
    this.#checkDates();
  }

  #checkDates(): void {
    const { certificate } = this;
    const reason = certificate && dateProblem(certificate.cert, Date.now());
    if (reason !== undefined) this.parts.log.warn({ reason }, 'clients refuse the certificate');
  }

  /** Listens no more; ends what is open after a moment. */
  async stop(): Promise<void> {
    const { app } = this;
    const servers = [...this.#earlier, ...(app.server === null ? [] : [app.server])];
    const ended = Promise.all(servers.map((server) => server.stop()));
    await Promise.race([ended, Bun.sleep(lastBytesMs)]);
    await Promise.all(servers.map((server) => server.stop(true)));
  }

  async stopScrapes(): Promise<void> {
    await this.#scrapes?.stop();
  }

  #options() {
    const { certificate } = this;
    return {
      idleTimeout: this.parts.idleSeconds,
      // With a certificate its successor listens at the same time; without one, a second gateway must not start here.
      reusePort: certificate !== undefined,
      // In effect no limit: Bun's own 413 has no error body. The gateway enforces MAX_BODY_BYTES itself.
      maxRequestBodySize: 2 ** 50,
      ...(certificate && { tls: certificate }),
    };
  }
}

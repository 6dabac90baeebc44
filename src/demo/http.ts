/**
 * A small HTTP/1.1 server on raw sockets for the simulated engine, which must do what an HTTP library does not allow:
 * reset a connection, end too early, send bytes that are not HTTP. It reads requests and keeps connections; the handler
 * writes the answers. It is made for loopback and well-behaved clients, not for the internet.
 */
import type { Socket } from 'bun';
import type { Wire } from './wire.ts';

export interface HttpRequest {
  method: string;
  /** The request target as received, including its query. */
  path: string;
  /** By lower-case name; repeated headers are joined by a comma. */
  headers: Record<string, string>;
  body: Uint8Array;
}

/** Answers on the connection. Resolves to whether the connection can serve another request. */
export type Handler = (request: HttpRequest, connection: Connection) => Promise<boolean>;

export interface HttpServer {
  port: number;
  /** Refuses new connections for that many milliseconds; open ones continue. */
  refuse(milliseconds: number): void;
  /** Ends every connection; resolves when all handlers have ended. */
  stop(): Promise<void>;
}

export interface HttpOptions {
  hostname: string;
  port: number;
  /** How long a connection may be idle between two requests; no limit if absent. */
  keepAliveSeconds?: number | undefined;
  handle: Handler;
}

/** Why a connection is over: the client or the engine ended it. */
export class ConnectionOver extends Error {
  constructor(readonly by: 'client' | 'engine') {
    super(`the connection was ended by the ${by}`);
  }
}

/** Limit of a request's head, and of a line with the size of a chunk. */
const maxHeadBytes = 64 * 1024;

/** One accepted socket: a buffer of received bytes that are not read yet, and the methods of `Wire`. */
export class Connection implements Wire {
  readonly headers: Record<string, string> = {};
  /** How many bytes the operating system has accepted. */
  sentBytes = 0;
  readonly #over = new AbortController();
  #received: Buffer[] = [];
  #receivedBytes = 0;
  #moreReceived: (() => void) | undefined;
  #drained: (() => void) | undefined;

  /** @param id the number of the connection at its server, from 1 */
  constructor(
    readonly id: number,
    private readonly socket: Socket<Connection>,
  ) {}

  get signal(): AbortSignal {
    return this.#over.signal;
  }

  async write(bytes: Uint8Array): Promise<void> {
    for (let offset = 0; ;) {
      this.signal.throwIfAborted();
      const written = Math.max(0, this.socket.write(bytes.subarray(offset)));
      this.sentBytes += written;
      offset += written;
      if (offset === bytes.length) return;
      await new Promise<void>((resolve) => (this.#drained = resolve));
    }
  }

  end(): void {
    this.#finish('engine');
    this.socket.end();
  }

  reset(): void {
    this.#finish('engine');
    this.socket.terminate();
  }

  receive(bytes: Buffer): void {
    this.#received.push(bytes);
    this.#receivedBytes += bytes.length;
    this.#moreReceived?.();
  }

  drain(): void {
    this.#drained?.();
  }

  /** Called when the socket is closed. If the engine did not end the connection before, the client did. */
  closed(): void {
    this.#finish('client');
  }

  #finish(by: 'client' | 'engine'): void {
    if (!this.signal.aborted) this.#over.abort(new ConnectionOver(by));
    this.#moreReceived?.();
    this.#drained?.();
  }

  /** Takes `count` received bytes; rejects if the connection ends before they have arrived. */
  async take(count: number): Promise<Buffer> {
    while (this.#receivedBytes < count) await this.#more();
    const all = Buffer.concat(this.#received);
    this.#received = all.length > count ? [all.subarray(count)] : [];
    this.#receivedBytes = all.length - count;
    return all.subarray(0, count);
  }

  /** Takes the bytes before the delimiter and discards the delimiter. */
  async takeUntil(delimiter: string): Promise<Buffer> {
    for (;;) {
      const all = Buffer.concat(this.#received);
      this.#received = [all];
      const at = all.indexOf(delimiter);
      if (at !== -1) return (await this.take(at + delimiter.length)).subarray(0, at);
      if (all.length > maxHeadBytes) throw new BadRequest();
      await this.#more();
    }
  }

  /** Resolves when the first byte of the next request has arrived. */
  async untilReceived(): Promise<void> {
    while (this.#receivedBytes === 0) await this.#more();
  }

  async #more(): Promise<void> {
    this.signal.throwIfAborted();
    await new Promise<void>((resolve) => (this.#moreReceived = resolve));
    this.signal.throwIfAborted();
  }
}

/** The received bytes are not a valid request; the connection is ended. */
class BadRequest extends Error {}

interface Received extends HttpRequest {
  /** Whether the client asked to close the connection after this request. */
  isLast: boolean;
}

function parseHead(head: string) {
  const [start = '', ...lines] = head.split('\r\n');
  const [method = '', path = '', version = ''] = start.split(' ');
  if (!path.startsWith('/') || !version.startsWith('HTTP/1.')) throw new BadRequest();
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  const wish = headers['connection']?.toLowerCase();
  const isLast = version === 'HTTP/1.0' ? wish !== 'keep-alive' : wish === 'close';
  return { method, path, headers, isLast };
}

/** Reads a body in the chunked coding (RFC 9112 section 7.1); trailers are dropped. */
async function takeChunks(connection: Connection): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for (;;) {
    const size = Number.parseInt((await connection.takeUntil('\r\n')).toString(), 16);
    if (!(size >= 0)) throw new BadRequest();
    if (size === 0) break;
    chunks.push((await connection.take(size + 2)).subarray(0, size));
  }
  while ((await connection.takeUntil('\r\n')).length > 0);
  return Buffer.concat(chunks);
}

async function takeBody(connection: Connection, headers: Record<string, string>): Promise<Buffer> {
  if (headers['expect'] !== undefined) {
    await connection.write(Buffer.from('HTTP/1.1 100 Continue\r\n\r\n'));
  }
  if (headers['transfer-encoding'] !== undefined) return takeChunks(connection);
  const length = Number(headers['content-length'] ?? 0);
  if (!(length >= 0)) throw new BadRequest();
  return connection.take(length);
}

/** Resolves to the next request when it is complete; rejects with BadRequest, or if the connection ends. */
async function takeRequest(connection: Connection, idleSeconds?: number): Promise<Received> {
  const end = (): void => connection.end();
  const idle = idleSeconds === undefined ? undefined : setTimeout(end, idleSeconds * 1000);
  try {
    await connection.untilReceived();
  } finally {
    clearTimeout(idle);
  }
  const head = parseHead((await connection.takeUntil('\r\n\r\n')).toString('latin1'));
  return { ...head, body: await takeBody(connection, head.headers) };
}

/** Serves one request after the other until the connection ends. */
async function serve(connection: Connection, options: HttpOptions): Promise<void> {
  const { keepAliveSeconds, handle } = options;
  if (keepAliveSeconds !== undefined) {
    connection.headers['Keep-Alive'] = `timeout=${keepAliveSeconds}`;
  }
  try {
    for (;;) {
      const { isLast, ...request } = await takeRequest(connection, keepAliveSeconds);
      if (isLast) connection.headers['Connection'] = 'close';
      const canGoOn = await handle(request, connection);
      if (isLast || !canGoOn) return connection.end();
    }
  } catch (error) {
    if (error instanceof ConnectionOver) return;
    connection.end();
    if (!(error instanceof BadRequest)) throw error;
  }
}

/** How long to wait before trying again to listen on the port. */
const reopenAgainMs = 100;

/** Starts the server; throws when the address cannot be bound. */
export function startHttpServer(options: HttpOptions): HttpServer {
  const { hostname, port } = options;
  const serving = new Set<Promise<void>>();
  let connections = 0;

  function listen(atPort: number) {
    return Bun.listen<Connection>({
      hostname,
      port: atPort,
      socket: {
        open(socket) {
          socket.setNoDelay(true);
          socket.data = new Connection(++connections, socket);
          const served = serve(socket.data, options).finally(() => serving.delete(served));
          serving.add(served);
        },
        data: (socket, bytes) => socket.data.receive(bytes),
        drain: (socket) => socket.data.drain(),
        close: (socket) => socket.data.closed(),
        // Bun calls `close` next, which handles it.
        error() {},
      },
    });
  }

  const first = listen(port);
  const listeners = [first];
  let reopening: Timer | undefined;

  function reopen(): void {
    try {
      listeners.push(listen(first.port));
    } catch {
      reopening = setTimeout(reopen, reopenAgainMs); // Another program has taken the port in the meantime.
    }
  }

  return {
    port: first.port,
    refuse(milliseconds) {
      clearTimeout(reopening);
      listeners.at(-1)?.stop();
      reopening = setTimeout(reopen, milliseconds);
    },
    async stop() {
      clearTimeout(reopening);
      // A listener that no longer accepts still owns the connections that it accepted.
      for (const listener of listeners) listener.stop(true);
      await Promise.allSettled(serving);
    },
  };
}

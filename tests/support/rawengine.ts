/**
 * An engine made of raw bytes, for answers that no HTTP library would send and for endings at an exact place. It reads
 * requests, hands each to the test, and keeps what it has read; it has no idea of inference.
 */
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { watchAgent } from '../../src/wire/headers.ts';

export interface Received {
  method: string;
  path: string;
  /** The head as it came, without the blank line. */
  head: string;
  /** By lower-case name; what came twice is joined by ` | `. */
  headers: Record<string, string>;
  body: Buffer;
  /** The number of its connection, counted from 1. */
  connection: number;
}

/** The connection of one request. */
export interface Wire {
  write(bytes: string | Uint8Array): void;
  /** Sends a FIN after the written bytes. */
  end(): void;
  reset(): void;
  /** Resolves when the connection is over, whichever side ended it. */
  readonly over: Promise<void>;
}

export type Answer = (request: Received, wire: Wire) => unknown;

export interface Upstream {
  url: string;
  port: number;
  /** The requests, without the gateway's probes. */
  requests: Received[];
  /** The paths of the gateway's probes, in their order. */
  questions: string[];
  /** How many connections carried a request that is not a probe. */
  connections(): number;
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface UpstreamOptions {
  port?: number;
  /** The answers to the gateway's probes: JSON by path; 404 for other paths. */
  lookups?: Record<string, unknown>;
  /** Called with every connection, before any byte. */
  connected?: (socket: Socket) => void;
}

/** Returns an answer with a length. */
export function plain(
  body: string | Uint8Array,
  headers: Record<string, string> = {},
  status: string | number = 200,
): Buffer {
  const bytes = Buffer.from(body);
  const all = {
    'Content-Type': 'application/json',
    'Content-Length': `${bytes.length}`,
    ...headers,
  };
  return Buffer.concat([headOf(all, status), bytes]);
}

export function headOf(headers: Record<string, string>, status: string | number = 200): Buffer {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`HTTP/1.1 ${status} Some Reason\r\n${lines.join('')}\r\n`);
}

/** The head of an event stream that comes in chunks. */
export const streamHead = headOf({
  'Content-Type': 'text/event-stream',
  'Transfer-Encoding': 'chunked',
});

/** Returns the bytes as one chunk. */
export function chunk(bytes: string | Uint8Array): Buffer {
  const buffer = Buffer.from(bytes);
  const size = Buffer.from(`${buffer.length.toString(16)}\r\n`);
  return Buffer.concat([size, buffer, Buffer.from('\r\n')]);
}

export const lastChunk = Buffer.from('0\r\n\r\n');

function parse(head: string): Omit<Received, 'body' | 'connection'> {
  const [start = '', ...lines] = head.split('\r\n');
  const [method = '', path = ''] = start.split(' ');
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = name in headers ? `${headers[name]} | ${value}` : value;
  }
  return { method, path, head, headers };
}

/** Starts it on 127.0.0.1. `answer` gets each request once it is here in full; connections are kept unless it ends them. */
export async function startUpstream(
  answer: Answer,
  options: UpstreamOptions = {},
): Promise<Upstream> {
  const requests: Received[] = [];
  const asked: string[] = [];
  const used = new Set<number>();
  const sockets = new Set<Socket>();
  let connections = 0;

  function answerQuestion(path: string, socket: Socket): void {
    asked.push(path);
    const found = options.lookups?.[path];
    if (found === undefined) socket.end(plain('{}', { Connection: 'close' }, 404));
    else socket.end(plain(JSON.stringify(found), { Connection: 'close' }));
  }

  const server = createServer((socket) => {
    const connection = ++connections;
    let received = Buffer.alloc(0);
    const over = Promise.withResolvers<void>();
    const wire: Wire = {
      write: (bytes) => void socket.write(bytes),
      end: () => void socket.end(),
      reset: () => void socket.resetAndDestroy(),
      over: over.promise,
    };
    socket.setNoDelay(true);
    sockets.add(socket);
    socket.on('error', () => {}); // `close` follows.
    socket.on('close', () => {
      sockets.delete(socket);
      over.resolve();
    });
    socket.on('data', (bytes: Buffer) => {
      received = Buffer.concat([received, bytes]);
      for (;;) {
        const headEnd = received.indexOf('\r\n\r\n');
        if (headEnd === -1) return;
        const head = parse(received.subarray(0, headEnd).toString('latin1'));
        const end = headEnd + 4 + Number(head.headers['content-length'] ?? 0);
        if (received.length < end) return;
        const body = received.subarray(headEnd + 4, end);
        received = received.subarray(end);
        if (head.headers['user-agent'] === watchAgent) {
          answerQuestion(head.path, socket);
          return;
        }
        const request = { ...head, body, connection };
        used.add(connection);
        requests.push(request);
        answer(request, wire);
      }
    });
    options.connected?.(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;

  async function stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    await closed;
  }
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    requests,
    questions: asked,
    connections: () => used.size,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

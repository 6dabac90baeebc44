/** A client on a raw socket, for what an HTTP library would hide: the bytes themselves, and how a connection ended. */
import { connect as connectTo } from 'node:net';

export interface RawClient {
  /** What has been received so far, a character for each byte. */
  text(): string;
  bytes(): Buffer;
  write(data: string | Uint8Array): void;
  /** Resolves with what was received once `isThere`; rejects when the connection ends before. */
  until(isThere: (text: string) => boolean): Promise<string>;
  /** Resolves with how the other side ended the connection. */
  ended: Promise<'fin' | 'reset'>;
  /** Stops and starts reading. */
  pause(): void;
  resume(): void;
  leave(): void;
}

export async function connect(port: number): Promise<RawClient> {
  const received: Buffer[] = [];
  const watching = new Set<() => void>();
  const ended = Promise.withResolvers<'fin' | 'reset'>();
  let isOver = false;
  const socket = connectTo(port, '127.0.0.1');
  await new Promise<void>((resolve, reject) =>
    socket.once('connect', resolve).once('error', reject),
  );

  function wake(): void {
    for (const look of watching) look();
  }
  socket.on('data', (bytes: Buffer) => {
    received.push(bytes);
    wake();
  });
  socket.on('end', () => ended.resolve('fin'));
  socket.on('error', () => ended.resolve('reset'));
  socket.on('close', () => {
    isOver = true;
    wake();
  });

  const bytes = (): Buffer => Buffer.concat(received);
  const text = (): string => bytes().toString('latin1');
  return {
    text,
    bytes,
    ended: ended.promise,
    write: (data) => void socket.write(data),
    until(isThere) {
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      function look(): void {
        if (!isThere(text())) {
          if (isOver) reject(new Error(`the connection ended after: ${text()}`));
          return;
        }
        watching.delete(look);
        resolve(text());
      }
      watching.add(look);
      look();
      return promise;
    },
    pause: () => void socket.pause(),
    resume: () => void socket.resume(),
    leave: () => void socket.destroy(),
  };
}

/** Gives a request as it goes over the wire, with a body in JSON where one is given. */
export function post(path: string, body: unknown, headers: Record<string, string> = {}): Buffer {
  const bytes = Buffer.from(JSON.stringify(body));
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = `POST ${path} HTTP/1.1\r\nHost: engine\r\nContent-Length: ${bytes.length}\r\n`;
  return Buffer.concat([Buffer.from(`${head}${lines.join('')}\r\n`), bytes]);
}

/** Gives what stands after the head of an answer. */
export function bodyOf(answer: string): string {
  return answer.slice(answer.indexOf('\r\n\r\n') + 4);
}

/** Splits a chunked body; its last element is '' when the last chunk was there. */
export function chunksOf(body: string): string[] {
  const chunks: string[] = [];
  for (let at = 0; at < body.length;) {
    const line = body.indexOf('\r\n', at);
    if (line === -1) throw new Error(`no chunk: ${body.slice(at)}`);
    const size = Number.parseInt(body.slice(at, line), 16);
    chunks.push(body.slice(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
  }
  return chunks;
}

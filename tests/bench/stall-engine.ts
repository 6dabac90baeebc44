/**
 * The stand-in for a llama.cpp beside which stalls are measured: it counts the bytes of bodies and keeps none, so that no
 * body delays it. Each token of a stream says when it was sent, by the clock of the machine.
 *
 *   bun stall-engine.ts PORT
 */
import type { Socket } from 'bun';

interface Connection {
  head: string;
  /** What follows the head and tells what is asked. */
  opening: string;
  /** Bytes of the body still to come; `undefined` while the head is. */
  missing: number | undefined;
}

const tokenMs = 5;
const maxOpening = 200;
const streams = new Set<Socket<Connection>>();

const looks: Record<string, unknown> = {
  '/health': { status: 'ok' },
  '/props': { total_slots: 64, default_generation_settings: { n_ctx: 1_000_000 } },
  '/slots': Array.from({ length: 64 }, (_, id) => ({ id, is_processing: false })),
  '/v1/models': { object: 'list', data: [{ id: 'm', object: 'model' }] },
};
const answer = { tokens: [1], choices: [{ text: 'ok' }], usage: { prompt_tokens: 1 } };

function route(socket: Socket<Connection>): void {
  const path = socket.data.head.split(' ', 2)[1] as string;
  if (socket.data.opening.includes('"stream":true')) {
    socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n');
    streams.add(socket);
    return;
  }
  const body = JSON.stringify(looks[path] ?? answer);
  socket.write(
    `HTTP/1.1 200 OK\r\nServer: llama.cpp\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
}

function receive(socket: Socket<Connection>, bytes: Buffer): void {
  const { data } = socket;
  let rest = bytes;
  while (rest.length > 0) {
    if (data.missing === undefined) {
      data.head += rest.toString('latin1');
      const end = data.head.indexOf('\r\n\r\n');
      if (end === -1) return;
      rest = Buffer.from(data.head.slice(end + 4), 'latin1');
      data.missing = Number(/\r\ncontent-length: *(\d+)/i.exec(data.head)?.[1] ?? 0);
    }
    const taken = rest.subarray(0, data.missing);
    rest = rest.subarray(taken.length);
    data.missing -= taken.length;
    if (data.opening.length < maxOpening)
      data.opening += taken.subarray(0, maxOpening).toString('latin1');
    if (data.missing > 0) return;
    route(socket);
    socket.data = { head: '', opening: '', missing: undefined };
    if (streams.has(socket)) return;
  }
}

Bun.listen<Connection>({
  hostname: '127.0.0.1',
  port: Number(Bun.argv[2]),
  socket: {
    open(socket) {
      socket.data = { head: '', opening: '', missing: undefined };
    },
    data: receive,
    close: (socket) => void streams.delete(socket),
    error: (socket) => void streams.delete(socket),
  },
});

setInterval(() => {
  const sentAt = performance.timeOrigin + performance.now();
  for (const socket of streams) socket.write(`data: {"sentAt":${sentAt}}\n\n`);
}, tokenMs);

/**
 * The stand-in for an engine that streams: a separate process on raw sockets, cheap enough not to be the bottleneck. One
 * timer serves all streams, in one or more phases, as the steps of one or more engines do. It is no HTTP server: small
 * requests, one at a time on a connection.
 *
 *   bun stream-engine.ts PORT INTERVAL_MS PHASES
 */
import type { Socket } from 'bun';
import { frameBytes, maxTokens, modelsAnswer, plainAnswer, tail, transcript } from './frames.ts';

interface Connection {
  /** What has arrived of the next request. */
  request: string;
  /** Tokens sent and asked for, while a stream is open. */
  sent: number;
  limit: number;
  /** The streams of the same phase, while this is one of them. */
  phase: Set<Socket<Connection>> | undefined;
  /** What the socket did not take yet; no token is sent meanwhile. */
  unsent: Uint8Array | undefined;
  closeAfter: boolean;
}

const [port = 0, intervalMs = 20, phaseCount = 1] = Bun.argv.slice(2).map(Number);
const phases = Array.from({ length: phaseCount }, () => new Set<Socket<Connection>>());
let opened = 0;
let finishing = false;

const crlf = Buffer.from('\r\n');
const asChunk = (body: Uint8Array) =>
  Buffer.concat([Buffer.from(`${body.length.toString(16)}\r\n`), body, crlf]);
const chunks = Array.from({ length: maxTokens }, (_, index) =>
  asChunk(transcript.subarray(index * frameBytes, (index + 1) * frameBytes)),
);
const ending = Buffer.concat([asChunk(tail), Buffer.from('0\r\n\r\n')]);
const streamHead = Buffer.from(
  'HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
);
const streamStart = Buffer.concat([streamHead, chunks[0] as Buffer]);

function send(socket: Socket<Connection>, bytes: Uint8Array): void {
  const written = Math.max(0, socket.write(bytes));
  if (written < bytes.length) socket.data.unsent = bytes.subarray(written);
  else if (socket.data.closeAfter && !socket.data.phase) socket.end();
}

function answer(socket: Socket<Connection>, status: string, body: string): void {
  const length = Buffer.byteLength(body);
  send(
    socket,
    Buffer.from(
      `HTTP/1.1 ${status}\r\nServer: bench\r\nContent-Type: application/json\r\nContent-Length: ${length}\r\n\r\n${body}`,
    ),
  );
}

function openStream(socket: Socket<Connection>, body: string): void {
  const connection = socket.data;
  finishing = false;
  connection.limit = Math.min(Number(/"max_tokens":\s*(\d+)/.exec(body)?.[1] ?? 16), maxTokens);
  connection.sent = 1;
  connection.phase = phases[opened++ % phaseCount] as Set<Socket<Connection>>;
  connection.phase.add(socket);
  send(socket, streamStart);
}

function closeStream(socket: Socket<Connection>): void {
  socket.data.phase?.delete(socket);
  socket.data.phase = undefined;
}

function sendToken(socket: Socket<Connection>): void {
  const connection = socket.data;
  if (connection.unsent) return;
  if (!finishing && connection.sent < connection.limit) {
    send(socket, chunks[connection.sent++] as Buffer);
    return;
  }
  closeStream(socket);
  send(socket, ending);
}

function route(socket: Socket<Connection>, head: string, body: string): void {
  const [method, path] = head.split(' ', 2);
  socket.data.closeAfter = /\r\nconnection: *close/i.test(head);
  if (method === 'POST' && path === '/v1/completions') {
    if (body.includes('"stream":true')) openStream(socket, body);
    else answer(socket, '200 OK', plainAnswer);
  } else if (path === '/v1/models') answer(socket, '200 OK', modelsAnswer);
  else if (path === '/health') answer(socket, '200 OK', '{"status":"ok"}');
  else if (path === '/streams') {
    answer(socket, '200 OK', String(phases.reduce((sum, phase) => sum + phase.size, 0)));
  } else if (path === '/finish') {
    finishing = true;
    answer(socket, '200 OK', '{}');
  } else answer(socket, '404 Not Found', '{"error":{"message":"no such route"}}');
}

/** Takes whole requests off what has arrived; a chunked body counts as whole when its last chunk has come. */
function receive(socket: Socket<Connection>, bytes: Buffer): void {
  const connection = socket.data;
  connection.request += bytes.toString('latin1');
  for (;;) {
    const headEnd = connection.request.indexOf('\r\n\r\n');
    if (headEnd < 0) return;
    const head = connection.request.slice(0, headEnd);
    const bodyStart = headEnd + 4;
    let end = bodyStart + Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
    if (/\r\ntransfer-encoding: *chunked/i.test(head)) {
      const last = connection.request.indexOf('0\r\n\r\n', bodyStart);
      if (last < 0) return;
      end = last + 5;
    }
    if (connection.request.length < end) return;
    const body = connection.request.slice(bodyStart, end);
    connection.request = connection.request.slice(end);
    route(socket, head, body);
  }
}

Bun.listen<Connection>({
  hostname: '127.0.0.1',
  port,
  socket: {
    open(socket) {
      socket.data = {
        request: '',
        sent: 0,
        limit: 0,
        phase: undefined,
        unsent: undefined,
        closeAfter: false,
      };
    },
    data: receive,
    drain(socket) {
      const { unsent } = socket.data;
      socket.data.unsent = undefined;
      if (unsent) send(socket, unsent);
    },
    close: closeStream,
    error: closeStream,
  },
});

/** One phase after another, each at its own time: a late timer does not shift the ones behind it. */
function tick(turn: number, dueMs: number): void {
  for (const socket of phases[turn] as Set<Socket<Connection>>) sendToken(socket);
  const nextDueMs = Math.max(dueMs + intervalMs / phaseCount, performance.now());
  const next = (turn + 1) % phaseCount;
  setTimeout(() => tick(next, nextDueMs), Math.max(0, nextDueMs - performance.now()));
}
tick(0, performance.now());

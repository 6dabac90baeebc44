/**
 * The load generator for streams: a separate process that opens streams on raw sockets, compares every byte with the
 * transcript, and reads the contender's CPU time and memory over a window in which all streams run. Its argument is a
 * `StreamLoad` as JSON, its output one line, a `StreamResult`. It sets no target.
 */
import type { Socket } from 'bun';
import { frameBytes, maxTokens, streamRequest, tail, transcript } from './frames.ts';
import { cpuUs, rssBytes } from './proc.ts';

export interface StreamLoad {
  port: number;
  enginePort: number;
  key: string;
  streams: number;
  /** Streams opened a second, one by one. */
  openPerSecond: number;
  /** How long all streams run before the window, and how long it is. */
  settleMs: number;
  windowMs: number;
  /** The contender's processes. */
  pids: number[];
}

export interface StreamResult {
  /** Streams that arrived whole, byte for byte. */
  complete: number;
  /** Why the other streams did not; each reason once. */
  errors: Record<string, number>;
  /** From the request written to the first token received. */
  firstTokenP50Us: number;
  firstTokenP99Us: number;
  /** Tokens received and CPU time used within the window. */
  tokens: number;
  windowMs: number;
  cpuUs: number;
  /** The most resident memory seen while all streams were open. */
  rssBytes: number;
}

/** One stream as it arrives: the head, then chunks of any size, whose content must be transcript and tail. */
interface Stream {
  openedUs: number;
  firstTokenUs: number;
  head: string | undefined;
  /** The chunk-size line in hand, and what is left of the chunk with the line break behind it. */
  sizeLine: string;
  left: number;
  /** Place in the transcript, and in the tail once that has begun. */
  at: number;
  tailAt: number;
  over: 'complete' | 'failed' | undefined;
}

const load = JSON.parse(Bun.argv[2] ?? '') as StreamLoad;
const sockets = new Set<Socket<Stream>>();
const firstTokensUs: number[] = [];
const errors: Record<string, number> = {};
let complete = 0;
let failed = 0;
let receivedBytes = 0;

const nowUs = () => performance.now() * 1000;
const lineFeed = 10;

function fail(socket: Socket<Stream> | undefined, reason: string): void {
  if (socket?.data.over) return;
  if (socket) socket.data.over = 'failed';
  failed += 1;
  errors[reason] = (errors[reason] ?? 0) + 1;
  socket?.end();
}

/** Compares what came in the body; false at the first byte that differs. */
function matches(stream: Stream, body: Uint8Array): boolean {
  const inTranscript = transcript.subarray(stream.at, stream.at + body.length);
  if (stream.tailAt === 0 && Buffer.compare(body, inTranscript) === 0) {
    stream.at += body.length;
    receivedBytes += body.length;
    return true;
  }
  // The tail can follow any whole frame, also within one piece.
  const frames =
    stream.tailAt > 0 ? 0 : Math.floor(((stream.at % frameBytes) + body.length) / frameBytes);
  for (let more = frames; more >= 0; more -= 1) {
    const cut = stream.tailAt > 0 ? 0 : more * frameBytes - (stream.at % frameBytes);
    if (cut < 0 || cut > body.length) continue;
    const rest = body.subarray(cut);
    if (Buffer.compare(body.subarray(0, cut), transcript.subarray(stream.at, stream.at + cut)))
      continue;
    if (Buffer.compare(rest, tail.subarray(stream.tailAt, stream.tailAt + rest.length))) continue;
    stream.at += cut;
    receivedBytes += cut;
    stream.tailAt += rest.length;
    return true;
  }
  return false;
}

function receiveBody(socket: Socket<Stream>, bytes: Buffer): void {
  const stream = socket.data;
  let at = 0;
  while (at < bytes.length) {
    if (stream.left === 0) {
      const end = bytes.indexOf(lineFeed, at);
      stream.sizeLine += bytes.toString('latin1', at, end < 0 ? bytes.length : end);
      if (end < 0) return;
      const size = parseInt(stream.sizeLine, 16);
      stream.sizeLine = '';
      at = end + 1;
      if (Number.isNaN(size)) return fail(socket, 'not a chunk size');
      stream.left = size + 2;
      if (size === 0) {
        if (stream.tailAt !== tail.length) return fail(socket, 'ended before [DONE]');
        stream.over = 'complete';
        complete += 1;
        socket.end();
        return;
      }
    }
    const taken = Math.min(stream.left, bytes.length - at);
    const ofBody = Math.min(taken, Math.max(0, stream.left - 2));
    if (ofBody > 0 && !matches(stream, bytes.subarray(at, at + ofBody))) {
      return fail(socket, 'other bytes than the engine sent');
    }
    if (stream.firstTokenUs === 0 && stream.at >= frameBytes) {
      stream.firstTokenUs = nowUs();
      firstTokensUs.push(stream.firstTokenUs - stream.openedUs);
    }
    stream.left -= taken;
    at += taken;
  }
}

function receive(socket: Socket<Stream>, bytes: Buffer): void {
  const stream = socket.data;
  if (stream.over) return;
  if (stream.head === undefined) return receiveBody(socket, bytes);
  stream.head += bytes.toString('latin1');
  const headEnd = stream.head.indexOf('\r\n\r\n');
  if (headEnd < 0) return;
  const { head } = stream;
  if (!head.startsWith('HTTP/1.1 200 ')) return fail(socket, head.slice(0, head.indexOf('\r\n')));
  if (!/\r\ntransfer-encoding: *chunked\r\n/i.test(head)) return fail(socket, 'not chunked');
  stream.head = undefined;
  receiveBody(socket, Buffer.from(head.slice(headEnd + 4), 'latin1'));
}

const body = streamRequest(maxTokens);
const request =
  `POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:${load.port}\r\nAuthorization: Bearer ${load.key}\r\n` +
  `Content-Type: application/json\r\nAccept: text/event-stream\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

function open(): void {
  void Bun.connect<Stream>({
    hostname: '127.0.0.1',
    port: load.port,
    data: {
      openedUs: 0,
      firstTokenUs: 0,
      head: '',
      sizeLine: '',
      left: 0,
      at: 0,
      tailAt: 0,
      over: undefined,
    },
    socket: {
      open(socket) {
        sockets.add(socket);
        socket.data.openedUs = nowUs();
        socket.write(request);
      },
      data: receive,
      close(socket) {
        sockets.delete(socket);
        fail(socket, 'closed before its end');
      },
      error: (socket, error) => fail(socket, error.message),
    },
  }).catch((error: unknown) => fail(undefined, `connect: ${String(error)}`));
}

/** Waits for `isTrue`, 60 s at most; what is still missing then shows in the figures. */
async function until(isTrue: () => boolean): Promise<void> {
  const giveUpAt = performance.now() + 60_000;
  while (!isTrue() && performance.now() < giveUpAt) await Bun.sleep(20);
}

function percentile(sorted: number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

const startedMs = performance.now();
for (let opened = 0; opened < load.streams;) {
  const due = Math.ceil(((performance.now() - startedMs) * load.openPerSecond) / 1000);
  for (; opened < Math.min(due, load.streams); opened += 1) open();
  await Bun.sleep(1);
}
await until(() => firstTokensUs.length + failed >= load.streams);
await Bun.sleep(load.settleMs);

const windowStartMs = performance.now();
const cpuStartUs = cpuUs(load.pids);
const bytesAtStart = receivedBytes;
let mostRss = rssBytes(load.pids);
while (performance.now() - windowStartMs < load.windowMs) {
  const leftMs = load.windowMs - (performance.now() - windowStartMs);
  await Bun.sleep(Math.max(0, Math.min(500, leftMs)));
  mostRss = Math.max(mostRss, rssBytes(load.pids));
}
const windowMs = performance.now() - windowStartMs;
const windowCpuUs = cpuUs(load.pids) - cpuStartUs;
const tokens = (receivedBytes - bytesAtStart) / frameBytes;

await fetch(`http://127.0.0.1:${load.enginePort}/finish`, { method: 'POST' });
await until(() => complete + failed >= load.streams);
for (const socket of sockets) fail(socket, 'did not end within 60 s');

firstTokensUs.sort((a, b) => a - b);
const result: StreamResult = {
  complete,
  errors,
  firstTokenP50Us: percentile(firstTokensUs, 0.5),
  firstTokenP99Us: percentile(firstTokensUs, 0.99),
  tokens,
  windowMs,
  cpuUs: windowCpuUs,
  rssBytes: mostRss,
};
console.log(JSON.stringify(result));
process.exit(0);

/**
 * The pieces of the simulated engine's answers before they reach a socket: parts, head and chunks. It opens no socket;
 * `Wire` is the interface of one.
 */

/** One connection while it answers one request. */
export interface Wire {
  /** Aborted when the connection is over, whether the client or the engine ended it. */
  readonly signal: AbortSignal;
  /** Headers about this connection that go with every answer. */
  readonly headers: Record<string, string>;
  /** Sends bytes as fast as the client reads; rejects when the connection is over. */
  write(bytes: Uint8Array): Promise<void>;
  /** Ends the connection with a FIN after the written bytes. */
  end(): void;
  /** Ends the connection with a RST; bytes that the client has not read yet may be lost. */
  reset(): void;
}

/** A piece of a streamed answer. `opening` parts come before the first token, `closing` parts after the last. */
export interface Part {
  kind: 'opening' | 'token' | 'closing';
  bytes: Uint8Array;
}

export interface Answer {
  status: number;
  headers: Record<string, string>;
  body: Uint8Array | AsyncIterable<Part>;
  /** The length of a body made of parts, if it is known in advance. */
  lengthBytes?: number;
}

export const jsonHeaders = { 'Content-Type': 'application/json; charset=utf-8' };

export function jsonAnswer(value: unknown, status = 200, headers = {}): Answer {
  const body = Buffer.from(JSON.stringify(value));
  return { status, headers: { ...jsonHeaders, ...headers }, body };
}

export function streamAnswer(body: AsyncIterable<Part>): Answer {
  return {
    status: 200,
    headers: { 'X-Accel-Buffering': 'no', 'Content-Type': 'text/event-stream' },
    body,
  };
}

/** Returns an answer whose parts are lines of JSON. */
export function linesAnswer(body: AsyncIterable<Part>): Answer {
  return { status: 200, headers: { 'Content-Type': 'application/x-ndjson' }, body };
}

/** An error in llama.cpp's format; `more` are further members. */
export class EngineError extends Error {
  constructor(
    readonly status: number,
    readonly type: string,
    message: string,
    readonly more: Record<string, unknown> = {},
  ) {
    super(message);
  }

  get answer(): Answer {
    const { status: code, message, type, more } = this;
    return jsonAnswer({ error: { code, message, type, ...more } }, code);
  }
}

const reasons: Record<number, string> = {
  200: 'OK',
  400: 'Bad Request',
  401: 'Unauthorized',
  404: 'Not Found',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
};

/** Returns the head of an HTTP/1.1 answer. */
export function headOf(status: number, headers: Record<string, string>): Uint8Array {
  let head = `HTTP/1.1 ${status} ${reasons[status] ?? 'Simulated'}\r\n`;
  if (headers['Server'] === undefined) head += 'Server: llama.cpp\r\n';
  for (const name in headers) head += `${name}: ${headers[name]}\r\n`;
  return Buffer.from(`${head}\r\n`);
}

/** Returns the bytes as one chunk of the chunked transfer coding (RFC 9112 section 7.1). */
export function chunkOf(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, CRLF]);
}

const CRLF = Buffer.from('\r\n');
export const lastChunk = Buffer.from('0\r\n\r\n');

/** Resolves after that time; 0 waits until the event loop has handled its sockets. Rejects when the signal fires. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.reject(signal.reason);
  if (ms <= 0) {
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() =>
      signal.throwIfAborted(),
    );
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  function leave(): void {
    clearTimeout(timer);
    reject(signal.reason);
  }
  const timer = setTimeout(() => {
    signal.removeEventListener('abort', leave);
    resolve();
  }, ms);
  signal.addEventListener('abort', leave, { once: true });
  return promise;
}

/** Never resolves; rejects when the signal fires. */
export function untilGone(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  if (signal.aborted) reject(signal.reason);
  signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  return promise;
}

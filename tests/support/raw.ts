/**
 * HTTP over a bare socket, for what a client library would hide: framing, half a body, a connection that is used again
 * or ended. It writes what it is given and reads one answer after the other; it never opens a second connection.
 */
import { connect, type Socket } from 'node:net';

export interface RawAnswer {
  status: number;
  headers: Headers;
  /** The head as it came, for whoever counts lines. */
  head: string;
  body: Buffer;
}

export class RawConnection {
  /** Resolves when the connection is over, whoever ended it. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  #received = Buffer.alloc(0);
  #isOver = false;
  #wake = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (bytes: Buffer) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      this.#wake();
    });
    const over = () => {
      this.#isOver = true;
      this.#wake();
    };
    socket.on('end', over);
    // `close` follows; a reset is an end like another.
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => socket.on('close', () => (over(), resolve())));
  }

  /** Connects to the host and port of a URL. */
  static open(url: string): Promise<RawConnection> {
    const { hostname, port } = new URL(url);
    return new Promise((resolve, reject) => {
      const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
      const connection = new RawConnection(socket);
      socket.once('connect', () => resolve(connection));
      socket.once('error', reject);
    });
  }

  /** Resolves when the system has taken the bytes over, or the connection is over. */
  write(bytes: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => this.#socket.write(bytes, () => resolve()));
  }

  /** Sends a FIN: this side has said everything, and still reads. */
  halfClose(): void {
    this.#socket.end();
  }

  /** Reads the next whole answer. Rejects when the connection ends before it. */
  async answer(options: { hasBody?: boolean } = {}): Promise<RawAnswer> {
    const { hasBody = true } = options;
    const head = (await this.#takeUntil('\r\n\r\n')).toString('latin1');
    const [start = '', ...lines] = head.split('\r\n');
    const headers = new Headers();
    for (const line of lines) {
      const colon = line.indexOf(':');
      headers.append(line.slice(0, colon), line.slice(colon + 1).trim());
    }
    const status = Number(start.split(' ')[1]);
    const body = hasBody ? await this.#body(headers) : Buffer.alloc(0);
    return { status, headers, head, body };
  }

  /** Sends a request and reads its answer. */
  async ask(request: string, options: { hasBody?: boolean } = {}): Promise<RawAnswer> {
    void this.write(request);
    return this.answer(options);
  }

  /** Gives what has come and was not read, once the connection is over. */
  async rest(): Promise<Buffer> {
    while (!this.#isOver) await this.#more();
    return this.#received;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #more(): Promise<void> {
    return new Promise((resolve) => (this.#wake = resolve));
  }

  async #takeUntil(delimiter: string): Promise<Buffer> {
    for (;;) {
      const at = this.#received.indexOf(delimiter);
      if (at !== -1) return (await this.#take(at + delimiter.length)).subarray(0, at);
      if (this.#isOver) throw new Error(`ended within: ${this.#received.toString('latin1')}`);
      await this.#more();
    }
  }

  async #take(count: number): Promise<Buffer> {
    while (this.#received.length < count) {
      if (this.#isOver) throw new Error(`ended after ${this.#received.length} of ${count} bytes`);
      await this.#more();
    }
    const taken = this.#received.subarray(0, count);
    this.#received = this.#received.subarray(count);
    return taken;
  }

  async #body(headers: Headers): Promise<Buffer> {
    const length = headers.get('content-length');
    if (length !== null) return this.#take(Number(length));
    if (headers.get('transfer-encoding') !== 'chunked') return this.rest();
    const chunks: Buffer[] = [];
    for (;;) {
      const size = Number.parseInt((await this.#takeUntil('\r\n')).toString('latin1'), 16);
      chunks.push((await this.#take(size + 2)).subarray(0, size));
      if (size === 0) return Buffer.concat(chunks);
    }
  }
}

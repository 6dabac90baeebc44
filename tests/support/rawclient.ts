/**
 * An HTTP client on a bare socket, for what a client library hides: which bytes came when, framing, half a request, a
 * connection that is used again, an answer that is cut, a client that stops reading or leaves in the middle.
 */
import { connect, type Socket } from 'node:net';
import { key } from './gatewayprocess.ts';
import { soon } from './wait.ts';

/** `whole`: the answer ended as its framing says. `fin` and `reset`: the connection ended before that. */
export type Ending = 'open' | 'whole' | 'fin' | 'reset';

export interface Asked {
  method?: string;
  path?: string;
  /** Added to Host, the key, and the length of the body. A value `undefined` leaves one of these out. */
  headers?: Record<string, string | undefined>;
  /** An object is sent as JSON; text and bytes are sent unchanged. */
  body?: object | string | Uint8Array;
}

const HEAD_END = '\r\n\r\n';

function bytesOf(body: Asked['body']): Uint8Array | undefined {
  if (body === undefined || body instanceof Uint8Array) return body;
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

/** Returns a request as it goes over the wire. */
export function requestBytes(asked: Asked = {}): Buffer {
  const body = bytesOf(asked.body);
  const { method = body === undefined ? 'GET' : 'POST', path = '/v1/completions' } = asked;
  const headers: Record<string, string | undefined> = {
    Host: 'gateway',
    Authorization: `Bearer ${key}`,
    ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
    ...(body === undefined ? {} : { 'Content-Length': String(body.length) }),
    ...asked.headers,
  };
  let head = `${method} ${path} HTTP/1.1\r\n`;
  for (const name in headers) {
    if (headers[name] !== undefined) head += `${name}: ${headers[name]}\r\n`;
  }
  return Buffer.concat([Buffer.from(`${head}\r\n`), body ?? new Uint8Array()]);
}

/** One answer, read as its bytes come. */
export class RawAnswer {
  /** The head as it came, without the blank line; empty until it is there. */
  head = '';
  status = 0;
  /** In the order of the answer; names in lower case. */
  headers: (readonly [name: string, value: string])[] = [];
  /** How many bytes of the body are here. */
  length = 0;
  isWhole = false;
  readonly #pieces: Buffer[] = [];
  #framing: 'chunked' | 'length' | 'close' = 'close';
  /** Bytes still to come of the body, or of the current chunk with its line end. */
  #leftBytes = 0;

  /** @param hasBody whether a body follows the head; not so for HEAD */
  constructor(private readonly hasBody: boolean) {}

  /** The body so far, without its chunk framing. */
  get body(): Buffer {
    return Buffer.concat(this.#pieces);
  }

  get text(): string {
    return this.body.toString();
  }

  /** Returns the value of a header, `undefined` without one; what came twice is joined by ` | `. */
  header(name: string): string | undefined {
    const values = this.headers.filter(([given]) => given === name).map(([, value]) => value);
    return values.length === 0 ? undefined : values.join(' | ');
  }

  /** Reads what has come; returns what it cannot read yet, or what follows this answer. */
  read(bytes: Buffer): Buffer {
    let rest = bytes;
    if (this.head === '') {
      const at = rest.indexOf(HEAD_END);
      if (at === -1) return rest;
      this.#readHead(rest.subarray(0, at).toString('latin1'));
      rest = rest.subarray(at + HEAD_END.length);
    }
    if (this.isWhole) return rest;
    if (this.#framing === 'chunked') return this.#readChunks(rest);
    if (this.#framing === 'close') return this.#keep(rest, rest.length);
    const left = this.#keep(rest, this.#leftBytes);
    this.isWhole = this.#leftBytes === 0;
    return left;
  }

  /** The connection has ended in order, which ends an answer without any framing. */
  end(): void {
    if (this.head !== '' && this.#framing === 'close') this.isWhole = true;
  }

  #readHead(head: string): void {
    this.head = head;
    const [start = '', ...lines] = head.split('\r\n');
    this.status = Number(start.split(' ')[1]);
    this.headers = lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
    });
    const length = this.header('content-length');
    const isBare = this.status < 200 || this.status === 204 || this.status === 304;
    if (isBare || !this.hasBody) this.#framing = 'length';
    else if (this.header('transfer-encoding') !== undefined) this.#framing = 'chunked';
    else if (length !== undefined) {
      this.#framing = 'length';
      this.#leftBytes = Number(length);
    }
  }

  /** Adds up to so many bytes to the body; returns the others. */
  #keep(bytes: Buffer, count: number): Buffer {
    const piece = bytes.subarray(0, count);
    if (piece.length > 0) this.#pieces.push(piece);
    this.length += piece.length;
    this.#leftBytes -= piece.length;
    return bytes.subarray(piece.length);
  }

  #readChunks(bytes: Buffer): Buffer {
    let rest = bytes;
    for (;;) {
      if (this.#leftBytes > 2) rest = this.#keep(rest, this.#leftBytes - 2);
      if (this.#leftBytes > 2 || rest.length < this.#leftBytes) return rest;
      rest = rest.subarray(this.#leftBytes);
      this.#leftBytes = 0;
      const at = rest.indexOf('\r\n');
      if (at === -1) return rest;
      const size = Number.parseInt(rest.subarray(0, at).toString(), 16);
      if (size === 0) {
        if (rest.length < at + 4) return rest;
        this.isWhole = true;
        return rest.subarray(at + 4);
      }
      this.#leftBytes = size + 2;
      rest = rest.subarray(at + 2);
    }
  }
}

/** One connection. It never opens a second one. */
export class RawClient {
  /** Resolves when the connection is over, with how the other side ended it. */
  readonly closed: Promise<'fin' | 'reset'>;
  readonly #socket: Socket;
  readonly #received: Buffer[] = [];
  /** Bytes that have come and are not read yet. */
  #rest: Buffer = Buffer.alloc(0);
  #answer = new RawAnswer(true);
  /** Whether `next` has returned the current answer, or is about to. */
  #isTaken = false;
  #over: 'fin' | 'reset' | undefined;
  readonly #watching = new Set<() => void>();

  private constructor(socket: Socket) {
    this.#socket = socket;
    const closed = Promise.withResolvers<'fin' | 'reset'>();
    this.closed = closed.promise;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => this.#receive(bytes));
    socket.on('end', () => this.#end('fin'));
    socket.on('error', () => this.#end('reset'));
    socket.on('close', () => {
      this.#end('fin');
      closed.resolve(this.#over as 'fin' | 'reset');
    });
  }

  /** Connects to the host and port of a URL; nothing is sent yet. */
  static async open(url: string): Promise<RawClient> {
    const { hostname, port } = new URL(url);
    const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RawClient(socket);
  }

  // The answer that is being read, or was read last.

  get head(): string {
    return this.#answer.head;
  }

  get status(): number {
    return this.#answer.status;
  }

  get headers(): readonly (readonly [name: string, value: string])[] {
    return this.#answer.headers;
  }

  get length(): number {
    return this.#answer.length;
  }

  get body(): Buffer {
    return this.#answer.body;
  }

  get text(): string {
    return this.#answer.text;
  }

  get ending(): Ending {
    return this.#answer.isWhole ? 'whole' : (this.#over ?? 'open');
  }

  header(name: string): string | undefined {
    return this.#answer.header(name);
  }

  /** Everything that has come on this connection, a character for each byte. */
  get received(): string {
    return Buffer.concat(this.#received).toString('latin1');
  }

  /** Resolves when the system has taken the bytes over, or the connection is over. */
  write(bytes: string | Uint8Array): Promise<void> {
    return new Promise((resolve) => this.#socket.write(bytes, () => resolve()));
  }

  /** Reads the next whole answer. Rejects when the connection ends before it. */
  async next(options: { hasBody?: boolean } = {}): Promise<RawAnswer> {
    if (this.#isTaken || options.hasBody === false) {
      this.#answer = new RawAnswer(options.hasBody ?? true);
      this.#rest = this.#answer.read(this.#rest);
    }
    this.#isTaken = true;
    const answer = this.#answer;
    await this.until('the answer is whole', () => answer.isWhole);
    return answer;
  }

  /** Sends a request and reads its answer. */
  async ask(request: string, options: { hasBody?: boolean } = {}): Promise<RawAnswer> {
    void this.write(request);
    return this.next(options);
  }

  /** Resolves as soon as the condition holds. Rejects when the connection ends before, or after a deadline. */
  until(what: string, isTrue: () => boolean): Promise<this> {
    const { promise, resolve, reject } = Promise.withResolvers<this>();
    const look = (): void => {
      if (isTrue()) resolve(this);
      else if (this.#over === undefined) return;
      else reject(new Error(`the connection ended before ${what}: ${this.#shown()}`));
      this.#watching.delete(look);
    };
    this.#watching.add(look);
    look();
    return soon(() => `${what}: ${this.#shown()}`, promise);
  }

  /** Resolves when so many bytes of the body are here. */
  hasBytes(count = 1): Promise<this> {
    return this.until(`the body has ${count} bytes`, () => this.length >= count);
  }

  hasText(text: string): Promise<this> {
    return this.until(`the body has ${JSON.stringify(text)}`, () => this.text.includes(text));
  }

  /** Resolves with all that has come, as in `received`, once the condition holds. */
  async receives(isThere: (received: string) => boolean): Promise<string> {
    await this.until('all is received', () => isThere(this.received));
    return this.received;
  }

  /** Resolves when the answer is whole or the connection over. */
  ended(): Promise<this> {
    return this.until('the answer ends', () => this.ending !== 'open');
  }

  /** Returns the bytes that belong to no answer, once the connection is over. */
  async rest(): Promise<Buffer> {
    await soon('the end of the connection', this.closed);
    return this.#rest;
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Sends a FIN: this side sends no more, and still reads. A program that ends does the same. */
  leaveByFin(): void {
    this.#socket.end();
  }

  /** Leaves by a reset, like a program that is killed with bytes unread. */
  leaveByReset(): void {
    this.#socket.resetAndDestroy();
  }

  leave(): void {
    this.#socket.destroy();
  }

  [Symbol.dispose](): void {
    this.leave();
  }

  #receive(bytes: Buffer): void {
    this.#received.push(bytes);
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    this.#rest = this.#answer.isWhole ? all : this.#answer.read(all);
    this.#wake();
  }

  #end(how: 'fin' | 'reset'): void {
    this.#over ??= how;
    if (how === 'fin') this.#answer.end();
    this.#socket.destroy();
    this.#wake();
  }

  #wake(): void {
    for (const look of this.#watching) look();
  }

  #shown(): string {
    return `${this.ending}, ${this.length} bytes, ${this.head}\n${this.text.slice(-500)}`;
  }
}

/** Connects and sends one whole request; returns the answer as it arrives. Closes when the answer is whole. */
export async function send(url: string, asked: Asked = {}): Promise<RawClient> {
  const client = await RawClient.open(url);
  void client.write(requestBytes(asked));
  const leave = () => client.leave();
  client.ended().then(leave, leave);
  return client;
}

/** Sends one request and returns the client once its answer has ended, in whatever way. */
export async function ask(url: string, asked: Asked = {}): Promise<RawClient> {
  return (await send(url, asked)).ended();
}

/** Returns the bytes after the head of an answer. */
export function bodyOf(answer: string): string {
  return answer.slice(answer.indexOf(HEAD_END) + HEAD_END.length);
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

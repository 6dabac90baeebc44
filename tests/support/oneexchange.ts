/**
 * One request of a client on a raw connection of its own, for what an HTTP library hides: which bytes came when, whether
 * the answer was whole, how the connection ended, and a client that stops reading or leaves in the middle.
 */
import { connect, type Socket } from 'node:net';
import { key } from './process.ts';
import { until } from './wait.ts';

/** `whole`: its framing said so. `fin` and `reset`: the connection ended before that. */
export type Ending = 'open' | 'whole' | 'fin' | 'reset';

export interface Asked {
  method?: string;
  path?: string;
  /** Beside Host, the key, and the length of the body. A value `undefined` leaves one of these out. */
  headers?: Record<string, string | undefined>;
  /** An object goes as JSON; text and bytes as they are. */
  body?: object | string | Uint8Array;
}

const HEAD_END = '\r\n\r\n';

function bytesOf(body: Asked['body']): Uint8Array | undefined {
  if (body === undefined || body instanceof Uint8Array) return body;
  return Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
}

/** Gives a request as it goes over the wire. */
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

export class Exchange {
  /** The head of the answer as it came, without the blank line; empty until it is there. */
  head = '';
  status = 0;
  /** In their order; names in lower case. */
  headers: (readonly [name: string, value: string])[] = [];
  /** How many bytes of the body are here. */
  length = 0;
  ending: Ending = 'open';
  /** What has arrived and is not understood yet. */
  #rest: Buffer = Buffer.alloc(0);
  readonly #pieces: Buffer[] = [];
  #framing: 'chunked' | 'length' | 'close' = 'close';
  /** Of the body, or of the current chunk with its line end. */
  #leftBytes = 0;

  constructor(private readonly socket: Socket) {
    socket.on('data', (bytes: Buffer) => this.#receive(bytes));
    socket.on('end', () => this.#over('fin'));
    socket.on('error', () => this.#over('reset'));
    socket.on('close', () => this.#over('fin'));
  }

  /** The body so far, without its chunk framing. */
  get body(): Buffer {
    return Buffer.concat(this.#pieces);
  }

  get text(): string {
    return this.body.toString();
  }

  /** Gives the value of a header, `undefined` without one; what came twice is joined by ` | `. */
  header(name: string): string | undefined {
    const values = this.headers.filter(([given]) => given === name).map(([, value]) => value);
    return values.length === 0 ? undefined : values.join(' | ');
  }

  write(bytes: string | Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Resolves when that is so; rejects after a deadline, with how far the answer has come. */
  async until(what: string, isTrue: () => boolean): Promise<this> {
    try {
      await until(what, isTrue);
    } catch (error) {
      const shown = this.text.slice(-500);
      throw new Error(
        `${String(error)}: ${this.ending}, ${this.length} bytes, ${this.head}\n${shown}`,
      );
    }
    return this;
  }

  /** Resolves when so many bytes of the body are here. */
  hasBytes(count = 1): Promise<this> {
    return this.until(`the body has ${count} bytes`, () => this.length >= count);
  }

  hasText(text: string): Promise<this> {
    return this.until(`the body has ${JSON.stringify(text)}`, () => this.text.includes(text));
  }

  /** Resolves when the answer is whole or the connection over. */
  ended(): Promise<this> {
    return this.until('the answer ends', () => this.ending !== 'open');
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  /** Leaves in order: says that nothing more will be sent, as a program that ends does. */
  leaveByFin(): void {
    this.socket.end();
  }

  /** Leaves by a reset, as a program does that is killed with bytes unread. */
  leaveByReset(): void {
    this.socket.resetAndDestroy();
  }

  #over(ending: Ending): void {
    if (this.ending === 'open') {
      const isWhole = ending === 'fin' && this.head !== '' && this.#framing === 'close';
      this.ending = isWhole ? 'whole' : ending;
    }
    this.socket.destroy();
  }

  #receive(bytes: Buffer): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    if (this.head === '') {
      const at = this.#rest.indexOf(HEAD_END);
      if (at === -1) return;
      this.#readHead(this.#rest.subarray(0, at).toString('latin1'));
      this.#rest = this.#rest.subarray(at + HEAD_END.length);
    }
    if (this.#framing === 'chunked') this.#readChunks();
    else this.#readPlain();
    if (this.ending === 'whole') this.socket.destroy();
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
    if (this.header('transfer-encoding') !== undefined) this.#framing = 'chunked';
    else if (length !== undefined || this.status === 204 || this.status === 304) {
      this.#framing = 'length';
      this.#leftBytes = this.status === 304 ? 0 : Number(length ?? 0);
    }
  }

  #keep(count: number): void {
    const piece = this.#rest.subarray(0, count);
    if (piece.length > 0) this.#pieces.push(piece);
    this.length += piece.length;
    this.#rest = this.#rest.subarray(piece.length);
  }

  #readPlain(): void {
    if (this.#framing === 'close') return this.#keep(this.#rest.length);
    const before = this.length;
    this.#keep(this.#leftBytes);
    this.#leftBytes -= this.length - before;
    if (this.#leftBytes === 0) this.ending = 'whole';
  }

  #readChunks(): void {
    for (;;) {
      if (this.#leftBytes > 2) {
        const before = this.length;
        this.#keep(this.#leftBytes - 2);
        this.#leftBytes -= this.length - before;
      }
      if (this.#leftBytes > 2 || this.#rest.length < this.#leftBytes) return;
      this.#rest = this.#rest.subarray(this.#leftBytes);
      this.#leftBytes = 0;
      const at = this.#rest.indexOf('\r\n');
      if (at === -1) return;
      const size = Number.parseInt(this.#rest.subarray(0, at).toString(), 16);
      if (size === 0) {
        if (this.#rest.length >= at + 4) this.ending = 'whole';
        return;
      }
      this.#leftBytes = size + 2;
      this.#rest = this.#rest.subarray(at + 2);
    }
  }
}

/** Connects; nothing is sent yet. */
export async function open(url: string): Promise<Exchange> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('error', reject);
  });
  socket.setNoDelay(true);
  return new Exchange(socket);
}

/** Connects and sends one whole request; the answer arrives in what it gives. */
export async function send(url: string, asked: Asked = {}): Promise<Exchange> {
  const exchange = await open(url);
  exchange.write(requestBytes(asked));
  return exchange;
}

/** Sends one request and gives the exchange once it has ended, however. */
export async function ask(url: string, asked: Asked = {}): Promise<Exchange> {
  return (await send(url, asked)).ended();
}

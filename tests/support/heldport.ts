/**
 * A port of 127.0.0.1 that belongs to a test for as long as it wants, listening or not: no other program gets it. While
 * nobody listens it always refuses connections; a program that names it can listen, end, and listen again.
 *
 * The port of a server that has ended is free for anybody at once, and with several test files and gateways running,
 * another one takes it. Linux hands out no port that a socket is bound to, but lets another bind to it by its number if
 * both say SO_REUSEADDR and nobody listens yet. No runtime binds without listening, hence the calls into the C library.
 */
import { dlopen, ptr } from 'bun:ffi';

const AF_INET = 2;
const SOCK_STREAM = 1;
/** The socket is not inherited by the processes that the test starts. */
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;

export interface HeldPort extends Disposable {
  port: number;
  url: string;
  /** The file descriptor of the bound socket. */
  fd: number;
}

/** Opens the C library, with sockets alone; the caller closes it. */
function openSockets() {
  return dlopen('libc.so.6', {
    socket: { args: ['int', 'int', 'int'], returns: 'int' },
    setsockopt: { args: ['int', 'int', 'int', 'ptr', 'int'], returns: 'int' },
    bind: { args: ['int', 'ptr', 'int'], returns: 'int' },
    getsockname: { args: ['int', 'ptr', 'ptr'], returns: 'int' },
    close: { args: ['int'], returns: 'int' },
  });
}

/** Holds a free port until it is disposed, or else until this process ends. */
export function holdPort(): HeldPort {
  const { symbols, close: unload } = openSockets();
  // struct sockaddr_in: family in the order of the machine, port and address in that of the network.
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET, 0);
  address.set([127, 0, 0, 1], 4);
  const size = new Int32Array([address.length]);
  const on = new Int32Array([1]);
  const fd = symbols.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const failed =
    symbols.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, ptr(on), on.byteLength) +
    symbols.bind(fd, ptr(address), address.length) +
    symbols.getsockname(fd, ptr(address), ptr(size));
  if (fd < 0 || failed !== 0) throw new Error('cannot hold a port');
  const port = address.readUInt16BE(2);
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    fd,
    [Symbol.dispose]() {
      symbols.close(fd);
      unload();
    },
  };
}

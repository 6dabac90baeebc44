/**
 * An address that takes no connection and refuses none: packets to it are swallowed, as by a firewall or a host that is
 * gone. A listener that nobody accepts from does that once its queue is full: Linux then drops every further SYN.
 * No runtime lets a program listen without accepting, hence the calls into the C library.
 */
import { dlopen, ptr } from 'bun:ffi';
import { connect, type Socket } from 'node:net';
import { until } from './wait.ts';

const AF_INET = 2;
const SOCK_STREAM = 1;
/** Twice what fits behind `listen(…, 0)`. */
const fillers = 4;

/** Opens one on 127.0.0.1; gives its URL, and closes it when disposed. */
export async function openBlackHole(): Promise<{ url: string } & AsyncDisposable> {
  const { symbols, close: unload } = dlopen('libc.so.6', {
    socket: { args: ['int', 'int', 'int'], returns: 'int' },
    bind: { args: ['int', 'ptr', 'int'], returns: 'int' },
    listen: { args: ['int', 'int'], returns: 'int' },
    getsockname: { args: ['int', 'ptr', 'ptr'], returns: 'int' },
    close: { args: ['int'], returns: 'int' },
  });
  // struct sockaddr_in: family in the order of the machine, port and address in that of the network.
  const address = Buffer.alloc(16);
  address.writeUInt16LE(AF_INET, 0);
  address.set([127, 0, 0, 1], 4);
  const size = new Int32Array([address.length]);
  const fd = symbols.socket(AF_INET, SOCK_STREAM, 0);
  const failed =
    symbols.bind(fd, ptr(address), address.length) +
    symbols.listen(fd, 0) +
    symbols.getsockname(fd, ptr(address), ptr(size));
  if (fd < 0 || failed !== 0) throw new Error('cannot listen without accepting');
  const port = address.readUInt16BE(2);

  // One after the other, until one gets no answer: from then on nobody does.
  const held: Socket[] = [];
  for (let i = 0; i < fillers; i++) held.push(connect(port, '127.0.0.1').on('error', () => {}));
  await until('the first are queued', () => held.some((socket) => !socket.connecting));
  return {
    url: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of held) socket.destroy();
      symbols.close(fd);
      unload();
    },
  };
}

/**
 * An address that accepts no connection and refuses none: packets to it are dropped, as by a firewall or a host that is
 * gone. A listener that nobody accepts from does that once its queue is full: Linux then drops every further SYN.
 * No runtime lets a program listen without accepting, hence the call into the C library.
 */
import { dlopen } from 'bun:ffi';
import { connect, type Socket } from 'node:net';
import { holdPort } from './heldport.ts';
import { until } from './wait.ts';

/** Twice what fits behind `listen(…, 0)`. */
const fillers = 4;

/** Opens one on 127.0.0.1; returns its URL, and closes it when disposed. */
export async function openBlackHole(): Promise<{ url: string } & AsyncDisposable> {
  const { symbols, close: unload } = dlopen('libc.so.6', {
    listen: { args: ['int', 'int'], returns: 'int' },
  });
  const held = holdPort();
  if (symbols.listen(held.fd, 0) !== 0) throw new Error('cannot listen without accepting');

  // One connection after the other, until one gets no answer: from then on none does.
  const sockets: Socket[] = [];
  for (let i = 0; i < fillers; i++) {
    sockets.push(connect(held.port, '127.0.0.1').on('error', () => {}));
  }
  await until('the first are queued', () => sockets.some((socket) => !socket.connecting));
  return {
    url: held.url,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      held[Symbol.dispose]();
      unload();
    },
  };
}

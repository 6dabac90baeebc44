/**
 * What errors show of an engine: those of the runtime itself, over real sockets, and the codes that it can have.
 */
import { describe, expect, test } from 'bun:test';
import { failureOf, type EngineFailure } from '../../../src/engines/failure.ts';
import { headOf, startUpstream, type Wire } from '../../support/rawengine.ts';
import { holdPort } from '../../support/heldport.ts';

/** An error with that code, as the runtime throws them. */
function error(code: string): Error {
  return Object.assign(new Error('a message that nobody reads'), { code });
}

const table: [string, EngineFailure][] = [
  ['ECONNREFUSED', 'unreachable'],
  ['ConnectionRefused', 'unreachable'],
  ['ENOTFOUND', 'unreachable'],
  ['EAI_AGAIN', 'unreachable'],
  ['EHOSTUNREACH', 'unreachable'],
  ['ENETUNREACH', 'unreachable'],
  ['EADDRNOTAVAIL', 'unreachable'],
  ['FailedToOpenSocket', 'unreachable'],
  ['ECONNRESET', 'reset'],
  ['EPIPE', 'reset'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'certificate'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'certificate'],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'certificate'],
  ['Malformed_HTTP_Response', 'malformed'],
  ['ENOENT', 'malformed'],
];

describe('by its code', () => {
  test.each(table)('%s is %s', (code, expected) => {
    expect(failureOf(error(code))).toBe(expected);
  });

  test.each<[string, unknown]>([
    ['an error without one', new Error('ECONNRESET')],
    ['nothing', undefined],
    ['a text', 'ECONNREFUSED'],
    ['what is no error', { code: 'ECONNREFUSED' }],
  ])('%s shows nothing certain', (_, thrown) => {
    expect(failureOf(thrown)).toBe('malformed');
  });
});

describe('by what the runtime throws', () => {
  async function thrownBy(answer: (wire: Wire) => unknown, init: RequestInit = {}) {
    await using engine = await startUpstream((_, wire) => answer(wire));
    try {
      await (await fetch(engine.url, { ...init, method: 'POST', body: 'x' })).bytes();
    } catch (thrown) {
      return thrown;
    }
    throw new Error('nothing was thrown');
  }

  test('a port where nobody listens', async () => {
    using port = holdPort();
    const thrown = await fetch(port.url).catch((caught: unknown) => caught);
    expect(failureOf(thrown)).toBe('unreachable');
  });

  test('a connection that is reset before any byte', async () => {
    expect(failureOf(await thrownBy((wire) => wire.reset()))).toBe('reset');
  });

  test('a body that is cut', async () => {
    const thrown = await thrownBy((wire) => {
      wire.write(headOf({ 'Content-Length': '100' }));
      wire.write('half');
      wire.end();
    });
    expect(failureOf(thrown)).toBe('reset');
  });

  test('an answer that is no HTTP', async () => {
    const thrown = await thrownBy((wire) => wire.write('SSH-2.0-OpenSSH_9.6\r\n\r\n'));
    expect(failureOf(thrown)).toBe('malformed');
  });

  test('the time limit of fetch', async () => {
    const thrown = await thrownBy(() => {}, { signal: AbortSignal.timeout(1) });
    expect(failureOf(thrown)).toBe('slow');
  });
});

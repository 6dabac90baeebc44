/**
 * The relay's endings: each true to what happened, each told exactly once; and that it reads only what is asked for.
 */
import { describe, expect, test } from 'bun:test';
import { StreamEnds } from '../../../src/relay/lastframes.ts';
import { GatewayError, type ErrorCode, type Family } from '../../../src/wire/errors.ts';
import { relay } from '../../../src/relay/stream.ts';
import { bytesOf, transcript, transcripts } from '../../support/transcripts.ts';
import type { Outcome } from '../../../src/request/settlement.ts';

/** What the engine does next: send bytes, break with a code, or be silent. Behind the last step it ends in order. */
type Step = string | { breaks: ErrorCode } | typeof silent;

const silent = Symbol('silent');

interface Setup {
  /** The first is a chunk: the relay begins when one is there. */
  steps: [string, ...Step[]];
  family?: Family;
  isCloseDelimited?: boolean;
  ends?: StreamEnds | undefined;
}

interface Ending {
  outcome: Outcome;
  code: ErrorCode | undefined;
}

/** Starts a relay and tells what becomes of it. */
function start(setup: Setup) {
  const { family = 'openai', isCloseDelimited = false } = setup;
  const ends = 'ends' in setup ? setup.ends : new StreamEnds();
  const steps = setup.steps.slice(1);
  const endings: Ending[] = [];
  const seen = { reads: 0, bytes: 0, passed: '', cancels: 0 };
  const exchange = new AbortController();
  /** Ends the exchange from outside: the signal fires, and a read that is open fails. */
  const abort = (code: ErrorCode) => exchange.abort(new GatewayError(code));
  async function read() {
    seen.reads++;
    const step = steps.shift();
    if (step === undefined) return { done: true };
    if (typeof step === 'string') return { done: false, value: bytesOf([step]) };
    if (step === silent) {
      return await new Promise<never>((_, reject) => {
        exchange.signal.addEventListener('abort', () => reject(exchange.signal.reason));
      });
    }
    throw new GatewayError(step.breaks);
  }
  const stream = relay({ read }, bytesOf([setup.steps[0]]), {
    family,
    ends,
    isCloseDelimited,
    signal: exchange.signal,
    received: (bytes) => (seen.bytes += bytes),
    passed: (bytes) => (seen.passed += Buffer.from(bytes).toString()),
    explain: (error) => error as GatewayError,
    left() {
      seen.cancels++;
      abort('client_closed_request');
    },
    finished: (outcome, error) => endings.push({ outcome, code: error?.code }),
  });
  return {
    reader: stream.getReader(),
    abort,
    endings,
    seen,
  };
}

/** Reads to the end; `wasReset` when the body broke instead of ending. */
async function drain(reader: {
  read(): Promise<{ done: boolean; value?: Uint8Array | undefined }>;
}) {
  let text = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done || value === undefined) return { text, wasReset: false };
      text += Buffer.from(value).toString();
    }
  } catch (error) {
    return { text, wasReset: true, error };
  }
}

const reset = { breaks: 'upstream_reset' } as const;
const done = 'data: [DONE]\n\n';

/** Returns the data of the last frame of a text. */
function lastData(text: string): Record<string, unknown> {
  return JSON.parse(text.slice(text.lastIndexOf('data: ') + 6));
}

describe('a body that ends in order', () => {
  test('passes whole and is done, before the client sees its end', async () => {
    const { reader, endings, seen } = start({ steps: ['data: 1\n\n', done] });
    await reader.read();
    await reader.read();
    expect(endings).toEqual([]);
    expect(await reader.read()).toEqual({ done: true, value: undefined });
    expect(endings).toEqual([{ outcome: 'done', code: undefined }]);
    expect(seen.bytes).toBe('data: 1\n\n'.length + done.length);
  });

  test('is done where the transport says so, whatever its last frame is', async () => {
    const { reader, endings } = start({ steps: ['data: 1\n\n', 'data: half'] });
    expect(await drain(reader)).toEqual({ text: 'data: 1\n\ndata: half', wasReset: false });
    expect(endings).toEqual([{ outcome: 'done', code: undefined }]);
  });

  test('passes without being watched when it is no event stream', async () => {
    const { reader, endings } = start({ steps: ['\x00\n\n', 'x'], ends: undefined });
    expect(await drain(reader)).toEqual({ text: '\x00\n\nx', wasReset: false });
    expect(endings).toEqual([{ outcome: 'done', code: undefined }]);
  });

  test('is done when only its closing ends it and nobody can tell more', async () => {
    const { reader, endings } = start({ steps: ['x'], ends: undefined, isCloseDelimited: true });
    expect(await drain(reader)).toEqual({ text: 'x', wasReset: false });
    expect(endings).toEqual([{ outcome: 'done', code: undefined }]);
  });
});

describe('a stream that only its closing ends', () => {
  test.each([...transcripts])(
    'is done behind the last frame of $name',
    async ({ frames, family }) => {
      const [first = '', ...rest] = frames;
      const { reader, endings } = start({
        steps: [first, ...rest],
        family,
        isCloseDelimited: true,
      });
      expect(await drain(reader)).toEqual({ text: frames.join(''), wasReset: false });
      expect(endings).toEqual([{ outcome: 'done', code: undefined }]);
    },
  );

  test('has failed without its last frame, and says so', async () => {
    const { reader, endings } = start({ steps: ['data: {"a":1}\n\n'], isCloseDelimited: true });
    const { text, wasReset } = await drain(reader);
    expect(wasReset).toBe(false);
    expect(text).toStartWith('data: {"a":1}\n\ndata: {"error":{');
    expect(text).not.toContain('[DONE]');
    expect(endings).toEqual([{ outcome: 'failed', code: 'upstream_reset' }]);
  });

  test('has failed inside a frame, and breaks', async () => {
    const { reader, endings } = start({ steps: ['data: {"a":1}\n\nda'], isCloseDelimited: true });
    expect(await drain(reader)).toMatchObject({ text: 'data: {"a":1}\n\nda', wasReset: true });
    expect(endings).toEqual([{ outcome: 'failed', code: 'upstream_reset' }]);
  });

  test('gets no second error behind the one that the engine sent', async () => {
    const own = 'data: {"error":{"code":500,"message":"slot failed","type":"server_error"}}\n\n';
    const { reader } = start({ steps: ['data: {"a":1}\n\n', own], isCloseDelimited: true });
    expect(await drain(reader)).toEqual({ text: `data: {"a":1}\n\n${own}`, wasReset: false });
  });
});

describe('an engine that breaks between frames', () => {
  test("ends an OpenAI stream with the family's error and closes", async () => {
    const { reader, endings } = start({ steps: ['data: {"a":1}\n\n', reset] });
    const { text, wasReset } = await drain(reader);
    expect(wasReset).toBe(false);
    expect(text).toStartWith('data: {"a":1}\n\ndata: {');
    expect(text).toEndWith('}\n\n');
    expect(text).not.toContain('[DONE]');
    expect(lastData(text)).toMatchObject({
      error: { type: 'server_error', code: 'upstream_reset', param: null },
    });
    expect(endings).toEqual([{ outcome: 'failed', code: 'upstream_reset' }]);
  });

  test('ends an Anthropic stream with an error event', async () => {
    const [first = ''] = transcript('Anthropic messages').frames;
    const { reader } = start({ steps: [first, reset], family: 'anthropic' });
    const { text, wasReset } = await drain(reader);
    expect(wasReset).toBe(false);
    expect(text.slice(first.length)).toStartWith('event: error\ndata: {');
    expect(lastData(text)).toMatchObject({ type: 'error', error: { type: 'api_error' } });
  });

  test('ends a Responses stream with an error event that counts on', async () => {
    const [first = '', second = ''] = transcript('Responses').frames;
    const { reader } = start({ steps: [first, second, reset], family: 'responses' });
    const { text } = await drain(reader);
    expect(text.slice(first.length + second.length)).toStartWith('event: error\ndata: {');
    expect(lastData(text)).toMatchObject({
      type: 'error',
      code: 'upstream_reset',
      sequence_number: 2,
    });
  });

  test('counts from 0 in a Responses stream without a numbered event', async () => {
    const { reader } = start({ steps: [': wait\n\n', reset], family: 'responses' });
    const { text } = await drain(reader);
    expect(lastData(text)).toMatchObject({ sequence_number: 0 });
  });

  test.each(['idle_timeout', 'total_timeout', 'shutting_down', 'stopped_by_operator'] as const)(
    'tells the client that it was %s',
    async (code) => {
      const { reader, endings } = start({ steps: ['data: {"a":1}\n\n', { breaks: code }] });
      const { text } = await drain(reader);
      expect(lastData(text)).toMatchObject({ error: { code } });
      expect(endings).toEqual([{ outcome: 'failed', code }]);
    },
  );

  test('counts a client that left as aborted', async () => {
    const { reader, endings } = start({
      steps: ['data: 1\n\n', { breaks: 'client_closed_request' }],
    });
    await drain(reader);
    expect(endings).toEqual([{ outcome: 'aborted', code: 'client_closed_request' }]);
  });

  test('after a CR LF that was cut counts as between frames', async () => {
    const { reader } = start({ steps: ['data: {"a":1}\r\n\r', '\n', reset] });
    const { text, wasReset } = await drain(reader);
    expect(wasReset).toBe(false);
    expect(lastData(text)).toMatchObject({ error: { code: 'upstream_reset' } });
  });
});

describe('an engine that breaks inside a frame', () => {
  test('breaks the body behind the bytes that came, without a frame of ours', async () => {
    const { reader, endings } = start({ steps: ['data: {"a":1}\n\n', 'data: {"b"', reset] });
    expect(await drain(reader)).toEqual({
      text: 'data: {"a":1}\n\ndata: {"b"',
      wasReset: true,
      error: undefined,
    });
    expect(endings).toEqual([{ outcome: 'failed', code: 'upstream_reset' }]);
  });

  test('breaks a body that is not watched', async () => {
    const { reader, endings } = start({ steps: ['x\n\n', reset], ends: undefined });
    expect(await drain(reader)).toMatchObject({ text: 'x\n\n', wasReset: true });
    expect(endings).toEqual([{ outcome: 'failed', code: 'upstream_reset' }]);
  });
});

describe('an engine that breaks behind its last frame', () => {
  test.each([...transcripts])('has ended $name truly', async ({ frames, family }) => {
    const [first = '', ...rest] = frames;
    const { reader, endings } = start({ steps: [first, ...rest, reset], family });
    expect(await drain(reader)).toEqual({ text: frames.join(''), wasReset: false });
    expect(endings).toEqual([{ outcome: 'done', code: undefined }]);
  });

  test('has ended truly when the last CR LF was cut', async () => {
    const { reader, endings } = start({ steps: ['data: [DONE]\r\n\r', '\n', reset] });
    expect(await drain(reader)).toEqual({ text: 'data: [DONE]\r\n\r\n', wasReset: false });
    expect(endings).toEqual([{ outcome: 'done', code: undefined }]);
  });

  test.each(['idle_timeout', 'total_timeout', 'shutting_down', 'upstream_malformed'] as const)(
    'gets no error event behind [DONE] for %s',
    async (code) => {
      const { reader } = start({ steps: ['data: 1\n\n', done, { breaks: code }] });
      expect(await drain(reader)).toEqual({ text: `data: 1\n\n${done}`, wasReset: false });
    },
  );
});

describe('an exchange that is ended from outside', () => {
  test('while the engine is silent tells the client why, and is settled once', async () => {
    const { reader, abort, endings } = start({ steps: ['data: {"a":1}\n\n', silent] });
    await reader.read();
    const rest = drain(reader);
    await Bun.sleep(0);
    abort('idle_timeout');
    const { text, wasReset } = await rest;
    expect(wasReset).toBe(false);
    expect(lastData(text)).toMatchObject({ error: { code: 'idle_timeout' } });
    expect(endings).toEqual([{ outcome: 'failed', code: 'idle_timeout' }]);
  });

  test('while the client does not read is settled at once, and once, and breaks', async () => {
    const { reader, abort, endings } = start({ steps: ['data: 1\n\n', 'data: 2\n\n'] });
    await reader.read();
    await Bun.sleep(0);
    abort('total_timeout');
    expect(endings).toEqual([{ outcome: 'failed', code: 'total_timeout' }]);
    expect(await drain(reader)).toMatchObject({ text: '', wasReset: true });
    expect(endings.length).toBe(1);
  });

  test('after it has ended by itself stays as it ended', async () => {
    const { reader, abort, endings } = start({ steps: ['data: 1\n\n'] });
    expect(await drain(reader)).toEqual({ text: 'data: 1\n\n', wasReset: false });
    abort('client_closed_request');
    expect(endings).toEqual([{ outcome: 'done', code: undefined }]);
  });
});

describe('a client that cancels', () => {
  test('is settled once as aborted, and the exchange is ended', async () => {
    const { reader, endings, seen } = start({ steps: ['data: 1\n\n', 'data: 2\n\n'] });
    await reader.read();
    await reader.cancel();
    expect(seen.cancels).toBe(1);
    expect(endings).toEqual([{ outcome: 'aborted', code: 'client_closed_request' }]);
  });

  test('settles nothing where its leaving ends nothing', async () => {
    const endings: Outcome[] = [];
    let lefts = 0;
    const body = relay({ read: async () => ({ done: true }) }, bytesOf(['data: 1\n\n']), {
      family: 'openai',
      ends: new StreamEnds(),
      isCloseDelimited: false,
      signal: new AbortController().signal,
      received() {},
      passed() {},
      explain: (cause) => new GatewayError('internal_error', { cause }),
      left: () => void lefts++,
      finished: (outcome) => endings.push(outcome),
    });
    await body.cancel();
    expect({ lefts, endings }).toEqual({ lefts: 1, endings: [] });
  });

  /** Starts a relay whose second read is answered by hand, asks for it, and cancels. */
  async function cancelDuringRead() {
    const { promise, resolve, reject } = Promise.withResolvers<{
      done: boolean;
      value?: Uint8Array;
    }>();
    const asked = Promise.withResolvers<void>();
    const endings: Outcome[] = [];
    const exchange = new AbortController();
    const read = () => {
      asked.resolve();
      return promise;
    };
    const body = relay({ read }, bytesOf(['data: 1\n\n']), {
      family: 'openai',
      ends: new StreamEnds(),
      isCloseDelimited: false,
      signal: exchange.signal,
      received() {},
      passed() {},
      explain: () => new GatewayError('client_closed_request'),
      left: () => exchange.abort(new GatewayError('client_closed_request')),
      finished: (outcome) => endings.push(outcome),
    });
    const reader = body.getReader();
    await reader.read();
    const pending = reader.read();
    await asked.promise;
    await reader.cancel();
    expect((await pending).done).toBe(true);
    return { endings, resolve, reject };
  }

  test('while a read is open is settled once, also when the read then breaks', async () => {
    const { endings, reject } = await cancelDuringRead();
    reject(new GatewayError('client_closed_request'));
    await Bun.sleep(0);
    await Bun.sleep(0);
    expect(endings).toEqual(['aborted']);
  });

  test.each([false, true])(
    'while a read is open is settled once, also when the read still gives bytes (the end: %p)',
    async (done) => {
      const { endings, resolve } = await cancelDuringRead();
      resolve(done ? { done } : { done, value: bytesOf(['data: 2\n\n']) });
      await Bun.sleep(0);
      await Bun.sleep(0);
      expect(endings).toEqual(['aborted']);
    },
  );
});

describe('back-pressure', () => {
  test('reads nothing before the client asks, and then one chunk for one', async () => {
    const { reader, seen } = start({ steps: ['1', '2', '3'], ends: undefined });
    await Bun.sleep(0);
    expect(seen).toMatchObject({ reads: 0, bytes: 0 });
    await reader.read();
    await Bun.sleep(0);
    expect(seen).toMatchObject({ reads: 0, bytes: 1 });
    await reader.read();
    await Bun.sleep(0);
    expect(seen).toMatchObject({ reads: 1, bytes: 2 });
  });

  test('reads on only as long as every frame is dropped', async () => {
    class DropsOdd extends StreamEnds {
      drop(bytes: Uint8Array, start: number): boolean {
        return (bytes[start + 6] as number) % 2 === 1;
      }
    }
    const steps = ['data: 1\n\n', 'data: 3\n\n', 'data: 4\n\n', 'data: 5\n\n'] as [
      string,
      ...Step[],
    ];
    const { reader, seen } = start({ steps, ends: new DropsOdd() });
    const { value } = await reader.read();
    expect(Buffer.from(value ?? []).toString()).toBe('data: 4\n\n');
    await Bun.sleep(0);
    expect(seen.reads).toBe(2);
    expect(await drain(reader)).toEqual({ text: '', wasReset: false });
    expect(seen.passed).toBe('data: 4\n\n');
  });
});

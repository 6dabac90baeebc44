/** What the gateway's own routes read of a request, and what they refuse. */
import { describe, expect, test } from 'bun:test';
import { InputError } from '../../../src/config/problems.ts';
import { endOf, parametersOf, readObject, readSmall, reading } from '../../../src/http/input.ts';
import { GatewayError } from '../../../src/wire/errors.ts';

/** Returns what `work` throws, or rejects with. */
async function thrownBy(work: () => unknown): Promise<unknown> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  return undefined;
}

function post(
  body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>,
  signal?: AbortSignal,
): Request {
  return new Request('http://gateway/admin/keys', {
    method: 'POST',
    body,
    ...(signal && { signal }),
  });
}

describe('reading', () => {
  test('returns what the work returns', () => {
    expect(reading(() => 7)).toBe(7);
  });

  test('turns problems of input into a 400 that names them all', async () => {
    const error = await thrownBy(() =>
      reading(() => {
        throw new InputError(['a: wrong', 'b: missing']);
      }),
    );
    expect(error).toMatchObject({ code: 'invalid_field', message: 'a: wrong; b: missing.' });
  });

  test('lets every other error pass', async () => {
    const broken = new TypeError('broken');
    const error = await thrownBy(() =>
      reading(() => {
        throw broken;
      }),
    );
    expect(error).toBe(broken);
  });
});

test('an error after the client has left is client_closed_request', () => {
  const cause = new Error('broken');
  expect(endOf(post(''), cause)).toBe(cause);
  const gone = endOf(post('', AbortSignal.abort()), cause);
  expect(gone).toMatchObject({ code: 'client_closed_request', cause });
});

describe('a small body', () => {
  test('is read whole, up to 64 KiB', async () => {
    const parts = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const text of ['{"a"', ':1}']) controller.enqueue(Buffer.from(text));
        controller.close();
      },
    });
    expect(Buffer.from(await readSmall(post(parts))).toString()).toBe('{"a":1}');
    expect(await readSmall(post(new Uint8Array(65_536)))).toHaveLength(65_536);
    expect(await readSmall(new Request('http://gateway/'))).toHaveLength(0);
  });

  test('is refused beyond that, and no more of it is read', async () => {
    expect(await thrownBy(() => readSmall(post(new Uint8Array(65_537))))).toMatchObject({
      code: 'body_too_large',
    });
    let pulled = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(1_000 + (pulled++ && 0))),
    });
    expect(await thrownBy(() => readSmall(post(endless)))).toBeInstanceOf(GatewayError);
    expect(pulled).toBeLessThan(100);
  });

  test('whose client leaves ends as that', async () => {
    const leaving = new AbortController();
    const broken = new ReadableStream<Uint8Array>({
      pull(controller) {
        leaving.abort();
        controller.error(new Error('reset'));
      },
    });
    expect(await thrownBy(() => readSmall(post(broken, leaving.signal)))).toMatchObject({
      code: 'client_closed_request',
    });
  });

  test('is a JSON object where one is wanted', async () => {
    expect(await readObject(post('{"a":1}'))).toEqual({ a: 1 });
    expect(await thrownBy(() => readObject(post('[]')))).toBeInstanceOf(GatewayError);
  });
});

describe('the parameters of a query', () => {
  const ask = (query: string) => parametersOf(`http://gateway/usage${query}`, ['by', 'since']);

  test.each([
    ['', {}],
    ['?', {}],
    ['?by=key', { by: 'key' }],
    ['?since=2026-01-01&by=key%2Cmodel', { by: 'key,model', since: '2026-01-01' }],
  ])('of %j are %j', (query, expected) => {
    expect(ask(query)).toEqual(expected as never);
  });

  test.each([
    ['?from=1', 'no such parameter; there are by, since.'],
    ['?by=key&by=model', 'by: given twice.'],
  ])('are refused as %j', async (query, message) => {
    expect(await thrownBy(() => ask(query))).toMatchObject({ code: 'invalid_field', message });
  });
});

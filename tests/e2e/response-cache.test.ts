/**
 * The response cache from outside: a repeat gets the bytes of the first answer and no engine runs, no key gets what
 * another asked for, and a failed or incomplete answer is not kept.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import {
  completion,
  fresh,
  marks,
  otherKey,
  startCaching,
  untilInFlight,
  type CachingStage,
} from '../support/cachingstage.ts';
import { ask, send, type Asked, type RawClient } from '../support/rawclient.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

let shared: CachingStage;
beforeAll(async () => {
  shared = await startCaching();
});
afterAll(() => shared[Symbol.asyncDispose]());

/** Asks one after the other; returns the answers and how many of them an engine has run for. */
async function inTurn(...asked: Asked[]) {
  const { gateway, runs } = shared;
  const before = runs();
  const answers: RawClient[] = [];
  for (const each of asked) answers.push(await ask(gateway.url, each));
  return { answers, ran: runs() - before };
}

describe('a repeat gets the same bytes, and no engine runs', () => {
  const messages = () => [{ role: 'user', content: fresh() }];
  const common = { max_tokens: 8, temperature: 0 };
  const cases: [string, string, () => object][] = [
    ['a completion', '/v1/completions', () => ({ ...common, prompt: fresh() })],
    ['a chat', '/v1/chat/completions', () => ({ ...common, messages: messages() })],
    ['a message', '/v1/messages', () => ({ ...common, messages: messages() })],
    ['a response', '/v1/responses', () => ({ temperature: 0, input: fresh() })],
    ['a native completion', '/completion', () => ({ ...common, prompt: fresh(), n_predict: 8 })],
  ];
  for (const [name, path, bodyOf] of cases) {
    for (const isStream of [false, true]) {
      test(`${name}, ${isStream ? 'as a stream' : 'plain'}`, async () => {
        const asked = { path, body: { ...bodyOf(), stream: isStream } };
        const { answers, ran } = await inTurn(asked, asked, asked);
        const [first, ...others] = answers as [RawClient, ...RawClient[]];
        expect(marks(answers)).toEqual(['miss', 'hit', 'hit']);
        expect(ran).toBe(1);
        expect([first.status, first.ending]).toEqual([200, 'whole']);
        expect(first.length).toBeGreaterThan(50);
        const type = first.header('content-type');
        expect(type).toStartWith(isStream ? 'text/event-stream' : 'application/json');
        for (const other of others) {
          expect([other.status, other.ending]).toEqual([200, 'whole']);
          expect(other.header('content-type')).toBe(type as string);
          expect(other.body.equals(first.body)).toBe(true);
          // Its framing and its cache-control are those of a stream, too.
          for (const header of ['transfer-encoding', 'content-length', 'cache-control']) {
            expect([header, other.header(header)]).toEqual([header, first.header(header)]);
          }
        }
      });
    }
  }

  test('embeddings, whatever the temperature', async () => {
    const asked = { path: '/v1/embeddings', body: { input: [fresh(), 'b'] } };
    const { answers, ran } = await inTurn(asked, asked);
    expect([marks(answers), ran]).toEqual([['miss', 'hit'], 1]);
    expect(answers[1]?.body.equals(answers[0]?.body as Buffer)).toBe(true);
  });

  test('a seed at any temperature', async () => {
    const asked = completion({ temperature: 0.7, seed: 7 });
    const { answers, ran } = await inTurn(asked, asked);
    expect([marks(answers), ran]).toEqual([['miss', 'hit'], 1]);
  });
});

test('each answer has the id of its own request', async () => {
  const asked = completion();
  const withId = (id: string) => ({ ...asked, headers: { 'X-Request-Id': id } });
  const { answers } = await inTurn(withId('one'), withId('two'));
  expect(marks(answers)).toEqual(['miss', 'hit']);
  expect(answers.map((answer) => answer.header('x-request-id'))).toEqual(['one', 'two']);
});

test('a repeat is marked in the log, and no tokens of an engine count for it', async () => {
  const asked = completion({ stream: true });
  await inTurn(asked, { ...asked, headers: { 'X-Request-Id': 'counted' } });
  const line = await shared.gateway.logged(
    ({ msg, requestId }) => msg === 'request ended' && requestId === 'counted',
  );
  expect(line).toMatchObject({ outcome: 'done', status: 200 });
  expect(line['bytesOut']).toBeGreaterThan(0);
  for (const name of ['upstream', 'promptTokens', 'completionTokens', 'tokensAre']) {
    expect([name, line[name]]).toEqual([name, undefined]);
  }
});

describe('each is asked for anew and has no header', () => {
  const cases: [string, () => Asked][] = [
    ['another temperature without a seed', () => completion({ temperature: 0.7 })],
    ['no temperature', () => completion({ temperature: undefined })],
    [
      'a response that is stored',
      () => ({ path: '/v1/responses', body: { temperature: 0, store: true, input: fresh() } }),
    ],
    ['no-store', () => ({ ...completion(), headers: { 'Cache-Control': 'no-store' } })],
  ];
  for (const [name, askedOf] of cases) {
    test(name, async () => {
      const asked = askedOf();
      const { answers, ran } = await inTurn(asked, asked);
      expect([marks(answers), ran]).toEqual([[undefined, undefined], 2]);
      expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    });
  }
});

test('an answer to no-store is not kept', async () => {
  const asked = completion();
  const { answers, ran } = await inTurn(
    { ...asked, headers: { 'Cache-Control': 'no-store' } },
    asked,
  );
  expect([marks(answers), ran]).toEqual([[undefined, 'miss'], 2]);
});

test('no-cache asks the engine anew and keeps the answer', async () => {
  const asked = completion();
  const anew = { ...asked, headers: { 'Cache-Control': 'no-cache' } };
  const { answers, ran } = await inTurn(asked, anew, asked);
  expect([marks(answers), ran]).toEqual([['miss', 'miss', 'hit'], 2]);
});

test('other bytes, another route, another query or another version of the API are other requests', async () => {
  const asked = completion();
  const { answers } = await inTurn(
    asked,
    { ...asked, body: `${JSON.stringify(asked.body)} ` },
    { ...asked, path: '/completion' },
    { ...asked, path: '/v1/completions?a=b' },
    { ...asked, headers: { 'anthropic-version': '2023-06-01' } },
    asked,
  );
  expect(marks(answers)).toEqual([...Array(5).fill('miss'), 'hit']);
});

describe('is not kept', () => {
  const stream = { stream: true };
  const cases: [string, object, string][] = [
    ['an error', {}, 'error-500'],
    ['a refusal', {}, 'status=400'],
    ['a plain answer that was cut', {}, 'cut-plain'],
    ['a stream that was cut between frames', stream, 'cut=2'],
    ['a stream that was cut in a frame', stream, 'cut-frame=2'],
    ['a stream that was reset', stream, 'reset-mid=2'],
    ['a stream that was cut and ends by closing', stream, 'close-delimited-cut=2'],
    ['an encoded stream', stream, 'gzip'],
  ];
  for (const [name, more, fault] of cases) {
    test(name, async () => {
      const asked = completion(more);
      const { answers, ran } = await inTurn(
        { ...asked, headers: { 'x-demo-fault': fault } },
        asked,
        asked,
      );
      // A request that failed before its first byte gets the gateway's own error, without the header.
      expect([marks(answers).slice(1), ran]).toEqual([['miss', 'hit'], 2]);
      expect([answers[2]?.status, answers[2]?.ending]).toEqual([200, 'whole']);
    });
  }

  test('an answer larger than an eighth of the cache', async () => {
    await using small = await startCaching({ RESPONSE_CACHE_BYTES: String(2 ** 20) });
    const asked = { ...completion({ stream: true }), headers: { 'x-demo-fault': 'huge=200000' } };
    const first = await ask(small.gateway.url, asked);
    const second = await ask(small.gateway.url, asked);
    expect([first.ending, second.ending]).toEqual(['whole', 'whole']);
    expect([marks([first, second]), small.runs()]).toEqual([['miss', 'miss'], 2]);
    const short = completion({ stream: true });
    const kept = [await ask(small.gateway.url, short), await ask(small.gateway.url, short)];
    expect([marks(kept), small.runs()]).toEqual([['miss', 'hit'], 3]);
  });
});

test('a client that leaves in the middle leaves nothing behind', async () => {
  const { engine, gateway } = shared;
  const asked = { ...completion({ stream: true }), headers: { 'x-demo-fault': 'stall=2' } };
  const leaving = await send(gateway.url, asked);
  await leaving.hasBytes();
  leaving.leaveByReset();
  await until('the engine knows', () => engine.requests.at(-1)?.state === 'aborted');
  const anew = { body: asked.body as object };
  const { answers } = await inTurn(anew, anew);
  expect(marks(answers)).toEqual(['miss', 'hit']);
  expect(answers.map(({ ending }) => ending)).toEqual(['whole', 'whole']);
});

test('a client that leaves in the middle of a kept stream harms nobody', async () => {
  const { gateway } = shared;
  const asked = { ...completion({ stream: true }), headers: { 'x-demo-fault': 'huge=4000000' } };
  const first = await ask(gateway.url, asked);
  const leaving = await send(gateway.url, asked);
  await leaving.hasBytes();
  leaving.leaveByReset();
  await untilInFlight(gateway, 0);
  const { answers } = await inTurn(asked);
  expect(marks([first, leaving, ...answers])).toEqual(['miss', 'hit', 'hit']);
  expect(answers[0]?.body.equals(first.body)).toBe(true);
});

describe('two keys', () => {
  const asOther = (asked: Asked) => ({
    ...asked,
    headers: { Authorization: `Bearer ${otherKey}` },
  });

  test('share nothing', async () => {
    const asked = completion();
    const { answers, ran } = await inTurn(asked, asOther(asked), asked, asOther(asked));
    expect([marks(answers), ran]).toEqual([['miss', 'miss', 'hit', 'hit'], 2]);
  });

  test('share with RESPONSE_CACHE_SHARED=on', async () => {
    await using own = await startCaching({ RESPONSE_CACHE_SHARED: 'on' });
    const asked = completion();
    const first = await ask(own.gateway.url, asked);
    const second = await ask(own.gateway.url, asOther(asked));
    expect([marks([first, second]), own.runs()]).toEqual([['miss', 'hit'], 1]);
  });
});

test('an answer is kept for RESPONSE_CACHE_TTL_MS', async () => {
  await using own = await startCaching({ RESPONSE_CACHE_TTL_MS: '200' });
  const asked = completion();
  const isMarked = async (mark: string) => marks([await ask(own.gateway.url, asked)])[0] === mark;
  await until('it is kept', () => isMarked('hit'));
  await until('it is asked for anew', () => isMarked('miss'));
});

test('without RESPONSE_CACHE=on nothing is kept', async () => {
  await using own = await startCaching({ RESPONSE_CACHE: 'off' });
  const asked = completion();
  const both = [await ask(own.gateway.url, asked), await ask(own.gateway.url, asked)];
  expect([marks(both), own.runs()]).toEqual([[undefined, undefined], 2]);
});

/**
 * A run, from its input to its settlement, with an engine of raw bytes: what reaches the engine, what the reader
 * gets, what is tried again, and what a reader's leaving means, which its policy alone decides.
 */
import { describe, expect, test } from 'bun:test';
import type { LimitStore } from '../../../src/accounts/limits.ts';
import type { MemoryLimits } from '../../../src/stores/memory/limits.ts';
import { GatewayError } from '../../../src/wire/errors.ts';
import { LateLimits } from '../../contracts/latelimits.ts';
import { chunk, lastChunk, plain, streamHead, type Wire } from '../../support/rawengine.ts';
import { readerThat, startRuns } from '../../support/runstage.ts';
import { until } from '../../support/wait.ts';

const said = '{"usage":{"prompt_tokens":3,"completion_tokens":2}}';
const answerAll = (_: unknown, wire: Wire) => wire.write(plain(said));

/** Returns the error that a run ends with. */
async function errorOf(run: Promise<Response>): Promise<GatewayError> {
  const thrown = await run.then(
    () => new Error('it was answered'),
    (error: unknown) => error,
  );
  if (thrown instanceof GatewayError) return thrown;
  throw thrown;
}

describe('a run', () => {
  test('asks the engine once, with the query and the headers that were given', async () => {
    await using stage = await startRuns(answerAll);
    const answer = await stage.run({ url: '/v1/completions?x=1', headers: { 'x-mine': 'yes' } });
    expect(await answer.text()).toBe(said);
    expect(answer.headers.get('x-request-id')).toStartWith('run-');
    const [request, ...others] = stage.engine.requests;
    expect(others).toEqual([]);
    expect(request).toMatchObject({ method: 'POST', path: '/v1/completions?x=1' });
    expect(request?.headers['x-mine']).toBe('yes');
    expect(request?.body.toString()).toBe('{"prompt":"Hi"}');
    expect(stage.settled).toHaveLength(1);
    expect(stage.settled[0]?.record).toMatchObject({
      outcome: 'done',
      status: 200,
      promptTokens: 3,
      completionTokens: 2,
      tokensAre: 'exact',
      bytesIn: 15,
      bytesOut: said.length,
    });
    expect(stage.parts.live.size).toBe(0);
  });

  test('lets go of its reader once, before it is settled', async () => {
    await using stage = await startRuns(answerAll);
    const reader = readerThat();
    await stage.run({ reader });
    expect(reader.heard).toEqual(['attend', 'letGo']);
  });

  test('passes a stream on, and hides the usage that only the gateway has asked for', async () => {
    const frames = ['data: {"choices":[{"text":"a"}]}\n\n', 'data: [DONE]\n\n'];
    const usage = 'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":1}}\n\n';
    await using stage = await startRuns(
      ({ body }, wire) => {
        const asked = String(body).includes('include_usage') ? [usage] : [];
        wire.write(streamHead);
        for (const frame of [frames[0], ...asked, frames[1]]) wire.write(chunk(frame as string));
        wire.write(lastChunk);
      },
      { LLM_SERVER_KIND: 'vllm' },
    );
    // The first stream of an engine shows whether it counts unasked.
    for (const stream_options of [undefined, { include_usage: true }]) {
      const answer = await stage.run({ body: { prompt: 'Hi', stream: true } });
      expect(await answer.text()).toBe(frames.join(''));
      const asked = JSON.parse(`${stage.engine.requests.at(-1)?.body}`);
      expect(asked.stream_options).toEqual(stream_options);
    }
    expect(stage.settled[1]?.record).toMatchObject({ stream: true, completionTokens: 1 });
  });

  test('answers HEAD with the headers alone', async () => {
    await using stage = await startRuns((_, wire) => wire.write(plain('{"data":[]}')));
    const answer = await stage.run({ method: 'HEAD', url: '/v1/models' });
    expect(answer.status).toBe(200);
    expect(stage.settled[0]?.record).toMatchObject({ outcome: 'done', bytesOut: 0 });
  });
});

describe('a reader that leaves', () => {
  test('before its run begins: no engine is asked', async () => {
    await using stage = await startRuns(answerAll);
    const reader = readerThat();
    reader.leave();
    expect((await errorOf(stage.run({ reader }))).code).toBe('client_closed_request');
    expect(stage.engine.requests).toEqual([]);
    expect(stage.settled[0]?.record).toMatchObject({
      outcome: 'aborted',
      status: 499,
      bytesOut: 0,
    });
  });

  test('while the engine works: the exchange ends if its leaving aborts it', async () => {
    let wire: Wire | undefined;
    await using stage = await startRuns((_, opened) => void (wire = opened));
    const reader = readerThat();
    const failed = errorOf(stage.run({ reader }));
    await until('the engine has it', () => wire !== undefined);
    reader.leave();
    expect((await failed).code).toBe('client_closed_request');
    await wire?.over;
    expect(stage.settled[0]?.record).toMatchObject({ outcome: 'aborted', status: 499 });
  });

  test('while the engine works: the run goes on if its leaving does not abort it', async () => {
    let wire: Wire | undefined;
    await using stage = await startRuns((_, opened) => void (wire = opened));
    const reader = readerThat(false);
    const answered = stage.run({ reader });
    await until('the engine has it', () => wire !== undefined);
    reader.leave();
    wire?.write(plain(said));
    expect(await (await answered).text()).toBe(said);
    expect(stage.settled[0]?.record).toMatchObject({ outcome: 'done', status: 200 });
  });

  test('in the middle of a stream: by its body, which it cancels', async () => {
    let wire: Wire | undefined;
    await using stage = await startRuns((_, opened) => {
      wire = opened;
      wire.write(streamHead);
      wire.write(chunk('data: {"choices":[{"text":"a"}]}\n\n'));
    });
    const reader = readerThat();
    const { body } = await stage.run({ reader, body: { prompt: 'Hi', stream: true } });
    await body?.cancel();
    await wire?.over;
    expect(reader.heard).toContain('left');
    expect(stage.settled.map(({ record }) => [record.outcome, record.code])).toEqual([
      ['aborted', 'client_closed_request'],
    ]);
  });

  test('in the middle of its own body: that is why the body broke', async () => {
    await using stage = await startRuns(answerAll);
    const reader = readerThat();
    const body = {
      bytes: () => {
        reader.hasLeft = true;
        return Promise.reject(new DOMException('gone', 'AbortError'));
      },
      body: null,
    };
    const failed = stage.run({ reader, body, headers: { 'content-length': '9' } });
    expect((await errorOf(failed)).code).toBe('client_closed_request');
    expect(stage.settled[0]?.record).toMatchObject({ outcome: 'aborted', status: 499 });
  });
});

describe('a run is refused', () => {
  test('while the gateway shuts down', async () => {
    await using stage = await startRuns(answerAll);
    stage.setDraining();
    expect((await errorOf(stage.run())).code).toBe('shutting_down');
    expect(stage.engine.requests).toEqual([]);
  });

  test('by the limits of its caller, and an answer has their headers', async () => {
    await using stage = await startRuns(answerAll);
    const caller = { limits: { requestsPerMinute: 1 } };
    const answer = await stage.run({ caller });
    expect(answer.headers.get('x-ratelimit-remaining-requests')).toBe('0');
    const refused = await errorOf(stage.run({ caller }));
    expect(refused).toMatchObject({ code: 'rate_limited', status: 429 });
    expect(stage.settled[1]?.record).toMatchObject({ outcome: 'failed', code: 'rate_limited' });
    expect(stage.engine.requests).toHaveLength(1);
  });

  test('when its caller has too many open', async () => {
    const wires: Wire[] = [];
    await using stage = await startRuns((_, wire) => void wires.push(wire));
    const caller = { limits: { concurrentRequests: 1 } };
    const first = stage.run({ caller });
    await until('the engine has it', () => wires.length === 1);
    expect((await errorOf(stage.run({ caller }))).code).toBe('too_many_concurrent');
    wires[0]?.write(plain(said));
    await first;
    const second = stage.run({ caller });
    await until('the engine has the next', () => wires.length === 2);
    wires[1]?.write(plain(said));
    expect((await second).status).toBe(200);
  });

  test('if no engine could answer it, and counts the bytes of its envelope', async () => {
    await using stage = await startRuns(answerAll);
    const error = await errorOf(stage.run({ body: { nothing: true } }));
    expect(error.code).toBe('missing_field');
    expect(stage.settled[0]?.record.bytesOut).toBeGreaterThan(0);
  });
});

describe('limits that answer late', () => {
  const limited = { limits: { concurrentRequests: 1 } };

  test('are waited for, and given back when their reader has left meanwhile', async () => {
    const made: MemoryLimits[] = [];
    const asked = Promise.withResolvers<void>();
    const gate = Promise.withResolvers<void>();
    await using stage = await startRuns(answerAll, {}, (inner) => {
      made.push(inner as MemoryLimits);
      return Object.assign(new LateLimits(inner), {
        async admit(...args: Parameters<LimitStore['admit']>) {
          asked.resolve();
          await gate.promise;
          return await inner.admit(...args);
        },
      });
    });
    const reader = readerThat();
    const run = stage.run({ reader, caller: limited });
    await asked.promise;
    reader.leave();
    gate.resolve();
    expect((await errorOf(run)).code).toBe('client_closed_request');
    expect(stage.engine.requests).toEqual([]);
    await until('nothing is held', () => made[0]?.held().requests === 0);
    expect((await stage.run({ caller: limited })).status).toBe(200);
  });

  test('and cannot admit refuse the run, once, with the cause for the log', async () => {
    await using stage = await startRuns(
      answerAll,
      {},
      (inner) => new LateLimits(inner, (call) => call === 'admit'),
    );
    expect(await errorOf(stage.run({ caller: limited }))).toMatchObject({
      code: 'store_unavailable',
      headers: { 'retry-after': '1' },
    });
    expect(stage.settled).toMatchObject([
      { record: { status: 503, outcome: 'failed' }, cause: new Error('connection lost') },
    ]);
    expect((await stage.run()).status).toBe(200);
  });

  test.each(['at once', 'late'])('and fail to settle, %s, cost the answer nothing', async (how) => {
    await using stage = await startRuns(answerAll, {}, (inner) =>
      how === 'late'
        ? new LateLimits(inner, (call) => call === 'settle')
        : Object.assign(new LateLimits(inner), {
            settle() {
              throw new Error('connection lost');
            },
          }),
    );
    const answer = await stage.run({ caller: limited });
    expect(await answer.text()).toBe(said);
    expect(stage.settled).toMatchObject([{ record: { status: 200, outcome: 'done' } }]);
    expect(stage.parts.live.size).toBe(0);
  });
});

describe('an engine', () => {
  test('that breaks the connection: the request is not sent again', async () => {
    await using stage = await startRuns((_, wire) => wire.reset());
    expect((await errorOf(stage.run())).code).toBe('upstream_reset');
    expect(stage.engine.requests).toHaveLength(1);
    expect(stage.settled[0]).toMatchObject({
      record: { outcome: 'failed', status: 502 },
      cause: { code: 'ECONNRESET' },
    });
  });

  test('that loads its model: the request waits and is sent again, as one', async () => {
    const loading = '{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}';
    let isLoading = true;
    await using stage = await startRuns((_, wire) => {
      wire.write(isLoading ? plain(loading, {}, 503) : plain(said));
      isLoading = false;
    });
    expect((await stage.run()).status).toBe(200);
    expect(stage.engine.requests).toHaveLength(2);
    expect(stage.settled.map(({ record }) => record.outcome)).toEqual(['done']);
  });

  test("that refuses the gateway's key: that is the gateway's failure, not its client's", async () => {
    await using stage = await startRuns((_, wire) => wire.write(plain('{}', {}, 401)));
    expect((await errorOf(stage.run())).code).toBe('upstream_auth_failed');
    expect(stage.settled[0]?.record.status).toBe(502);
  });

  test('whose error goes to the client as it is', async () => {
    await using stage = await startRuns((_, wire) => wire.write(plain('{"error":1}', {}, 500)));
    const answer = await stage.run();
    expect([answer.status, await answer.text()]).toEqual([500, '{"error":1}']);
    expect(stage.settled[0]?.record).toMatchObject({ outcome: 'done', status: 500 });
  });
});

test('an unexpected error is thrown unchanged, and recorded as a failure of the gateway', async () => {
  await using stage = await startRuns(answerAll);
  const cause = new TypeError('a bug');
  const body = { bytes: () => Promise.reject(cause), body: null };
  const run = stage.run({ body, headers: { 'content-length': '9' } });
  expect(await run.catch((thrown: unknown) => thrown)).toBe(cause);
  expect(stage.settled[0]).toMatchObject({
    record: { code: 'internal_error', status: 500 },
    cause,
  });
  expect(stage.parts.live.size).toBe(0);
});

describe('with a response cache', () => {
  const on = { RESPONSE_CACHE: 'on' };
  const body = { prompt: 'Hi', temperature: 0 };

  test('an equal request of the same key is answered without the engine', async () => {
    await using stage = await startRuns(answerAll, on);
    const marks = [];
    for (let i = 0; i < 2; i++) {
      const answer = await stage.run({ body });
      expect(await answer.text()).toBe(said);
      marks.push(answer.headers.get('x-gateway-cache'));
    }
    expect(marks).toEqual(['miss', 'hit']);
    expect(stage.engine.requests).toHaveLength(1);
    const hit = stage.settled[1]?.record;
    expect(hit).toMatchObject({ isCacheHit: true, engineMs: 0, upstream: undefined });
  });

  test('no key gets what another asked for', async () => {
    await using stage = await startRuns(answerAll, on);
    await stage.run({ body });
    await stage.run({ body, caller: { keyId: 'other' } });
    expect(stage.engine.requests).toHaveLength(2);
  });

  test('equal requests at once are one at the engine', async () => {
    let wire: Wire | undefined;
    await using stage = await startRuns((_, opened) => void (wire = opened), on);
    const both = [stage.run({ body }), stage.run({ body })];
    await until('the engine has one', () => wire !== undefined);
    wire?.write(plain(said));
    const texts = await Promise.all(both.map(async (each) => (await each).text()));
    expect(texts).toEqual([said, said]);
    expect(stage.engine.requests).toHaveLength(1);
  });
});

test('queue feedback is sent if it is asked for, and its reader can leave', async () => {
  await using stage = await startRuns(() => {}, { QUEUE_FEEDBACK_AFTER_MS: '1' });
  const reader = readerThat();
  const headers = { 'x-queue-feedback': 'on' };
  const answer = await stage.run({ reader, headers, body: { prompt: 'Hi', stream: true } });
  expect(answer.status).toBe(200);
  const comments = answer.body?.getReader();
  expect(Buffer.from((await comments?.read())?.value ?? []).toString()).toStartWith(':');
  await comments?.cancel();
  await until('it is settled', () => stage.settled.length === 1);
  expect(reader.heard).toContain('left');
  expect(stage.settled[0]?.record.outcome).toBe('aborted');
});

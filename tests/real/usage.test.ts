/**
 * The usage ledger compared with the counters of real engines. llama.cpp counts at /metrics what it has read of prompts,
 * taken from its cache and generated, cancelled work included: the rows of the ledger add up to that, to the token.
 * Where a client leaves they are estimates, and each test says how far from the truth and in which direction.
 */
import { Database } from 'bun:sqlite';
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from 'bun:test';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask, send, type RawClient } from '../support/rawclient.ts';
import { startGateway, type Gateway } from '../support/gatewayprocess.ts';
import { healthOf, untilUpstream } from '../support/gatewayhealth.ts';
import { until } from '../support/wait.ts';
import { post, type Json } from './plainclient.ts';
import { requireRealEngine, startRealEngine, type RealEngine } from './realengine.ts';

setDefaultTimeout(300_000);

/** Tokens that engines have worked for. */
interface Spent {
  /** Of prompts, without those of the cache. */
  read: number;
  cached: number;
  generated: number;
}

interface Row {
  route: string;
  model: string | null;
  upstream: string | null;
  status: number;
  code: string | null;
  outcome: string;
  stream: 0 | 1;
  promptTokens: number | null;
  cachedTokens: number | null;
  completionTokens: number | null;
  tokensAre: string | null;
}

interface Question {
  path: string;
  body: Json | string;
  /** What its row has in addition to the path. */
  row: Partial<Row>;
}

type Asking = (text: string, tokens: number) => Json;

const asText: Asking = (prompt, tokens) => ({ prompt, max_tokens: tokens });
const asInput: Asking = (input, tokens) => ({ input, max_output_tokens: tokens });
function asChat(content: string, tokens: number): Json {
  return { messages: [{ role: 'user', content }], max_tokens: tokens };
}

const generating: Record<string, Asking> = {
  '/v1/completions': asText,
  '/completions': asText,
  '/completion': asText,
  '/v1/chat/completions': asChat,
  '/chat/completions': asChat,
  '/v1/messages': asChat,
  '/v1/responses': asInput,
  '/responses': asInput,
};

/** It generates exactly as many tokens as it may. */
const fixed = { model: 'smollm2', seed: 7, temperature: 0, ignore_eos: true };
const opening = 'The sun rises over the hills, the dogs of the village bark, and the baker opens ';
/** Each is found in the cache in part, the last one as a whole. */
const texts = ['his shop.', 'one eye.', 'his shop.'].map((ending) => opening + ending);
/** More tokens than the engine reads before it notices that the client has left. */
const longText = Array.from({ length: 500 }, (_, i) => `item ${i},`).join(' ');
const endless = 3_000;

/** Frames of a stream that come before its first token; each is taken for one. */
const framesBeforeTokens = {
  '/v1/completions': 0,
  '/completion': 0,
  '/v1/chat/completions': 1,
  '/v1/messages': 2,
  '/v1/responses': 4,
};

const done = { model: 'smollm2', upstream: 'engine-1', status: 200, code: null, outcome: 'done' };
const exact = { ...done, tokensAre: 'exact' };
const noTokens = { promptTokens: null, cachedTokens: null, completionTokens: null };
const uncounted = { ...noTokens, tokensAre: null };
const refused = { ...done, ...uncounted, status: 400 };
const unsent = { ...refused, upstream: null, outcome: 'failed' };
const left = { outcome: 'aborted', code: 'client_closed_request', tokensAre: 'estimated' };

describe.skipIf(!requireRealEngine())('the ledger and the counters of the engines', () => {
  const adminKey = 'sk-test-admin-key-1';
  let directory: string;
  let engine: RealEngine;
  let embedder: RealEngine;
  let gateway: Gateway;
  let db: Database;

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), 'llm-gateway-usage-'));
    [engine, embedder] = await Promise.all([
      startRealEngine({ slots: 2, contextTokens: 8_192 }),
      startRealEngine({ slots: 2, embedding: true, alias: 'embedder' }),
    ]);
    gateway = await startGateway({
      LLM_SERVER_URL: `${engine.url},${embedder.url}`,
      DATA_DIR: directory,
      ADMIN_API_KEY: adminKey,
    });
    for (const id of ['engine-1', 'engine-2'])
      await untilUpstream(gateway, id, { state: 'up', slots: 2 });
    db = new Database(join(directory, 'gateway.sqlite'), { readonly: true });
  });

  afterAll(async () => {
    db?.close();
    await gateway?.[Symbol.asyncDispose]();
    await Promise.all([engine?.stop(), embedder?.stop()]);
    rmSync(directory, { recursive: true });
  });

  async function spentByEngines(): Promise<Spent> {
    const counters = await Promise.all([engine.counters(), embedder.counters()]);
    const sum = (name: string) => counters.reduce((total, each) => total + (each[name] ?? NaN), 0);
    return {
      read: sum('prompt_tokens_total'),
      cached: sum('prompt_tokens_cached_total'),
      generated: sum('tokens_predicted_total'),
    };
  }

  async function ledger(): Promise<Spent & { requests: number }> {
    const headers = { authorization: `Bearer ${adminKey}` };
    const answer = await fetch(`${gateway.url}/admin/usage`, { headers });
    const { data } = (await answer.json()) as { data: Record<string, number>[] };
    const {
      requests = 0,
      promptTokens = 0,
      cachedTokens = 0,
      completionTokens = 0,
    } = data[0] ?? {};
    const read = promptTokens - cachedTokens;
    return { requests, read, cached: cachedTokens, generated: completionTokens };
  }

  /** Returns what both have counted of so many requests. */
  async function counted(requests: number, run: () => Promise<void>) {
    const [engines, rows] = [await spentByEngines(), await ledger()];
    await run();
    await engine.idle();
    await until('the ledger has them', async () => {
      return (await ledger()).requests === rows.requests + requests;
    });
    return { engines: less(await spentByEngines(), engines), rows: less(await ledger(), rows) };
  }

  function rowOf(requestId: string): Row {
    const row = db.query<Row, [string]>('SELECT * FROM usage WHERE requestId = ?').get(requestId);
    if (row === null) throw new Error(`no row of ${requestId}`);
    return row;
  }

  /** Counts with the engine's tokenizer, for which nothing runs. */
  async function tokensOf(asking: Asking, text: string): Promise<number> {
    const isText = asking === asText;
    const path = isText ? '/tokenize' : '/v1/messages/count_tokens';
    const body = isText ? { content: text, add_special: true } : asChat(text, 1);
    const answer = await (await post(engine.url + path, body)).json();
    const { tokens, input_tokens } = answer as { tokens?: number[]; input_tokens?: number };
    return tokens?.length ?? input_tokens ?? NaN;
  }

  async function goodQuestions(): Promise<Question[]> {
    const questions: Question[] = [];
    for (const [i, text] of texts.entries()) {
      for (const [path, asking] of Object.entries(generating)) {
        const promptTokens = await tokensOf(asking, text);
        for (const stream of [false, true]) {
          const completionTokens = 1 + ((i + questions.length) % 4);
          const body = { ...asking(text, completionTokens), ...fixed, stream };
          const row = { ...exact, stream: stream ? 1 : 0, promptTokens, completionTokens } as const;
          questions.push({ path, body, row });
        }
      }
    }
    return questions;
  }

  const counting = { prompt: '1, 2, 3, 4,', max_tokens: 30, ...fixed, stop: ['8'] };
  const greeting = { ...asChat('Say hi', 30), ...fixed, ignore_eos: false };
  const streamed = { stream: true, stream_options: { include_usage: true } };
  const asEmbedded = { ...exact, model: 'embedder', upstream: 'engine-2', completionTokens: null };
  const special: Question[] = [
    { path: '/v1/completions', body: counting, row: exact },
    { path: '/v1/completions', body: { ...counting, stream: true }, row: exact },
    { path: '/completion', body: { ...counting, stream: true }, row: exact },
    { path: '/v1/chat/completions', body: { ...greeting, ...streamed }, row: exact },
    { path: '/v1/messages', body: { ...greeting, stream: true }, row: exact },
    { path: '/v1/completions', body: { ...counting, ...streamed }, row: exact },
    {
      path: '/v1/completions',
      body: { ...asText('Hello', 3), ...fixed, stream: true, timings_per_token: true },
      row: { ...exact, completionTokens: 3 },
    },
    {
      path: '/v1/embeddings',
      body: { model: 'embedder', input: ['Hello there', 'x'] },
      row: { ...asEmbedded, promptTokens: 3 },
    },
    {
      path: '/v1/embeddings',
      body: { model: 'embedder', input: 'Hello there' },
      row: { ...asEmbedded, promptTokens: 2 },
    },
  ];

  const chat = { ...asChat('Hello', 3), ...fixed };
  const without: Question[] = [
    { path: '/v1/completions', body: { ...fixed, prompt: longText.repeat(3) }, row: refused },
    { path: '/v1/completions', body: { ...counting, grammar: '(((' }, row: refused },
    { path: '/v1/completions', body: { ...counting, ...streamed, grammar: '(((' }, row: refused },
    { path: '/v1/chat/completions', body: { ...fixed, messages: 'Hello' }, row: refused },
    { path: '/v1/messages', body: { ...fixed, max_tokens: 3 }, row: { ...refused, status: 500 } },
    { path: '/v1/embeddings', body: { ...fixed, input: 'x' }, row: { ...refused, status: 501 } },
    {
      path: '/v1/chat/completions',
      body: { ...chat, model: 'unknown' },
      row: { ...unsent, model: 'unknown', status: 404, code: 'model_not_found' },
    },
    { path: '/v1/completions', body: '{', row: { ...unsent, model: null, code: 'invalid_json' } },
    { path: '/v1/messages/count_tokens', body: chat, row: { ...done, ...uncounted } },
    { path: '/v1/chat/completions/input_tokens', body: chat, row: { ...done, ...uncounted } },
    { path: '/apply-template', body: chat, row: { ...done, ...uncounted } },
    {
      path: '/tokenize',
      body: { model: 'smollm2', content: 'Hello' },
      row: { ...done, ...uncounted },
    },
  ];

  /** Asks them all, two at once, and returns their rows. */
  async function askAll(questions: readonly Question[], rows: Map<Question, string>) {
    const waiting = questions.values();
    async function askNext(): Promise<void> {
      for (const question of waiting) {
        const { path, body } = question;
        const requestId = crypto.randomUUID();
        rows.set(question, requestId);
        await ask(gateway.url, { path, body, headers: { 'x-request-id': requestId } });
      }
    }
    await Promise.all([askNext(), askNext()]);
  }

  test('is the same to the token over streams, plain answers and failures, two at once', async () => {
    const good = [...(await goodQuestions()), ...special];
    // A failure after every few answers.
    const questions = good.flatMap((question, i) => [
      question,
      ...(i % 4 ? [] : without.slice(i / 4, i / 4 + 1)),
    ]);
    expect(questions).toHaveLength(good.length + without.length);
    const asked = new Map<Question, string>();
    const { engines, rows } = await counted(questions.length, () => askAll(questions, asked));
    for (const [{ path, row: expected }, requestId] of asked) {
      const row = rowOf(requestId);
      expect(row).toMatchObject({ ...expected, route: path });
      if (row.cachedTokens !== null) expect(row.cachedTokens).toBeLessThan(row.promptTokens ?? 0);
    }
    expect(rows).toEqual(engines);
    expect(rows.cached).toBeGreaterThan(rows.read);
  });

  test('comes from the last chunk of a stream whose client did not ask for usage, and the bytes stay the same', async () => {
    const path = '/v1/chat/completions';
    const body = { ...asChat(texts[0] ?? '', 6), ...fixed, stream: true };
    // The first one brings the prompt into the cache, so that the others find it alike.
    await (await post(engine.url + path, body)).text();
    const direct = await (await post(engine.url + path, body)).text();
    let passed = '';
    const requestId = crypto.randomUUID();
    const { engines, rows } = await counted(1, async () => {
      const headers = { 'x-request-id': requestId };
      passed = (await ask(gateway.url, { path, body, headers })).text;
    });
    expect(withoutVolatile(passed)).toBe(withoutVolatile(direct));
    expect(passed).not.toContain('"usage"');
    const timings = JSON.parse(/"timings":(\{[^}]*\})/.exec(passed)?.[1] ?? '');
    const { prompt_n: read, cache_n: cached, predicted_n: generated } = timings;
    expect({ read, cached, generated }).toEqual(engines);
    expect(rows).toEqual(engines);
    expect(rowOf(requestId)).toMatchObject({ ...exact, stream: 1 });
  });

  /**
   * Asks the gateway, which probes the engine rarely: llama.cpp notices no lost client while it is asked constantly.
   */
  async function hasFreeSlots(): Promise<boolean> {
    const { inFlight, upstreams } = await healthOf(gateway);
    return inFlight === 0 && upstreams.every(({ usedSlots }) => usedSlots === 0);
  }

  /** Sends a request, leaves at the given moment, and returns the row and what both have counted. */
  async function leave(
    { path, body }: Pick<Question, 'path' | 'body'>,
    isDue: (client: RawClient) => Promise<unknown>,
  ) {
    const requestId = crypto.randomUUID();
    const { engines, rows } = await counted(1, async () => {
      const client = await send(gateway.url, {
        path,
        body,
        headers: { 'x-request-id': requestId },
      });
      await isDue(client);
      client.leaveByReset();
      await until('its slot is free', hasFreeSlots);
    });
    const row = rowOf(requestId);
    expect(row).toMatchObject({ ...left, upstream: 'engine-1' });
    expect(rows).toEqual({
      read: (row.promptTokens ?? 0) - (row.cachedTokens ?? 0),
      cached: row.cachedTokens ?? 0,
      generated: row.completionTokens ?? 0,
    });
    return { row, engines };
  }

  const slotIsTaken = () =>
    until('the slot is taken', async () =>
      (await engine.slots()).some((slot) => slot.is_processing),
    );

  for (const [path, openingFrames] of Object.entries(framesBeforeTokens)) {
    test(`estimates an abandoned stream of ${path} by its frames, ${openingFrames} too many at most`, async () => {
      const asking = generating[path] ?? asText;
      const [text = ''] = texts;
      const promptTokens = await tokensOf(asking, text);
      const body = { ...asking(text, endless), ...fixed, stream: true };
      let frames = 0;
      const { row, engines } = await leave({ path, body }, async (client) => {
        const framesIn = () => client.text.split('\n\n').length - 1;
        await client.until('it has some frames', () => framesIn() >= 10);
        frames = framesIn();
      });
      // Anthropic's opening frame tells of the prompt.
      const cachedTokens = path === '/v1/messages' ? (expect.any(Number) as number) : null;
      expect(row).toMatchObject({ status: 200, stream: 1, cachedTokens });
      // The engine has gone on until it saw that the client was gone; the frames that open the answer are no tokens.
      expect(row.completionTokens).toBeGreaterThanOrEqual(frames);
      expect(row.completionTokens).toBeLessThanOrEqual(engines.generated + openingFrames);
      expect(engines.generated).toBeLessThan(endless);
      // The prompt is estimated by its bytes; what a template adds to a short one tells most.
      expect(engines.read + engines.cached).toBe(promptTokens);
      expect(row.promptTokens).toBeWithin(promptTokens / 3, promptTokens * 3);
    });
  }

  for (const stream of [true, false]) {
    const what = stream ? 'a stream' : 'a plain answer';
    test(`counts the whole prompt of ${what} that is left in prefill, more than the engine has read`, async () => {
      const text = `${stream} ${longText}`;
      const promptTokens = await tokensOf(asText, text);
      const body = { ...asText(text, endless), ...fixed, stream };
      const { row, engines } = await leave({ path: '/v1/completions', body }, slotIsTaken);
      expect(row).toMatchObject({ status: 499, stream: stream ? 1 : 0, completionTokens: 0 });
      expect(engines.generated).toBe(0);
      expect(engines.read + engines.cached).toBeLessThan(promptTokens);
      expect(row.promptTokens).toBeWithin(promptTokens / 3, promptTokens * 3);
    });
  }

  test('counts no token of a plain answer that is left, whatever the engine has generated', async () => {
    const [text = ''] = texts;
    const body = { ...asText(text, endless), ...fixed };
    const { row, engines } = await leave({ path: '/v1/completions', body }, slotIsTaken);
    expect(row).toMatchObject({ status: 499, stream: 0, completionTokens: 0 });
    expect(engines.generated).toBeLessThan(endless);
  });

  test('counts nothing of what is left in the queue, and neither does the engine', async () => {
    const [text = ''] = texts;
    const promptTokens = await tokensOf(asText, text);
    const body = { ...asText(text, endless), ...fixed, stream: true };
    const requestId = crypto.randomUUID();
    const { engines } = await counted(3, async () => {
      const asked = { path: '/v1/completions', body };
      const running = [await send(gateway.url, asked), await send(gateway.url, asked)];
      for (const each of running) await each.hasBytes();
      const client = await send(gateway.url, { ...asked, headers: { 'x-request-id': requestId } });
      await until('it waits', async () => (await healthOf(gateway)).queued === 1);
      client.leaveByReset();
      await until('it has left', async () => (await healthOf(gateway)).queued === 0);
      for (const each of running) each.leaveByReset();
      await until('their slots are free', hasFreeSlots);
    });
    expect(rowOf(requestId)).toMatchObject({ ...left, ...uncounted, upstream: null, status: 499 });
    expect(engines.read + engines.cached).toBe(2 * promptTokens);
  });

  const several = { prompt: ['Once upon', 'A cat sat on'], max_tokens: 3, ...fixed };
  /** Routes for which an engine reports less than it has done, or the gateway reads less than it reports. */
  const unsaid: Record<string, Pick<Question, 'path' | 'body'>> = {
    'several choices': { path: '/v1/chat/completions', body: { ...chat, n: 2 } },
    'streams of several choices': {
      path: '/v1/chat/completions',
      body: { ...chat, n: 2, stream: true },
    },
    'several prompts': { path: '/v1/completions', body: several },
    'several prompts of the native route': { path: '/completion', body: several },
    'answers without the counts': {
      path: '/completion',
      body: { ...asText('Hello', 3), ...fixed, response_fields: ['content'] },
    },
    'plain answers of more than a megabyte': {
      path: '/v1/completions',
      body: { ...asText('Hello', 3), ...fixed, logprobs: 5_000 },
    },
    'native embeddings': {
      path: '/embedding',
      body: { model: 'embedder', content: 'Hello there' },
    },
  };
  for (const [what, { path, body }] of Object.entries(unsaid)) {
    test(`is exact or says that it estimates for ${what}`, async () => {
      const requestId = crypto.randomUUID();
      const { engines, rows } = await counted(1, async () => {
        await ask(gateway.url, { path, body, headers: { 'x-request-id': requestId } });
      });
      const { tokensAre } = rowOf(requestId);
      if (tokensAre === 'exact') expect(rows).toEqual(engines);
      else expect(tokensAre).toBe('estimated');
    });
  }
});

function less(after: Spent, before: Spent): Spent {
  return {
    read: after.read - before.read,
    cached: after.cached - before.cached,
    generated: after.generated - before.generated,
  };
}

/** Replaces the values that are new in every answer. */
function withoutVolatile(text: string): string {
  return text
    .replace(/"id":"chatcmpl-\w{32}"/g, '"id":""')
    .replace(/"created":\d+/g, '"created":0')
    .replace(/"(\w+_ms|\w+_per_second)":[\d.]+/g, '"$1":0');
}

/**
 * An engine that has sent its 200 can only tell of a failure inside the answer: the client gets every byte of it, and
 * the request has failed in the log, in usage and in metrics.
 */
import { expect, setDefaultTimeout, test } from 'bun:test';
import { adminKey, bearer, issueKey } from '../support/operator.ts';
import { ask } from '../support/rawclient.ts';
import { startGateway } from '../support/gatewayprocess.ts';
import { chunk, lastChunk, plain, startUpstream, streamHead } from '../support/rawengine.ts';
import { until } from '../support/wait.ts';

setDefaultTimeout(60_000);

const done = 'data: [DONE]\n\n';
const token = 'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n';
const vllm = `data: {"error":{"message":"EngineCore","type":"InternalServerError","code":500}}\n\n${done}`;
const finish = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n${done}`;
const anthropic =
  'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n';
const responses =
  'event: response.failed\ndata: {"type":"response.failed","response":{"status":"failed","error":{"code":"server_error"},"usage":{"input_tokens":3,"output_tokens":1}}}\n\n';

const chunkedHead = (type: string) =>
  `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nTransfer-Encoding: chunked\r\n\r\n`;
const long = `"data":[${'0.125,'.repeat(20_000)}1]`;

test('a failure inside an answer passes unchanged and is counted as one', async () => {
  let text = '';
  await using engine = await startUpstream(({ path }, wire) => {
    if (path === '/v1/embeddings') return wire.write(plain(text));
    const type = path === '/v1/score' ? 'Application/Problem+JSON' : 'application/json';
    wire.write(/rerank|score/.test(path) ? chunkedHead(type) : streamHead);
    wire.write(chunk(Buffer.from(text)));
    wire.write(lastChunk);
  });
  await using gateway = await startGateway({
    LLM_SERVER_URL: engine.url,
    LLM_SERVER_KIND: 'llama.cpp',
    ADMIN_API_KEY: adminKey,
  });
  const { key, id } = await issueKey(gateway, { name: 'k' });
  const cases = [
    ['/v1/chat/completions', token + vllm, undefined, '500'],
    ['/v1/chat/completions', token + finish, 2, undefined],
    ['/v1/messages', anthropic, undefined, 'overloaded_error'],
    ['/v1/responses', responses, 1, 'server_error'],
    ['/v1/chat/completions', token + 'data: {"id":"1","error":{"code":500}}\n\n', undefined, '500'],
    ['/v1/rerank', '{"error":{"message":"m","code":502}}', undefined, '502'],
    ['/v1/embeddings', '{"error":{"message":"m","code":503}}', undefined, '503'],
    ['/v1/embeddings', `{${long},"error":{"message":"m","code":503}}`, undefined, '503'],
    ['/v1/rerank', `{${long},"error":{"message":"m","code":504}}`, undefined, '504'],
    ['/v1/score', '{"title":"Oh no","status":500}', undefined, undefined],
    ['/v1/messages', anthropic.trimEnd(), undefined, 'overloaded_error'],
    [
      '/v1/messages',
      anthropic + token.repeat(3) + ': bye\n\n' + done,
      undefined,
      'overloaded_error',
    ],
  ] as const;
  for (const [path, sent, completionTokens, cause] of cases) {
    text = sent;
    const requestId = crypto.randomUUID();
    const headers = { ...bearer(key), 'x-request-id': requestId };
    const body = { stream: true, messages: [], input: 'x' };
    const answer = await ask(gateway.url, { path, body, headers });
    expect([answer.status, answer.text]).toEqual([200, sent]);
    const line = await gateway.logged(
      (each) => each['requestId'] === requestId && each['msg'] === 'request ended',
    );
    expect(line).toMatchObject({ status: 200, outcome: 'failed', code: 'upstream_failed' });
    expect([line['completionTokens'], line['cause']]).toEqual([completionTokens, cause]);
  }

  const operator = { headers: bearer(adminKey) };
  const { length } = cases;
  await until('usage has them', async () => {
    const usage = await ask(gateway.url, { path: '/admin/usage?by=key', ...operator });
    const { data } = JSON.parse(usage.text) as { data: Record<string, unknown>[] };
    const mine = data.find((each) => each['key'] === id);
    return mine?.['failed'] === length && mine['completionTokens'] === 3;
  });
  const metrics = await ask(gateway.url, { path: '/metrics', ...operator });
  expect(metrics.text).toMatch(
    /requests_total\{route="\/v1\/chat\/completions",status="200",code="upstream_failed",outcome="failed"\} 3/,
  );
});

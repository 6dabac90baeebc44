/** Failures that engines tell inside an answer with status 200, as each of them writes it. */
import { describe, expect, test } from 'bun:test';
import { failureInAnswer, failureInEdges, failureInStream } from '../../../src/wire/failures.ts';

const inStream = (text: string) => failureInStream(Buffer.from(text));
const inAnswer = (body: unknown) => failureInAnswer(Buffer.from(JSON.stringify(body)));
const done = 'data: [DONE]\n\n';

describe('a stream fails', () => {
  test.each([
    [
      'of vLLM',
      `data: {"error":{"message":"m","type":"InternalServerError","param":null,"code":500}}\n\n${done}`,
      { isRefusal: false, code: '500' },
    ],
    [
      'of an older vLLM',
      `data: {"object":"error","message":"m","type":"BadRequestError","code":400}\n\n${done}`,
      { isRefusal: true, code: '400' },
    ],
    [
      'of llama.cpp',
      'data: {"error":{"code":400,"message":"m","type":"exceed_context_size_error"}}\r\n\r\n',
      { isRefusal: true, code: '400' },
    ],
    [
      'of this gateway behind another',
      'data: {"error":{"message":"m","type":"server_error","param":null,"code":"upstream_reset"}}\n\n',
      { isRefusal: false, code: 'upstream_reset' },
    ],
    [
      'of Anthropic',
      'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"m"}}\n\n',
      { isRefusal: false, code: 'overloaded_error' },
    ],
    [
      'of Anthropic that refuses',
      'event:error\ndata:{"type":"error","error":{"type":"invalid_request_error","message":"m"}}\n\n',
      { isRefusal: true, code: 'invalid_request_error' },
    ],
    [
      'of the Responses API',
      'event: response.failed\ndata: {"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"m"}}}\n\n',
      { isRefusal: false, code: 'server_error' },
    ],
    [
      'of the Responses API by an error',
      'event: error\ndata: {"type":"error","code":"invalid_prompt","message":"m","sequence_number":3}\n\n',
      { isRefusal: true, code: 'invalid_prompt' },
    ],
    [
      'by a finish reason',
      `data: {"choices":[{"delta":{},"finish_reason":"error"}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":1}}\n\n${done}`,
      { isRefusal: false, code: undefined },
    ],
    [
      'of SGLang that broke off',
      `data: {"choices":[{"delta":{},"finish_reason": "abort"}]}\n\n${done}`,
      { isRefusal: false, code: undefined },
    ],
    [
      'of OpenRouter',
      `data: {"id":"1","error":{"code":429,"message":"m"},"choices":[{"finish_reason":"error"}]}\n\n${done}`,
      { isRefusal: true, code: '429' },
    ],
    [
      'of LiteLLM, behind other members',
      `data: {"id":"1", "error": {"code":"500","message":"m"}}\n\n${done}`,
      { isRefusal: false, code: '500' },
    ],
    [
      'of an older vLLM, behind other members',
      `data: {"message":"m","object":"error","type":"BadRequestError","code":400}\n\n${done}`,
      { isRefusal: true, code: '400' },
    ],
    [
      'of the Responses API without the name of the event',
      'data: {"sequence_number":4,"type":"response.failed","response":{"error":{"code":"server_error"}}}\n\n',
      { isRefusal: false, code: 'server_error' },
    ],
    ['in words alone', `data: {"error":"no"}\n\n${done}`, { isRefusal: false, code: undefined }],
    ['in what is no JSON', 'event: error\ndata: oh no\n\n', { isRefusal: false, code: undefined }],
  ])('%s', (_, text, failure) => {
    expect(inStream(text)).toEqual(failure);
  });

  test('without a code where the engine says a sentence', () => {
    const text = 'data: {"error":{"code":"see the prompt: secret","type":"x y"}}\n\n';
    expect(inStream(text)).toEqual({ isRefusal: false, code: undefined });
  });
});

describe('a stream does not fail', () => {
  test.each([
    ['that ends well', `data: {"choices":[{"finish_reason":"stop"}],"error":null}\n\n${done}`],
    ['that begins with no error', `data: {"error":null,"choices":[]}\n\n${done}`],
    [
      'of the Responses API',
      'event: response.completed\ndata: {"type":"response.completed","response":{"status":"completed","error":null,"metadata":{"status":"failed"}}}\n\n',
    ],
    [
      'that speaks of failures',
      `data: ${JSON.stringify({ choices: [{ delta: { content: '{"error":{}} "finish_reason":"error"\ndata: {"error":1}\nevent: error' } }] })}\n\n${done}`,
    ],
    [
      'whose tool failed',
      'event: response.mcp_call.failed\ndata: {"type":"response.x.failed"}\n\n',
    ],
    [
      'whose tool says why it failed',
      'data: {"type":"response.mcp_call.failed","error":{"code":500}}\n\n',
    ],
    ['with an empty error', `data: {"error":"","choices":[]}\n\n${done}`],
    ['without a frame', ''],
  ])('%s', (_, text) => {
    expect(inStream(text)).toBeUndefined();
  });
});

describe('a whole answer', () => {
  test.each([
    [{ error: { message: 'm', code: 500 } }, { isRefusal: false, code: '500' }],
    [{ error: { message: 'm', code: 422 } }, { isRefusal: true, code: '422' }],
    [{ choices: [{ finish_reason: 'error' }] }, { isRefusal: false, code: undefined }],
    [
      { object: 'response', status: 'failed', error: { code: 'server_error' } },
      { isRefusal: false, code: 'server_error' },
    ],
    [
      { object: 'error', message: 'm', code: 500 },
      { isRefusal: false, code: '500' },
    ],
    [
      { status: 'failed', error: null },
      { isRefusal: false, code: undefined },
    ],
  ])('%j fails', (body, failure) => {
    expect(inAnswer(body)).toEqual(failure);
  });

  test.each([
    { error: null, choices: [] },
    { choices: [{ finish_reason: 'stop', message: { content: '{"error": 1}' } }] },
    { status: 'completed', metadata: { status: 'failed' } },
    [[{ error: { code: 500 } }]],
    { text: 'the "error" failed' },
    { error: '', choices: [] },
  ])('%j does not', (body) => {
    expect(inAnswer(body)).toBeUndefined();
  });

  test('of any size is searched', () => {
    const error = { message: 'm', code: 500 };
    expect(inAnswer({ text: 'x'.repeat(900_000), error })).toMatchObject({ code: '500' });
    expect(inAnswer({ text: '"error":{"code":500}'.repeat(40_000) })).toBeUndefined();
  });

  test('whose error is one text keeps what else says whose fault it is', () => {
    expect(inAnswer({ error: 'Bad Request', status: 400 })).toMatchObject({ isRefusal: true });
    expect(inAnswer({ error: 'Oh', status: 500 })).toMatchObject({ isRefusal: false });
  });

  test('that is a problem by its type fails, whatever it has', () => {
    const problem = (body: unknown) => failureInAnswer(Buffer.from(JSON.stringify(body)), true);
    expect(problem({ type: 'about:blank', title: 'Oh no', status: 500 })).toEqual({
      isRefusal: false,
      code: undefined,
    });
    expect(problem({ title: 'No', status: 422 })).toMatchObject({ isRefusal: true });
    expect(problem({ error: { code: 503 } })).toMatchObject({ code: '503' });
    expect(problem([])).toBeUndefined();
  });

  test('that is cut tells nothing', () => {
    expect(failureInAnswer(Buffer.from('{"error":{"code":500'))).toBeUndefined();
  });
});

describe('a long answer, of which the ends are kept,', () => {
  const filler = `"data":[${'1,'.repeat(4_000)}1]`;
  const error = '"error":{"message":"{\\"error\\": }","code":503}';
  /** What is found if the first and last 500 bytes are there. */
  const inEnds = (text: string) =>
    failureInEdges(Buffer.from(text.slice(0, 500)), Buffer.from(text.slice(-500)));

  test.each([
    ['its first member', `{ ${error}, ${filler}}`],
    ['another of its first members', `{"id":1,${error},${filler}}`],
    ['its last member', `{${filler}, ${error} }\n`],
    ['one of its last members', `{${filler},${error},"usage":{"error":1}}`],
  ])('fails by %s', (_, text) => {
    expect(inEnds(text)).toEqual({ isRefusal: false, code: '503' });
  });

  test.each([
    ['a finish reason at its end', `{${filler},"choices":[{"finish_reason": "error"}],"usage":{}}`],
    ['what it is', `{"object":"error","message":"m",${filler}}`],
  ])('fails by %s', (_, text) => {
    expect(inEnds(text)).toEqual({ isRefusal: false, code: undefined });
  });

  test.each([
    ['of something inside', `{${filler},"output":[{${error}}],"more":{"a":{${error}}}}`],
    ['of something inside, at its beginning', `{"output":[{${error}}],${filler}}`],
    ['that is null', `{"error":null,${filler},"error":null}`],
    ['that is in neither end', `{${filler},${error},${filler}}`],
    ['that is cut', `{"error":{"message":"${'x'.repeat(600)}"},${filler}}`],
    ['in its text', `{${filler},"text":${JSON.stringify(`{${error},"finish_reason":"error"}`)}}`],
    ['that it has not', `{${filler}}`],
    ['of a list', `[{${error}},${filler},{${error}}]`],
  ])('does not fail by an error %s', (_, text) => {
    expect(inEnds(text)).toBeUndefined();
  });
});

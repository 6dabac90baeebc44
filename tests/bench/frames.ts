/**
 * The one event stream that the stand-in sends and the load generator expects, so that every byte of every stream can be
 * compared. Numbers of a fixed width keep all token frames equally long; it knows nothing of HTTP.
 */

/** Tokens that a stream can have at most. */
export const maxTokens = 8192;

const envelope =
  '"id":"cmpl-bench","object":"text_completion","created":1767225600,"model":"bench"';
const choice = (text: string, finish: string) =>
  `"choices":[{"index":0,"text":"${text}","logprobs":null,"finish_reason":${finish}}]`;

function tokenFrame(index: number): string {
  return `data: {${envelope},${choice(` ${String(index).padStart(6, '0')}`, 'null')}}\n\n`;
}

const encoder = new TextEncoder();

/** Length of every token frame in bytes. */
export const frameBytes = encoder.encode(tokenFrame(0)).length;

/** All token frames of the longest stream, one behind the other. */
export const transcript: Uint8Array = encoder.encode(
  Array.from({ length: maxTokens }, (_, index) => tokenFrame(index)).join(''),
);

/** The end of every stream: the frame with the reason and the usage, then the marker. */
export const tail: Uint8Array = encoder.encode(
  `data: {${envelope},${choice('', '"length"')},"usage":{"prompt_tokens":12,"completion_tokens":100,"total_tokens":112}}\n\n` +
    'data: [DONE]\n\n',
);

/** The body that asks for `tokens` tokens as a stream. */
export function streamRequest(tokens: number): string {
  return `{"model":"bench","prompt":"Once upon a time, in a village by the sea,","stream":true,"max_tokens":${tokens},"temperature":0.7}`;
}

/** The body of a plain request. */
export const plainRequest =
  '{"model":"bench","prompt":"Once upon a time, in a village by the sea,","max_tokens":100,"temperature":0.7}';

/** The answer to it. It holds no single quote and no dollar sign, so that an nginx configuration can carry it. */
export const plainAnswer =
  `{${envelope},${choice(' there lived a fisherman who had a cat that could count the waves.'.repeat(3), '"stop"')},` +
  '"usage":{"prompt_tokens":12,"completion_tokens":48,"total_tokens":60}}';

/** The stand-ins' answers to the probes that a gateway sends before it forwards anything. */
export const modelsAnswer =
  '{"object":"list","data":[{"id":"bench","object":"model","created":1767225600,"owned_by":"bench"}]}';

/**
 * Reads one streamed answer of /v1/chat/completions piece by piece. It touches neither the document nor the key.
 */
import { messageOf } from './api.js';
import { readEvents } from './events.js';

/** @import { Api } from './api.js' */
/** @typedef {{ role: 'system' | 'user' | 'assistant', content: string }} Message */
/** @typedef {{ kind: 'text' | 'thought' | 'queued' | 'tokens', text: string }} Piece */

/**
 * Returns the pieces in one event of the stream.
 * @param {string} data
 * @returns {Piece[]}
 * @throws {Error} with the message of an error event
 */
export function piecesOf(data) {
  if (data === '' || data === '[DONE]') return [];
  const { error, choices, usage, timings } = JSON.parse(data);
  if (error !== undefined) throw new Error(messageOf(data, 200));
  const delta = choices?.[0]?.delta ?? {};
  const tokens = usage?.completion_tokens ?? timings?.predicted_n;
  /** @type {[Piece['kind'], unknown][]} */
  const found = [
    ['thought', delta.reasoning_content ?? delta.reasoning],
    ['text', delta.content],
    ['tokens', tokens],
  ];
  return found.flatMap(([kind, value]) => {
    return value === undefined || value === null || value === ''
      ? []
      : { kind, text: String(value) };
  });
}

/**
 * @param {Api} api
 * @param {object} request
 * @param {string} request.model
 * @param {readonly Message[]} request.messages
 * @param {Record<string, number>} request.options further members of the body
 * @param {AbortSignal} request.signal
 * @param {(piece: Piece) => void} onPiece
 */
export async function streamChat(api, { model, messages, options, signal }, onPiece) {
  const body = { model, messages, stream: true, ...options };
  // Asks the gateway to report the position in the queue.
  const headers = { 'x-queue-feedback': 'true' };
  const answer = await api.open('POST', '/v1/chat/completions', { body, signal, headers });
  await readEvents(answer, ({ data, comment }) => {
    if (comment.startsWith('queued')) onPiece({ kind: 'queued', text: comment });
    for (const piece of piecesOf(data)) onPiece(piece);
  });
}

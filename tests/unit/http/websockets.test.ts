/**
 * Which requests ask for a WebSocket.
 */
import { expect, test } from 'bun:test';
import { webSocketRefusal } from '../../../src/http/websockets.ts';

function refusal(method: string, headers: Record<string, string>) {
  return webSocketRefusal(new Request('http://gateway/v1/responses', { method, headers }));
}

test.each(['websocket', 'WebSocket'])('a GET with Upgrade: %s is refused with 426', (upgrade) => {
  const error = refusal('GET', { upgrade });
  expect([error?.status, error?.code]).toEqual([426, 'websocket_unsupported']);
  expect(error?.headers).toEqual({ upgrade: 'HTTP/1.1' });
});

test('no other request is', () => {
  expect(refusal('GET', {})).toBeUndefined();
  expect(refusal('GET', { upgrade: 'h2c' })).toBeUndefined();
  expect(refusal('POST', { upgrade: 'websocket' })).toBeUndefined();
});

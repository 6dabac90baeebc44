/**
 * Reading an event stream over fetch, which can send a key where EventSource cannot.
 */

/** @typedef {{ event: string, data: string, comment: string }} StreamEvent */

/** Turns text, cut anywhere, into events. Comments come as events of their own, without data. */
export class EventParser {
  #rest = '';

  /**
   * @param {string} text
   * @returns {StreamEvent[]}
   */
  push(text) {
    this.#rest += text;
    // A CR at the very end may be half of a line end.
    const blocks = this.#rest.split(/\r\n\r\n|\n\n|\r\r(?!\n|$)/);
    this.#rest = blocks.pop() ?? '';
    return blocks.map(eventOf).filter(({ data, comment }) => data !== '' || comment !== '');
  }
}

/**
 * @param {string} block
 * @returns {StreamEvent}
 */
function eventOf(block) {
  const data = [];
  let event = 'message';
  let comment = '';
  for (const line of block.split(/\r\n|\n|\r/)) {
    const colon = line.indexOf(':');
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (name === 'data') data.push(value);
    if (name === 'event') event = value;
    if (name === '' && colon === 0) comment = value;
  }
  return { event, data: data.join('\n'), comment };
}

/**
 * Calls back with every event until the stream ends.
 * @param {Response} answer
 * @param {(event: StreamEvent) => void} onEvent
 */
export async function readEvents(answer, onEvent) {
  if (answer.body === null) return;
  const reader = answer.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const event of parser.push(decoder.decode(value, { stream: true }))) onEvent(event);
  }
}

/**
 * Reads an event stream over fetch, which can send a key in a header; EventSource cannot.
 */

/** @typedef {{ event: string, data: string, comment: string }} StreamEvent */

/** Turns text, cut at any place, into events. A block with only a comment becomes an event without data. */
export class EventParser {
  #rest = '';

  /**
   * @param {string} text
   * @returns {StreamEvent[]}
   */
  push(text) {
    this.#rest += text;
    // A CR at the end of the text may be the first half of a CR LF.
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
 * Calls `onEvent` with every event. Resolves when the stream ends.
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

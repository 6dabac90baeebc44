/**
 * The live view's connection: one event stream. When it ends or is silent for 6 s it is opened again, after growing
 * waits.
 */
import { ApiError, wordsOf } from './api.js';
import { readEvents } from './events.js';

/** @import { Api } from './api.js' */
/** @import { Live } from './types.d.ts' */

/** The gateway sends an event each second; after this time without one the connection counts as dead. */
const silenceMs = 6000;

/**
 * Returns the wait before an attempt, in milliseconds.
 * @param {number} attempt counted from 0
 * @param {number} random from 0 to 1, so that many pages do not reconnect at the same moment
 */
export function backoffMs(attempt, random) {
  return Math.min(30_000, 1000 * 2 ** attempt) * (0.5 + random / 2);
}

export class Feed {
  #api;
  #options;
  #ending = new AbortController();
  #wake = () => {};

  /**
   * @param {Api} api
   * @param {object} options
   * @param {(live: Live) => void} options.onLive
   * @param {(state: 'connecting' | 'open' | 'lost', words: string) => void} options.onState
   * @param {(error: ApiError) => void} options.onEnd called when the feed has ended: the key was refused, or there is
   * no admin API
   */
  constructor(api, options) {
    this.#api = api;
    this.#options = options;
  }

  async run() {
    let attempt = 0;
    while (!this.#ending.signal.aborted) {
      try {
        await this.#follow(() => (attempt = 0));
      } catch (error) {
        if (this.#ending.signal.aborted) return;
        if (error instanceof ApiError && (error.isRefusal || error.status === 404)) {
          return this.#options.onEnd(error);
        }
        this.#options.onState('lost', wordsOf(error));
      }
      await this.#pause(backoffMs(attempt++, Math.random()));
    }
  }

  /** Reconnects now instead of waiting longer. */
  hurry() {
    this.#wake();
  }

  stop() {
    this.#ending.abort();
    this.#wake();
  }

  /**
   * Reads one connection until it ends. Always rejects, with the reason.
   * @param {() => void} onEvent
   */
  async #follow(onEvent) {
    const connection = new AbortController();
    const end = () =>
      connection.abort(new Error(`The gateway has sent nothing for ${silenceMs / 1000} s.`));
    this.#ending.signal.addEventListener('abort', end);
    let timer = setTimeout(end, silenceMs);
    try {
      const { signal } = connection;
      const answer = await this.#api.open('GET', '/admin/live', { signal });
      await readEvents(answer, ({ event, data }) => {
        clearTimeout(timer);
        timer = setTimeout(end, silenceMs);
        if (event !== 'live') return;
        onEvent();
        this.#options.onState('open', '');
        this.#options.onLive(JSON.parse(data));
      });
      throw new Error('The gateway has closed the connection.');
    } finally {
      clearTimeout(timer);
      this.#ending.signal.removeEventListener('abort', end);
    }
  }

  /** @param {number} ms */
  #pause(ms) {
    const { promise, resolve } = Promise.withResolvers();
    const timer = setTimeout(resolve, ms);
    this.#wake = () => {
      clearTimeout(timer);
      resolve(undefined);
    };
    return promise;
  }
}

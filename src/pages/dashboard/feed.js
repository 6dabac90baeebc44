/**
 * The live view's connection: one event stream that is opened again, ever more slowly, whenever it ends or falls silent.
 */
import { ApiError, wordsOf } from './api.js';
import { readEvents } from './events.js';

/** @import { Api } from './api.js' */
/** @import { Live } from './types.d.ts' */

/** The gateway sends something each second. */
const silenceMs = 6000;

/**
 * How long to wait before try `attempt`, counted from 0, in milliseconds.
 * @param {number} attempt
 * @param {number} random from 0 to 1, so that many pages do not come back in the same moment
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
   * @param {(error: ApiError) => void} options.onEnd the key is not accepted, or there is no admin API; the feed has ended
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

  /** Tries at once in place of waiting on. */
  hurry() {
    this.#wake();
  }

  stop() {
    this.#ending.abort();
    this.#wake();
  }

  /**
   * Follows one connection to its end.
   * @param {() => void} onEvent
   */
  async #follow(onEvent) {
    const connection = new AbortController();
    const end = () => connection.abort(new Error('The gateway has fallen silent.'));
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

/**
 * The gateway's HTTP API with one key. The key lives in a private field of this object and goes out in one header: never
 * into an address, a store of the browser or the document.
 */

/** An answer that says no, with the gateway's own words. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 where there was no answer
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether the key is what was refused. */
  get isRefusal() {
    return this.status === 401 || this.status === 403;
  }
}

/**
 * Returns the message of an error envelope, or the start of what else came.
 * @param {string} text
 * @param {number} status
 */
export function messageOf(text, status) {
  try {
    const { error } = JSON.parse(text);
    const message = typeof error === 'string' ? error : error?.message;
    if (typeof message === 'string' && message !== '') return message;
  } catch {
    // Not JSON: something between this page and the gateway has answered.
  }
  return text.trim() === '' ? `The answer was ${status}.` : text.trim().slice(0, 200);
}

/** @param {unknown} error */
export function wordsOf(error) {
  return error instanceof Error ? error.message : String(error);
}

export class Api {
  #key = '';
  #onRefused;

  /** @param {(error: ApiError) => void} [onRefused] told whenever the key is not accepted */
  constructor(onRefused) {
    this.#onRefused = onRefused;
  }

  /** @param {string} key what is sent from now on; empty to forget the one before */
  use(key) {
    this.#key = key;
  }

  /**
   * Sends a request and gives the answer once its headers are there.
   * @param {string} method
   * @param {string} path
   * @param {{ body?: unknown, signal?: AbortSignal, headers?: Record<string, string> }} [options]
   * @returns {Promise<Response>}
   * @throws {ApiError} unless the answer is a 2xx
   */
  async open(method, path, { body, signal, headers = {} } = {}) {
    /** @type {RequestInit} */
    const init = {
      method,
      headers: { ...headers, authorization: `Bearer ${this.#key}` },
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
    };
    if (signal !== undefined) init.signal = signal;
    if (body !== undefined) {
      init.body = JSON.stringify(body);
      init.headers = { ...init.headers, 'content-type': 'application/json' };
    }
    const answer = await fetch(path, init).catch((error) => {
      if (signal?.aborted) throw error;
      throw new ApiError(0, 'The gateway cannot be reached.');
    });
    if (answer.ok) return answer;
    const error = new ApiError(answer.status, messageOf(await answer.text(), answer.status));
    if (error.isRefusal) this.#onRefused?.(error);
    throw error;
  }

  /**
   * Sends a request and gives the JSON of its answer, `undefined` when that has no body.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<any>} what the caller knows it to be
   */
  async ask(method, path, body) {
    const answer = await this.open(method, path, { body });
    const text = await answer.text();
    return text === '' ? undefined : JSON.parse(text);
  }
}

/**
 * Returns whether a text can be sent as a key at all; a header takes no spaces and nothing beyond ASCII.
 * @param {string} key
 */
export function isSendable(key) {
  return /^[\x21-\x7e]+$/.test(key);
}

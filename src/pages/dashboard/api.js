/**
 * The gateway's HTTP API with one key. The key is in a private field of this object and is sent in one header. It is
 * never written into a URL, the browser's storage or the document.
 */

/** An answer that is not a 2xx, with the gateway's message. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 if there was no answer
   * @param {string} message
   */
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether the gateway refused the key. */
  get isRefusal() {
    return this.status === 401 || this.status === 403;
  }
}

/**
 * Returns the message of an error body; of any other body its first 200 characters.
 * @param {string} text
 * @param {number} status
 */
export function messageOf(text, status) {
  try {
    const { error } = JSON.parse(text);
    const message = typeof error === 'string' ? error : error?.message;
    if (typeof message === 'string' && message !== '') return message;
  } catch {
    // Not JSON: a proxy between this page and the gateway has answered.
  }
  return text.trim() === ''
    ? `The gateway answered with status ${status}.`
    : text.trim().slice(0, 200);
}

/** @param {unknown} error */
export function wordsOf(error) {
  return error instanceof Error ? error.message : String(error);
}

export class Api {
  #key = '';
  #onRefused;

  /** @param {(error: ApiError) => void} [onRefused] called each time the key is refused */
  constructor(onRefused) {
    this.#onRefused = onRefused;
  }

  /** @param {string} key the key to send from now on; empty to forget the previous one */
  use(key) {
    this.#key = key;
  }

  /**
   * Sends a request. Resolves to the answer when its headers have arrived.
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
   * Sends a request. Resolves to the parsed JSON of the answer, `undefined` if it has no body.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @returns {Promise<any>} the caller knows the type
   */
  async ask(method, path, body) {
    const answer = await this.open(method, path, { body });
    const text = await answer.text();
    return text === '' ? undefined : JSON.parse(text);
  }
}

/**
 * Returns whether a text can be sent as a key: a header accepts only printable ASCII without spaces.
 * @param {string} key
 */
export function isSendable(key) {
  return /^[\x21-\x7e]+$/.test(key);
}

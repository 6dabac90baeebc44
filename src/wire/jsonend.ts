/**
 * Whether a JSON text that comes in pieces is whole: its brackets are closed and no string is open. It checks nothing else,
 * and keeps nothing of the text.
 */
const QUOTE = 0x22;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

export class JsonEnd {
  #depth = 0;
  #isInString = false;
  #isEscaped = false;
  #hasBegun = false;

  /** Whether what has come is an object or a list that has ended. */
  get isWhole(): boolean {
    return this.#hasBegun && this.#depth === 0 && !this.#isInString;
  }

  add(bytes: Uint8Array): void {
    let depth = this.#depth;
    let isInString = this.#isInString;
    let isEscaped = this.#isEscaped;
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i];
      if (isEscaped) isEscaped = false;
      else if (isInString) {
        if (byte === QUOTE) isInString = false;
        else if (byte === BACKSLASH) isEscaped = true;
      } else if (byte === QUOTE) isInString = true;
      else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
      else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) depth--;
    }
    this.#hasBegun ||= bytes.length > 0;
    this.#depth = depth;
    this.#isInString = isInString;
    this.#isEscaped = isEscaped;
  }
}

/**
 * Checks the syntax of a JSON object and finds its top-level members without building its values, and can stop and go on
 * at any byte, so that a large body holds nobody up. It accepts what JSON.parse accepts, within the bounds below.
 */
import { GatewayError } from './errors.ts';
import { bodyIsNoObject, invalidJson, startOf, textOf, unquote, type Span } from './json.ts';

/** A top-level member. */
export interface Member extends Span {
  /** How many elements its value has, and how many of those are numbers; 0 if it is not a list. */
  items: number;
  numbers: number;
}

/** The bounds of a large body. No client of an inference server comes near them. */
export const maxMembers = 1_000;
export const maxDepth = 500;
const maxNameBytes = 1_000;

const SPACE = 0x20;
const QUOTE = 0x22;
const PLUS = 0x2b;
const COMMA = 0x2c;
const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const LOWER_E = 0x65;
const LOWER_U = 0x75;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

const LIST = 0;
const OBJECT = 1;

/** What may come next. */
const VALUE = 0;
const VALUE_OR_CLOSE = 1;
const NAME = 2;
const NAME_OR_CLOSE = 3;
const AFTER_NAME = 4;
const AFTER_VALUE = 5;
const IN_STRING = 6;
const ESCAPE = 7;
const HEX = 8;
const WORD = 9;
/** In a number: after its minus, after a leading zero, in its digits, and the same of fraction and exponent. */
const MINUS_READ = 10;
const ZERO_READ = 11;
const DIGITS = 12;
const DOT_READ = 13;
const FRACTION = 14;
const E_READ = 15;
const SIGN_READ = 16;
const EXPONENT = 17;
const END = 18;

const words = ['true', 'false', 'null'].map((word) => Buffer.from(word));
const escapes = new Uint8Array(256);
for (const byte of Buffer.from('"\\/bfnrt')) escapes[byte] = 1;

function isEscape(byte: number): boolean {
  return escapes[byte] === 1;
}

function isDigit(byte: number): boolean {
  return byte >= ZERO && byte <= NINE;
}

function isHex(byte: number): boolean {
  const letter = byte | 0x20;
  return isDigit(byte) || (letter >= 0x61 && letter <= 0x66);
}

function isSpace(byte: number): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** One pass over the bytes of a body. */
export class JsonScan {
  readonly members: Member[] = [];
  #at: number;
  #state = VALUE;
  #depth = 0;
  /** By depth, 1 for an object and 0 for a list. */
  readonly #kinds = new Uint8Array(maxDepth + 2);
  /** Whether the string that is being read is a name. */
  #isName = false;
  /** Where the value or the name that is being read begins. */
  #start = 0;
  /** Digits of a \\u that are still to come, or bytes of a word that have come. */
  #count = 0;
  #word = words[0] as Uint8Array;
  /** Elements of the list that is the value of the latest member. */
  #items = 0;
  #numbers = 0;

  constructor(private readonly bytes: Uint8Array) {
    this.#at = startOf(bytes);
  }

  /**
   * Reads at most `count` bytes more. Returns whether the body has ended. Throws `invalid_json` if it is not JSON, is not
   * an object, or passes a bound.
   */
  read(count: number): boolean {
    const { bytes } = this;
    const kinds = this.#kinds;
    const end = Math.min(bytes.length, this.#at + count);
    // Variables, because fields cost several times as much for each byte.
    let i = this.#at;
    let state = this.#state;
    let depth = this.#depth;
    let isName = this.#isName;
    let digits = this.#count;
    let items = this.#items;
    let numbers = this.#numbers;
    while (i < end) {
      const byte = bytes[i] as number;
      // Whether a value ends with this byte.
      let ends = false;
      switch (state) {
        case IN_STRING: {
          let each = byte;
          while (each !== QUOTE && each !== BACKSLASH && each >= SPACE && ++i < end)
            each = bytes[i] as number;
          if (i === end) continue;
          if (each === BACKSLASH) state = ESCAPE;
          else if (each !== QUOTE) throw invalidJson(bytes);
          else if (isName) {
            state = AFTER_NAME;
            if (depth === 1) this.#named(i + 1);
          } else ends = true;
          break;
        }
        case ESCAPE:
          if (byte === LOWER_U) {
            state = HEX;
            digits = 4;
          } else if (isEscape(byte)) state = IN_STRING;
          else throw invalidJson(bytes);
          break;
        case HEX:
          if (!isHex(byte)) throw invalidJson(bytes);
          if (--digits === 0) state = IN_STRING;
          break;
        case WORD:
          if (byte !== this.#word[digits]) throw invalidJson(bytes);
          ends = ++digits === this.#word.length;
          break;
        case MINUS_READ:
        case DOT_READ:
        case E_READ:
        case SIGN_READ:
          if (isDigit(byte)) {
            if (state === MINUS_READ) state = byte === ZERO ? ZERO_READ : DIGITS;
            else state = state === DOT_READ ? FRACTION : EXPONENT;
          } else if (state === E_READ && (byte === MINUS || byte === PLUS)) state = SIGN_READ;
          else throw invalidJson(bytes);
          break;
        case ZERO_READ:
        case DIGITS:
        case FRACTION:
        case EXPONENT:
          if (state !== ZERO_READ && isDigit(byte)) break;
          if (byte === DOT && state <= DIGITS) state = DOT_READ;
          else if ((byte | 0x20) === LOWER_E && state <= FRACTION) state = E_READ;
          else {
            ends = true;
            i--; // This byte is not of the number.
          }
          break;
        case AFTER_NAME:
          if (byte === COLON) state = VALUE;
          else if (!isSpace(byte)) throw invalidJson(bytes);
          break;
        case AFTER_VALUE:
          if (byte === COMMA) state = kinds[depth] === OBJECT ? NAME : VALUE;
          else if (byte === (kinds[depth] === OBJECT ? CLOSE_BRACE : CLOSE_BRACKET)) {
            depth--;
            ends = true;
          } else if (!isSpace(byte)) throw invalidJson(bytes);
          break;
        case END:
          if (!isSpace(byte)) throw invalidJson(bytes);
          break;
        default: {
          // A value begins, or a name, or what has just opened closes.
          if (isSpace(byte)) break;
          const isClosing = byte === CLOSE_BRACE || byte === CLOSE_BRACKET;
          if (isClosing && (state === NAME_OR_CLOSE || state === VALUE_OR_CLOSE)) {
            if ((state === NAME_OR_CLOSE) !== (byte === CLOSE_BRACE)) throw invalidJson(bytes);
            depth--;
            ends = true;
            break;
          }
          if (state === NAME || state === NAME_OR_CLOSE) {
            if (byte !== QUOTE) throw invalidJson(bytes);
            isName = true;
            if (depth === 1) this.#start = i;
            state = IN_STRING;
            break;
          }
          if (depth === 0 && byte !== OPEN_BRACE) throw bodyIsNoObject();
          const isNumber = byte === MINUS || isDigit(byte);
          if (depth === 1) {
            this.#start = i;
            items = 0;
            numbers = 0;
          } else if (depth === 2 && kinds[2] === LIST) {
            items++;
            if (isNumber) numbers++;
          }
          if (isNumber) {
            if (byte === MINUS) state = MINUS_READ;
            else state = byte === ZERO ? ZERO_READ : DIGITS;
          } else if (byte === QUOTE) {
            isName = false;
            state = IN_STRING;
          } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
            if (++depth > maxDepth) throw tooDeep();
            kinds[depth] = byte === OPEN_BRACE ? OBJECT : LIST;
            state = byte === OPEN_BRACE ? NAME_OR_CLOSE : VALUE_OR_CLOSE;
          } else {
            this.#word = wordWith(byte, bytes);
            digits = 1;
            state = WORD;
          }
        }
      }
      i++;
      if (!ends) continue;
      state = depth === 0 ? END : AFTER_VALUE;
      if (depth === 1) this.#valued(i, items, numbers);
    }
    this.#at = i;
    this.#state = state;
    this.#depth = depth;
    this.#isName = isName;
    this.#count = digits;
    this.#items = items;
    this.#numbers = numbers;
    if (i < bytes.length) return false;
    if (state !== END) throw invalidJson(bytes);
    return true;
  }

  /** The name of a top-level member ends before `end`. */
  #named(end: number): void {
    if (this.members.length === maxMembers) {
      throw new GatewayError('invalid_json', {
        message: `The body has more than ${maxMembers} members at its top level.`,
      });
    }
    if (end - this.#start > maxNameBytes) {
      throw new GatewayError('invalid_json', {
        message: `The name of a member of the body has more than ${maxNameBytes} bytes.`,
      });
    }
    const key = unquote(textOf(this.bytes, this.#start, end));
    this.members.push({ key, start: end, end, items: 0, numbers: 0 });
  }

  /** The value of the latest member ends before `end`. */
  #valued(end: number, items: number, numbers: number): void {
    const member = this.members.at(-1) as Member;
    member.start = this.#start;
    member.end = end;
    member.items = items;
    member.numbers = numbers;
  }
}

function tooDeep(): GatewayError {
  return new GatewayError('invalid_json', {
    message: `The body nests lists and objects more than ${maxDepth} deep.`,
  });
}

function wordWith(first: number, bytes: Uint8Array): Uint8Array {
  const word = words.find((each) => each[0] === first);
  if (word === undefined) throw invalidJson(bytes);
  return word;
}

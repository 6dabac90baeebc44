/**
 * Whose tests are measured: the files that decide and compute, each with its own unit tests that open no socket. And
 * the mutants that nothing can tell from the code, so that the score counts only what a test could notice.
 */

/** Paths in src without `.ts`. */
export const files: readonly string[] = [
  'scheduling/queue',
  'scheduling/lanes',
  'scheduling/turn',
  'stores/memory/shares',
  'scheduling/heap',
  'scheduling/affinity',
  'stores/memory/gcra',
  'stores/memory/counters',
  'accounts/calendar',
  'accounts/keys',
  'accounts/keyring',
  'engines/prefixes',
  'engines/breaker',
  'engines/retry',
  'cache/cache',
  'request/cost',
  'wire/sse',
  'wire/json',
  'wire/multipart',
  'wire/headers',
  'wire/tokens',
];

/** Files whose tests also play whole scenarios, which take too long to do it for each mutant: the tests that are run. */
export const quickTests: Readonly<Record<string, string>> = {
  'scheduling/affinity': '^(place|ConversationHomes|whatever)',
};

/** A mutant that behaves as the code does: no test can kill it. */
export interface Equivalent {
  file: string;
  /** The line of the source, trimmed; its first one where the mutant takes several. */
  line: string;
  /** What the mutant changes, as it stands in the source, and into what. */
  original: string;
  replacement: string;
  reason: string;
}

export const equivalents: readonly Equivalent[] = [
  {
    file: 'request/cost',
    line: 'const unknown: Cost = { tokensAre: undefined };',
    original: '{ tokensAre: undefined }',
    replacement: '{}',
    reason: 'a field that is missing reads as undefined',
  },
  {
    file: 'wire/headers',
    line: "'accept-encoding',",
    original: "'accept-encoding'",
    replacement: '""',
    reason: 'the gateway sets its own value below',
  },
  {
    file: 'wire/headers',
    line: "'x-request-id',",
    original: "'x-request-id'",
    replacement: '""',
    reason: 'the gateway sets its own value below',
  },
  {
    file: 'wire/headers',
    line: "return value.split(',').flatMap((name) => name.trim().toLowerCase() || []);",
    original: '[]',
    replacement: '["Stryker was here"]',
    reason: 'no header has a name with spaces',
  },
  {
    file: 'wire/tokens',
    line: 'if (this.#head.length < edgeBytes) {',
    original: 'this.#head.length < edgeBytes',
    replacement: 'true',
    reason: 'the beginning is full: more bytes do not change it',
  },
  {
    file: 'wire/tokens',
    line: 'if (this.#head.length < edgeBytes) {',
    original: 'this.#head.length < edgeBytes',
    replacement: 'this.#head.length <= edgeBytes',
    reason: 'the beginning is full: more bytes do not change it',
  },
  {
    file: 'scheduling/heap',
    line: 'if (least !== undefined) this.delete(least);',
    original: 'least !== undefined',
    replacement: 'true',
    reason: '`delete` does nothing for an item that is not in',
  },
  {
    file: 'scheduling/heap',
    line: 'if (this.compare(item, parent) >= 0) break;',
    original: 'this.compare(item, parent) >= 0',
    replacement: 'false',
    reason: 'the item rises to the top and sinks to its place: slower, in the same order',
  },
  {
    file: 'scheduling/heap',
    line: 'if (this.compare(item, parent) >= 0) break;',
    original: 'this.compare(item, parent) >= 0',
    replacement: 'this.compare(item, parent) > 0',
    reason: 'the order among equals is not defined',
  },
  {
    file: 'scheduling/heap',
    line: 'if (child === undefined || this.compare(child, item) >= 0) break;',
    original: 'this.compare(child, item) >= 0',
    replacement: 'this.compare(child, item) > 0',
    reason: 'the order among equals is not defined',
  },
  {
    file: 'scheduling/heap',
    line: 'return a !== undefined && b !== undefined && this.compare(b, a) < 0 ? left + 1 : left;',
    original: 'a !== undefined',
    replacement: 'true',
    reason: 'the right child is missing where the left one is',
  },
  {
    file: 'scheduling/heap',
    line: 'return a !== undefined && b !== undefined && this.compare(b, a) < 0 ? left + 1 : left;',
    original: 'this.compare(b, a) < 0',
    replacement: 'this.compare(b, a) <= 0',
    reason: 'the order among equals is not defined',
  },
  {
    file: 'accounts/calendar',
    line: 'day: { start: 0, end: 0 },',
    original: '{ start: 0, end: 0 }',
    replacement: '{}',
    reason: 'no moment is in it either way',
  },
  {
    file: 'accounts/calendar',
    line: 'month: { start: 0, end: 0 },',
    original: '{ start: 0, end: 0 }',
    replacement: '{}',
    reason: 'no moment is in it either way',
  },
  {
    file: 'accounts/calendar',
    line: "this.#nameOf = timeZone === 'UTC' ? utc : namesIn(timeZone);",
    original: "timeZone === 'UTC'",
    replacement: 'false',
    reason: 'Intl gives the same days for UTC; it only costs the start time that this avoids',
  },
  {
    file: 'accounts/calendar',
    line: "this.#nameOf = timeZone === 'UTC' ? utc : namesIn(timeZone);",
    original: "'UTC'",
    replacement: '""',
    reason: 'Intl gives the same days for UTC; it only costs the start time that this avoids',
  },
  {
    file: 'stores/memory/gcra',
    line: 'if (rate > this.#rate) this.#scale(this.#rate / rate, now);',
    original: 'rate > this.#rate',
    replacement: 'rate >= this.#rate',
    reason: 'scaling by 1 changes nothing',
  },
  {
    file: 'stores/memory/gcra',
    line: 'if (moreMs < 0) this.#giveBack(share, -moreMs);',
    original: 'moreMs < 0',
    replacement: 'moreMs <= 0',
    reason: 'giving back nothing changes nothing',
  },
  {
    file: 'stores/memory/gcra',
    line: 'if (moreMs > 0) this.#charge(moreMs, now);',
    original: 'moreMs > 0',
    replacement: 'moreMs >= 0',
    reason: 'charging nothing changes nothing',
  },
  {
    file: 'engines/breaker',
    line: 'this.#probe = ++this.#probes;',
    original: '++this.#probes',
    replacement: '--this.#probes',
    reason: 'the numbers only have to differ',
  },
  {
    file: 'engines/breaker',
    line: 'const isVerdict = this.#probe !== undefined || now >= this.retryAt;',
    original: 'this.#probe !== undefined',
    replacement: 'false',
    reason: 'a probe is out only after `retryAt`',
  },
  {
    file: 'engines/breaker',
    line: "if (this.#reason === undefined || isVerdict) this.#open('unreachable', now);",
    original: 'this.#reason === undefined',
    replacement: 'false',
    reason: 'a closed breaker has its `retryAt` in the past',
  },
  {
    file: 'wire/multipart',
    line: 'if (boundary === undefined) return false;',
    original: 'boundary === undefined',
    replacement: 'false',
    reason: 'no delimiter is found without a boundary',
  },
  {
    file: 'wire/multipart',
    line: 'if (headerBytes === -1 || headerBytes > maxHeaderBytes) return undefined;',
    original: 'headerBytes === -1',
    replacement: 'false',
    reason: 'no blank line, no name: such a part is passed over as well',
  },
  {
    file: 'wire/multipart',
    line: 'if (headerBytes === -1 || headerBytes > maxHeaderBytes) return undefined;',
    original: '-1',
    replacement: '+1',
    reason:
      'a blank line cannot begin in the middle of a line break, and no blank line, no name: such a part is passed over as well',
  },
  {
    file: 'wire/multipart',
    line: 'for (let text = bytes.indexOf(dashed); text !== -1; text = bytes.indexOf(dashed, text + 1)) {',
    original: '-1',
    replacement: '+1',
    reason: 'the search begins anew, finds the same and ends at the bound: the same result, later',
  },
  {
    file: 'wire/multipart',
    line: 'if (disposition === undefined || !/:\\s*form-data\\s*;/i.test(disposition)) return undefined;',
    original: 'disposition === undefined',
    replacement: 'false',
    reason: 'the word `undefined` does not match',
  },
  {
    file: 'wire/multipart',
    line: "const [, key = '', quoted, token] = match;",
    original: "''",
    replacement: '"Stryker was here!"',
    reason: 'a match always has a key',
  },
  {
    file: 'wire/sse',
    line: 'if (this.#heldLength > 0) {',
    original: 'this.#heldLength > 0',
    replacement: 'true',
    reason: 'the same bytes, copied',
  },
  {
    file: 'wire/sse',
    line: 'if (this.#heldLength > 0) {',
    original: 'this.#heldLength > 0',
    replacement: 'this.#heldLength >= 0',
    reason: 'the same bytes, copied',
  },
  {
    file: 'wire/sse',
    line: 'if (length > this.#held.length) {',
    original: 'length > this.#held.length',
    replacement: 'length >= this.#held.length',
    reason: 'the buffer grows one byte sooner',
  },
  {
    file: 'cache/cache',
    line: 'this.#age++;',
    original: 'this.#age++',
    replacement: 'this.#age--',
    reason: 'the ages only have to differ',
  },
  {
    file: 'cache/cache',
    line: 'if (flight === undefined || leftMs <= 0) return this.#begin(key, id);',
    original: 'flight === undefined',
    replacement: 'false',
    reason: 'without a flight nothing is left to wait for, which the other half says',
  },
  {
    file: 'cache/cache',
    line: 'if (id !== undefined) this.#flights.set(id, flight);',
    original: 'id !== undefined',
    replacement: 'true',
    reason: 'nobody asks for the flight of `undefined`',
  },
  {
    file: 'cache/cache',
    line: 'if (id !== undefined && this.#flights.get(id) === flight) this.#flights.delete(id);',
    original: 'id !== undefined',
    replacement: 'true',
    reason: 'nobody asks for the flight of `undefined`',
  },
  {
    file: 'cache/cache',
    line: "signal.addEventListener('abort', leave, { once: true });",
    original: '{ once: true }',
    replacement: '{}',
    reason: 'the listener is removed below',
  },
  {
    file: 'cache/cache',
    line: "signal.addEventListener('abort', leave, { once: true });",
    original: 'true',
    replacement: 'false',
    reason: 'the listener is removed below',
  },
  {
    file: 'cache/cache',
    line: 'if (bytes > 0 && this.#recordingBytes + bytes > maxBytes * recordingShare) return false;',
    original: 'bytes > 0',
    replacement: 'true',
    reason: 'a release of bytes never goes beyond the bound',
  },
  {
    file: 'cache/cache',
    line: 'if (bytes > 0 && this.#recordingBytes + bytes > maxBytes * recordingShare) return false;',
    original: 'bytes > 0',
    replacement: 'bytes >= 0',
    reason: 'no bytes never go beyond the bound',
  },
  {
    file: 'scheduling/affinity',
    line: 'if (home === undefined || spill === undefined) {',
    original: 'spill === undefined',
    replacement: 'false',
    reason: 'one of the candidates is free',
  },
  {
    file: 'scheduling/affinity',
    line: 'return { index: spill?.index ?? home?.index ?? 0, isHeld: spill === undefined };',
    original: 'spill?.index',
    replacement: 'spill.index',
    reason: 'one of the candidates is free',
  },
  {
    file: 'scheduling/affinity',
    line: 'return { index: spill?.index ?? home?.index ?? 0, isHeld: spill === undefined };',
    original: 'home?.index',
    replacement: 'home.index',
    reason: 'one of the candidates is free',
  },
  {
    file: 'scheduling/affinity',
    line: 'return { index: spill?.index ?? home?.index ?? 0, isHeld: spill === undefined };',
    original: 'spill === undefined',
    replacement: 'false',
    reason: 'one of the candidates is free',
  },
  {
    file: 'scheduling/affinity',
    line: 'if (oldest !== undefined) this.#homes.delete(oldest);',
    original: 'oldest !== undefined',
    replacement: 'true',
    reason: 'a map with more than none has an oldest',
  },
];

/**
 * Reads the text of a YAML file and reports the line and column of each mistake. It never quotes the text, which may hold
 * secrets, and takes one document in which no key stands twice. A library parses it, since the runtime's own parser
 * reports no place and accepts a key that stands twice.
 */
import type { Document, YAMLError } from 'yaml';

/** What was read, and each problem with its place; `value` is `undefined` if the text is no YAML. */
export interface Reading {
  value: unknown;
  problems: string[];
}

/** Our words for mistakes for which the library's quote the text or name its functions. */
const words: Readonly<Record<string, string>> = {
  BAD_DIRECTIVE: 'a line that begins with % is a directive, and there is none like this',
  BAD_DQ_ESCAPE: 'no such escape; a plain backslash between double quotes is written \\\\',
  BAD_SCALAR_START: 'a value that begins with @ or ` needs quotes',
  DUPLICATE_KEY: 'this key stands there already',
  MULTIPLE_DOCS: 'a second document begins; one is allowed',
  NON_STRING_KEY: 'a list or a mapping is no key',
  TAG_RESOLVE_FAILED: 'no such tag; a value that begins with ! needs quotes',
  UNEXPECTED_TOKEN: 'this cannot stand here',
};

/**
 * Returns what a YAML text says, and what is wrong with it: the first mistake that makes it no YAML, since what looks
 * wrong behind that may only follow from it; otherwise each key that stands twice.
 */
export function readYaml(text: string): Reading {
  // Loaded only here: it costs milliseconds, and most starts have no file.
  const yaml = require('yaml') as typeof import('yaml');
  const lines = new yaml.LineCounter();
  const document = yaml.parseDocument(text, {
    lineCounter: lines,
    // Pretty errors quote the text.
    prettyErrors: false,
    logLevel: 'error',
    merge: true,
    // 1.0 and 4 can be names of models.
    stringKeys: true,
  });
  const tell = (offset: number, problem: string) => {
    const { line, col } = lines.linePos(offset);
    return `line ${line}, column ${col}: ${problem}`;
  };
  const told = ({ pos, code, message }: YAMLError) => tell(pos[0], words[code] ?? message);

  // A warning is a mistake too: the library ignores an unknown tag or directive, and so a part of what was meant.
  const mistakes = [...document.errors, ...document.warnings];
  const broken = mistakes.find(({ code }) => code !== 'DUPLICATE_KEY');
  if (broken) return { value: undefined, problems: [told(broken)] };
  const lost = findLostAlias(document, yaml);
  if (lost !== undefined) {
    const problem = 'no anchor has this name; a value that begins with * needs quotes';
    return { value: undefined, problems: [tell(lost, problem)] };
  }
  try {
    return { value: document.toJS(), problems: mistakes.map(told) };
  } catch {
    // The library limits how much aliases can expand to.
    return { value: undefined, problems: ['its aliases stand for too much'] };
  }
}

/** Returns the offset of the first alias that has no anchor before it. */
function findLostAlias(document: Document, { visit }: typeof import('yaml')): number | undefined {
  let place: number | undefined;
  visit(document, {
    Alias(_, alias) {
      if (alias.resolve(document) !== undefined) return undefined;
      place = alias.range?.[0] ?? 0;
      return visit.BREAK;
    },
  });
  return place;
}

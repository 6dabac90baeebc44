/**
 * Reads the text of a YAML file and says in which line and column a mistake is. It never quotes the text, which may hold
 * secrets, and takes one document whose keys stand once each. A library does it, since the runtime's own parser says no
 * place and lets a key stand twice.
 */
import type { Document, YAMLError } from 'yaml';

/** What was read, and each problem with its place; `value` is `undefined` where the text is no YAML. */
export interface Reading {
  value: unknown;
  problems: string[];
}

/** Said in place of the library's words, where those quote the text or speak of its functions. */
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
 * Gives what a YAML text says, and what is wrong with it: the first mistake that makes it no YAML, since what looks wrong
 * behind it may be its consequence; else each key that stands twice.
 */
export function readYaml(text: string): Reading {
  // Loaded here alone: it costs milliseconds, and most starts have no file.
  const yaml = require('yaml') as typeof import('yaml');
  const lines = new yaml.LineCounter();
  const document = yaml.parseDocument(text, {
    lineCounter: lines,
    // They quote the text.
    prettyErrors: false,
    logLevel: 'error',
    merge: true,
    // 1.0 and 4 are names of models as well.
    stringKeys: true,
  });
  const tell = (offset: number, problem: string) => {
    const { line, col } = lines.linePos(offset);
    return `line ${line}, column ${col}: ${problem}`;
  };
  const told = ({ pos, code, message }: YAMLError) => tell(pos[0], words[code] ?? message);

  // Its warnings are of tags and directives that are passed over, and with a tag a part of what was meant.
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
    return { value: undefined, problems: ['its aliases stand for too much'] }; // Its own limit of them.
  }
}

/** Gives where the first alias stands that has no anchor before it. */
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

/**
 * Watches files and tells when one of them has changed and all stand still: the same size and time at two looks, so that
 * none is read while it is being written.
 */
import { readFileSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { ReadFile } from './sources.ts';

/** Short enough that a change is soon taken, and long enough that a slow writer has written more. */
const lookMs = 500;

/** Returns what differs once a file has been written or replaced; the same text while it is missing. */
async function stateOf(path: string): Promise<string> {
  try {
    const { ino, size, mtimeMs } = await stat(path);
    return `${ino} ${size} ${mtimeMs}`;
  } catch {
    return 'missing'; // The error of reading it says why.
  }
}

/** Returns what reads files as text, and the paths of those that it was asked for. */
export function notedReads(): { files: Set<string>; readFile: ReadFile } {
  const files = new Set<string>();
  const readFile = (path: string) => {
    files.add(path);
    return readFileSync(path, 'utf8');
  };
  return { files, readFile };
}

/** The state of each file, by its path. */
type States = ReadonlyMap<string, string>;

export class WatchedFiles {
  #timer: ReturnType<typeof setInterval> | undefined;
  #paths: readonly string[];
  /** What the files were like when they were last told of, and at the last look. */
  #told: States = new Map();
  #seen: States = new Map();
  #isAsked = false;

  /**
   * @param tell called when something new stands still, or the same again after `ask`
   * @param state resolves with the state of one file
   */
  constructor(
    paths: Iterable<string>,
    private readonly tell: () => void,
    private readonly state: (path: string) => Promise<string> = stateOf,
  ) {
    this.#paths = [...paths];
  }

  /** Begins to watch. Resolves when the state that later ones are compared with is known. */
  async start(): Promise<void> {
    if (this.#paths.length === 0) return;
    this.#timer ??= setInterval(() => void this.tick(), lookMs);
    this.#seen = this.#told = await this.#look();
  }

  /**
   * Watches these files from now on. Returns whether one of them is new: what was read of it may be half of it, and so it
   * tells again when that one stands still.
   */
  replace(paths: ReadonlySet<string>): boolean {
    const isNew = [...paths].some((path) => !this.#paths.includes(path));
    this.#paths = [...paths];
    this.#isAsked ||= isNew;
    return isNew;
  }

  /** Watches these files as well; returns the same as `replace`. */
  add(paths: ReadonlySet<string>): boolean {
    return this.replace(new Set([...this.#paths, ...paths]));
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Looks, and tells of what is new and was the same at the last look. */
  async tick(): Promise<void> {
    const before = this.#seen;
    const now = await this.#look();
    this.#seen = now;
    if (!this.#isSame(now, before) || (this.#isSame(now, this.#told) && !this.#isAsked)) return;
    this.#tell(now);
  }

  /** Tells at once whatever the files are like, or, while one is being written, when they stand still. */
  async ask(): Promise<void> {
    if (this.#paths.length === 0) return this.tell();
    this.#isAsked = true;
    const now = await this.#look();
    if (this.#isAsked && this.#isSame(now, this.#seen)) this.#tell(now);
  }

  #tell(states: States): void {
    this.#told = states;
    this.#isAsked = false;
    this.tell();
  }

  /** Returns whether each watched file was the same at two looks; one that a look left out was not. */
  #isSame(now: States, before: States): boolean {
    return this.#paths.every((path) => now.has(path) && now.get(path) === before.get(path));
  }

  async #look(): Promise<States> {
    const look = async (path: string) => [path, await this.state(path)] as const;
    return new Map(await Promise.all(this.#paths.map(look)));
  }
}

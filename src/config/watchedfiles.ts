/**
 * Watches files and tells when one of them has changed and all stand still: the same size and time at two looks, so that
 * none is read while it is being written.
 */
import { stat } from 'node:fs/promises';

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

export class WatchedFiles {
  #timer: ReturnType<typeof setInterval> | undefined;
  /** What the files were like when they were last told of, and at the last look. */
  #told: string | undefined;
  #seen: string | undefined;
  #isAsked = false;

  /**
   * @param tell called when something new stands still, or the same again after `ask`
   * @param state resolves with the state of one file
   */
  constructor(
    private readonly paths: readonly string[],
    private readonly tell: () => void,
    private readonly state: (path: string) => Promise<string> = stateOf,
  ) {}

  /** Begins to watch. Resolves when the state that later ones are compared with is known. */
  async start(): Promise<void> {
    if (this.paths.length === 0) return;
    this.#timer ??= setInterval(() => void this.tick(), lookMs);
    this.#seen = this.#told = await this.#look();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Looks, and tells of what is new and was the same at the last look. */
  async tick(): Promise<void> {
    const before = this.#seen;
    const now = await this.#look();
    this.#seen = now;
    if (now !== before || (now === this.#told && !this.#isAsked)) return;
    this.#tell(now);
  }

  /** Tells at once whatever the files are like, or, while one is being written, when they stand still. */
  async ask(): Promise<void> {
    if (this.paths.length === 0) return this.tell();
    this.#isAsked = true;
    const now = await this.#look();
    if (this.#isAsked && now === this.#seen) this.#tell(now);
  }

  #tell(state: string): void {
    this.#told = state;
    this.#isAsked = false;
    this.tell();
  }

  async #look(): Promise<string> {
    return (await Promise.all(this.paths.map(this.state))).join('; ');
  }
}

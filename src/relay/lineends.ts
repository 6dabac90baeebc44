/**
 * What is kept of a stream of Ollama while it passes, whose frames are lines of JSON: the last one, which says whether the
 * stream is complete and what it cost, and the first failure that one of them told.
 */
import { StreamEnds } from './lastframes.ts';
import { hasText } from '../wire/bytes.ts';
import { failureInAnswer, type ToldFailure } from '../wire/failures.ts';
import { isRecord, textOf } from '../wire/json.ts';
import { readOllamaTokens, type Tokens } from '../wire/tokens.ts';

export class LineEnds extends StreamEnds {
  readonly hasLines = true;
  #lastLine: Uint8Array | undefined;
  #told: ToldFailure | undefined;

  override observe(bytes: Uint8Array, start: number, end: number): void {
    // A copy: a view would keep the whole chunk alive.
    const line = bytes.slice(start, end);
    if (!hasText(line, '{')) return;
    this.frames++;
    this.#lastLine = line;
    if (this.#told === undefined && hasText(line, '"error"')) this.#told = failureInAnswer(line);
  }

  override leftOver(bytes: Uint8Array): void {
    this.observe(bytes, 0, bytes.length);
  }

  override get failure(): ToldFailure | undefined {
    return this.#told;
  }

  override get lastFrame(): Uint8Array | undefined {
    return this.#lastLine;
  }

  override get isComplete(): boolean {
    return this.#told !== undefined || this.#isDone;
  }

  override tokens(): Tokens {
    // A tool that the model calls in another line can have arguments of these names.
    return this.#isDone && this.#lastLine !== undefined ? readOllamaTokens(this.#lastLine) : {};
  }

  get #isDone(): boolean {
    if (this.#lastLine === undefined) return false;
    try {
      const said: unknown = JSON.parse(textOf(this.#lastLine));
      return isRecord(said) && said['done'] === true;
    } catch {
      return false; // It is cut.
    }
  }
}

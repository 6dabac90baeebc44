/**
 * The log: one JSON object a line, or a readable form on a terminal. Secrets are masked here, in every line that is
 * written, not by callers. Lines are written in the background: a reader that stalls loses lines, but delays no
 * request.
 */
import { write } from 'node:fs';
import { promisify } from 'node:util';
import pino from 'pino';

export type Log = pino.Logger;

const pinoLevels = { DEBUG: 'debug', INFO: 'info', WARNING: 'warn', ERROR: 'error' } as const;
export type LogLevel = keyof typeof pinoLevels;

/** When so much text waits for a stalled reader, further lines are dropped. */
const maxWaitingCharacters = 8 * 1024 * 1024;
/** How long lines are gathered for one write. */
const gatherMs = 10;

const writeTo = promisify(write);

/** Writes lines to a file descriptor in batches, in the background. */
export class LineSink {
  #waiting = '';
  #lost = 0;
  #draining: Promise<void> | undefined;

  constructor(
    private readonly fd: number,
    private readonly mask: (text: string) => string,
  ) {}

  write(line: string): void {
    if (this.#waiting.length > maxWaitingCharacters) {
      this.#lost++;
      return;
    }
    this.#waiting += line;
    this.#draining ??= this.#drain();
  }

  /** Resolves to whether to use colours: on a terminal, unless NO_COLOR is set. */
  async hasColors(): Promise<boolean> {
    const { isatty } = await import('node:tty');
    // Bun.enableANSIColors covers stdout and stderr together, and one of them may be a pipe.
    return isatty(this.fd) && Bun.enableANSIColors;
  }

  /** Resolves when everything is written, or after `timeoutMs` if the reader is stalled. */
  async close(timeoutMs: number): Promise<void> {
    await Promise.race([this.#draining, Bun.sleep(timeoutMs)]);
  }

  async #drain(): Promise<void> {
    await Bun.sleep(gatherMs);
    while (this.#waiting !== '') await this.#writeAll(Buffer.from(this.#take()));
    this.#draining = undefined;
  }

  #take(): string {
    const lost = this.#lost;
    const text = this.mask(this.#waiting);
    this.#waiting = '';
    this.#lost = 0;
    if (lost === 0) return text;
    return `${text}${JSON.stringify({ level: 'WARNING', msg: 'log lines were lost', lost })}\n`;
  }

  async #writeAll(bytes: Buffer): Promise<void> {
    for (let from = 0; from < bytes.length;) {
      try {
        from += (await writeTo(this.fd, bytes, from)).bytesWritten;
      } catch (error) {
        // EAGAIN: the reader of the pipe is slow. Any other error: the reader is gone.
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
        await Bun.sleep(gatherMs);
      }
    }
  }
}

/**
 * Returns a new log.
 * @param options.isPretty the readable form instead of JSON lines
 * @param options.sink where the lines go
 */
export async function createLog(options: {
  level: LogLevel;
  isPretty: boolean;
  sink: LineSink;
}): Promise<Log> {
  const { level, isPretty, sink } = options;
  const settings: pino.LoggerOptions = {
    level: pinoLevels[level],
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
  };
  if (!isPretty) {
    const formatters = { level: (label: string) => ({ level: levelName(label) }) };
    return withFlatLines(pino({ ...settings, formatters }, sink));
  }
  // Loaded only for the readable form: it costs time at start.
  const { prettyFactory } = await import('pino-pretty');
  const { values } = pino.levels;
  const readable = prettyFactory({
    colorize: await sink.hasColors(),
    singleLine: true,
    translateTime: 'HH:MM:ss.l',
    // The same names as in LOG_LEVEL.
    customLevels: Object.fromEntries(
      Object.entries(pinoLevels).map(([name, label]) => [name, values[label]]),
    ),
  });
  return pino(settings, { write: (line) => sink.write(readable(withoutControls(line))) });
}

/** Returns a line of JSON without what a terminal would obey; the readable form leaves out what JSON escapes. */
function withoutControls(line: string): string {
  return `${line.trimEnd().replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '\uFFFD')}\n`;
}

/** Pino's function that makes a line; `time` is the member `time` as JSON, with a leading comma. */
type AsJson = (this: Log, fields: object, text: unknown, level: number, time: string) => string;

/**
 * Makes pino write each line with one JSON.stringify, which takes half as long as its own function, which goes member
 * by member. Lines with an error still use pino's function, which serializes errors.
 */
function withFlatLines(log: Log): Log {
  const { asJsonSym } = pino.symbols;
  const asJson = Reflect.get(log, asJsonSym) as AsJson;
  const heads = new Map(
    Object.entries(log.levels.values).map(([label, level]) => [
      level,
      `{"level":"${levelName(label)}"`,
    ]),
  );

  function asFlatJson(this: Log, ...line: Parameters<AsJson>): string {
    const [fields, text, level, time] = line;
    if (typeof text !== 'string' || 'err' in fields) return asJson.apply(this, line);
    const members = JSON.stringify(fields).slice(1, -1);
    const comma = members === '' ? '' : ',';
    return `${heads.get(level)}${time}${comma}${members},"msg":${JSON.stringify(text)}}\n`;
  }

  Reflect.set(log, asJsonSym, asFlatJson);
  return log;
}

function levelName(label: string): string {
  return label === 'warn' ? 'WARNING' : label.toUpperCase();
}

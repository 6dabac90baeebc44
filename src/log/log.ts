/**
 * The log: one JSON object a line, or a readable form on a terminal. Secrets are masked here, on every line that
 * leaves, and never at the caller. Writing happens aside: a reader that stalls costs lines, never a request.
 */
import { write } from 'node:fs';
import { promisify } from 'node:util';
import pino from 'pino';

export type Log = pino.Logger;

const pinoLevels = { DEBUG: 'debug', INFO: 'info', WARNING: 'warn', ERROR: 'error' } as const;
export type LogLevel = keyof typeof pinoLevels;

/** How much waits for a reader that stalls before lines are lost. */
const maxWaitingCharacters = 8 * 1024 * 1024;
/** Lines are gathered this long, so that many share one write. */
const gatherMs = 10;

const writeTo = promisify(write);

/** Writes lines to a file descriptor in batches, aside from whoever logs. */
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

  /** Says whether colours are wanted there: on a terminal, unless NO_COLOR is set. */
  async hasColors(): Promise<boolean> {
    const { isatty } = await import('node:tty');
    // Bun's word counts for both of its outputs, though one may be a pipe.
    return isatty(this.fd) && Bun.enableANSIColors;
  }

  /** Resolves when everything is written, or after `timeoutMs` where nobody reads. */
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
        // EAGAIN: a pipe whose reader is slow. Anything else: nobody is there to read the log.
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
        await Bun.sleep(gatherMs);
      }
    }
  }
}

/**
 * Makes the log.
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
  // Only people need it, so only they pay for loading it.
  const { prettyFactory } = await import('pino-pretty');
  const { values } = pino.levels;
  const readable = prettyFactory({
    colorize: await sink.hasColors(),
    singleLine: true,
    translateTime: 'HH:MM:ss.l',
    // Under the names that LOG_LEVEL has for them.
    customLevels: Object.fromEntries(
      Object.entries(pinoLevels).map(([name, label]) => [name, values[label]]),
    ),
  });
  return pino(settings, { write: (line) => sink.write(readable(line)) });
}

/** How pino makes a line; `time` is that member as JSON, with a comma in front. */
type AsJson = (this: Log, fields: object, text: unknown, level: number, time: string) => string;

/**
 * Has pino make its lines by one JSON.stringify, which takes half as long as its own way, member by member. Errors keep
 * that way, which knows how to write one.
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

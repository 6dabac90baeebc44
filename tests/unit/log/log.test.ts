/**
 * The log: its lines, that no secret is written in any form, and that a stalled reader only loses lines.
 */
import { afterAll, beforeAll, describe, expect, test } from 'bun:test';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLog, LineSink, type LogLevel } from '../../../src/log/log.ts';
import { secretMasker } from '../../../src/log/masking.ts';
import { forms, secrets } from '../../support/secrettexts.ts';

let folder: string;
let files = 0;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'gateway-log-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const mask = secretMasker(secrets);

/** Logs with `write` into a file and returns the file's text. */
async function logged(
  options: { level?: LogLevel; isPretty?: boolean },
  write: (log: Awaited<ReturnType<typeof createLog>>) => void,
): Promise<string> {
  const path = join(folder, `log-${files++}`);
  const fd = openSync(path, 'w');
  const sink = new LineSink(fd, mask);
  const { level = 'DEBUG', isPretty = false } = options;
  const log = await createLog({ level, isPretty, sink });
  write(log);
  log.error('end of the test');
  let text = '';
  for (let turn = 0; turn < 100 && !text.includes('end of the test'); turn++) {
    await Bun.sleep(5);
    text = readFileSync(path, 'utf8');
  }
  closeSync(fd);
  // Without the last line, which marks the end.
  return text.slice(0, text.lastIndexOf('\n', text.length - 2) + 1);
}

describe('createLog', () => {
  test('writes one JSON object a line, with the level by its name', async () => {
    const text = await logged({}, (log) => {
      log.debug('one\nline');
      log.info({ a: 1 }, 'two');
      log.warn('three');
      log.error('four');
    });
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
      ['DEBUG', 'one\nline'],
      ['INFO', 'two'],
      ['WARNING', 'three'],
      ['ERROR', 'four'],
    ]);
    expect(lines[1]).toEqual({
      level: 'INFO',
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      a: 1,
      msg: 'two',
    });
  });

  test('writes fields of every type, no fields, and a line without a message as JSON', async () => {
    const text = await logged({}, (log) => {
      log.info({ text: '"\n', absent: undefined, number: NaN, list: [1, { a: true }] }, 'fields');
      log.info({}, 'none');
      log.info({ a: 1 });
      log.error({ err: new TypeError('broken') }, 'failed');
    });
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const [time, level] = [expect.any(String), 'INFO'];
    expect(lines.slice(0, 3)).toEqual([
      { level, time, text: '"\n', number: null, list: [1, { a: true }], msg: 'fields' },
      { level, time, msg: 'none' },
      { level, time, a: 1 },
    ]);
    expect(lines[3]).toMatchObject({
      level: 'ERROR',
      err: { type: 'TypeError', message: 'broken', stack: expect.any(String) },
      msg: 'failed',
    });
  });

  test.each([
    ['DEBUG', 4],
    ['INFO', 3],
    ['WARNING', 2],
    ['ERROR', 1],
  ] as const)('at %s writes %d of four levels', async (level, count) => {
    const text = await logged({ level }, (log) => {
      for (const name of ['debug', 'info', 'warn', 'error'] as const) log[name]('x');
    });
    expect(text.trimEnd().split('\n').length).toBe(count);
  });

  test.each([false, true])('shows no secret in any field (readable form: %p)', async (isPretty) => {
    const text = await logged({ isPretty }, (log) => {
      for (const secret of secrets) {
        log.info(secret);
        log.info({ value: secret, [secret]: 'as a name' }, `in a message: ${secret}!`);
        log.info({ nested: [{ deep: { list: [secret] } }] });
        log.info({ body: JSON.stringify({ key: secret }) });
        log.error({ err: new Error(`refused ${secret}`, { cause: new Error(secret) }) }, 'failed');
        log.info({ url: `http://engine/${secret}?key=${secret}` });
        log.info({ headers: { authorization: `Bearer ${secret}` } });
      }
    });
    expect(text.split('\n').length).toBeGreaterThan(secrets.length * 7);
    for (const form of secrets.flatMap(forms)) expect(text).not.toContain(form);
  });

  test('writes the readable form with level, message and fields on one line', async () => {
    const text = await logged({ isPretty: true }, (log) =>
      log.warn({ code: 'idle_timeout' }, 'request ended'),
    );
    expect(text.split('\n').length).toBe(2);
    expect(text).toContain('request ended');
    expect(text).toContain('idle_timeout');
    expect(text).not.toStartWith('{');
  });

  test('uses the level names of LOG_LEVEL in the readable form', async () => {
    const text = await logged({ isPretty: true }, (log) => {
      for (const name of ['debug', 'info', 'warn', 'error'] as const) log[name]('x');
    });
    expect(text.match(/[A-Z]+(?=: x)/g)).toEqual(['DEBUG', 'INFO', 'WARNING', 'ERROR']);
  });

  test('writes nothing in the readable form that a terminal obeys', async () => {
    const text = await logged({ isPretty: true }, (log) => {
      const hostile = 'a\u001b[2Jb\u009b31mc\u007fd\u202ee\u2028f';
      log.info({ model: hostile, [hostile]: 1 }, hostile);
      log.error({ err: new Error(hostile) }, 'failed');
    });
    expect(text.replaceAll('\n', '')).not.toMatch(/[\p{C}\p{Zl}\p{Zp}]/u);
    expect(text).toContain('31mc');
  });

  test('writes no colours if the output is not a terminal', async () => {
    const text = await logged({ isPretty: true }, (log) => log.warn({ a: 1 }, 'x'));
    expect(Bun.stripANSI(text)).toBe(text);
  });

  test.each([
    ['colours on a terminal', {}, true],
    ['none where NO_COLOR is set', { NO_COLOR: '1' }, false],
  ])('writes %s', async (_what, env, hasColors) => {
    const program = `
      import { createLog, LineSink } from './src/log/log.ts';
      const sink = new LineSink(1, (text) => text);
      const log = await createLog({ level: 'INFO', isPretty: true, sink });
      log.info('on a terminal');
      await sink.close(60_000);
      process.exit();`;
    let shown = '';
    const child = Bun.spawn([process.execPath, '-e', program], {
      cwd: join(import.meta.dir, '../../..'),
      env: { TERM: 'xterm', ...env },
      terminal: { data: (_terminal, bytes) => void (shown += Buffer.from(bytes).toString()) },
    });
    await child.exited;
    expect(shown).toContain('on a terminal');
    expect(Bun.stripANSI(shown) !== shown).toBe(hasColors);
  });
});

describe('LineSink', () => {
  test('writes lines in order, many in one write', async () => {
    const path = join(folder, 'batches');
    const fd = openSync(path, 'w');
    let batches = 0;
    const sink = new LineSink(fd, (text) => (batches++, text));
    const lines = Array.from({ length: 5_000 }, (_, i) => `line ${i} Привет\n`);
    for (const line of lines) sink.write(line);
    await sink.close(60_000);
    closeSync(fd);
    expect(readFileSync(path, 'utf8')).toBe(lines.join(''));
    expect(batches).toBe(1);
  });

  test('writes again after it has been idle', async () => {
    const path = join(folder, 'idle');
    const fd = openSync(path, 'w');
    const sink = new LineSink(fd, (text) => text);
    for (const line of ['one\n', 'two\n']) {
      sink.write(line);
      await sink.close(60_000);
    }
    closeSync(fd);
    expect(readFileSync(path, 'utf8')).toBe('one\ntwo\n');
  });

  test('closes at once when nothing waits', async () => {
    let isClosed = false;
    void new LineSink(-1, (text) => text).close(60_000).then(() => (isClosed = true));
    await Bun.sleep(0);
    expect(isClosed).toBe(true);
  });

  test('drops the lines when the reader is gone, and continues', async () => {
    const noSuchFile = 1_000_000;
    let taken = '';
    const sink = new LineSink(noSuchFile, (text) => {
      taken += text;
      return text;
    });
    for (const line of ['into the void\n', 'again\n']) {
      sink.write(line);
      await sink.close(60_000);
    }
    expect(taken).toBe('into the void\nagain\n');
  });

  /** A pipe of 64 KB with its two ends; only `drain` reads it. */
  function pipe(isNonblocking: boolean) {
    const path = join(folder, `pipe-${files++}`);
    Bun.spawnSync(['mkfifo', path]);
    const readEnd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const writeEnd = openSync(
      path,
      constants.O_WRONLY | (isNonblocking ? constants.O_NONBLOCK : 0),
    );
    const parts: Buffer[] = [];
    const buffer = Buffer.alloc(256 * 1024);

    /** Reads until `isEnough` is true for the text so far, or until the pipe's writer is closed. */
    async function drain(isEnough: (text: string) => boolean): Promise<string> {
      for (;;) {
        try {
          const count = readSync(readEnd, buffer);
          if (count > 0) parts.push(Buffer.from(buffer.subarray(0, count)));
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
          const tail = Buffer.concat(parts.slice(-4)).toString();
          if (isEnough(tail)) return Buffer.concat(parts).toString();
          await Bun.sleep(1);
        }
      }
    }
    function close(): void {
      closeSync(writeEnd);
      closeSync(readEnd);
    }
    return { writeEnd, drain, close };
  }

  const line = `${'x'.repeat(1023)}\n`;

  test.each([true, false])(
    'never waits for a stalled reader, and logs afterwards how many lines were lost (non-blocking: %p)',
    async (isNonblocking) => {
      const { writeEnd, drain, close } = pipe(isNonblocking);
      const sink = new LineSink(writeEnd, (text) => text);
      // The pipe is full: further lines gather, and then they are dropped.
      sink.write(line.repeat(100));
      await sink.close(50);
      const written = 10_000;
      for (let i = 0; i < written; i++) sink.write(line);
      await sink.close(50);
      sink.write('lost as well\n');

      const text = await drain((tail) => tail.includes('log lines were lost'));
      close();
      const lines = text.trimEnd().split('\n');
      const { level, lost } = JSON.parse(lines.pop() ?? '');
      expect(level).toBe('WARNING');
      expect(lost).toBeGreaterThan(0);
      expect(lines.every((kept) => kept.length === 1023)).toBe(true);
      expect(lines.length - 100).toBe(written + 1 - lost);
      // 8 MB of lines and one more, the 100 before them, and the count.
      expect(text.length).toBeLessThan((8 * 1024 + 102) * 1024);
    },
  );
});

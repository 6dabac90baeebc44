/**
 * When changes of watched files are reported: once for each change, and not before the files stand still.
 */
import { describe, expect, test } from 'bun:test';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { notedReads, WatchedFiles } from '../../../src/config/watchedfiles.ts';

/** Files whose states the test sets, watched from now on; `told` counts. */
async function watched(...states: string[]) {
  const paths = states.map((_, index) => String(index));
  const world = { states, told: 0 };
  const files = new WatchedFiles(
    paths,
    () => world.told++,
    async (path) => world.states[Number(path)] ?? '',
  );
  await files.start();
  files.stop();
  return Object.assign(world, { files });
}

describe('a change', () => {
  test('is reported once, at the second look that sees it', async () => {
    const world = await watched('a');
    await world.files.tick();
    expect(world.told).toBe(0);
    world.states[0] = 'b';
    await world.files.tick();
    expect(world.told).toBe(0);
    await world.files.tick();
    expect(world.told).toBe(1);
    await world.files.tick();
    expect(world.told).toBe(1);
  });

  test('that goes on is not reported before it has ended', async () => {
    const world = await watched('a');
    for (const state of ['b', 'c', 'd', 'e']) {
      world.states[0] = state;
      await world.files.tick();
      expect(world.told).toBe(0);
    }
    await world.files.tick();
    expect(world.told).toBe(1);
  });

  test('of any file counts, and waits for all of them', async () => {
    const world = await watched('a', 'a');
    world.states[1] = 'b';
    await world.files.tick();
    world.states[0] = 'b';
    await world.files.tick();
    expect(world.told).toBe(0);
    await world.files.tick();
    expect(world.told).toBe(1);
  });

  test('that is undone in between is not reported', async () => {
    const world = await watched('a');
    world.states[0] = 'b';
    await world.files.tick();
    world.states[0] = 'a';
    for (let look = 0; look < 3; look++) await world.files.tick();
    expect(world.told).toBe(0);
  });
});

describe('asking', () => {
  test('reports at once if nothing is being written, changed or not', async () => {
    const world = await watched('a');
    await world.files.ask();
    await world.files.ask();
    expect(world.told).toBe(2);
    await world.files.tick();
    expect(world.told).toBe(2);
  });

  test('waits while a file is being written, and reports once', async () => {
    const world = await watched('a');
    world.states[0] = 'b';
    await world.files.ask();
    expect(world.told).toBe(0);
    await world.files.tick();
    expect(world.told).toBe(0);
    await world.files.tick();
    await world.files.tick();
    expect(world.told).toBe(1);
  });

  test('reports at once if there is no file', async () => {
    const world = await watched();
    await world.files.ask();
    expect(world.told).toBe(1);
  });
});

describe('other files', () => {
  test('that are new are reported when they stand still', async () => {
    const world = await watched('a');
    await world.files.ask();
    expect(world.told).toBe(1);
    world.states[1] = 'half';
    expect(world.files.replace(new Set(['0', '1']))).toBe(true);
    await world.files.tick();
    world.states[1] = 'whole';
    await world.files.tick();
    expect(world.told).toBe(1);
    await world.files.tick();
    expect(world.told).toBe(2);
    expect(world.files.replace(new Set(['0', '1']))).toBe(false);
    await world.files.tick();
    expect(world.told).toBe(2);
  });

  test('are watched as well, and those that are left out no more', async () => {
    const world = await watched('a', 'b');
    expect(world.files.add(new Set(['1']))).toBe(false);
    world.files.replace(new Set(['1']));
    world.states[0] = 'c';
    for (let look = 0; look < 3; look++) await world.files.tick();
    expect(world.told).toBe(0);
    expect(world.files.add(new Set(['0']))).toBe(true);
    for (let look = 0; look < 3; look++) await world.files.tick();
    expect(world.told).toBe(1);
  });
});

test('on disk: a file that is written, replaced or taken away is another one', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-test-'));
  const path = join(folder, 'file');
  let told = 0;
  writeFileSync(path, 'a');
  const files = new WatchedFiles([path], () => told++);
  await files.start();
  files.stop();
  const changes = [
    () => writeFileSync(path, 'ab'),
    () => {
      writeFileSync(`${path}.new`, 'cd');
      renameSync(`${path}.new`, path);
    },
    () => rmSync(path),
  ];
  for (const [index, change] of changes.entries()) {
    change();
    await files.tick();
    await files.tick();
    expect(told).toBe(index + 1);
  }
  rmSync(folder, { recursive: true });
});

test('the files that were asked for are noted, those that are missing too', () => {
  const { files, readFile } = notedReads();
  expect(readFile(import.meta.path)).toContain('notedReads');
  expect(() => readFile('/no/such/file')).toThrow('ENOENT');
  expect([...files]).toEqual([import.meta.path, '/no/such/file']);
});

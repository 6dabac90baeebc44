/**
 * What the fuzzing needs and the repository does not have: Python packages, in a virtual environment in the ignored
 * folder `.engine`, and a Go program of the standard library, built into a folder for temporary files.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { venv } from '../real/python.ts';

export const fuzzTools = venv('fuzz', [
  'schemathesis==4.32.5',
  'starlette==1.10.0',
  'python-multipart==0.0.34',
]);

/** Installs the Python packages unless they are there. Returns why that failed, `undefined` if they are there. */
export async function missingPython(log: (line: string) => void): Promise<string | undefined> {
  try {
    await fuzzTools.setUp(log);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Builds the Go reader of forms. Returns its path, or why there is none. */
export async function buildGoReader(
  stack: DisposableStack,
): Promise<{ path: string } | { why: string }> {
  if (Bun.which('go') === null)
    return { why: 'go is not on PATH (Debian: apt-get install golang)' };
  const folder = mkdtempSync(join(tmpdir(), 'llm-gateway-go-'));
  stack.defer(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, 'readforms');
  const child = Bun.spawn(
    ['go', 'build', '-o', path, join(import.meta.dir, 'readers/readforms.go')],
    { cwd: folder, stdin: 'ignore', stdout: 'ignore', stderr: 'pipe' },
  );
  const [said, code] = await Promise.all([child.stderr.text(), child.exited]);
  return code === 0 ? { path } : { why: `go build ended with code ${code}: ${said}` };
}

/** Installs the clients, with exactly the versions of the lists beside this file, into the ignored folder `.engine`. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { venv } from '../../real/python.ts';
import { installed } from './adapter.ts';

const here = import.meta.dir;

async function linesOf(file: string): Promise<string[]> {
  return (await Bun.file(join(here, file)).text()).trim().split('\n');
}

async function installPython(name: string, list: string): Promise<void> {
  await venv(`clients/${name}`, ['--no-deps', ...(await linesOf(list))]).setUp(console.log);
}

async function installNpm(): Promise<void> {
  const lock = await Bun.file(join(here, 'package-lock.json')).text();
  const marker = Bun.file(join(installed, 'installed'));
  if ((await marker.exists()) && (await marker.text()) === lock) return;
  if (Bun.which('npm') === null) throw new Error('npm is missing: it comes with Node.js');
  await Bun.$`cp package.json package-lock.json ${installed}`.cwd(here);
  await Bun.$`npm ci --no-audit --no-fund`.cwd(installed);
  await Bun.write(marker, lock);
}

/** Installs what is missing (1.6 GB in all); throws an Error that says what to do when it cannot. */
export async function setUpClients(): Promise<void> {
  await mkdir(installed, { recursive: true });
  await installNpm();
  await installPython('python', 'requirements.txt');
  await installPython('aider', 'requirements-aider.txt');
  // Beside node_modules, so that the scripts find the packages there.
  await Bun.$`rm -rf ${join(installed, 'scripts')}`;
  await Bun.$`cp -r ${join(here, 'scripts')} ${installed}`;
}

/**
 * What the table of clients needs to know about a client: how to start it for one request. Everything else, the
 * behaviours and how they are judged, is the same for all clients.
 */
import { join } from 'node:path';

/** The folder of the clients, which `bun run test:clients` fills; git ignores it. */
export const installed = join(import.meta.dir, '../../../.engine/clients');

/** What a client shall do: stream an answer, have a tool called, fail, or leave in the middle of a stream. */
export type Task = 'stream' | 'tools' | 'error' | 'abort';

/** One run of a client. */
export interface Asked {
  task: Task;
  /** The base URL as a person would type it. */
  baseUrl: string;
  key: string;
  model: string;
  prompt: string;
  /** An empty folder of this run: home folder and work folder of the client. */
  folder: string;
}

export interface Adapter {
  name: string;
  /** What stands after the address of the gateway in the base URL that this client's documentation asks for. */
  suffix: '' | '/v1';
  /** The prompt that makes the simulated engine call a tool that the client offers; none if it offers no tools. */
  toolPrompt: string | undefined;
  /** Whether the client itself runs the tool and sends what came of it; a library shows the call instead. */
  runsTools: boolean;
  /** Writes the client's settings into the folder of the run, and returns how it is started. */
  command(asked: Asked): Promise<{ command: string[]; env?: Record<string, string> }>;
}

/** The arguments of the call of a tool that libraries show. */
export const toolArguments = '{"city":"Paris-4711"}';

/** Describes a library by its script in `scripts`, which takes the fields of `Asked` as one argument in JSON. */
export function library(name: string, script: string, suffix: Adapter['suffix']): Adapter {
  const interpreter = script.endsWith('.py') ? join(installed, 'python/bin/python') : 'bun';
  return {
    name,
    suffix,
    toolPrompt: `Please call get_weather ${toolArguments}`,
    runsTools: false,
    command: async (asked) => ({
      command: [interpreter, join(installed, 'scripts', script), JSON.stringify(asked)],
    }),
  };
}

/**
 * Where the official Python clients are installed, in virtual environments of their own.
 */
import { venv } from '../real/python.ts';

export const pythonClient = venv('openai', ['openai==3.54.0']);

/** Both official clients, for checks of what the gateway writes itself against their models. */
export const officialClients = venv('official', ['openai==3.54.0', 'anthropic==2.14.0']);

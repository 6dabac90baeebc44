/**
 * Where the official Python client is installed, in its own virtual environment.
 */
import { venv } from '../real/python.ts';

export const pythonClient = venv('openai', ['openai==3.54.0']);

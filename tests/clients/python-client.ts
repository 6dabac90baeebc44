/**
 * Where the official Python client is installed, in a virtual environment of its own.
 */
import { venv } from '../real/python.ts';

export const pythonClient = venv('openai', ['openai==3.54.0']);

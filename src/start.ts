/**
 * Where the binary begins. Its process is replaced once (runtime.ts), and only the process that stays loads all the rest.
 */
import './runtime.ts';

void import('./index.ts');

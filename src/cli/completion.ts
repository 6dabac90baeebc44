/**
 * The command `completion`: prints a script that lets bash, zsh or fish complete commands and options. The scripts hold
 * the names alone, so that completing starts no process.
 */
import { didYouMean } from '../config/nearest.ts';
import type { ExitCode } from './command.ts';
import { oneLine } from './table.ts';

/** What can stand next behind a command, by its words: behind none of them, `''`. */
export type NextWords = Readonly<Record<string, readonly string[]>>;

const help = `Usage: llm-gateway completion SHELL
Prints a script that completes commands and options; SHELL is bash, zsh or fish.

  bash   llm-gateway completion bash > ~/.local/share/bash-completion/completions/llm-gateway
  zsh    llm-gateway completion zsh > "\${fpath[1]}/_llm-gateway"
  fish   llm-gateway completion fish > ~/.config/fish/completions/llm-gateway.fish`;

/** Returns the lines of a `case` of a shell: for each command what can stand behind it. */
function cases(next: NextWords): string {
  return Object.entries(next)
    .map(([words, names]) => `    '${words}') names='${names.join(' ')}' ;;`)
    .join('\n');
}

/** Returns the commands that have commands of their own, as a pattern of a shell. */
function groupsOf(next: NextWords): string[] {
  const groups = Object.keys(next).filter((words) => words.includes(' '));
  return [...new Set(groups.map((words) => words.split(' ', 1)[0] as string))];
}

/** The scripts, by shell; where no name fits, they complete the names of files. */
const scripts: Readonly<Record<string, (next: NextWords) => string>> = {
  bash: (next) => `_llm_gateway() {
  local word=\${COMP_WORDS[COMP_CWORD]} at='' names=''
  COMPREPLY=()
  if [[ \${COMP_WORDS[COMP_CWORD-1]} == --config ]]; then return; fi
  if ((COMP_CWORD > 1)); then at=\${COMP_WORDS[1]}; fi
  if ((COMP_CWORD > 2)) && [[ $at == @(${groupsOf(next).join('|')}) ]]; then at+=" \${COMP_WORDS[2]}"; fi
  case $at in
${cases(next)}
  esac
  COMPREPLY=($(compgen -W "$names" -- "$word"))
}
complete -o default -F _llm_gateway llm-gateway`,

  zsh: (next) => `#compdef llm-gateway
_llm_gateway() {
  local at='' names=''
  if [[ $words[CURRENT-1] == --config ]]; then _files; return; fi
  if ((CURRENT > 2)); then at=$words[2]; fi
  if ((CURRENT > 3)) && [[ $at == (${groupsOf(next).join('|')}) ]]; then at+=" $words[3]"; fi
  case $at in
${cases(next)}
  esac
  compadd -- \${=names} || _files
}
if [[ $funcstack[1] == _llm-gateway ]]; then _llm_gateway "$@"; else compdef _llm_gateway llm-gateway; fi`,

  fish: (next) => `function __llm_gateway_names
  set -l words (commandline -opc)
  set -l at ''
  if test (count $words) -gt 1
    set at $words[2]
  end
  if test (count $words) -gt 2; and contains -- $at ${groupsOf(next).join(' ')}
    set at "$at $words[3]"
  end
  switch $at
${Object.entries(next)
  .map(([words, names]) => `    case '${words}'\n      printf '%s\\n' ${names.join(' ')}`)
  .join('\n')}
  end
end
complete -c llm-gateway -a '(__llm_gateway_names)'`,
};

/**
 * Runs `llm-gateway completion` with the arguments behind it.
 * @param io `print` and `printError` end the line
 */
export function runCompletion(
  args: readonly string[],
  next: NextWords,
  io: { print(text: string): void; printError(text: string): void },
): ExitCode {
  if (args.includes('--help') || args.includes('-h')) {
    io.print(help);
    return 0;
  }
  const [shell = '', ...surplus] = args;
  const script = Object.hasOwn(scripts, shell) ? scripts[shell] : undefined;
  if (script !== undefined && surplus.length === 0) {
    io.print(script(next));
    return 0;
  }
  const problem =
    script !== undefined
      ? `unexpected "${oneLine(surplus.join(' '))}"`
      : shell === ''
        ? 'name the shell: bash, zsh or fish'
        : `there is no script for "${oneLine(shell)}"${didYouMean(shell, Object.keys(scripts))}`;
  io.printError(`llm-gateway: ${problem}\nTry: llm-gateway completion --help`);
  return 2;
}

/**
 * Rows as text: an aligned table for a terminal, or CSV. What a terminal would obey and what a spreadsheet would compute
 * does not get through.
 */

/** Returns a text on one line and without control characters: strangers name models and users. */
export function oneLine(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, '\uFFFD');
}

/** What a cell without a value shows. */
export const none = '-';

/** Returns an aligned table; the columns from `firstNumber` on are aligned to the right. */
export function table(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
  firstNumber = Number.POSITIVE_INFINITY,
): string {
  const lines = [headings, ...rows].filter(({ length }) => length > 0);
  const cells = lines.map((line) => line.map(oneLine));
  const widths = (cells[0] ?? []).map((_, column) => {
    return Math.max(...cells.map((line) => Bun.stringWidth(line[column] ?? '')));
  });
  const padded = (text: string, column: number) => {
    const space = ' '.repeat((widths[column] ?? 0) - Bun.stringWidth(text));
    return column < firstNumber ? text + space : space + text;
  };
  return cells.map((line) => line.map(padded).join('  ').trimEnd()).join('\n');
}

/** Returns a field of a CSV file, quoted as RFC 4180 says, and so that no spreadsheet takes it for a formula. */
function csvField(value: string | number | null | undefined): string {
  if (typeof value !== 'string') return String(value ?? '');
  const shown = oneLine(value);
  // Some take the wide forms for the same, and some a semicolon for the comma.
  const text = /^[=+\-@＝＋－＠]/.test(shown) ? `'${shown}` : shown;
  return /[",;]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Returns rows as CSV by RFC 4180, without the line feed after the last one. */
export function csv(rows: readonly (readonly (string | number | null | undefined)[])[]): string {
  return `${rows.map((row) => row.map(csvField).join(',')).join('\r\n')}\r`;
}

/** Returns JSON for people and programs: what a terminal would obey stands there as its escape. */
export function json(value: unknown): string {
  const text = JSON.stringify(value, null, 2);
  return text.replace(/[^\P{C}\n]|[\p{Zl}\p{Zp}]/gu, (character) =>
    Array.from({ length: character.length }, (_, i) => {
      return `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`;
    }).join(''),
  );
}

/**
 * Bar charts as one SVG, without a library: a few rectangles and words. It knows nothing of what the numbers mean.
 */
export interface Chart {
  title: string;
  bars: { label: string; value: number }[];
}

const width = 720;
const labelWidth = 190;
const valueWidth = 80;
const rowHeight = 22;
const titleHeight = 34;

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

/** Returns the charts one below the other; each has its own scale, from 0. */
export function bars(charts: readonly Chart[]): string {
  const parts: string[] = [];
  let y = 10;
  for (const { title, bars: rows } of charts) {
    parts.push(`<text x="10" y="${y + 20}" font-weight="bold">${escaped(title)}</text>`);
    y += titleHeight;
    const most = Math.max(...rows.map(({ value }) => value), Number.MIN_VALUE);
    for (const { label, value } of rows) {
      const length = (value / most) * (width - labelWidth - valueWidth);
      parts.push(
        `<text x="${labelWidth - 8}" y="${y + 15}" text-anchor="end">${escaped(label)}</text>`,
        `<rect x="${labelWidth}" y="${y + 3}" width="${length.toFixed(1)}" height="${rowHeight - 6}" fill="#4078c0"/>`,
        `<text x="${(labelWidth + length + 6).toFixed(1)}" y="${y + 15}">${value.toFixed(value < 100 ? 1 : 0)}</text>`,
      );
      y += rowHeight;
    }
    y += 8;
  }
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y}" font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>${parts.join('')}</svg>\n`;
}

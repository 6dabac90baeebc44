/**
 * One chart: a title, a legend, and the plot with a box of values that follows the pointer.
 */
import { make, setText } from './dom.js';
import { clock, moment } from './format.js';
import { stacked } from './series.js';

/** @import { Line } from './series.js' */

const height = 150;
/** Charts with this key show their crosshairs at the same time. */
const cursorKey = 'usage';
/** Axis steps for counts: whole numbers only. */
const wholeSteps = Array.from({ length: 13 }, (_, power) => [1, 2, 5].map((n) => n * 10 ** power));
const darkness = matchMedia('(prefers-color-scheme: dark)');

/** @param {string} name */
function variable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** @param {number} seconds */
function dateOf(seconds) {
  return new Date(seconds * 1000);
}

/** @param {number[]} splits epoch seconds */
function timeLabels(splits) {
  return splits.map((seconds) => {
    const date = dateOf(seconds);
    const isDay = date.getHours() === 0 && date.getMinutes() === 0;
    return isDay ? date.toLocaleDateString('en', { day: 'numeric', month: 'short' }) : clock(date);
  });
}

export class Chart {
  #options;
  #legend = make('ul', 'legend');
  #place = make('div', 'plot');
  #box = make('div', 'box');
  /** @type {uPlot | undefined} */
  #plot;
  /** @type {{ times: number[], lines: Line[] }} */
  #shown = { times: [], lines: [] };

  /**
   * @param {HTMLElement} container
   * @param {object} options
   * @param {string} options.title
   * @param {'bars' | 'lines'} options.shape bars are stacked
   * @param {(value: number | null) => string} options.write formats a value
   * @param {number} options.least the smallest upper end of the axis
   */
  constructor(container, options) {
    this.#options = options;
    this.#place.role = 'img';
    this.#box.hidden = true;
    const note = options.shape === 'lines' ? [make('span', '', 'p50, dashed: p95')] : [];
    const title = make('figcaption', '', options.title, ...note);
    container.append(make('figure', 'chart', title, this.#legend, this.#place));
    new ResizeObserver(() => {
      const width = this.#place.clientWidth;
      if (width > 0) this.#plot?.setSize({ width, height });
    }).observe(this.#place);
    darkness.addEventListener('change', () => this.#draw());
  }

  /**
   * @param {number[]} times epoch seconds
   * @param {Line[]} lines
   */
  show(times, lines) {
    const before = this.#shown.lines;
    this.#shown = { times, lines };
    const isSame =
      lines.length === before.length &&
      lines.every(({ label, color }, index) => {
        return label === before[index]?.label && color === before[index]?.color;
      });
    if (!isSame || this.#plot === undefined) return this.#draw();
    this.#describe();
    this.#plot.setData(this.#plotData());
    this.#showBox(this.#plot);
  }

  /** Describes the chart in words, for screen readers. */
  #describe() {
    const { lines } = this.#shown;
    const hasData = lines.some(({ values }) => values.some((value) => value !== null && value > 0));
    const words = hasData ? 'the table of totals has the numbers' : 'no data in this time range';
    this.#place.ariaLabel = `${this.#options.title}: ${words}`;
    this.#place.classList.toggle('blank', !hasData);
  }

  #draw() {
    const { times } = this.#shown;
    this.#plot?.destroy();
    this.#plot = undefined;
    if (times.length === 0) return;
    this.#showLegend();
    this.#describe();
    this.#plot = new uPlot(this.#plotOptions(), this.#plotData(), this.#place);
    this.#plot.over.append(this.#box);
  }

  /** The drawing order, back to front: of stacked bars the top one first. */
  #order() {
    return [...this.#shown.lines.keys()].reverse();
  }

  /** @returns {uPlot.AlignedData} */
  #plotData() {
    const { times, lines } = this.#shown;
    const all = this.#options.shape === 'bars' ? stacked(lines) : lines.map(({ values }) => values);
    return [times, ...this.#order().map((index) => all[index] ?? [])];
  }

  /** Seconds from one point to the next. */
  #step() {
    const [first = 0, second = first + 60] = this.#shown.times;
    return second - first;
  }

  /** @returns {uPlot.Options} */
  #plotOptions() {
    const { write, least } = this.#options;
    const font = `11px ${variable('--font')}`;
    const grid = { stroke: variable('--line'), width: 1 };
    const axis = { stroke: variable('--dim'), font, grid, ticks: { show: false } };
    return {
      width: this.#place.clientWidth || 300,
      height,
      padding: [8, 8, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: { show: false },
        sync: { key: cursorKey },
      },
      scales: {
        // Half a step more on each side: a bar is centred on its point in time.
        x: { range: (_plot, min, max) => [min - this.#step() / 2, max + this.#step() / 2] },
        y: { range: (_plot, _min, max) => [0, Math.max(max ?? 0, least) * 1.08] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          values: (_plot, splits) => timeLabels(splits),
          space: 60,
          size: 26,
        },
        {
          ...axis,
          ...(this.#options.shape === 'bars' ? { incrs: wholeSteps.flat() } : {}),
          size: 52,
          gap: 6,
          space: 28,
          values: (_plot, splits) => splits.map(write),
        },
      ],
      series: [{}, ...this.#order().map((index) => this.#seriesOf(index))],
      hooks: { setCursor: [(plot) => this.#showBox(plot)] },
    };
  }

  /**
   * @param {number} index
   * @returns {uPlot.Series}
   */
  #seriesOf(index) {
    const line = this.#shown.lines[index];
    const stroke = variable(`--c${line?.color ?? 0}`);
    if (this.#options.shape === 'bars') {
      const bars = uPlot.paths.bars;
      const paths = bars === undefined ? {} : { paths: bars({ size: [0.8, 40] }) };
      return { fill: stroke, width: 0, points: { show: false }, ...paths };
    }
    return {
      stroke,
      width: line?.isFaint ? 1 : 1.75,
      ...(line?.isFaint ? { dash: [3, 3] } : {}),
      alpha: line?.isFaint ? 0.6 : 1,
      // A line needs two points; a value without neighbours is drawn as a dot.
      points: { size: 4, fill: stroke, width: 0, filter: (_plot, at) => this.#lonely(at) },
    };
  }

  /**
   * Returns the indexes of values whose neighbours are missing.
   * @param {number} at the position of the series in the plot
   */
  #lonely(at) {
    const values = this.#shown.lines[this.#order()[at - 1] ?? 0]?.values ?? [];
    return [...values.keys()].filter((index) => {
      const isThere = (/** @type {number} */ other) => typeof values[other] === 'number';
      return isThere(index) && !isThere(index - 1) && !isThere(index + 1);
    });
  }

  #showLegend() {
    const entries = this.#shown.lines
      // A pair of lines has one entry: both have the same colour, and p95 is dashed.
      .filter(({ isFaint, label }) => !isFaint || label === 'p95')
      .map(({ label, color, isFaint }) => {
        const text = label === 'p50' || label === 'p95' ? label : label.replace(/ p50$/, '');
        return make('li', '', make('i', `swatch c${color}${isFaint ? ' faint' : ''}`), text);
      });
    this.#legend.replaceChildren(...entries);
  }

  /** @param {uPlot} plot */
  #showBox(plot) {
    const { idx, left = -1 } = plot.cursor;
    const { times, lines } = this.#shown;
    const time = idx === null || idx === undefined ? undefined : times[idx];
    // The other charts show only the crosshair; the box is shown in the chart under the pointer.
    this.#box.hidden = time === undefined || left < 0 || !plot.over.matches(':hover');
    if (this.#box.hidden || time === undefined) return;
    const rows = lines
      .map(({ label, color, isFaint, values }) => {
        const value = values[idx ?? 0] ?? null;
        const swatch = make('i', `swatch c${color}${isFaint ? ' faint' : ''}`);
        return {
          value,
          element: make(
            'li',
            '',
            swatch,
            make('span', '', label),
            make('b', '', this.#options.write(value)),
          ),
        };
      })
      .filter(({ value }) => value !== null && value > 0)
      .map(({ element }) => element);
    const head = make('p', '');
    setText(head, moment(dateOf(time)));
    this.#box.replaceChildren(head, make('ul', '', ...rows));
    const isRight = left > plot.over.clientWidth / 2;
    this.#box.style.left = isRight ? '' : `${left + 12}px`;
    this.#box.style.right = isRight ? `${plot.over.clientWidth - left + 12}px` : '';
  }
}

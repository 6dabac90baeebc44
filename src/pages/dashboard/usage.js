/**
 * The usage over a time range: four charts and the totals, loaded again every 20 s while they are shown.
 */
import { wordsOf } from './api.js';
import { Chart } from './chart.js';
import { byId, setText } from './dom.js';
import { count, integer, wait } from './format.js';
import { chartsOf } from './series.js';
import { totalsTable } from './totals.js';

/** @import { Api } from './api.js' */
/** @import { Span, Split } from './series.js' */
/** @import { Usage } from './types.d.ts' */

const refreshMs = 20_000;

/** @type {Record<string, Span>} */
const spans = { '1h': 'minute', '24h': 'hour', '7d': 'hour' };

/** @param {string} name */
function chosen(name) {
  const input = document.querySelector(`#usage input[name=${name}]:checked`);
  return input instanceof HTMLInputElement ? input.value : '';
}

/**
 * @param {Api} api
 * @returns {{ enter: () => void, leave: () => void }}
 */
export function usageSection(api) {
  const problem = byId('usage-problem');
  const place = byId('charts');
  const tokens = new Chart(place, { title: 'Tokens', shape: 'bars', write: count, least: 10 });
  const firstToken = new Chart(place, {
    title: 'Time to first token',
    shape: 'lines',
    write: wait,
    least: 10,
  });
  const queue = new Chart(place, {
    title: 'Wait in the queue',
    shape: 'lines',
    write: wait,
    least: 10,
  });
  const errors = new Chart(place, { title: 'Errors', shape: 'bars', write: integer, least: 5 });
  const showTotals = totalsTable();
  let timer = 0;
  let round = 0;

  async function refresh() {
    clearTimeout(timer);
    const mine = ++round;
    const since = chosen('range');
    const split = /** @type {Split} */ (chosen('split'));
    const span = spans[since] ?? 'hour';
    const groups = split === 'all' ? '' : `,${split}`;
    const total = split === 'all' ? 'key,model' : split;
    try {
      /** @type {[Usage, Usage]} */
      const [overTime, totals] = await Promise.all([
        api.ask('GET', `/admin/usage?by=${span}${groups}&since=${since}`),
        api.ask('GET', `/admin/usage?by=${total}&since=${since}`),
      ]);
      // The operator may have chosen another range in the meantime.
      if (mine !== round) return;
      setText(problem, '');
      const range = { since: Date.parse(overTime.since), until: Date.parse(overTime.until) };
      const charts = chartsOf(overTime.data, { span, split, ...range });
      tokens.show(charts.times, charts.tokens);
      firstToken.show(charts.times, charts.firstToken);
      queue.show(charts.times, charts.queue);
      errors.show(charts.times, charts.errors);
      showTotals(totals.data, split);
    } catch (error) {
      if (mine !== round) return;
      setText(problem, wordsOf(error));
    }
    timer = setTimeout(refresh, refreshMs);
  }

  for (const choice of document.querySelectorAll('#usage .choice')) {
    choice.addEventListener('change', refresh);
  }
  return {
    enter: refresh,
    leave() {
      clearTimeout(timer);
      round++;
    },
  };
}

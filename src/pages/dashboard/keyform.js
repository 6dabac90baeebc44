/**
 * The form of a key's policy, for adding and editing a key. An empty field means no limit; the gateway validates the
 * values.
 */
import { wordsOf } from './api.js';
import { byId, dialog, field, one, setText } from './dom.js';

/** @import { KeyView } from './types.d.ts' */

const ids = /** @type {const} */ ([
  'name',
  'rpm',
  'tpm',
  'concurrent',
  'day',
  'month',
  'expires',
  'priority',
  'weight',
  'models',
  'user-header',
]);

/** @typedef {Record<(typeof ids)[number], string>} Form the values of the fields */

/** @param {string} value */
function numberOrNull(value) {
  return value === '' ? null : Number(value);
}

/**
 * Returns the body for the admin API; `null` removes a limit.
 * @param {Form} form
 */
export function policyOf(form) {
  const budgets = [
    { tokens: numberOrNull(form.day), per: 'day' },
    { tokens: numberOrNull(form.month), per: 'month' },
  ].filter(({ tokens }) => tokens !== null);
  const models = form.models.split(',').flatMap((name) => name.trim() || []);
  return {
    name: form.name,
    limits: {
      requestsPerMinute: numberOrNull(form.rpm),
      tokensPerMinute: numberOrNull(form.tpm),
      concurrentRequests: numberOrNull(form.concurrent),
      budgets: budgets.length > 0 ? budgets : null,
    },
    models: models.length > 0 ? models : null,
    weight: numberOrNull(form.weight),
    priority: form.priority,
    userHeader: form['user-header'].trim() || null,
    ...(form.expires === 'keep' ? {} : { expiresAt: form.expires || null }),
  };
}

/**
 * Returns the values of the fields for a key, or for a new key.
 * @param {KeyView | undefined} key
 * @returns {Form}
 */
export function formOf(key) {
  const { limits = {}, models, weight = 1 } = key ?? {};
  /** @param {string} per */
  const budget = (per) => limits.budgets?.find((each) => each.per === per)?.tokens;
  /** @param {number | undefined} value */
  const text = (value) => String(value ?? '');
  return {
    name: key?.name ?? '',
    rpm: text(limits.requestsPerMinute),
    tpm: text(limits.tokensPerMinute),
    concurrent: text(limits.concurrentRequests),
    day: text(budget('day')),
    month: text(budget('month')),
    expires: key?.expiresAt ? 'keep' : '',
    priority: key?.priority ?? 'interactive',
    weight: weight === 1 ? '' : String(weight),
    models: models?.join(', ') ?? '',
    'user-header': key?.userHeader ?? '',
  };
}

/**
 * @param {(key: KeyView | undefined, policy: object) => Promise<void>} save the form shows the message of what it
 * throws
 * @returns {(key?: KeyView) => void} opens the form; without a key, for a new one
 */
export function keyForm(save) {
  const element = dialog('key-dialog');
  const form = one('form', element);
  const problem = one('.problem', element);
  const submit = /** @type {HTMLButtonElement} */ (one('[type=submit]', element));
  const keep = new Option('unchanged', 'keep');
  /** @type {KeyView | undefined} */
  let shown;

  one('.cancel', element).addEventListener('click', () => element.close());
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    submit.disabled = true;
    try {
      const values = ids.map((id) => [id, field(`key-${id}`).value]);
      await save(shown, policyOf(Object.fromEntries(values)));
      element.close();
    } catch (error) {
      setText(problem, wordsOf(error));
    }
    submit.disabled = false;
  });

  return function open(key) {
    shown = key;
    const title = key === undefined ? 'Add key' : 'Edit key';
    setText(byId('key-dialog-title'), title);
    setText(submit, key === undefined ? 'Add key' : 'Save');
    setText(problem, '');
    if (key?.expiresAt) byId('key-expires').prepend(keep);
    else keep.remove();
    const values = formOf(key);
    for (const id of ids) field(`key-${id}`).value = values[id];
    element.showModal();
  };
}

/**
 * The section of issued keys: what each may do, with buttons to edit, rotate and revoke it.
 */
import { wordsOf } from './api.js';
import { confirmButton, nameOf } from './confirm.js';
import { button, byId, field, make, one, setName, setText } from './dom.js';
import { count, day, moment } from './format.js';
import { keyForm } from './keyform.js';
import { notify } from './notice.js';
import { keyedRows } from './rows.js';
import { secretDialog } from './secret.js';

/** @import { Api } from './api.js' */
/** @import { KeyView, Limits, NewKey } from './types.d.ts' */

/** How long the old secret still works after a rotation. */
const grace = '24h';

/** @param {Limits} limits */
export function limitsText({ requestsPerMinute, tokensPerMinute, concurrentRequests, budgets }) {
  const parts = [
    requestsPerMinute && `${count(requestsPerMinute)} req/min`,
    tokensPerMinute && `${count(tokensPerMinute)} tok/min`,
    concurrentRequests && `${count(concurrentRequests)} open`,
    ...(budgets ?? []).map(({ tokens, per }) => `${count(tokens)} tok/${per}`),
  ].filter(Boolean);
  return parts.length > 0 ? parts.join(' · ') : 'none';
}

/** @param {KeyView} key */
function endOf({ state, revokedAt, expiresAt }) {
  if (state === 'revoked' && revokedAt) return `revoked ${day(new Date(revokedAt))}`;
  return expiresAt ? day(new Date(expiresAt)) : 'never';
}

/** @typedef {Record<'edit' | 'rotate' | 'revoke', (key: KeyView) => Promise<void>>} Actions */

/** @param {Actions} actions */
function makeRow(actions) {
  /** @type {KeyView | undefined} */
  let shown;
  const name = make('span', 'first');
  const hint = make('span', 'second mono');
  const badge = make('span', 'badge');
  const limits = make('td', 'limits');
  const models = make('td', 'what');
  const share = make('td', 'share');
  const until = make('td', 'until');
  limits.dataset['label'] = 'limits';
  models.dataset['label'] = 'models';
  share.dataset['label'] = 'share';
  until.dataset['label'] = 'expires';

  /** @param {keyof Actions} action */
  const act = (action) => async () => {
    if (shown !== undefined) await actions[action](shown);
  };
  const edit = make('button', '', 'Edit');
  edit.type = 'button';
  edit.addEventListener('click', act('edit'));
  const rotate = confirmButton({ label: 'Rotate', question: 'Really?', act: act('rotate') });
  const revoke = confirmButton({ label: 'Revoke', question: 'Really?', act: act('revoke') });
  const buttons = [edit, rotate, revoke];
  const element = make(
    'tr',
    '',
    make('td', 'who', name, hint),
    make('td', 'phase', badge),
    limits,
    models,
    share,
    until,
    make('td', 'act', make('div', 'buttons', ...buttons)),
  );

  /** @param {KeyView} key */
  function update(key) {
    shown = key;
    setName(name, key.name);
    setName(hint, key.hint);
    const isRotating = key.state === 'active' && key.replacedUntil !== null;
    const state = isRotating ? 'rotating' : key.state;
    setText(badge, state);
    badge.dataset['state'] = state;
    badge.title = isRotating
      ? `The old secret works until ${moment(new Date(key.replacedUntil ?? 0))}.`
      : '';
    setText(limits, limitsText(key.limits));
    setName(models, key.models?.join(', ') ?? 'all');
    setText(share, `${key.priority}${key.weight === 1 ? '' : ` ×${key.weight}`}`);
    setText(until, endOf(key));
    element.classList.toggle('ended', key.state !== 'active');
    for (const each of buttons) {
      each.hidden = key.state === 'revoked';
      nameOf(each, key.name);
    }
  }
  return { element, update };
}

/**
 * @param {Api} api
 * @returns {{ enter: () => void, leave: () => void }}
 */
export function keysSection(api) {
  const problem = byId('keys-problem');
  const note = byId('keys-note');
  const showEnded = /** @type {HTMLInputElement} */ (field('show-ended'));
  const showSecret = secretDialog();
  /** @type {readonly KeyView[]} */
  let keys = [];

  /** @param {KeyView} key */
  const pathOf = ({ id }) => `/admin/keys/${encodeURIComponent(id)}`;

  async function refresh() {
    try {
      ({ data: keys } = await api.ask('GET', '/admin/keys'));
      setText(problem, '');
      show();
    } catch (error) {
      setText(problem, wordsOf(error));
    }
  }

  /**
   * Runs an action, shows its result or failure, and loads the keys again. Never rejects.
   * @param {() => Promise<string>} act resolves to the text to show
   */
  async function doing(act) {
    try {
      notify(await act());
    } catch (error) {
      notify(wordsOf(error), 'failed');
    }
    await refresh();
  }

  const openForm = keyForm(async function save(key, policy) {
    if (key !== undefined) {
      await api.ask('PATCH', pathOf(key), policy);
      notify(`${key.name} was saved.`);
    } else {
      /** @type {NewKey} */
      const made = await api.ask('POST', '/admin/keys', policy);
      showSecret(`New key for ${made.name}`, made.key);
    }
    await refresh();
  });

  /** @type {Actions} */
  const actions = {
    edit: async (key) => openForm(key),
    rotate: (key) =>
      doing(async () => {
        /** @type {NewKey} */
        const made = await api.ask('POST', `${pathOf(key)}/rotate`, { grace });
        showSecret(`New secret for ${made.name}`, made.key);
        return `The old secret of ${made.name} works for another 24 hours.`;
      }),
    revoke: (key) =>
      doing(async () => {
        await api.ask('DELETE', pathOf(key));
        return `${key.name} was revoked.`;
      }),
  };

  const showRows = keyedRows(
    one('tbody', byId('key-table')),
    (/** @type {KeyView} */ { id }) => id,
    () => makeRow(actions),
    byId('keys-title'),
  );

  function show() {
    const shown = showEnded.checked ? keys : keys.filter(({ state }) => state === 'active');
    showRows(shown);
    note.hidden = shown.length > 0;
    setText(note, keys.length > 0 ? 'No key is active.' : 'No key has been issued.');
  }

  showEnded.addEventListener('change', show);
  button('add-key').addEventListener('click', () => openForm());
  return { enter: refresh, leave() {} };
}

/**
 * The page as a whole: it asks for the admin key, keeps the live feed, and shows one section at a time. The URL
 * contains the name of the section and nothing else.
 */
import { Api, isSendable, wordsOf } from './api.js';
import { byId, button, field, one, setText } from './dom.js';
import { engineList } from './engines.js';
import { Feed } from './feed.js';
import { integer, rate } from './format.js';
import { keysSection } from './keys.js';
import { notify } from './notice.js';
import { playgroundSection } from './playground.js';
import { requestTable } from './requests.js';
import { usageSection } from './usage.js';

/** @import { ApiError } from './api.js' */
/** @import { Live } from './types.d.ts' */

const api = new Api(refuse);
/** @type {Feed | undefined} */
let feed;
let isIn = false;

const showRequests = requestTable(async function stop(id) {
  try {
    await api.ask('DELETE', `/admin/requests/${encodeURIComponent(id)}`);
    notify('The request was stopped.');
  } catch (error) {
    notify(wordsOf(error), 'failed');
  }
});
const showEngines = engineList();

/** @type {Record<string, { enter: () => void, leave: () => void }>} */
const sections = {
  live: { enter() {}, leave() {} },
  usage: usageSection(api),
  keys: keysSection(api),
  playground: playgroundSection(),
};
let section = '';

/** @param {Live} live */
function showLive({ requests, upstreams, queued }) {
  if (!isIn) enter();
  const speeds = requests.map(({ phase, tokensPerSecond }) => {
    return phase === 'decode' ? (tokensPerSecond ?? 0) : 0;
  });
  const limited = upstreams.filter(({ slots }) => slots !== null);
  const slots = limited.reduce((sum, engine) => sum + (engine.slots ?? 0), 0);
  const counted = limited.length > 0 ? limited : upstreams;
  const used = counted.reduce((sum, { usedSlots }) => sum + usedSlots, 0);
  setText(byId('in-flight'), integer(requests.length));
  setText(byId('queued'), integer(queued));
  setText(byId('rate'), rate(speeds.reduce((sum, speed) => sum + speed, 0)));
  setText(byId('slots'), limited.length > 0 ? `${used}/${slots}` : integer(used));
  showEngines(upstreams);
  showRequests(requests);
}

/**
 * @param {'connecting' | 'open' | 'lost'} state
 * @param {string} words
 */
function showConnection(state, words) {
  const element = byId('connection');
  element.dataset['state'] = state;
  setText(
    one('.words', element),
    { connecting: 'Connecting', open: 'Live', lost: 'Reconnecting' }[state],
  );
  element.title = words;
  byId('app').classList.toggle('stale', state === 'lost');
  if (!isIn && state === 'lost') setText(byId('sign-in-problem'), `${words} Retrying.`);
}

/** Shows the sections, when the key has been accepted. */
function enter() {
  isIn = true;
  byId('sign-in').hidden = true;
  byId('app').hidden = false;
  setText(byId('sign-in-problem'), '');
  showSection();
}

/** @param {ApiError} error */
function refuse(error) {
  feed?.stop();
  api.use('');
  isIn = false;
  sections[section]?.leave();
  section = '';
  byId('app').hidden = true;
  byId('sign-in').hidden = false;
  const words = error.isRefusal
    ? `Key refused: ${error.message}`
    : 'This gateway has no admin API. Start it with ADMIN_API_KEY set.';
  setText(byId('sign-in-problem'), words);
  field('admin-key').focus();
}

function showSection() {
  if (!isIn) return;
  const named = location.hash.slice(1);
  const next = Object.hasOwn(sections, named) ? named : 'live';
  if (next === section) return;
  sections[section]?.leave();
  section = next;
  for (const name of Object.keys(sections)) {
    byId(name).hidden = name !== section;
    one(`nav a[href="#${name}"]`, document).ariaCurrent = name === section ? 'page' : null;
  }
  scrollTo(0, 0);
  sections[section]?.enter();
}

one('#sign-in form', document).addEventListener('submit', (event) => {
  event.preventDefault();
  const input = field('admin-key');
  const key = input.value.trim();
  if (!isSendable(key)) {
    return setText(
      byId('sign-in-problem'),
      'Not a valid key: it contains spaces or characters outside ASCII.',
    );
  }
  input.value = '';
  setText(byId('sign-in-problem'), '');
  api.use(key);
  feed?.stop();
  feed = new Feed(api, { onLive: showLive, onState: showConnection, onEnd: refuse });
  void feed.run();
});
// Loading the page again is the surest way to forget the key and all data shown with it.
button('sign-out').addEventListener('click', () => location.reload());
addEventListener('hashchange', showSection);
addEventListener('online', () => feed?.hurry());
document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') feed?.hurry();
});

/**
 * A chat with a model through the gateway, with a client's key. It shows the answer and its speed as a client gets
 * them.
 */
import { Api, isSendable, wordsOf } from './api.js';
import { streamChat } from './chat.js';
import { button, byId, field, make, setText } from './dom.js';
import { integer, rate, wait } from './format.js';

/** @import { Message } from './chat.js' */

/**
 * Returns the figures of an answer so far, as text; times are in milliseconds.
 * @param {object} run
 * @param {number} run.askedAt
 * @param {number} run.firstAt 0 before the first piece
 * @param {number} run.now
 * @param {number} run.pieces
 * @param {number | undefined} run.tokens the engine's count, if known
 * @param {string} run.queued the gateway's last message about the queue
 */
export function figuresOf({ askedAt, firstAt, now, pieces, tokens, queued }) {
  if (firstAt === 0) return `${queued || 'waiting'}; ${wait(now - askedAt)} so far`;
  const made = tokens ?? pieces;
  const seconds = (now - firstAt) / 1000;
  // The time starts at the first token, so that token does not count.
  const speed = made > 1 && seconds > 0 ? `, ${rate((made - 1) / seconds)} tokens/s` : '';
  const about = tokens === undefined ? '~' : '';
  return `first token ${wait(firstAt - askedAt)}, ${about}${integer(made)} tokens${speed}`;
}

/** @returns {{ enter: () => void, leave: () => void }} */
export function playgroundSection() {
  const api = new Api();
  const key = field('client-key');
  const model = /** @type {HTMLSelectElement} */ (field('model'));
  const prompt = field('prompt');
  const send = button('send');
  const status = byId('chat-status');
  const transcript = byId('transcript');
  const blank = transcript.innerText.trim();
  /** @type {Message[]} */
  let messages = [];
  /** @type {AbortController | undefined} */
  let running;

  function showButtons() {
    setText(send, running === undefined ? 'Send' : 'Stop');
    send.classList.toggle('danger', running !== undefined);
    send.disabled = running === undefined && model.value === '';
  }

  async function loadModels() {
    const problem = byId('model-problem');
    setText(problem, '');
    model.replaceChildren();
    model.disabled = true;
    showButtons();
    const typed = key.value.trim();
    if (typed === '') return;
    if (!isSendable(typed))
      return setText(problem, 'Not a valid key: it contains spaces or characters outside ASCII.');
    api.use(typed);
    try {
      const { data } = await api.ask('GET', '/v1/models');
      if (key.value.trim() !== typed) return;
      const options = data.map((/** @type {{ id: string }} */ { id }) => new Option(id, id));
      model.replaceChildren(...options);
      model.disabled = options.length === 0;
      if (options.length === 0) setText(problem, 'This key may use no model.');
    } catch (error) {
      setText(problem, wordsOf(error));
    }
    showButtons();
  }

  /**
   * @param {Message['role'] | 'problem'} role
   * @param {string} text
   */
  function add(role, text) {
    if (messages.length === 0) transcript.replaceChildren();
    const content = make('p', 'content', text);
    transcript.append(make('div', `message ${role}`, content));
    return content;
  }

  /**
   * Calls `write`, and scrolls to the end of the text if the end was in view before.
   * @param {() => void} write
   */
  function following(write) {
    const { scrollHeight, scrollTop, clientHeight } = transcript;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < 40;
    write();
    if (isAtEnd) transcript.scrollTop = transcript.scrollHeight;
  }

  function optionsOf() {
    /** @type {Record<string, number>} */
    const options = {};
    if (field('max-tokens').value !== '') options['max_tokens'] = Number(field('max-tokens').value);
    if (field('temperature').value !== '') {
      options['temperature'] = Number(field('temperature').value);
    }
    return options;
  }

  /** @param {string} text */
  async function ask(text) {
    following(() => add('user', text));
    messages.push({ role: 'user', content: text });
    const content = add('assistant', '');
    const thought = make('p', 'thought');
    const system = field('system').value.trim();
    /** @type {Message[]} */
    const first = system === '' ? [] : [{ role: 'system', content: system }];
    const asked = { model: model.value, messages: [...first, ...messages], options: optionsOf() };
    running = new AbortController();
    const { signal } = running;
    showButtons();
    // Screen readers read the answer when it is complete, not word by word.
    transcript.ariaBusy = 'true';
    const run = {
      askedAt: performance.now(),
      firstAt: 0,
      pieces: 0,
      tokens: /** @type {number | undefined} */ (undefined),
      queued: '',
    };
    const figures = () => figuresOf({ ...run, now: performance.now() });
    const timer = setInterval(() => setText(status, figures()), 500);
    try {
      await streamChat(api, { ...asked, signal }, (piece) => {
        if (piece.kind === 'queued') return void (run.queued = piece.text);
        if (piece.kind === 'tokens') return void (run.tokens = Number(piece.text));
        if (run.firstAt === 0) run.firstAt = performance.now();
        run.pieces++;
        following(() => {
          if (piece.kind === 'thought' && !thought.isConnected) content.before(thought);
          (piece.kind === 'text' ? content : thought).append(piece.text);
        });
      });
      setText(status, figures());
    } catch (error) {
      setText(status, signal.aborted ? `Stopped; ${figures()}` : 'Failed.');
      if (!signal.aborted) following(() => add('problem', wordsOf(error)));
    } finally {
      clearInterval(timer);
      running = undefined;
      transcript.ariaBusy = 'false';
      showButtons();
    }
    const answer = content.textContent ?? '';
    // A message without an answer is not part of the conversation.
    if (answer !== '') messages.push({ role: 'assistant', content: answer });
    else {
      messages.pop();
      content.parentElement?.remove();
    }
  }

  byId('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    if (running !== undefined) return running.abort();
    const text = prompt.value.trim();
    if (text === '' || model.value === '') return;
    prompt.value = '';
    void ask(text);
  });
  prompt.addEventListener('keydown', (event) => {
    if (!(event instanceof KeyboardEvent) || event.key !== 'Enter') return;
    // Enter that selects a word in an input method does not send.
    if (event.shiftKey || event.isComposing || running !== undefined) return;
    event.preventDefault();
    /** @type {HTMLFormElement} */ (byId('composer')).requestSubmit();
  });
  button('clear').addEventListener('click', () => {
    running?.abort();
    messages = [];
    transcript.replaceChildren(make('p', 'empty', blank));
    setText(status, '');
  });
  byId('settings').addEventListener('submit', (event) => event.preventDefault());
  key.addEventListener('change', loadModels);
  return { enter() {}, leave() {} };
}

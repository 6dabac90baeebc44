/**
 * Shows a new key once. It leaves the document when the dialog closes, and is kept nowhere else.
 */
import { button, byId, dialog, setText } from './dom.js';

/** @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Only pages over https or from this machine have a clipboard; older means still work elsewhere.
    getSelection()?.selectAllChildren(byId('secret'));
    return document.execCommand('copy');
  }
}

/** @returns {(title: string, key: string) => void} */
export function secretDialog() {
  const element = dialog('secret-dialog');
  const secret = byId('secret');
  const status = byId('secret-status');

  const forget = () => setText(secret, '');

  button('copy-secret').addEventListener('click', async () => {
    const isCopied = await copy(secret.textContent ?? '');
    setText(status, isCopied ? 'Copied.' : 'The browser does not let it be copied: select it.');
  });
  button('close-secret').addEventListener('click', () => {
    forget();
    element.close();
  });
  // Escape would lose a key that nobody has copied yet.
  element.addEventListener('cancel', (event) => event.preventDefault());
  element.addEventListener('close', forget);

  return function show(title, key) {
    setText(byId('secret-title'), title);
    setText(status, '');
    setText(secret, key);
    element.showModal();
    button('copy-secret').focus();
  };
}

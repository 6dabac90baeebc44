/**
 * Shows a new key once. The key is removed from the document when the dialog closes, and is kept nowhere else.
 */
import { button, byId, dialog, setText } from './dom.js';

/** @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // The clipboard API works only over HTTPS and on localhost; execCommand works everywhere.
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
    setText(
      status,
      isCopied ? 'Copied.' : 'The browser does not allow copying. Select the key and copy it.',
    );
  });
  button('close-secret').addEventListener('click', () => {
    forget();
    element.close();
  });
  // Escape must not close the dialog: the key may not have been copied yet.
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

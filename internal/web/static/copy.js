// SPDX-License-Identifier: AGPL-3.0-or-later

// Buttons with data-copy="ID" copy the text of that element, or its value, and say so.

async function copy(text) {
  if (navigator.clipboard && window.isSecureContext) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch { /* not permitted: try the older way */ }
  }
  // On plain http, as in most home networks, there is no clipboard but for what is selected.
  const area = document.createElement('textarea');
  area.value = text;
  area.className = 'hidden';
  document.body.append(area);
  area.select();
  const copied = document.execCommand('copy');
  area.remove();
  return copied;
}

document.addEventListener('click', async event => {
  const button = event.target.closest('button[data-copy]');
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const copied = await copy(source.value ?? source.textContent);
  const label = button.dataset.label ??= button.textContent;
  button.textContent = copied ? 'Copied' : 'Press Ctrl-C';
  if (!copied) (source.select ?? (() => getSelection().selectAllChildren(source))).call(source);
  else button.focus();
  setTimeout(() => { button.textContent = label; }, 2000);
});

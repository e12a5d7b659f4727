// SPDX-License-Identifier: AGPL-3.0-or-later

// Solves the riddle of the registration form, beginning as soon as somebody types a name, and sends the form when it is done.

const form = document.getElementById('signup');
const riddle = form.elements.challenge;
let solving;

function solve() {
  return solving ??= new Promise((resolve, reject) => {
    const worker = new Worker(form.dataset.worker);
    worker.addEventListener('message', event => { worker.terminate(); resolve(event.data); });
    worker.addEventListener('error', event => reject(event));
    worker.postMessage({ riddle: riddle.value, bits: Number(riddle.dataset.bits) });
  });
}

form.addEventListener('input', solve, { once: true });
form.addEventListener('submit', async event => {
  if (form.elements.work.value) return;
  event.preventDefault();
  const button = form.querySelector('button[type=submit]');
  button.disabled = true;
  document.getElementById('working').hidden = false;
  form.elements.work.value = await solve();
  form.submit();
});

// SPDX-License-Identifier: AGPL-3.0-or-later

// The page where people rate images: one image after the other, and those of a request of one's own. It uses the public API of the
// ratings service as any client does.

const page = document.getElementById('rating');
const $ = id => document.getElementById(id);
const anonymous = '0000000000';
const keyField = $('key');
const form = $('rate');
const keyNow = () => sessionStorage.getItem('key') || anonymous;
const pause = ms => new Promise(done => setTimeout(done, ms));

// Refused is an answer that is no success.
class Refused extends Error {
  constructor(status, body, retryAfter) {
    super([body?.message ?? `The server answered ${status}.`, ...Object.values(body?.errors ?? {})].join(' '));
    this.status = status;
    this.rc = body?.rc;
    this.retryAfter = Number(retryAfter) || 0; // seconds
  }
}

async function call(base, method, path, { body, key } = {}) {
  const headers = { 'Client-Agent': page.dataset.agent };
  if (key) headers.apikey = key;
  if (body) headers['Content-Type'] = 'application/json';
  const answer = await fetch(base + path, { method, headers, body: body && JSON.stringify(body), cache: 'no-store' });
  const value = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, value, answer.headers.get('Retry-After'));
  return value;
}

function tell(id, text) {
  $(id).textContent = text;
  $(id).hidden = text === '';
}

const explain = e => e instanceof TypeError ? 'The server cannot be reached. Is your network up?' : e.message;
const lasting = s => s < 90 ? `${Math.ceil(s)} s` : `${Math.ceil(s / 60)} min`;

// --- One image after the other ---

let now = null; // the image on screen: { id, loaded }
let ahead = null; // a promise of the next one, popped while this one is looked at
let turn = 0; // counts the keys that were used: what was begun with another one is dropped
let rated = 0, earned = 0;

// pop asks for an image and waits until the browser has it, so that nobody rates what cannot be seen. Images that do not load are
// skipped, which the service notices.
async function pop() {
  for (let tries = 0; ; tries++) {
    const p = await call(page.dataset.api, 'GET', '/rating/new', { key: keyNow() });
    const loaded = new Image();
    loaded.src = p.url;
    try {
      await loaded.decode();
      return { id: p.id, url: p.url, width: loaded.naturalWidth, height: loaded.naturalHeight };
    } catch {
      if (tries === 4) throw new Error('The images cannot be loaded.');
    }
  }
}

const allow = is => { $('send').disabled = $('skip').disabled = !is; };

function say(text, state) {
  $('state').textContent = text;
  $('show').dataset.state = state;
}

async function next() {
  const mine = turn;
  allow(false);
  now = null;
  form.reset();
  $('image').hidden = true;
  say('Looking for an image…', 'busy');
  const coming = ahead ?? pop();
  ahead = null;
  try {
    const p = await coming;
    if (mine !== turn) return;
    Object.assign($('image'), { src: p.url, width: p.width, height: p.height, hidden: false });
    now = p;
    say('', 'here');
    allow(true);
    ahead = pop();
    ahead.catch(() => {}); // told when it is its turn
  } catch (e) {
    if (mine === turn) await stuck(e, mine);
  }
}

// stuck is when there is no image: the page waits, or says why there is none.
async function stuck(e, mine) {
  if (e instanceof Refused && e.status === 429) {
    for (let left = Math.max(1, e.retryAfter); left > 0 && mine === turn; left--) {
      say(`${rated === 0 || left > 90 ? 'You have to wait' : 'Not so fast'}: ${lasting(left)} to go.`, 'empty');
      await pause(1000);
    }
    if (mine === turn) return next();
    return;
  }
  if (e instanceof Refused && e.status === 404) say('You have rated all that there is. New images come as people share them.', 'empty');
  else say(explain(e), 'empty');
  const again = Object.assign(document.createElement('button'), { type: 'button', className: 'quiet', textContent: 'Look again' });
  again.addEventListener('click', next);
  $('state').append(document.createElement('br'), again);
}

form.addEventListener('submit', async event => {
  event.preventDefault();
  const rating = Number(form.elements.rating.value);
  if (!now || !rating) return;
  const id = now.id, mine = turn, body = { rating };
  if (form.elements.artifacts.value !== '') body.artifacts = Number(form.elements.artifacts.value);
  const send = () => call(page.dataset.api, 'POST', `/rating/${id}`, { body, key: keyNow() });
  allow(false);
  tell('problem', '');
  try {
    // The same rating sent twice counts once, so an answer that was lost is asked for again.
    const thanks = await send().catch(e => e instanceof TypeError ? pause(300).then(send) : Promise.reject(e));
    rated++;
    if (keyNow() !== anonymous) earned += thanks.reward;
    tell('tally', `${rated} rated${earned ? `, ${earned} kudos to come` : ''}. Thank you.`);
  } catch (e) {
    if (e instanceof Refused && e.rc === 'CaptchaFailed') {
      tell('problem', 'That image had asked for another rating.');
      ahead = null; // who has to wait cannot rate it
    }
    else if (!(e instanceof Refused) || e.status !== 403) {
      tell('problem', e instanceof Refused && e.status === 429 ? `Too fast. Try again in ${lasting(e.retryAfter)}.` : explain(e));
      allow(mine === turn && now !== null);
      return;
    }
  }
  if (mine === turn) next();
});

$('skip').addEventListener('click', () => { tell('problem', ''); next(); });

// The keyboard. A key that is typed into a field belongs to the field.
document.addEventListener('keydown', event => {
  const field = event.target.closest('input, select, textarea, button, a, summary');
  const ours = !field || field.type === 'radio';
  if (event.altKey || event.ctrlKey || event.metaKey || !ours || event.target.closest('#compare')) return;
  const key = event.key.toLowerCase();
  const choose = (name, value) => {
    const radio = form.querySelector(`[name=${name}][value="${value}"]`);
    radio.checked = true;
    radio.focus({ preventScroll: true });
  };
  if (!now) return;
  if (/^[0-9]$/.test(key)) choose('rating', key === '0' ? 10 : key);
  else if (/^[a-f]$/.test(key)) choose('artifacts', key.charCodeAt(0) - 97);
  else if (key === 's') $('skip').click();
  else if (key === 'enter' && !$('send').disabled) form.requestSubmit();
  else return;
  event.preventDefault();
});

// --- The key ---

function useKey(key) {
  if (key && key !== anonymous) sessionStorage.setItem('key', key);
  else sessionStorage.removeItem('key');
  showKey();
  keyField.blur(); // what is typed now is a rating
  turn++;
  ahead = null;
  rated = earned = 0;
  tell('tally', '');
  tell('problem', '');
  next();
}

function showKey() {
  $('whose').textContent = sessionStorage.getItem('key') ? 'yours' : 'anonymous';
}

$('unlock').addEventListener('submit', event => { event.preventDefault(); useKey(keyField.value.trim()); });
$('forget').addEventListener('click', () => { keyField.value = ''; useKey(''); });
keyField.value = sessionStorage.getItem('key') ?? '';
showKey();
next();

// --- The images of a request ---

let compared = null; // the id of the request that is on screen

function element(name, properties = {}, ...children) {
  const e = Object.assign(document.createElement(name), properties);
  e.append(...children);
  return e;
}

function choice(label, id, options) {
  const select = element('select', { id, name: id }, new Option('–', ''), ...options.map(([value, text]) => new Option(text, value)));
  return element('div', { className: 'field' }, element('label', { htmlFor: id, textContent: label }), select);
}

const flaws = [...form.querySelectorAll('[name=artifacts]')].map(r => [r.value, r.parentElement.innerText.replace(/^[A-F] /, '')]);
const scale = Array.from({ length: 10 }, (_, i) => [i + 1, i + 1]);

async function find(id) {
  tell('find-problem', '');
  tell('compared', '');
  $('compare').hidden = true;
  try {
    const status = await call(page.dataset.horde, 'GET', `/generate/status/${id}`);
    if (!status.done) throw new Error('The request is not done yet. Look again when all of its images are there.');
    if (!status.shared) throw new Error('The images of this request are not shared, so they cannot be rated.');
    const several = status.generations.length > 1;
    $('pair').replaceChildren(...status.generations.map((g, i) => {
      const image = element('img', { src: /^https?:/.test(g.img) ? g.img : `${page.dataset.images}${g.id}.webp`, alt: `Image ${i + 1}` });
      const figure = element('figure', { className: 'card' }, image);
      figure.dataset.id = g.id;
      if (several) {
        figure.append(element('label', { className: 'best' }, element('input', { type: 'radio', name: 'best', value: g.id }), ` Image ${i + 1} is the best`));
      }
      figure.append(element('div', { className: 'row tight' }, choice('Rating', `rating-${i}`, scale), choice('How broken', `artifacts-${i}`, flaws)));
      return figure;
    }));
    compared = id;
    $('compare').hidden = false;
  } catch (e) {
    tell('find-problem', explain(e));
  }
}

$('find')?.addEventListener('submit', event => { event.preventDefault(); find($('request').value.trim()); });

$('compare')?.addEventListener('submit', async event => {
  event.preventDefault();
  tell('compare-problem', '');
  const body = { ratings: [] }, best = $('compare').querySelector('[name=best]:checked');
  if (best) body.best = best.value;
  [...$('pair').children].forEach((figure, i) => {
    const [rating, artifacts] = [$(`rating-${i}`).value, $(`artifacts-${i}`).value];
    if (!rating) return;
    body.ratings.push({ id: figure.dataset.id, rating: Number(rating), ...artifacts !== '' && { artifacts: Number(artifacts) } });
  });
  $('decide').disabled = true;
  try {
    const { reward } = await call(page.dataset.horde, 'POST', `/generate/rate/${compared}`, { body });
    tell('compared', `Thank you. The owner of the request got ${reward} kudos.`);
    $('compare').hidden = true;
  } catch (e) {
    tell('compare-problem', explain(e));
  } finally {
    $('decide').disabled = false;
  }
});

// The arrows choose among the images wherever the focus is in the form, but for lists, which they move through.
$('compare')?.addEventListener('keydown', event => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.target.tagName === 'SELECT') return;
  const all = [...$('compare').querySelectorAll('[name=best]')];
  if (all.length === 0) return;
  const at = all.findIndex(r => r.checked);
  const to = at < 0 ? (step < 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step));
  all[to].checked = true;
  all[to].focus();
  event.preventDefault();
});

const asked = new URLSearchParams(location.hash.slice(1)).get('request');
if (asked && $('find')) {
  $('request').value = asked;
  find(asked);
  $('compare-title').scrollIntoView();
}

// SPDX-License-Identifier: AGPL-3.0-or-later

// The front page: live numbers, the models that are served, and the playground. It uses the public API as any client does.

const api = '/api/v2';
const anonymous = '0000000000';
const playground = document.getElementById('playground');
const demos = playground.dataset.demos.split('\n');
const $ = id => document.getElementById(id);
const pause = ms => new Promise(done => setTimeout(done, ms));

// isDemo tells whether a model is one of the stand-ins inside the program, which owners may offer under their own name.
const isDemo = name => demos.some(d => name === d || name.startsWith(d + '::'));

const number = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const count = (n, one, many) => `${number.format(n)} ${n === 1 ? one : many}`;
const lasting = s => s < 90 ? `${Math.max(1, Math.round(s))} s` : `${Math.round(s / 60)} min`;

// element makes an element with properties and children.
function element(name, properties = {}, ...children) {
  const e = Object.assign(document.createElement(name), properties);
  e.append(...children);
  return e;
}

// Refused is an answer of the API that is no success.
class Refused extends Error {
  constructor(status, body, retryAfter) {
    const fields = Object.entries(body?.errors ?? {}).map(([field, why]) => field ? `${field}: ${why}` : why);
    super([body?.message ?? `The server answered ${status}.`, ...fields].join(' '));
    this.status = status;
    this.retryAfter = Number(retryAfter) || 0; // seconds
  }
}

// call makes a call of the API. It fails with Refused, or with TypeError when there was no answer.
async function call(method, path, { body, key, signal } = {}) {
  const headers = { 'Client-Agent': playground.dataset.agent };
  if (key) headers.apikey = key;
  if (body) headers['Content-Type'] = 'application/json';
  const answer = await fetch(api + path, { method, headers, signal, body: body && JSON.stringify(body), cache: 'no-store' });
  const value = await answer.json().catch(() => null);
  if (!answer.ok) throw new Refused(answer.status, value, answer.headers.get('Retry-After'));
  return value;
}

// --- Numbers and models ---

const refreshEvery = 20_000; // ms
let numbers = null; // null until known
let models = { image: [], text: [] };

async function refresh() {
  try {
    const [now, image, text] = await Promise.all([
      call('GET', '/status/performance'), call('GET', '/status/models?type=image'), call('GET', '/status/models?type=text'),
    ]);
    numbers = now;
    models = { image, text };
    showNumbers();
    showModels();
    warnNobody();
  } catch {
    if (!numbers) $('lights-caption').textContent = 'The numbers cannot be had at the moment.';
  }
}

function showNumbers() {
  for (const e of document.querySelectorAll('[data-stat]')) e.textContent = number.format(numbers[e.dataset.stat]);
  const image = numbers.thread_count, text = numbers.text_thread_count;
  const lamps = [...$('lights').querySelectorAll('circle')];
  // With more threads than lamps, a lamp stands for several.
  const each = Math.max(1, Math.ceil((image + text) / lamps.length));
  const lit = Math.ceil(image / each), ring = Math.ceil(text / each);
  // Lamps go on here and there, as windows of a town do, and the same ones stay on: 83 has no factor in common with 140.
  lamps.forEach((_, i) => {
    const lamp = lamps[(i * 83 + 57) % lamps.length];
    lamp.classList.toggle('lit', i < lit);
    lamp.classList.toggle('ring', i >= lit && i < lit + ring);
  });
  $('lights-caption').textContent = image + text === 0
    ? 'Each lamp is a worker thread. None is online at the moment.'
    : `Each lamp is ${each === 1 ? 'a worker thread' : `${each} worker threads`} online now: ${number.format(image)} for images (full), ${number.format(text)} for text (rings).`;
}

function named(name) {
  return isDemo(name) ? [name, element('span', { className: 'tag', textContent: 'demo' })] : [name];
}

function showModels() {
  const rows = [];
  for (const kind of ['image', 'text']) {
    const served = models[kind].filter(m => m.count > 0).sort((a, b) => b.count - a.count || a.name.localeCompare(b.name));
    for (const m of served) {
      rows.push(element('tr', {},
        element('td', {}, ...named(m.name)), element('td', { textContent: kind === 'image' ? 'images' : 'text' }),
        element('td', { className: 'num', textContent: number.format(m.count) }),
        element('td', { className: 'num', textContent: number.format(m.jobs) })));
    }
    offer($(`${kind}-model`), served);
  }
  $('models').tBodies[0].replaceChildren(...rows);
  $('models').hidden = rows.length === 0;
  $('no-models').hidden = rows.length > 0;
}

// offer fills a list of models and keeps what is chosen, even when its last worker has just gone.
function offer(select, served) {
  const chosen = select.value;
  const names = served.map(m => m.name);
  if (chosen && !names.includes(chosen)) names.push(chosen);
  const known = [...select.options].slice(1).map(o => o.value);
  if (names.join('\n') === known.join('\n')) return;
  select.replaceChildren(select.options[0], ...names.map(name => new Option(isDemo(name) ? `${name} (demo)` : name, name)));
  select.value = chosen;
}

setInterval(() => { if (!document.hidden) refresh(); }, refreshEvery);
document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });

// --- The form ---

const form = $('ask');
const kindNow = () => form.elements.kind.value;

function showKind() {
  const kind = kindNow();
  for (const f of form.querySelectorAll('[data-kind]')) f.hidden = f.disabled = f.dataset.kind !== kind;
  $('go').textContent = kind === 'image' ? 'Make the image' : 'Write the text';
  warnNobody();
}

function warnNobody() {
  if (!numbers) return;
  const kind = kindNow();
  const workers = kind === 'image' ? numbers.worker_count : numbers.text_worker_count;
  const only = models[kind].filter(m => m.count > 0);
  const note = $('nobody');
  const text = workers === 0
    ? `No ${kind} worker is online at the moment. A request waits up to 20 minutes for one.`
    : only.length && only.every(m => isDemo(m.name))
      ? `Only a demo is online for ${kind === 'image' ? 'images' : 'text'}: a small program that stands in for a real model.`
      : '';
  if (note.textContent !== text) note.textContent = text;
  note.hidden = text === '';
}

for (const radio of form.elements.kind) radio.addEventListener('change', showKind);

// --- The key ---

const keyField = $('key');
// What the page calls a visitor without a key: where accounts are needed that is not “anonymous”.
const nameless = $('whose').textContent;
const keyNow = () => keyField.value.trim() || anonymous;

async function showKey() {
  const key = keyField.value.trim();
  if (key) sessionStorage.setItem('key', key);
  else sessionStorage.removeItem('key');
  $('forget').disabled = !key;
  keyField.removeAttribute('aria-invalid');
  if (!key || key === anonymous) {
    $('whose').textContent = nameless;
    return;
  }
  $('whose').textContent = 'yours';
  try {
    const user = await call('GET', '/find_user', { key });
    if (keyNow() === key) $('whose').textContent = `${user.username}, ${count(user.kudos, 'kudo', 'kudos')}`;
  } catch (e) {
    if (e instanceof Refused && e.status === 404 && keyNow() === key) {
      $('whose').textContent = 'nobody has this key';
      keyField.setAttribute('aria-invalid', 'true');
    }
  }
}

keyField.addEventListener('change', showKey);
$('forget').addEventListener('click', () => {
  keyField.value = '';
  showKey();
  keyField.focus();
});

// --- A request ---

// The one request of this page: its kind, what was asked for, its id once it has one, when it began (ms) and what cancels it.
// null when there is none.
let running = null;

// A style that a link to the page named: it says how, so only what is asked for is sent with it.
const asked = new URLSearchParams(location.search);
const style = asked.get('style') ? { id: asked.get('style'), kind: asked.get('kind') === 'text' ? 'text' : 'image' } : null;

function orderOf(kind) {
  if (style?.kind === kind) {
    const order = { prompt: $(`${kind}-prompt`).value, style: style.id };
    return kind === 'text' ? order : { ...order, ...always() };
  }
  const text = id => $(id).value.trim();
  const models = text(`${kind}-model`) ? [text(`${kind}-model`)] : [];
  if (kind === 'text') {
    return { prompt: $('text-prompt').value, params: { max_length: Number($('length').value) }, models };
  }
  const [width, height] = $('size').value.split('x').map(Number);
  const params = { width, height, steps: Number($('steps').value), n: Number($('number').value) };
  if (text('seed')) params.seed = text('seed');
  const prompt = text('image-prompt') + (text('negative') ? `###${text('negative')}` : '');
  return { prompt, params, models, ...always() };
}

// always is what goes with each request for images.
function always() {
  const how = { nsfw: false, censor_nsfw: true, r2: true };
  return $('shared')?.checked ? { ...how, shared: true } : how;
}

const paths = {
  image: { submit: '/generate/async', check: '/generate/check/', status: '/generate/status/' },
  text: { submit: '/generate/text/async', check: '/generate/text/status/', status: '/generate/text/status/' },
};

form.addEventListener('submit', event => {
  event.preventDefault();
  const kind = kindNow();
  if (!running) pursue({ kind, order: orderOf(kind), id: null, began: Date.now() });
});

$('cancel').addEventListener('click', () => {
  running?.stop.abort();
});

// pursue sends a request, unless it has an id already, and shows how it goes until it has come to an end.
async function pursue(request) {
  const { kind, order, began } = request;
  const stop = new AbortController();
  running = { ...request, stop };
  busy(true);
  say('Sending…');
  fail('');
  $('result').replaceChildren();
  $('progress').hidden = false;
  $('progress').removeAttribute('value');
  $('tray').scrollIntoView({ block: 'nearest' }); // on a phone it is below the form
  try {
    if (!running.id) {
      running.id = (await call('POST', paths[kind].submit, { body: order, key: keyNow() })).id;
      remember({ kind, order, began, id: running.id });
    }
    const done = await wait(running, stop.signal);
    if (done.generations.length === 0) throw new Error(done.faulted ? 'The horde has given this request up: the workers that took it failed.' : 'There is no result.');
    await show(kind, order, done, running.id);
    say(`Done in ${lasting((Date.now() - began) / 1000)}.`);
  } catch (e) {
    if (stop.signal.aborted) {
      say('Cancelled.');
      // Where this fails, the request expires by itself.
      if (running.id) await call('DELETE', paths[kind].status + running.id).catch(() => {});
    } else {
      say('That did not work.');
      fail(e instanceof TypeError ? 'The horde cannot be reached. Is your network up?' : e.message);
    }
  } finally {
    running = null;
    remember(null);
    $('progress').hidden = true;
    busy(false);
    refresh();
  }
}

// remember keeps a request, or null for none, so that it is still there after a reload.
function remember(request) {
  if (request) sessionStorage.setItem('request', JSON.stringify(request));
  else sessionStorage.removeItem('request');
}

function resume() {
  try {
    const request = JSON.parse(sessionStorage.getItem('request'));
    if (!request) return;
    form.elements.kind.value = request.kind;
    showKind();
    pursue(request);
  } catch {
    remember(null); // kept by another version of this page
  }
}

// wait follows a request to its end and returns its last status, with the results.
async function wait({ kind, id, began }, signal) {
  const cancelled = new Promise((_, no) => signal.addEventListener('abort', () => no(new Error('cancelled'))));
  cancelled.catch(() => {}); // it is looked at below
  let failures = 0;
  for (let tries = 0; ; tries++) {
    signal.throwIfAborted();
    let delay = tries < 20 ? 1000 : 2000; // ms
    try {
      const s = await call('GET', paths[kind].check + id, { signal });
      failures = 0;
      follow(s, (Date.now() - began) / 1000);
      if (s.done || s.faulted) return s.generations ? s : await call('GET', paths[kind].status + id, { signal });
    } catch (e) {
      signal.throwIfAborted();
      if (e instanceof Refused && e.status === 404) throw new Error('The horde no longer knows this request: it has expired.');
      const passes = e instanceof TypeError || e instanceof Refused && (e.status === 429 || e.status >= 500);
      if (!passes || ++failures > 20) throw e;
      delay = Math.max(1000 * Math.min(failures, 5), (e.retryAfter ?? 0) * 1000);
      if (failures > 1) say('The connection is lost. Trying again…');
    }
    await Promise.race([pause(delay), cancelled]);
  }
}

// follow tells how a request stands. elapsed is in seconds.
function follow(s, elapsed) {
  let text = 'Almost done…';
  const about = s.wait_time > 0 ? `, about ${lasting(s.wait_time)} to go` : '';
  if (s.queue_position > 0) text = `Number ${s.queue_position} in the queue${about}.`;
  else if (s.processing > 0) text = `A worker is at it${about}.`;
  else if (s.waiting > 0) text = `Waiting for a worker${about}.`;
  if (!s.is_possible && !s.done) text += ' No worker that is online can take it: it waits up to 20 minutes for one.';
  say(text);
  const bar = $('progress');
  if (s.wait_time > 0 && s.is_possible) bar.value = Math.max(bar.position, Math.min(.97, elapsed / (elapsed + s.wait_time)));
  else if (bar.position < 0 || !s.is_possible) bar.removeAttribute('value');
}

function say(text) {
  // Screen readers read every change aloud, so there is none without need.
  if ($('state').textContent !== text) $('state').textContent = text;
}

function fail(text) {
  $('problem').textContent = text;
  $('problem').hidden = text === '';
}

function busy(is) {
  const focused = document.activeElement;
  $('go').disabled = is;
  $('cancel').hidden = !is;
  // Whoever works with the keyboard goes on from here, not from the top.
  if (is && focused === $('go')) $('cancel').focus();
  if (!is && focused === $('cancel')) $('go').focus();
  $('tray').dataset.state = is ? 'busy' : 'done';
  $('tray').setAttribute('aria-busy', String(is));
}

// --- A result ---

async function show(kind, order, status, id) {
  const g = status.generations[0];
  const facts = element('ul', { className: 'facts' });
  const fact = (name, ...value) => facts.append(element('li', {}, `${name} `, element('b', {}, ...value)));
  fact('Model', ...named(g.model));
  fact('Made by', g.worker_name);
  if (kind === 'image') fact('Seed', String(g.seed));
  fact('Cost', count(status.kudos, 'kudo', 'kudos'));
  const actions = element('p', { className: 'actions' });
  if (kind === 'text') {
    const button = element('button', { type: 'button', textContent: 'Copy' });
    button.dataset.copy = 'text'; // copy.js does the rest
    actions.append(button);
    const text = element('p', { className: 'text' }, element('span', { className: 'asked', textContent: order.prompt }),
      element('span', { id: 'text', textContent: g.text }));
    $('result').replaceChildren(text, facts, actions);
    return;
  }
  const figures = status.generations.map((g, i, all) => {
    const figure = element('figure', {}, element('img', {
      src: g.img, alt: order.prompt.split('###')[0] + (all.length > 1 ? ` (${i + 1} of ${all.length})` : ''),
    }));
    if (order.params) Object.assign(figure.firstChild, { width: order.params.width, height: order.params.height });
    if (g.censored) figure.append(element('p', { className: 'note warn', textContent: 'The worker found this image not safe and has replaced it.' }));
    actions.append(element('a', { className: 'button', href: g.img, download: all.length > 1 ? `${g.seed}-${i + 1}.webp` : `${g.seed}.webp`, textContent: all.length > 1 ? `Download ${i + 1}` : 'Download' }));
    return figure;
  });
  const again = element('button', { type: 'button', className: 'quiet', textContent: 'Keep the seed' });
  again.addEventListener('click', () => {
    $('seed').value = g.seed;
    $('seed').focus();
  });
  actions.append(again);
  const ratings = $('playground').dataset.ratings;
  if (ratings && status.shared) {
    actions.append(element('a', { className: 'button quiet', href: `${ratings}#request=${id}`, textContent: figures.length > 1 ? 'Which is better?' : 'Rate it' }));
  }
  $('result').replaceChildren(element('div', { className: figures.length > 1 ? 'pair' : '' }, ...figures), facts, actions);
  try {
    await Promise.all(figures.map(f => f.firstChild.decode()));
  } catch {
    fail('The image is made, but it could not be loaded. The download may work.');
  }
}

if (style) {
  form.elements.kind.value = style.kind;
  $('style-note').hidden = false;
  // What the style decides on is not asked for.
  const settled = `[data-kind=${style.kind}] > :is(.row, .field:has(#negative))`;
  for (const fields of form.querySelectorAll(settled)) fields.hidden = true;
  $('style-name').textContent = asked.get('name') || style.id;
}

// Browsers keep what was in a form across reloads.
keyField.value = sessionStorage.getItem('key') ?? '';
showKey();
showKind();
refresh();
resume();

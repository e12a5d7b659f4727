// SPDX-License-Identifier: AGPL-3.0-or-later

// What an account shares and makes: shared keys, styles and teams. It goes through the API, with the key that the visitor
// pastes, as any other program's would. The key stays in this tab.

const api = '/api/v2';
const $ = id => document.getElementById(id);
const keyField = $('key');

async function call(method, path, body) {
  const headers = { apikey: keyField.value.trim(), 'Client-Agent': 'horde-account:1:-' };
  if (body) headers['Content-Type'] = 'application/json';
  const answer = await fetch(api + path, { method, headers, body: body && JSON.stringify(body), cache: 'no-store' });
  const value = await answer.json().catch(() => null);
  if (answer.ok) return value;
  const fields = Object.entries(value?.errors ?? {}).map(([field, why]) => `${field}: ${why}`);
  throw new Error([value?.message ?? `The server answered ${answer.status}.`, ...fields].join(' '));
}

function element(tag, properties, ...children) {
  const e = Object.assign(document.createElement(tag), properties);
  e.append(...children);
  return e;
}

// attempt does something, and says under a heading what went wrong.
async function attempt(place, what) {
  const note = $(place);
  note.hidden = true;
  try {
    await what();
  } catch (e) {
    note.textContent = e.message;
    note.hidden = false;
  }
}

function button(label, place, what) {
  const b = element('button', { type: 'button', className: 'quiet small', textContent: label });
  b.addEventListener('click', () => attempt(place, async () => { await what(); await refresh(); }));
  return b;
}

function rows(table, list) {
  $(table).hidden = list.length === 0;
  $(table).tBodies[0].replaceChildren(...list.map(cells => element('tr', {}, ...cells.map(c => element('td', {}, c)))));
}

// plain is text of the API, which escapes it for HTML, as somebody typed it.
const plain = text => (text ?? '').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');

const unlimited = n => n === -1 ? 'no limit' : String(n);

async function showKeys(user) {
  const keys = await Promise.all((user.sharedkey_ids ?? []).map(id => call('GET', `/sharedkeys/${id}`)));
  rows('sharedkeys', keys.map(k => [
    plain(k.name), element('code', { textContent: k.id }), unlimited(k.kudos), String(k.utilized),
    k.expiry && k.expiry !== '-1' ? new Date(k.expiry).toLocaleDateString('en') : 'never',
    button('Delete', 'sharedkeys-problem', () => call('DELETE', `/sharedkeys/${k.id}`)),
  ]));
}

function showStyles(user) {
  rows('styles', (user.styles ?? []).map(s => [
    plain(s.name), s.type,
    element('a', { href: `/?style=${encodeURIComponent(s.id)}&kind=${s.type}&name=${encodeURIComponent(plain(s.name))}#playground`, textContent: 'Use' }),
    button('Delete', 'styles-problem', () => call('DELETE', `/styles/${s.type}/${s.id}`)),
  ]));
}

async function showTeams(user) {
  const teams = await call('GET', '/teams');
  const workers = await Promise.all((user.worker_ids ?? []).map(id => call('GET', `/workers/${id}`)));
  rows('teams', workers.map(w => {
    const select = element('select', { ariaLabel: `Team of ${plain(w.name)}` }, element('option', { value: '', textContent: 'no team' }));
    for (const t of teams) select.append(element('option', { value: t.id, textContent: plain(t.name) }));
    select.value = w.team?.id ?? '';
    select.addEventListener('change', () => attempt('teams-problem', async () => {
      await call('PUT', `/workers/${w.id}`, { team: select.value });
      await refresh();
    }));
    return [plain(w.name), w.type, select];
  }));
}

async function refresh() {
  const user = await call('GET', '/find_user');
  if (String(user.id) !== document.querySelector('[data-account]').dataset.account) throw new Error('That key is not the one of this account.');
  $('with-key').hidden = false;
  showStyles(user);
  await Promise.all([showKeys(user).catch(() => rows('sharedkeys', [])), showTeams(user)]);
}

// value of a field of a form: what was typed, a number where the field is one, nothing where it is empty.
function fields(form) {
  const out = {};
  for (const field of form.elements) {
    if (!field.name || field.name === 'kind') continue;
    if (field.type === 'checkbox') out[field.name] = field.checked;
    else if (field.type === 'number' && field.value) out[field.name] = Number(field.value);
    else if (field.value.trim()) out[field.name] = field.value.trim();
  }
  return out;
}

function onSubmit(id, send) {
  $(id).addEventListener('submit', event => {
    event.preventDefault();
    attempt(`${id.replace('new-', '')}-problem`, async () => {
      await send(fields(event.target), event.target);
      event.target.reset();
      await refresh();
    });
  });
}

onSubmit('new-sharedkeys', body => call('PUT', '/sharedkeys', body));
onSubmit('new-styles', ({ models, ...body }, form) => {
  if (models) body.models = models.split(',').map(m => m.trim()).filter(Boolean);
  return call('POST', `/styles/${form.elements.kind.value}`, body);
});
onSubmit('new-teams', body => call('POST', '/teams', body));

async function unlock() {
  const key = keyField.value.trim();
  $('with-key').hidden = true;
  if (!key) return;
  await attempt('key-problem', async () => {
    if (sessionStorage.getItem('key') === key) sessionStorage.removeItem('key'); // unless it is still good
    await refresh();
    sessionStorage.setItem('key', key);
  });
}

keyField.addEventListener('change', unlock);
$('unlock').addEventListener('submit', event => { event.preventDefault(); unlock(); });
keyField.value = sessionStorage.getItem('key') ?? '';
unlock();

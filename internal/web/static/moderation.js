// SPDX-License-Identifier: AGPL-3.0-or-later

// The page of moderators. It uses the public API with the moderator's key, which stays in this tab; what it shows is built from
// text only, so nothing that a stranger wrote becomes part of the page.

const api = '/api/v2';
const stored = 'horde-moderator-key';
const $ = id => document.getElementById(id);
let key = '';

// element makes an element with properties and children.
function element(name, properties = {}, ...children) {
  const e = Object.assign(document.createElement(name), properties);
  e.append(...children.filter(c => c !== null && c !== undefined));
  return e;
}

// button makes a button that does something, and cannot be pressed while it does.
function button(label, does, quiet = true) {
  const b = element('button', { type: 'button', className: quiet ? 'quiet small' : 'small', textContent: label });
  b.addEventListener('click', () => during(b, does));
  return b;
}

async function during(b, does) {
  b.disabled = true;
  try {
    await does();
  } catch (e) {
    say(e.message, true);
  } finally {
    b.disabled = false;
  }
}

// say tells what came of something.
function say(text, bad = false) {
  const said = $('said');
  said.textContent = text;
  said.className = bad ? 'note bad' : 'note';
  said.hidden = false;
}

// call asks the API, and fails with what it says.
async function call(method, path, body) {
  const headers = { apikey: key, 'Client-Agent': 'horde-moderation:1:page' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const answer = await fetch(api + path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: 'no-store' });
  const text = await answer.text();
  let parsed = null;
  try { parsed = JSON.parse(text); } catch { /* no document of the API */ }
  if (answer.ok) return parsed;
  const fields = Object.entries(parsed?.errors ?? {}).map(([field, why]) => `${field}: ${why}`);
  throw new Error([parsed?.message ?? `The server answered ${answer.status}.`, ...fields].join(' '));
}

const query = values => {
  const q = new URLSearchParams(Object.entries(values).filter(([, v]) => v !== '' && v !== undefined && v !== null));
  return q.size ? '?' + q : '';
};

// onSubmit does something when a form is sent; it gets the button that was pressed.
function onSubmit(form, does) {
  $(form).addEventListener('submit', event => {
    event.preventDefault();
    during(event.submitter ?? $(form), () => does(event.submitter));
  });
}

// fill replaces the rows of a table. A row is a list of cells: texts or elements.
function fill(table, rows, nothing) {
  const body = $(table).tBodies[0];
  const columns = $(table).tHead.rows[0].cells;
  body.replaceChildren(...rows.map(cells => element('tr', {}, ...cells.map((c, i) =>
    element('td', { className: columns[i].className }, c ?? '')))));
  if (!rows.length) body.append(element('tr', {}, element('td', { colSpan: columns.length, className: 'muted', textContent: nothing })));
}

const actions = (...buttons) => element('span', { className: 'row-actions' }, ...buttons);
const code = text => element('code', { textContent: text, className: 'wrap-code' });
// plain is a name as it was typed: names are stored with their tags escaped, and are only ever shown as text here.
const plain = text => (text ?? '').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
const when = text => text ? new Date(text).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short', timeZone: 'UTC' }) : '';
const lasting = s => s >= 172800 ? `${Math.round(s / 86400)} days` : s >= 7200 ? `${Math.round(s / 3600)} hours` : s >= 120 ? `${Math.round(s / 60)} minutes` : `${s} seconds`;
const reasons = list => list.map(r => r.count > 1 ? `${r.name} ×${r.count}` : r.name).join(', ');

// field is an input with its label.
function field(id, label, input) {
  input.id = id;
  return element('div', { className: 'field' }, element('label', { htmlFor: id, textContent: label }), input);
}

function check(id, label, checked) {
  const input = element('input', { type: 'checkbox', id, checked });
  return [input, element('p', { className: 'check' }, input, ' ', element('label', { htmlFor: id, textContent: label }))];
}

// Modes.

async function showModes() {
  const modes = await call('GET', '/status/modes');
  for (const name of ['raid_mode', 'invite_only_mode', 'maintenance_mode']) {
    $(name).checked = $(name).dataset.was = modes[name] === true;
    $(name).dataset.was = modes[name] === true ? 'on' : 'off';
  }
}

onSubmit('modes-form', async () => {
  const change = {};
  for (const name of ['raid_mode', 'invite_only_mode', 'maintenance_mode']) {
    if (($(name).dataset.was === 'on') !== $(name).checked) change[name] = $(name).checked;
  }
  if (!Object.keys(change).length) return say('Nothing was changed.');
  if (change.maintenance_mode && !confirm('Maintenance mode cancels everything that waits. Go on?')) return;
  try {
    await call('PUT', '/status/modes', change);
    say('Switched: ' + Object.entries(change).map(([name, on]) => `${name.replaceAll('_', ' ')} ${on ? 'on' : 'off'}`).join(', ') + '.');
  } finally {
    await showModes();
  }
});

// Filters.

let editing = null;

async function showFilters() {
  const list = await call('GET', '/filters' + query({ filter_type: $('search-type').value, contains: $('search-contains').value }));
  fill('filter-list', list.map(f => [f.id, String(f.filter_type), code(f.regex), f.replacement, f.description, plain(f.user),
    actions(button('Edit', () => edit(f)), button('Remove', async () => {
      if (!confirm(`Remove filter ${f.id}?`)) return;
      await call('DELETE', `/filters/${f.id}`);
      say(`Filter ${f.id} was removed.`);
      await showFilters();
    }))]), 'There are no such filters.');
  const regexes = await call('GET', '/filters/regex');
  $('filter-regexes').replaceChildren(...regexes.map(r => element('div', {},
    element('h3', { textContent: `Type ${r.filter_type}` }), element('pre', { className: 'note', textContent: r.regex ?? 'No filters.' }))));
}

function edit(f) {
  editing = f;
  $('filter-what').textContent = f ? `Change filter ${f.id}` : 'Add a filter';
  $('filter-save').textContent = f ? 'Change' : 'Add';
  $('filter-cancel').hidden = !f;
  $('filter-regex').value = f?.regex ?? '';
  const type = String(f?.filter_type ?? 10);
  if (![...$('filter-type').options].some(o => o.value === type)) $('filter-type').append(element('option', { value: type, textContent: type }));
  $('filter-type').value = type;
  $('filter-replacement').value = f?.replacement ?? '';
  $('filter-description').value = f?.description ?? '';
  if (f) $('filter-regex').focus();
}

$('filter-cancel').addEventListener('click', () => edit(null));

onSubmit('filter-form', async () => {
  const body = { regex: $('filter-regex').value, filter_type: Number($('filter-type').value) };
  if ($('filter-replacement').value) body.replacement = $('filter-replacement').value;
  if ($('filter-description').value) body.description = $('filter-description').value;
  const saved = editing ? await call('PATCH', `/filters/${editing.id}`, body) : await call('PUT', '/filters', body);
  say(`Filter ${saved.id} holds now.`);
  edit(null);
  await showFilters();
});

onSubmit('test-form', async () => {
  const found = await call('POST', '/filters', { prompt: $('test-prompt').value });
  const stopped = Number(found.suspicion) >= 2;
  $('test-result').textContent = `Suspicion ${found.suspicion}: ${stopped ? 'would be stopped' : 'passes'}.` + (found.matches.length ? ` Found: ${found.matches.join(', ')}` : '');
  $('test-result').className = stopped ? 'note bad spaced' : 'note spaced';
  $('test-result').hidden = false;
});

$('search-type').addEventListener('change', () => during($('search-type'), showFilters));
$('search-contains').addEventListener('change', () => during($('search-contains'), showFilters));
onSubmit('filter-search', showFilters);

// Addresses.

async function showAddresses() {
  const list = await call('GET', '/operations/ipaddr?callers=true');
  fill('address-list', list.map(a => [code(a.ipaddr), lasting(a.seconds), actions(button('Unblock', () => unblock(a.ipaddr)))]), 'No address is in timeout.');
}

async function unblock(address) {
  // One caller of IPv6 is shown as its network, and is no block.
  await call('DELETE', '/operations/ipaddr', { ipaddr: address });
  if (address.endsWith('/64')) await call('DELETE', '/operations/ipaddr', { ipaddr: address.slice(0, -3) });
  say(`${address} is free again.`);
  await showAddresses();
}

onSubmit('block-form', async pressed => {
  const address = $('block-address').value.trim();
  $('address-result').hidden = true;
  if (pressed?.value === 'look') {
    const list = await call('GET', `/operations/ipaddr/${encodeURIComponent(address)}`);
    $('address-result').textContent = list.length ? list.map(a => `${a.ipaddr} for another ${lasting(a.seconds)}`).join('; ') : `Nothing holds for ${address}.`;
    $('address-result').hidden = false;
    return;
  }
  if (pressed?.value === 'unblock') return unblock(address);
  await call('POST', '/operations/ipaddr', { ipaddr: address, hours: Number($('block-hours').value) });
  say(`${address} is blocked.`);
  await showAddresses();
});

// Users and workers.

async function showReview() {
  const review = await call('GET', '/operations/moderation?suspicious=true&limit=200');
  const users = new Map([...review.promotion_blocked_users, ...review.suspicious_users].map(u => [u.id, u]));
  fill('user-list', [...users.values()].map(u => [plain(u.username), reasons(u.suspicion_reasons), u.evaluating_kudos.toLocaleString('en'), String(u.worker_count),
    actions(button('Open', () => openUser(u.id)), button('Reset', () => resetUser(u.id, u.username)))]), 'No account is suspicious.');
  fill('worker-list', review.paused_workers.map(w => [plain(w.name), w.type, plain(w.owner),
    [w.paused ? 'paused' : '', w.maintenance_mode ? 'maintenance' : '', w.online ? 'online' : 'offline'].filter(s => s).join(', '),
    reasons(w.suspicion_reasons), actions(button('Open', () => openWorker(w.id)))]), 'No worker is paused or suspicious.');
}

async function resetUser(id, name) {
  await call('PUT', `/users/${id}`, { reset_suspicion: true });
  say(`The suspicions of ${plain(name)} and of their workers were reset.`);
  await showReview();
}

// Whether the moderator is an admin too, who may make others, only the server knows: what is not allowed is refused.
const roles = ['moderator', 'trusted', 'flagged', 'customizer', 'vpn', 'service', 'education', 'special'];

async function openUser(id) {
  const u = await call('GET', `/users/${id}`);
  const boxes = roles.map(name => [name, ...check(`role-${name}`, name, u[name] === true)]);
  const concurrency = element('input', { type: 'number', min: 0, max: 500, value: u.concurrency });
  const invited = element('input', { type: 'number', min: 0, value: u.worker_invited });
  const comment = element('input', { type: 'text', maxLength: 500, value: u.admin_comment ?? '' });
  const save = button('Save', async () => {
    const change = {};
    for (const [name, box] of boxes) if (box.checked !== (u[name] === true)) change[name] = box.checked;
    if (Number(concurrency.value) !== u.concurrency) change.concurrency = Number(concurrency.value);
    if (Number(invited.value) !== u.worker_invited) change.worker_invited = Number(invited.value);
    if (comment.value !== (u.admin_comment ?? '')) change.admin_comment = comment.value;
    if (!Object.keys(change).length) return say('Nothing was changed.');
    await call('PUT', `/users/${u.id}`, change);
    say(`${u.username} was changed.`);
    await openUser(u.id);
    await showReview();
  }, false);
  const deletion = u.deleted
    ? [button('Keep the account', async () => { await call('PUT', `/users/${u.id}`, { undelete: true }); say('The account is kept.'); await openUser(u.id); }),
      button('Erase for good', async () => { if (confirm(`Erase ${u.username} for good?`)) { await call('DELETE', `/users/${u.id}`); say('The account was erased.'); $('user-card').replaceChildren(); } })]
    : [button('Mark for deletion', async () => { if (confirm(`Mark ${u.username} for deletion?`)) { await call('DELETE', `/users/${u.id}`); say('The account is marked.'); await openUser(u.id); } })];
  $('user-card').replaceChildren(element('div', { className: 'card spaced', id: 'user-open' },
    element('h3', { className: 'first', textContent: plain(u.username) }),
    element('p', { className: 'muted', textContent: `${u.kudos.toLocaleString('en')} kudos, ${u.evaluating_kudos.toLocaleString('en')} in escrow, ${u.suspicious} suspicions, ${u.worker_count} workers, ${lasting(u.account_age)} old${u.deleted ? ', marked for deletion' : ''}${u.contact ? `. Contact: ${plain(u.contact)}` : ''}` }),
    element('div', { className: 'roles' }, ...boxes.map(b => b[2])),
    element('div', { className: 'row' }, field('user-concurrency', 'Results that may wait', concurrency), field('user-invited', 'Workers invited', invited), field('user-comment', 'Comment for moderators', comment)),
    element('div', { className: 'actions spaced' }, save, button('Reset suspicions', () => resetUser(u.id, u.username).then(() => openUser(u.id))), ...deletion,
      button('Their prompts', async () => { $('prompt-user').value = u.id; await showPrompts(); $('prompts').scrollIntoView(); })),
    u.worker_ids?.length ? element('p', { className: 'actions spaced' }, ...u.worker_ids.map(w => button(`Worker ${w.slice(0, 8)}`, () => openWorker(w)))) : null));
}

onSubmit('user-search', async () => {
  const text = $('user-id').value.trim();
  await openUser(encodeURIComponent(text.slice(text.lastIndexOf('#') + 1)));
});

async function openWorker(id) {
  const w = await call('GET', `/workers/${id}`);
  const [paused, pausedRow] = check('worker-paused', 'Paused: works for nobody but its owner, without being told', w.paused === true);
  const [maintenance, maintenanceRow] = check('worker-maintenance', 'Maintenance: works for nobody but its owner, and is told', w.maintenance_mode);
  const message = element('input', { type: 'text', maxLength: 500 });
  const days = element('input', { type: 'number', min: 1, max: 30, value: 7 });
  const change = async (body, text) => {
    await call('PUT', `/workers/${w.id}`, body);
    say(text);
    await openWorker(w.id);
    await showReview();
  };
  $('worker-card').replaceChildren(element('div', { className: 'card spaced', id: 'worker-open' },
    element('h3', { className: 'first', textContent: plain(w.name) }),
    element('p', { className: 'muted', textContent: `${w.type}, ${w.online ? 'online' : 'offline'}, of ${plain(w.owner)}${w.ipaddr ? ` at ${w.ipaddr}` : ''}, ${w.suspicious ?? 0} suspicions, ${w.requests_fulfilled} jobs done, ${w.uncompleted_jobs} lost. ${w.bridge_agent}` }),
    pausedRow, maintenanceRow,
    element('div', { className: 'row' }, field('worker-message', 'Message to its owner while in maintenance', message), field('worker-days', 'Days', days)),
    element('div', { className: 'actions spaced' },
      button('Save', () => {
        const body = {};
        if (paused.checked !== (w.paused === true)) body.paused = paused.checked;
        if (maintenance.checked !== w.maintenance_mode || maintenance.checked && message.value) body.maintenance = maintenance.checked;
        if (body.maintenance && message.value) body.maintenance_msg = message.value;
        if (!Object.keys(body).length) return say('Nothing was changed.');
        return change(body, `${w.name} was changed.`);
      }, false),
      button('Block its address', async () => { await call('PUT', `/operations/block_worker_ipaddr/${w.id}`, { days: Number(days.value) }); say(`The address of ${w.name} is blocked.`); await showAddresses(); }),
      button('Unblock its address', async () => { await call('DELETE', `/operations/block_worker_ipaddr/${w.id}`); say(`The address of ${w.name} is free again.`); await showAddresses(); }),
      button('Remove', async () => { if (confirm(`Remove ${w.name}?`)) { await call('DELETE', `/workers/${w.id}`); say(`${w.name} was removed.`); $('worker-card').replaceChildren(); await showReview(); } }),
      button('Its reports', async () => { await showReports(0, w.id); $('reports').scrollIntoView(); }),
      button('Its owner', () => openUser(w.owner.slice(w.owner.lastIndexOf('#') + 1))))));
}

onSubmit('worker-search', async () => {
  const text = $('worker-name').value.trim();
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text)) return openWorker(text);
  const escaped = text.replace(/&(?![a-zA-Z#]\w*;)/g, '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  const w = await call('GET', `/workers/name/${encodeURIComponent(escaped)}`);
  await openWorker(w.id);
});

// Prompts and reports.

let olderPrompts = null;

async function showPrompts(before) {
  const page = await call('GET', '/operations/moderation/prompts' + query({
    reason: $('prompt-reason').value, user_id: $('prompt-user').value.trim(), ipaddr: $('prompt-address').value.trim(), before_id: before, limit: 25,
  }));
  const shown = page.events.map(promptCard);
  if (before) $('prompt-list').append(...shown);
  else $('prompt-list').replaceChildren(...shown);
  if (!before && !shown.length) $('prompt-list').append(element('p', { className: 'muted', textContent: 'There are none.' }));
  olderPrompts = page.next_cursor;
  $('prompt-more').hidden = !olderPrompts;
}

function promptCard(v) {
  const facts = [when(v.created), v.reason.replaceAll('_', ' '), v.user_id === null ? 'user forgotten' : `user ${v.user_id}`, v.proxied_account && `for ${v.proxied_account}`,
    v.ipaddr ?? (v.ipaddr_redacted ? 'address forgotten' : ''), v.models?.join(', '), v.worker_id && `reported by ${v.worker_id}`, v.hold_source && `kept because of ${v.hold_source.replace('_', ' ')}`];
  const text = v.effective_prompt ?? v.submitted_prompt ?? v.moderation_prompt;
  const note = element('input', { type: 'text', maxLength: 2000, required: true });
  const form = element('form', { className: 'row tight' }, field(`note-${v.id}`, 'Note', note),
    element('div', { className: 'actions' }, element('button', { type: 'submit', className: 'quiet small', textContent: 'Write' })));
  form.addEventListener('submit', event => {
    event.preventDefault();
    during(event.submitter, async () => {
      const n = await call('POST', `/operations/moderation/prompts/${v.id}/notes`, { note: note.value });
      form.before(written(n));
      note.value = '';
    });
  });
  return element('article', { className: 'card spaced event' },
    element('p', { className: 'muted' }, `#${v.id} · ` + facts.filter(f => f).join(' · ')),
    element('pre', { className: 'note', textContent: text ?? 'The prompt is not kept.' }),
    ...v.notes.map(written), form,
    element('p', { className: 'actions' }, v.user_id === null ? null : button('User', () => openUser(v.user_id)), v.worker_id ? button('Worker', () => openWorker(v.worker_id)) : null));
}

const written = n => element('p', { className: 'written' }, element('b', { textContent: `${n.author_id}, ${when(n.created)}: ` }), n.note);

onSubmit('prompt-search', () => showPrompts());
$('prompt-more').addEventListener('click', () => during($('prompt-more'), () => showPrompts(olderPrompts)));

let olderReports = null;
let reportsOf = '';
let reports = [];

async function showReports(before, worker) {
  if (worker !== undefined) reportsOf = worker;
  const page = await call('GET', '/operations/moderation/worker_suspicion_events' + query({ before_id: before || '', worker_id: reportsOf, limit: 50 }));
  reports = before ? [...reports, ...page.events] : page.events;
  fill('report-list', reports.map(r => [when(r.created), actions(button(plain(r.worker_name), () => openWorker(r.worker_id))), actions(button(`User ${r.user_id}`, () => openUser(r.user_id))), r.reason, r.detail]), 'There are none.');
  olderReports = page.next_cursor;
  $('report-more').hidden = !olderReports;
}

$('report-more').addEventListener('click', () => during($('report-more'), () => showReports(olderReports)));

// Entering and leaving.

async function enter(candidate) {
  key = candidate;
  const me = await call('GET', '/find_user');
  if (!me.moderator) throw new Error('This is the key of an account that is no moderator.');
  sessionStorage.setItem(stored, key);
  $('who').textContent = `You are ${plain(me.username)}.`;
  await Promise.all([showModes(), showFilters(), showAddresses(), showReview(), showPrompts(), showReports()]);
  $('enter').hidden = true;
  $('desk').hidden = false;
  $('said').hidden = true;
  document.body.dataset.ready = 'yes';
}

function leave() {
  sessionStorage.removeItem(stored);
  key = '';
  location.reload();
}

onSubmit('enter', async () => {
  try {
    await enter($('key').value.trim());
  } catch (e) {
    sessionStorage.removeItem(stored);
    throw e;
  }
  $('key').value = '';
});
$('leave').addEventListener('click', leave);

const kept = sessionStorage.getItem(stored);
if (kept) enter(kept).catch(e => { sessionStorage.removeItem(stored); say(e.message, true); });

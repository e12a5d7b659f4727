// SPDX-License-Identifier: AGPL-3.0-or-later
const result = document.getElementById("result");
const desk = document.getElementById("desk");
const login = document.getElementById("login");
let key = sessionStorage.getItem("fediseer-key") || "";
let me = null;

async function call(method, path, body) {
  const headers = {apikey: key, "Client-Agent": "fediseer-pages:1:local"};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch("/api/v1" + path, {method, headers, body: body === undefined ? undefined : JSON.stringify(body)});
  const doc = await answer.json();
  if (!answer.ok) {
    throw new Error(doc.message + (doc.errors ? ": " + Object.entries(doc.errors).map((e) => e.join(" ")).join(", ") : ""));
  }
  return doc;
}

function say(text, good) {
  result.textContent = text;
  result.className = good ? "good" : "bad";
}

// show makes an element with a text; texts of strangers are never taken as HTML.
function show(tag, text) {
  const e = document.createElement(tag);
  e.textContent = text;
  return e;
}

// plain is what a text says when its markup is taken away. The document that reads the markup never becomes part of the
// page, so nothing in it runs or loads.
function plain(markup) {
  return new DOMParser().parseFromString(markup, "text/html").body.textContent;
}

async function mine() {
  const box = document.getElementById("mine");
  box.replaceChildren();
  for (const [title, path, field] of [["Endorsements given", "approvals", "endorsement_reasons"], ["Censures given", "censures_given", "censure_reasons"], ["Hesitations given", "hesitations_given", "hesitation_reasons"], ["Guaranteed", "guarantors", ""]]) {
    box.append(show("h3", title));
    const doc = await call("GET", "/" + path + "/" + encodeURIComponent(me.domain) + (field ? "?limit=100" : ""));
    const list = document.createElement("ul");
    for (const x of doc.instances) list.append(show("li", x.domain + (field && x[field] && x[field].length ? ": " + x[field].map(plain).join(", ") : "")));
    box.append(doc.instances.length ? list : show("p", "none"));
  }
}

async function enter() {
  me = await call("GET", "/find_instance");
  sessionStorage.setItem("fediseer-key", key);
  login.hidden = true;
  desk.hidden = false;
  document.getElementById("me").textContent = me.domain;
  document.getElementById("guarantor").textContent = me.guarantor ? "Guaranteed by " + me.guarantor + "." : "Nobody guarantees for it yet.";
  document.getElementById("flags").hidden = me.id !== 0;
  const settings = document.querySelector("form[data-act=settings]");
  for (const name of ["sysadmins", "moderators", "visibility_endorsements", "visibility_censures", "visibility_hesitations"]) {
    if (me[name] !== undefined) settings.elements[name].value = me[name];
  }
  await mine();
}

login.addEventListener("submit", async (event) => {
  event.preventDefault();
  key = login.elements.key.value.trim();
  try {
    await enter();
    say("Logged in.", true);
  } catch (e) {
    key = "";
    say(e.message, false);
  }
});

document.getElementById("logout").addEventListener("click", () => {
  sessionStorage.removeItem("fediseer-key");
  location.reload();
});

const name = (d) => encodeURIComponent(d.domain.trim());
const pick = (d, ...fields) => Object.fromEntries(fields.filter((f) => d[f] !== "").map((f) => [f, d[f]]));

// What each form sends: path and body for a method.
const acts = {
  guarantee: (d) => ["/guarantees/" + name(d)],
  judge: (d, method) => {
    const fields = d.kind === "endorsements" ? ["reason"] : ["reason", "evidence"];
    const body = pick(d, ...fields); // a field that is left empty keeps what is stored
    if (method === "PATCH") for (const f of fields) if (d["clear_" + f]) body[f] = "";
    return ["/" + d.kind + "/" + name(d), method === "DELETE" ? undefined : body];
  },
  rebut: (d, method) => ["/rebuttals/" + name(d), method === "DELETE" ? undefined : {rebuttal: d.rebuttal}],
  tags: (d) => ["/tags", {tags_csv: d.tags_csv}],
  solicit: (d) => ["/solicitations", pick(d, "guarantor", "comment")],
  settings: (d) => {
    const body = pick(d, "visibility_endorsements", "visibility_censures", "visibility_hesitations", "pm_proxy");
    for (const f of ["sysadmins", "moderators"]) if (d[f] !== "") body[f] = Number(d[f]);
    return ["/whitelist/" + encodeURIComponent(me.domain), body];
  },
  reset: (d) => ["/whitelist/" + encodeURIComponent(me.domain), {admin_username: d.admin_username.trim(), return_new_key: true}],
  flag: (d, method) => ["/admin/flags/" + name(d), method === "DELETE" ? {flag: d.flag} : pick(d, "flag", "comment")],
};

for (const form of document.querySelectorAll("form[data-act]")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const method = event.submitter.value;
    const data = Object.fromEntries(new FormData(form));
    say("Working…", true);
    try {
      const [path, body] = acts[form.dataset.act](data, method);
      const doc = await call(method, path, body);
      if (doc.new_key) {
        key = doc.new_key;
        await enter();
        say("The new key: " + doc.new_key, true);
        return;
      }
      for (const box of form.querySelectorAll("input[type=checkbox]")) box.checked = false;
      await enter();
      say(doc.message === "OK" ? "It was so already." : "Done.", true);
    } catch (e) {
      say(e.message, false);
    }
  });
}

if (key) enter().catch((e) => say(e.message, false));

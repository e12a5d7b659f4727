// SPDX-License-Identifier: AGPL-3.0-or-later
const form = document.getElementById("claim");
const result = document.getElementById("result");
let proof = null;

async function call(method, path, body) {
  const answer = await fetch("/api/v1" + path, {method, headers: {"Content-Type": "application/json"}, body: JSON.stringify(body)});
  const doc = await answer.json();
  if (!answer.ok) {
    throw new Error(doc.message + (doc.errors ? ": " + Object.values(doc.errors).join(", ") : ""));
  }
  return doc;
}

function fields() {
  const data = Object.fromEntries(new FormData(form));
  for (const name of ["domain", "admin", "guarantor"]) data[name] = data[name].trim();
  return data;
}

function say(text, good) {
  result.textContent = text;
  result.className = good ? "good" : "bad";
}

async function attempt(f) {
  say("Working…", true);
  try {
    await f();
  } catch (e) {
    say(e.message, false);
  }
}

function claimBody(data) {
  const body = {admin: data.admin, pm_proxy: data.pm_proxy};
  if (data.guarantor) body.guarantor = data.guarantor;
  return body;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(async () => {
    const data = fields();
    await call("PUT", "/whitelist/" + encodeURIComponent(data.domain), claimBody(data));
    say("The key was delivered to " + data.admin + "@" + data.domain + " by private message. If it does not show up, prove the claim instead.", true);
  });
});

document.getElementById("start-proof").addEventListener("click", () => {
  if (!form.reportValidity()) return;
  attempt(async () => {
    const data = fields();
    proof = await call("POST", "/whitelist/" + encodeURIComponent(data.domain) + "/proof", {admin: data.admin});
    document.getElementById("proof-value").textContent = proof.value;
    document.getElementById("proof-dns").textContent = proof.dns.name;
    document.getElementById("proof-file").textContent = proof.well_known;
    document.getElementById("proof").hidden = false;
    say("", true);
  });
});

for (const [id, how] of [["finish-dns", "dns"], ["finish-file", "well-known"]]) {
  document.getElementById(id).addEventListener("click", () => attempt(async () => {
    const data = fields();
    const doc = await call("PUT", "/whitelist/" + encodeURIComponent(data.domain), {...claimBody(data), proof: how, secret: proof.secret});
    say("Your API key: " + doc.new_key, true);
  }));
}

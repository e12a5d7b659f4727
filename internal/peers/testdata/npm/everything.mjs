// SPDX-License-Identifier: AGPL-3.0-or-later
//
// Makes every call that the npm client has: those of the horde and those of the ratings service. What there is to call is found
// by looking into the client, so nothing that a release has is left out by mistake.
//
// Prints one JSON object: the calls that were made, and the lists of what is missing and of what went wrong, which should be
// empty. NOT_SERVED names the calls for what this server does not have, each with the reason; one that it does have in the end
// is reported too.

import { createRequire } from "node:module";

const { AIHorde, AIHordeRatings, APIError } = createRequire(import.meta.url)(process.env.NODE_CLIENT);

const [requester, owner, moderator, admin] = ["REQUESTER_KEY", "OWNER_KEY", "MODERATOR_KEY", "AWARDER_KEY"].map((k) => ({ token: process.env[k] }));
const notServed = JSON.parse(process.env.NOT_SERVED);
const horde = new AIHorde({
  api_route: process.env.AI_HORDE_URL + "v2", ratings_api_route: process.env.AI_HORDE_URL + "v1", client_agent: "peers:1:https://example.org",
});
const model = "Deliberate", textModel = "facebook/opt-125m";
const calls = new Set(), problems = [];

// What this server refuses although it has it: it shares no images, so there is nothing to rate.
const refused = { "AIHorde.postRating": "AestheticsNotPublic" };

// ask makes a call by its name and returns the answer; null where the server has nothing of the kind.
async function ask(client, name, ...args) {
  const full = client.constructor.name + "." + name;
  calls.add(full);
  try {
    const answer = await client[name](...args);
    if (notServed[full]) problems.push(`${full} is listed as not served, and is there`);
    return answer;
  } catch (e) {
    if (e instanceof APIError && refused[full] && e.rawError.rc === refused[full]) return null;
    const absent = e instanceof APIError && e.status === 404 && !e.rawError.rc;
    if (!absent || !notServed[full]) problems.push(`${full}: ${e.status} ${e.message} ${JSON.stringify(e.errors)} ${e.stack}`.slice(0, 1000));
    return null;
  }
}
const say = (name, ...args) => ask(horde, name, ...args);
const rate = (name, ...args) => ask(horde.ratings, name, ...args);

const imagePop = (more) => ({
  name: "npm dreamer", models: [model], bridge_agent: "AI Horde Worker reGen:13.0.0:https://example.org", max_pixels: 1048576, nsfw: true,
  priority_usernames: [], amount: 1, threads: 1, ...more,
});
const textPop = {
  name: "npm scribe", models: [textModel], bridge_agent: "KoboldCppEmbedWorker:2:https://example.org", max_length: 512, max_context_length: 2048,
};
// A picture of one pixel, as PNG.
const source = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==";

// What needs no server.
say("parseAgent", "a:1:b");
say("generateFieldsString", ["a"]);
// Only a client that keeps everything can forget it.
const keeper = new AIHorde({ cache: Object.fromEntries(Object.keys(horde.cache).map((k) => [k, 1000])), cache_interval: 1000 });
await ask(keeper, "clearCache");
calls.add("AIHorde.cache");
if (typeof horde.cache !== "object") problems.push("there is no cache");

// The horde and its people.
await say("getHeartbeat");
const user = await say("findUser", requester);
const other = await say("findUser", owner);
await say("getUserDetails", user.id, requester);
await say("getUsers");
await say("updateUser", { public_workers: true }, user.id, requester);
await say("postKudosTransfer", { username: other.username, amount: 5 }, requester);
await say("postKoboldTransfer", String(user.id), { username: other.username, amount: 1 }, requester);
await say("getNews");
await say("getPerformance");
await say("getModes", moderator);
await say("putStatusModes", { raid_mode: false }, moderator);

// Images.
const submitted = await say("postAsyncImageGenerate",
  { prompt: "a cat", models: [model], params: { n: 2, width: 64, height: 64 }, shared: true, nsfw: true }, requester);
await say("getImageGenerationCheck", submitted.id);
const job = await say("postImageGenerationPop", imagePop({ amount: 2 }), owner);
for (const [i, id] of job.ids.entries()) {
  const put = await fetch(job.r2_uploads[i], { method: "PUT", body: Buffer.from(source, "base64") });
  if (put.status !== 200) problems.push(`upload: ${put.status}`);
  await say("postImageGenerationSubmit", { id, generation: "R2", state: "ok", seed: 1 }, owner);
}
const status = await say("getImageGenerationStatus", submitted.id);
await say("postRating", submitted.id,
  { best: status.generations[0].id, ratings: status.generations.map((g, i) => ({ id: g.id, rating: 8 - i, artifacts: 1 })) }, requester);
const unwanted = await say("postAsyncImageGenerate", { prompt: "a dog", models: [model] }, requester);
await say("deleteImageGenerationRequest", unwanted.id);

// Texts.
const text = await say("postAsyncTextGenerate", { prompt: "Once", params: { max_length: 20 }, models: [textModel] }, requester);
const words = await say("postTextGenerationPop", textPop, owner);
await say("postTextGenerationSubmit", { id: words.id, generation: " upon a time", state: "ok", seed: 3 }, owner);
await say("getTextGenerationStatus", text.id);
const silence = await say("postAsyncTextGenerate", { prompt: "Twice" }, requester);
await say("deleteTextGenerationRequest", silence.id);

// Alchemy.
const alchemy = await say("postAsyncInterrogate", { forms: [{ name: "caption" }, { name: "nsfw" }], source_image: source }, requester);
const forms = await say("postInterrogationPop", { name: "npm alchemist", forms: ["caption"], amount: 1, priority_usernames: [] }, owner);
await say("postInterrogationSubmit", { id: forms.forms[0].id, result: { caption: "a pixel" }, state: "ok" }, owner);
await say("getInterrogationStatus", alchemy.id);
await say("deleteInterrogationRequest", alchemy.id);

// Workers, models and teams.
const worker = (await say("getWorkers")).find((w) => w.name === "npm dreamer");
await say("getWorkerDetails", worker.id);
await say("updateWorker", { info: "by npm" }, worker.id, owner);
await say("getModels");
await say("getModel", model);
const team = await say("createTeam", { name: "the npm team", info: "all of it" }, owner);
await say("getTeams");
await say("getTeam", team.id);
await say("updateTeam", { name: "the whole npm team", info: "all of it" }, team.id, owner);
await say("deleteTeam", team.id, moderator);
for (const name of ["getImageModelStats", "getImageTotalStats", "getTextModelStats", "getTextTotalStats"]) await say(name);
await say("postImageGenerationPop", imagePop({ name: "npm idler" }), owner);
const idler = (await horde.getWorkers({ fields: ["name", "id"] })).find((w) => w.name === "npm idler");
await say("deleteWorker", idler.id, owner);

// Shared keys.
const key = await say("putSharedKey", { name: "npm key", kudos: 100, expiry: 30 }, requester);
const keyID = key?.id ?? "00000000-0000-4000-8000-000000000000";
await say("getSharedKey", keyID);
await say("updateSharedKey", { kudos: 50 }, keyID, requester);
await say("deleteSharedKey", keyID, requester);

// Moderation.
const filter = await say("addFilter", { regex: "npm forbids", filter_type: 10, description: "by npm" }, "", moderator);
const filterID = filter?.id ?? "1";
await say("getFilters", { filter_type: "10" }, moderator);
await say("getFilter", filterID, moderator);
await say("postFilters", { prompt: "what npm forbids" }, moderator);
await say("updateFilter", { description: "by npm again" }, filterID, moderator);
await say("deleteFilter", filterID, moderator);
if (key !== null || !notServed["AIHorde.deleteIPTimeout"]) {
  await fetch(process.env.AI_HORDE_URL + "v2/operations/ipaddr", {
    method: "POST", headers: { apikey: moderator.token, "Content-Type": "application/json" }, body: JSON.stringify({ ipaddr: "198.51.100.9", hours: 1 }),
  });
}
await say("deleteIPTimeout", { ipaddr: "198.51.100.9" }, moderator);

// The ratings service.
const datasets = await rate("getDatasets");
await rate("getTeams");
const picture = await rate("getNewRating", undefined, requester);
await rate("postRating", picture?.id ?? "00000000-0000-4000-8000-000000000000", { rating: 7, artifacts: "FLAWLESS" }, requester);

const missing = [];
for (const kind of [AIHorde, AIHordeRatings]) {
  for (const name of Object.getOwnPropertyNames(kind.prototype)) {
    if (name !== "constructor" && !calls.has(kind.name + "." + name)) missing.push(kind.name + "." + name);
  }
}
console.log(JSON.stringify({ calls: [...calls].sort(), missing, problems, "not served": Object.keys(notServed) }));

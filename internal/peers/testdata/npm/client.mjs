// SPDX-License-Identifier: AGPL-3.0-or-later
//
// Drives the npm client @zeldafan0225/ai_horde through images, texts, users, workers and status, as a client and as a worker.
//
// What it saw goes to standard output as lines of JSON, one a step; the Go test compares every line. The environment gives
// NODE_CLIENT (the directory of the package), AI_HORDE_URL (ending in /api/), REQUESTER_KEY, OWNER_KEY and
// MODERATOR_KEY.

import { createRequire } from "node:module";

const { AIHorde, APIError } = createRequire(import.meta.url)(process.env.NODE_CLIENT);

const requester = process.env.REQUESTER_KEY;
const owner = process.env.OWNER_KEY;
const unknownKey = "a".repeat(22);
const unknownId = "00000000-0000-4000-8000-000000000000";
const options = { api_route: process.env.AI_HORDE_URL + "v2", client_agent: "peers:1:https://example.org" };

// The client sends a key only where a call is given one, whatever its default is.
const client = new AIHorde({ ...options, default_token: requester });
const asRequester = { token: requester };
const asOwner = { token: owner };

function say(step, seen) {
  console.log(JSON.stringify({ step, value: seen }));
  return seen;
}

// refused reports what the client makes of a refusal.
async function refused(step, call) {
  try {
    say(step, await call);
  } catch (e) {
    if (!(e instanceof APIError)) throw e;
    say(step, { name: e.name, status: e.status, method: e.method, errors: e.errors, rc: e.error_code, raw: e.rawError });
  }
}

const imagePop = (more) => ({
  name: "npm worker", models: ["Deliberate"], bridge_agent: "AI Horde Worker reGen:9.0.7:https://example.org",
  max_pixels: 1048576, nsfw: true, priority_usernames: [], amount: 1, threads: 1, ...more,
});
const textPop = (more) => ({
  name: "npm scribe", models: ["facebook/opt-125m"], bridge_agent: "KoboldCppEmbedWorker:2:https://example.org",
  max_length: 512, max_context_length: 2048, nsfw: true, ...more,
});
const picture = (id) => "picture of " + id;

async function deliver(id, url) {
  const put = await fetch(url, { method: "PUT", body: picture(id) });
  const { reward } = await client.postImageGenerationSubmit(
    { id, generation: "R2", state: "ok", seed: 1312, gen_metadata: [{ type: "information", value: "see_ref", ref: "npm" }] }, asOwner);
  return [put.status, reward];
}

async function fetched(generation) {
  const got = await fetch(generation.img);
  return [got.status, got.headers.get("content-type"), (await got.text()) === picture(generation.id)];
}

// Status.
say("heartbeat", await client.getHeartbeat());
say("modes", await client.getModes({ token: process.env.MODERATOR_KEY }));
await refused("modes for others", client.getModes());
say("performance", await client.getPerformance());
say("models", await client.getModels());

// Users.
const user = say("find user", await client.findUser(asRequester));
say("find user, masked", await client.findUser({ ...asRequester, fields: ["username", "kudos"] }));
say("user", (await client.getUserDetails(user.id)).username);
say("user, masked", await client.getUserDetails(user.id, { fields: ["id", "kudos_details"] }));
say("users, masked", await client.getUsers({ fields: ["username"] }));

// An image request of two.
say("dry run", await client.postAsyncImageGenerate({ prompt: "a cat", models: ["Deliberate"], params: { n: 2 }, dry_run: true }, asRequester));
const request = say("submit", await client.postAsyncImageGenerate(
  { prompt: "a cat###dog", models: ["Deliberate"], params: { n: 2, seed: "5", steps: 20, sampler_name: "k_euler", post_processing: [] },
    nsfw: false, censor_nsfw: true, r2: true, shared: false }, asRequester));
say("check", await client.getImageGenerationCheck(request.id));
say("check, masked", await client.getImageGenerationCheck(request.id, { fields: ["done", "waiting"] }));
const job = say("pop", await client.postImageGenerationPop(imagePop({ amount: 2 }), asOwner));
say("check while in work", await client.getImageGenerationCheck(request.id, { fields: ["processing", "done", "is_possible"] }));
say("deliver", await Promise.all(job.ids.map((id, i) => deliver(id, job.r2_uploads[i]))));
const status = say("status", await client.getImageGenerationStatus(request.id));
say("download", await Promise.all(status.generations.map(fetched)));
say("status, masked", await client.getImageGenerationStatus(request.id, { fields: ["done", "generations{seed,state}"] }));
say("empty pop", await client.postImageGenerationPop(imagePop(), asOwner));
say("empty pop, masked", await client.postImageGenerationPop(imagePop(), { ...asOwner, fields: ["id", "skipped"] }));

// Cancelling; a worker that gives a job back.
const waiting = await client.postAsyncImageGenerate({ prompt: "a dog", models: ["Deliberate"] }, asRequester);
const faulty = await client.postImageGenerationPop(imagePop(), asOwner);
say("fault", await client.postImageGenerationSubmit({ id: faulty.id, generation: "faulted", state: "faulted", seed: -1 }, asOwner));
say("check after the fault", await client.getImageGenerationCheck(waiting.id, { fields: ["restarted", "waiting", "faulted", "done"] }));
say("cancel", await client.deleteImageGenerationRequest(waiting.id));
say("check when cancelled", await client.getImageGenerationCheck(waiting.id));

// Text.
const text = say("text submit", await client.postAsyncTextGenerate(
  { prompt: "Once", params: { max_length: 80, max_context_length: 1024, temperature: 0.7 }, models: ["facebook/opt-125m"] }, asRequester));
const words = say("text pop", await client.postTextGenerationPop(textPop(), asOwner));
say("text deliver", await client.postTextGenerationSubmit({ id: words.id, generation: " upon a time", state: "ok", seed: 3 }, asOwner));
say("text status", await client.getTextGenerationStatus(text.id));
say("empty text pop", await client.postTextGenerationPop(textPop(), asOwner));
const other = await client.postAsyncTextGenerate({ prompt: "Twice" }, asRequester);
say("text cancel", await client.deleteTextGenerationRequest(other.id, { fields: ["waiting", "done"] }));
say("text status when cancelled", await client.getTextGenerationStatus(other.id, { fields: ["waiting", "done"] }));

// Workers.
const workers = await client.getWorkers({ fields: ["name", "type", "id", "maintenance_mode"] });
say("workers, masked", workers);
const scribe = workers.find((w) => w.type === "text");
say("worker", await client.getWorkerDetails(scribe.id));
say("worker, masked", await client.getWorkerDetails(scribe.id, { fields: ["name", "team"] }));
say("update", await client.updateWorker({ maintenance: true, maintenance_msg: "back soon: maintenance mode", info: "by npm" }, scribe.id, asOwner));
say("updated", await client.getWorkerDetails(scribe.id, { fields: ["info", "maintenance_mode"] }));
await refused("pop in maintenance", client.postTextGenerationPop(textPop(), asOwner));
say("update back", await client.updateWorker({ maintenance: false, name: "renamed scribe" }, scribe.id, asOwner));
await client.postImageGenerationPop(imagePop({ name: "idle worker" }), asOwner);
const idle = (await client.getWorkers({ fields: ["name", "id"] })).find((w) => w.name === "idle worker");
say("delete worker", await client.deleteWorker(idle.id, asOwner));
say("model, masked", await client.getModel("Deliberate", { fields: ["name", "count", "type"] }));
say("models with a worker", await client.getModels({ fields: ["name", "count", "type"] }));

// Refusals.
await refused("unknown key", client.postAsyncImageGenerate({ prompt: "a cat" }, { token: unknownKey }));
await refused("find user without a key", client.findUser());
await refused("find user of an unknown key", client.findUser({ token: unknownKey }));
await refused("unknown user", client.getUserDetails(4711));
await refused("two wrong fields", client.postAsyncImageGenerate({ prompt: "", params: { width: 100 } }, asRequester));
await refused("a seed that is a number", client.postAsyncImageGenerate({ prompt: "a cat", params: { seed: 5 } }, asRequester));
await refused("an unknown sampler", client.postAsyncImageGenerate({ prompt: "a cat", params: { sampler_name: "PLMS" } }, asRequester));
await refused("control without a source image", client.postAsyncImageGenerate({ prompt: "a cat", params: { control_type: "canny" } }, asRequester));
await refused("check of an unknown id", client.getImageGenerationCheck(unknownId));
await refused("status of an unknown id", client.getImageGenerationStatus(unknownId));
await refused("text status of an unknown id", client.getTextGenerationStatus(unknownId));
await refused("cancel of an unknown id", client.deleteImageGenerationRequest(unknownId));
await refused("unknown job", client.postImageGenerationSubmit({ id: unknownId, generation: "R2", seed: 1 }, asOwner));
await refused("delivered already", client.postImageGenerationSubmit({ id: job.id, generation: "R2", seed: 1 }, asOwner));
await refused("anonymous worker", client.postImageGenerationPop(imagePop(), { token: "0000000000" }));
await refused("somebody else's worker", client.updateWorker({ maintenance: true }, scribe.id, asRequester));
await refused("delete of the deleted", client.deleteWorker(idle.id, asOwner));
await refused("nothing to update", client.updateWorker({}, scribe.id, asOwner));
await refused("modes without the right", client.putStatusModes({ maintenance_mode: true }, asRequester));
await refused("broken mask", client.getPerformance({ fields: ["{worker_count"] }));
// An error page in anything but JSON would make the client's own error path fail.
await refused("a path that is not there", new AIHorde({ ...options, api_route: process.env.AI_HORDE_URL + "v3" }).getPerformance());

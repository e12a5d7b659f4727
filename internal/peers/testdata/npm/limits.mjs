// SPDX-License-Identifier: AGPL-3.0-or-later
//
// Drives the npm client against a server that limits rates. See client.mjs for how it reports.

import { createRequire } from "node:module";
import { setTimeout as pause } from "node:timers/promises";

const { AIHorde, APIError } = createRequire(import.meta.url)(process.env.NODE_CLIENT);
const client = new AIHorde({ api_route: process.env.AI_HORDE_URL + "v2" });

const say = (step, value) => console.log(JSON.stringify({ step, value }));

// outcome is "accepted", or what the client makes of the refusal.
async function outcome() {
  try {
    await client.postAsyncImageGenerate({ prompt: "a cat", models: ["Deliberate"] }, { token: process.env.REQUESTER_KEY });
    return "accepted";
  } catch (e) {
    if (!(e instanceof APIError)) throw e;
    return `${e.status} ${e.message}, code ${e.error_code}, errors ${JSON.stringify(e.errors)}`;
  }
}

// Far more at once than two a second; how many are accepted depends on how long it takes.
const burst = await Promise.all(Array.from({ length: 12 }, outcome));
say("kinds of outcome of a burst", [...new Set(burst)].sort());

// What bots do: wait a second and try again, up to five times.
let tries = 0;
do await pause(1000); while ((await outcome()) !== "accepted" && ++tries < 5);
say("accepted after a pause", tries < 5);

// Three submissions a good second apart are within the limit.
const spaced = [];
for (let i = 0; i < 3; i++) {
  await pause(1100);
  spaced.push(await outcome());
}
say("a second apart", spaced);

// A check is made for polling: ten a second are served.
await pause(1100);
const { id } = await client.postAsyncImageGenerate({ prompt: "a dog", models: ["Deliberate"] }, { token: process.env.REQUESTER_KEY });
say("checks", (await Promise.all(Array.from({ length: 10 }, () => client.getImageGenerationCheck(id)))).map((c) => c.waiting));

// The heartbeat has no limit.
say("heartbeats", (await Promise.all(Array.from({ length: 40 }, () => client.getHeartbeat()))).every(Boolean));

// SPDX-License-Identifier: AGPL-3.0-or-later

// Package simulation proves that the engine is safe by trying to break it. One seed makes one world: the real engine with the
// real rules, on a record that fails, delays, answers wrongly and dies, with clients and workers that retry, repeat
// themselves, lie and vanish. Everything that is left to chance comes from the seed, and time is that of a
// [testing/synctest] bubble, so hours of leases, expiry and uptime pass in milliseconds and a seed always makes the same
// world: the same calls, the same commits, the same trace. A seed that breaks a rule is replayed alone.
//
// # What is checked
//
//   - Each batch that reaches the record may only change it in ways that the rules allow: a job moves once, a delivered
//     result stays, no id comes twice, a request goes only when its time is over, every event of the ledger balances, and a
//     job is paid with the delivery that earned it.
//   - What a caller was told must be in the record when the caller hears it: accepted requests, jobs handed out, results,
//     cancellations, accounts, grants of kudos.
//   - What a caller must never hear: a foreign or late result accepted, a job handed out twice or of a request that was
//     cancelled, a result that is not the one the worker sent.
//   - The engine must not contradict itself ([engine.Engine.Contradictions]), after every step.
//   - Every few steps the ledger is audited (L1 to L14, as far as the ledger has what they speak of) and the engine's memory
//     compared with the record ([engine.Engine.Verify]).
//   - When everybody has left, everything ends: no job runs, nothing waits, nothing is set aside.
//
// Mutations are worlds with something that is broken on purpose. Each of them must be found, or the checks show nothing.
package simulation

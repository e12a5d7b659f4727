// SPDX-License-Identifier: AGPL-3.0-or-later

// Package bench drives a server that speaks the AI Horde's API v2 through whole lifecycles of requests and measures what that
// costs. It plays both sides: virtual clients submit, check and fetch; virtual workers pop and deliver. It never runs a model.
//
// A lifecycle is five calls of the API: submit, pop, deliver, check, fetch; one of an image has two more to the image store, the
// worker's upload and the client's download, where the server wants uploads. (A text has no call of its own for checking, so
// its status is asked for twice.) A lifecycle counts only when the client holds, byte for byte, the result that the worker sent
// for this very request: every result is unique. What does not is reported as one of
//
//	lost        accepted, but no result came in time, or the server said "done" and had none
//	doubled     handed out twice although nobody gave it back, or answered with more results than were asked for
//	mismatched  a result came, and it was not the one that was sent
//
// The generator shares the machine with the server as a rule, so it is built to be cheap: one kept connection for each virtual
// client or worker, requests put together in place, answers scanned instead of decoded. Its own use of the processor is
// reported beside the server's.
//
// There are four measurements, which a run takes in this order where they are asked for: how much memory a waiting request costs
// ([Config.Preload]), what a pop costs at this length of the queue ([Config.Pops]), what workers cost that find nothing
// ([Config.IdleWorkers]), and lifecycles, in a closed loop ([Config.Clients]) or at a constant rate ([Config.Rate]).
package bench

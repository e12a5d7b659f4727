// SPDX-License-Identifier: AGPL-3.0-or-later

// Package horde is the domain: what a horde is made of, and the rules its parts obey. It does no I/O, reads no clock (but
// for new ids) and knows neither HTTP nor SQL. Read it first; every other package moves the things that are defined here.
//
// # The parts
//
// A [User] asks for work and pays in [Kudos], or lends a machine and earns them. What a user asks for is a [Request]: an
// [Order] (the prompt, the parameters and the wishes, which never change) with its state. A request wants n results. Each
// result is made by one [Job], which the chapters and the interface also call a generation. A job belongs to one request
// and to one [Worker], a named program that polls ("pops") for work.
//
//	User 1──* Request 1──* Job *──1 Worker *──1 User (the owner)
//
// # The way of a job
//
// A request waits with N results not yet handed out. A pop of a worker that can serve it lowers N by the size of the
// batch and makes that many jobs, each with a lease (its TTL). A job ends in exactly one of three ways: delivered, which
// moves the kudos; faulted, by the worker or by the end of the lease, which raises N again; or it is dropped with its
// request. Three faults end a request. A cancelled request hands nothing out again, but the jobs in hand are still
// accepted and paid.
//
// # Who may serve what
//
// What a worker must have to take a request is [Order.Needs]: facts of the order that a worker's [Offer] is tested
// against. Requests with equal needs are interchangeable for the test, which is what package dispatch builds on.
//
// # Files
//
// A file is named after the type or the rule that it holds. What callers send is in submission.go, polling.go, delivery.go and beside
// what it changes (a [UserChange] beside [User]). check.go refuses a submission or lets it pass, accept.go makes an order of it,
// needs.go and misfit.go say who may serve that, and packed.go keeps it small, by the codec in wire.go. refusals.go has what callers
// are told.
//
// # Names
//
// Things that are strings or numbers on the wire have types of their own where mixing them up would hurt: [UserID],
// [RequestID], [JobID], [WorkerID], [Kudos], [Kind]. Times are UTC.
package horde

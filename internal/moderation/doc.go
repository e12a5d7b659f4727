// SPDX-License-Identifier: AGPL-3.0-or-later

// Package moderation is what a horde knows about abuse: filters of prompts, time-outs of addresses, and the verdicts of
// programs that tell the addresses of proxies from others. It holds rules and data structures only. Who is asked when, and what
// becomes of a request, is in package engine.
//
// # Filters
//
// A filter is a regular expression of one of three types that count: two for an under-age context, one for a lewd one. Neither
// kind alone is an offence; a prompt is stopped when both are in it. Prompts are brought into a plain form first, see
// [Normalise], so that spelling with gaps, weights, accents or the letters of other scripts hides nothing.
//
// All filters are compiled into a [Set] that never changes: who judges a prompt needs no lock, and a change of the filters is
// the swap of one set for another. Expressions run in linear time where they can; what needs to go back and forth is stopped
// after [MatchTime].
package moderation

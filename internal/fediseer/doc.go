// SPDX-License-Identifier: AGPL-3.0-or-later

// Package fediseer is the domain of the Fediseer: fediverse instances that vouch for and judge each other.
//
// The things in it, in the order in which a reader meets them:
//
//   - A [Domain] names an instance. It is always lower case ASCII; international names travel as punycode.
//   - An [Instance] is one row about a domain: what a probe of it found out, what its admins said about it, and the
//     visibility of its three lists.
//   - A guarantee says "this instance is not spam". An instance has at most one guarantor ([MaxGuarantors]) and
//     guarantees at most [MaxGuarantees] others. Following guarantors upwards from an instance is its chain of trust
//     ([Chain]); it is unbroken when it ends at the root, which has id 0 and guarantees itself. So the guarantees are a
//     forest, and the trusted instances are the tree below the root.
//   - A [Judgement] of one instance about another is an endorsement, a censure or a hesitation ([Kind]); it may carry a
//     reason, which is a comma-separated list of short labels, and the two negative kinds also evidence.
//   - Combined lists over many judges ([Combine], [Filter]) are what admins build their allow and block lists from.
//
// The package holds rules only: no I/O, no clock, no SQL, no HTTP. Refusals that a caller can see are *horde.Error
// values, see error.go.
package fediseer

// SPDX-License-Identifier: AGPL-3.0-or-later

// Package supporters asks the services through which people support a horde with money, Patreon and Stripe, who does, and what
// they get for it (accounts chapter, 12, and kudos chapter, 10.1).
//
// Whose subscription is whose account says only what the operator or the operator's own pages wrote down: the note on a member at
// Patreon, the metadata of a subscription at Stripe. E-mail addresses are not looked at: an account's contact is whatever its owner
// claims.
package supporters

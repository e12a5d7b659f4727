// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// User is an account. What it owns and has done in kudos is not here but in the ledger (package kudos).
type User struct {
	ID UserID `json:"id"`
	// Name is what the user chose, 1 to 30 characters, sanitised. It is not unique: see Alias.
	Name string `json:"name"`
	// OAuthID tells how the account came to be and thereby its Class: "anon", a random UUID, or "g_…", "d_…", "gh_…".
	OAuthID string `json:"oauth_id"`
	// KeyHash is HashKey of the API key. Empty means that no key opens the account.
	KeyHash    string    `json:"key_hash,omitempty"`
	Created    time.Time `json:"created"`
	LastActive time.Time `json:"last_active"`

	Roles        Roles  `json:"roles,omitempty"`
	Contact      string `json:"contact,omitempty"`
	AdminComment string `json:"admin_comment,omitempty"`
	// PasskeyHash is HashKey of the passkey with which a service speaks for its users' addresses; PasskeyHint its first
	// four characters, for moderators.
	PasskeyHash string `json:"passkey_hash,omitempty"`
	PasskeyHint string `json:"passkey_hint,omitempty"`
	// UsageMultiplier scales the usage record of the user, never what is charged. Zero means 1.
	UsageMultiplier float64 `json:"usage_multiplier,omitempty"`
	// WorkersInvited is how many workers the user may run beyond the common limits.
	WorkersInvited int `json:"workers_invited,omitempty"`
	// PublicWorkers shows to everybody which workers are the user's.
	PublicWorkers bool `json:"public_workers,omitempty"`
	// Concurrency bounds the results that may wait at a time, for each kind.
	Concurrency int `json:"concurrency"`

	// MonthlyKudos is granted each month; MonthlyReceived is when that was last done, zero for never.
	MonthlyKudos    Kudos     `json:"monthly_kudos,omitempty"`
	MonthlyReceived time.Time `json:"monthly_received,omitzero"`

	Suspicions []Suspicion `json:"suspicions,omitempty"`
	// SessionsFrom ends the sessions in browsers that began before it; zero ends none.
	SessionsFrom time.Time `json:"sessions_from,omitzero"`
	// WipedAt is when the account was erased for good; zero for a living account. No look-up finds a wiped account.
	WipedAt time.Time `json:"wiped_at,omitzero"`
}

// DefaultConcurrency is what a new account may have waiting; AnonymousConcurrency what all anonymous callers share.
const (
	DefaultConcurrency   = 30
	AnonymousConcurrency = 500
	// EducationConcurrency is what the education role raises the limit to.
	EducationConcurrency = 200
)

// Roles is the set of roles of a user.
type Roles uint16

// The roles. The values are stored: never renumber them.
const (
	Moderator Roles = 1 << iota
	Trusted
	Flagged
	Customizer
	VPN
	Special
	Service
	Education
	Deleted
)

var roleNames = []struct {
	role Roles
	name string
}{
	{Moderator, "moderator"}, {Trusted, "trusted"}, {Flagged, "flagged"}, {Customizer, "customizer"}, {VPN, "vpn"},
	{Special, "special"}, {Service, "service"}, {Education, "education"}, {Deleted, "deleted"},
}

// ParseRole returns the role of that name.
func ParseRole(name string) (Roles, bool) {
	for _, r := range roleNames {
		if strings.EqualFold(r.name, name) {
			return r.role, true
		}
	}
	return 0, false
}

// Names lists the roles in the set.
func (r Roles) Names() []string {
	names := []string{}
	for _, n := range roleNames {
		if r&n.role != 0 {
			names = append(names, n.name)
		}
	}
	return names
}

// Has tells whether the user has every role in r.
func (u *User) Has(r Roles) bool { return u.Roles&r == r }

// SetRole gives or takes a role. The anonymous account has none and never gets one; a moderator is also trusted; a
// moderator cannot be marked deleted.
func (u *User) SetRole(r Roles, on bool) {
	switch {
	case u.ID == Anonymous:
	case !on:
		u.Roles &^= r
	case r&Deleted != 0 && u.Has(Moderator):
	default:
		u.Roles |= r
		if r&Moderator != 0 {
			u.Roles |= Trusted
		}
	}
}

// Alias is the unique, public name of an account.
func (u *User) Alias() string { return fmt.Sprintf("%s#%d", u.Name, u.ID) }

// AnonymousOAuthID is the OAuth id of the anonymous account.
const AnonymousOAuthID = "anon"

// Class is how an account came to be.
type Class uint8

// The classes of accounts.
const (
	ClassAnonymous Class = iota
	ClassPseudonymous
	ClassRegistered
)

// Class is derived from the OAuth id: "anon" is the anonymous account, a UUID one that registered without a login.
func (u *User) Class() Class {
	if u.ID == Anonymous {
		return ClassAnonymous
	}
	if _, err := uuid.Parse(u.OAuthID); err == nil {
		return ClassPseudonymous
	}
	return ClassRegistered
}

// Floor is the balance that no debit goes below (kudos chapter, 9). It is not spendable either.
func (u *User) Floor() Kudos {
	switch u.Class() {
	case ClassAnonymous:
		return -50_00
	case ClassPseudonymous:
		return 14_00
	}
	return 25_00
}

// Suspicion says why an account or a worker is not quite believed. Values are stored.
type Suspicion uint8

// The suspicions that are raised (dispatch chapter, 18).
const (
	SuspicionUnsafeIP          Suspicion = 3
	SuspicionExtremePixels     Suspicion = 4
	SuspicionUnreasonablyFast  Suspicion = 5
	SuspicionUsernameLong      Suspicion = 6
	SuspicionUsernameProfanity Suspicion = 7
	SuspicionCorruptPrompt     Suspicion = 8
	SuspicionTooManyAborted    Suspicion = 9
)

// suspicions are the names of all suspicions, which are published, and what they mean to moderators. Those of workers' names are
// not raised here, for such names are refused; the record of another horde may have them.
var suspicions = map[Suspicion]struct{ name, text string }{
	0:                          {"WORKER_NAME_LONG", "the worker's name was too long"},
	1:                          {"WORKER_NAME_EXTREME", "the worker's name was much too long"},
	2:                          {"WORKER_PROFANITY", "the worker's name was profane"},
	SuspicionUnsafeIP:          {"UNSAFE_IP", "the worker came from an address that hides its user"},
	SuspicionExtremePixels:     {"EXTREME_MAX_PIXELS", "the worker offers images larger than any worker makes"},
	SuspicionUnreasonablyFast:  {"UNREASONABLY_FAST", "the worker was faster than any worker can be"},
	SuspicionUsernameLong:      {"USERNAME_LONG", "the user's name was too long"},
	SuspicionUsernameProfanity: {"USERNAME_PROFANITY", "the user's name was profane"},
	SuspicionCorruptPrompt:     {"CORRUPT_PROMPT", "the user sent a prompt that the filters stop"},
	SuspicionTooManyAborted:    {"TOO_MANY_JOBS_ABORTED", "the worker lost too many jobs"},
}

// Name is how the suspicion is published.
func (s Suspicion) Name() string {
	if known, ok := suspicions[s]; ok {
		return known.name
	}
	return fmt.Sprintf("UNKNOWN_%d", uint8(s))
}

// Description says what the suspicion is about.
func (s Suspicion) Description() string {
	if known, ok := suspicions[s]; ok {
		return known.text
	}
	return "a reason that this version does not know"
}

// Accumulates tells whether the suspicion is noted each time; others are once.
func (s Suspicion) Accumulates() bool {
	return s == SuspicionUnreasonablyFast || s == SuspicionTooManyAborted
}

// SuspicionLimit is how many suspicions make an untrusted user, or a worker of one, suspicious.
const SuspicionLimit = 5

// Suspicious tells whether the account collected so many suspicions that it may not move kudos or be promoted. Trusted
// accounts never are.
func (u *User) Suspicious() bool { return !u.Has(Trusted) && len(u.Suspicions) >= SuspicionLimit }

// AnonymousKey is the key of the anonymous account.
const AnonymousKey = "0000000000"

// NewKey makes an API key: 16 random bytes as 22 characters of URL-safe base64, the length that client libraries demand.
func NewKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the program instead
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// HashKey is how keys are stored: lower-case hex of SHA-256 over the salt followed by the key. The function is fixed, so
// that the user table of an existing horde can be taken over.
func HashKey(salt, key string) string {
	var room [128]byte // enough for both but for a very long salt: each call looks up a key, so this allocates as little as it can
	sum := sha256.Sum256(append(append(room[:0], salt...), key...))
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], sum[:])
	return string(text[:])
}

// UserChange is the body of a change to a user.
type UserChange struct {
	Kudos                *float64 `json:"kudos"`
	MonthlyKudos         *int64   `json:"monthly_kudos"`
	UsageMultiplier      *float64 `json:"usage_multiplier" minimum:"0.1" maximum:"10"`
	Moderator            *bool    `json:"moderator"`
	Concurrency          *int     `json:"concurrency" minimum:"0" maximum:"500"`
	WorkerInvited        *int     `json:"worker_invited" minimum:"0" maximum:"2147483647" published:"minimum=,maximum="`
	Trusted              *bool    `json:"trusted"`
	Flagged              *bool    `json:"flagged"`
	Customizer           *bool    `json:"customizer"`
	VPN                  *bool    `json:"vpn"`
	Service              *bool    `json:"service"`
	Education            *bool    `json:"education"`
	Special              *bool    `json:"special"`
	Filtered             *bool    `json:"filtered"`
	ResetSuspicion       *bool    `json:"reset_suspicion"`
	AdminComment         *string  `json:"admin_comment" minLength:"5" maxLength:"500"`
	PublicWorkers        *bool    `json:"public_workers"`
	Username             *string  `json:"username" minLength:"3" maxLength:"100"`
	Contact              *string  `json:"contact" minLength:"5" maxLength:"500"`
	GenerateProxyPasskey *bool    `json:"generate_proxy_passkey" default:"false"`
	Undelete             *bool    `json:"undelete"`
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import (
	"strings"
	"time"
)

// Limits of the service. They are part of what clients know (GET /config) or rely on.
const (
	// MaxGuarantees is how many instances one instance can guarantee; the root is exempt.
	MaxGuarantees = 20
	// MaxGuarantors is how many guarantors an instance can have.
	MaxGuarantors = 1
	// MaxActionsPerMinute is how many logged actions an instance can have in ActionWindow before the next one but
	// one is refused: the count is taken before the action, and a count equal to the limit still passes.
	MaxActionsPerMinute = 20
	// ActionWindow is the time over which MaxActionsPerMinute counts.
	ActionWindow = time.Minute
	// MaxTags is how many tags an instance can carry.
	MaxTags = 100
	// MaxTagLength is in characters.
	MaxTagLength = 100
	// DefaultMaxListSize is how many judgements of one kind an instance can give unless its row says otherwise.
	DefaultMaxListSize = 2000
	// MaxReasonLength is in characters, after sanitising.
	MaxReasonLength = 255
	// MaxEvidenceLength is in characters, before sanitising. MaxRebuttalLength and MaxCommentLength likewise.
	MaxEvidenceLength = 1000
	MaxRebuttalLength = 1000
	MaxCommentLength  = 1000
	// MaxFlagCommentLength is in characters.
	MaxFlagCommentLength = 255
	// OrphanGrace is how long an instance whose chain broke above it stays in the lists.
	OrphanGrace = 24 * time.Hour
	// CoolDown is the time between two rejections of the same instance, and between two solicitations.
	CoolDown = 24 * time.Hour
	// ResendAfter is how long a claim whose key was never used waits before it can be repeated.
	ResendAfter = time.Hour
	// RootID is the id of the root instance, the end of every unbroken chain.
	RootID = 0
	// DeadPollFailures is the failure count of a domain that DNS does not know when it is first seen.
	DeadPollFailures = 100
)

// Names of software with a meaning of their own. All others are what nodeinfo said, in lower case.
const (
	SoftwareUnknown  = "unknown"
	SoftwareWildcard = "wildcard"
	SoftwareFediseer = "fediseer"
	SoftwareLemmy    = "lemmy"
)

// Visibility says who may see one of an instance's three lists of judgements.
type Visibility string

const (
	Open     Visibility = "OPEN"     // everybody
	Endorsed Visibility = "ENDORSED" // the instance itself and those that it endorses
	Private  Visibility = "PRIVATE"  // the instance itself
)

// Valid reports whether v is one of the three names.
func (v Visibility) Valid() bool { return v == Open || v == Endorsed || v == Private }

// PMProxy says how private messages reach the admins of an instance.
type PMProxy string

const (
	ProxyNone     PMProxy = "NONE"     // straight to the instance over ActivityPub
	ProxyMastodon PMProxy = "MASTODON" // through the operator's account on a Mastodon-API server
)

// Valid reports whether p is one of the two names.
func (p PMProxy) Valid() bool { return p == ProxyNone || p == ProxyMastodon }

// State is how alive an instance is, judged by the number of failed polls in a row.
type State string

const (
	StateUp             State = "UP"
	StateUnreachable    State = "UNREACHABLE"
	StateOffline        State = "OFFLINE"
	StateDecommissioned State = "DECOMMISSIONED"
)

// StateOf maps a failure count to a state: with two polls a day, OFFLINE begins after a day and DECOMMISSIONED after a
// month.
func StateOf(pollFailures int) State {
	switch {
	case pollFailures <= 0:
		return StateUp
	case pollFailures <= 2:
		return StateUnreachable
	case pollFailures <= 60:
		return StateOffline
	}
	return StateDecommissioned
}

// Attributes are what a probe finds out about an instance. A nil pointer means unknown.
type Attributes struct {
	Software          string // lower case, never empty
	Version           string // never empty
	OpenRegistrations *bool
	EmailVerify       *bool
	ApprovalRequired  *bool
	HasCaptcha        *bool
}

// Equal reports whether a and b say the same.
func (a Attributes) Equal(b Attributes) bool {
	return a.Software == b.Software && a.Version == b.Version && same(a.OpenRegistrations, b.OpenRegistrations) &&
		same(a.EmailVerify, b.EmailVerify) && same(a.ApprovalRequired, b.ApprovalRequired) && same(a.HasCaptcha, b.HasCaptcha)
}

func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// Instance is one registered domain.
type Instance struct {
	ID               int64
	Domain           Domain
	Created, Updated time.Time
	// OrphanSince is when the chain of trust broke somewhere above the instance. Zero means it did not.
	OrphanSince time.Time
	Attributes
	// Sysadmins and Moderators are head counts that the instance's admins gave. Nil means not given.
	Sysadmins, Moderators *int
	// MaxListSize bounds the instance's judgements of each kind; the operator changes it in the database.
	MaxListSize int
	PMProxy     PMProxy
	// PollFailures counts failed polls in a row; see StateOf.
	PollFailures int
	// VisibilityOf holds the visibility of the lists of endorsements, censures and hesitations, indexed by Kind.
	VisibilityOf [NumKinds]Visibility
	// ListsVersion grows with every change of the instance's judgements, so that a cache can tell whether it is fresh.
	ListsVersion int64
}

// IsRoot reports whether in is the end of all chains.
func (in *Instance) IsRoot() bool { return in.ID == RootID }

// Flag is a sanction of the service's admin.
type Flag string

const (
	// Restricted blocks guarantees, judgements, rebuttals, batches and new tags.
	Restricted Flag = "RESTRICTED"
	// Muted hides tags and rebuttals of the instance's judgements and locks its visibilities at PRIVATE; those it
	// guarantees inherit it.
	Muted Flag = "MUTED"
)

// Valid reports whether f is one of the two names.
func (f Flag) Valid() bool { return f == Restricted || f == Muted }

// FlagRecord is a flag on an instance with the admin's comment. Nil means no comment.
type FlagRecord struct {
	Flag    Flag
	Comment *string
}

// Details are what a list shows of an instance besides its own row.
type Details struct {
	Instance
	Claimed int // number of claims
	// Approvals and Endorsements count the endorsements given and received, whatever the visibility.
	Approvals, Endorsements int
	Guarantor               Domain   // empty means none
	Tags                    []string // empty for a muted instance
	Flags                   []FlagRecord
}

// HasFlag reports whether the instance carries f.
func (d *Details) HasFlag(f Flag) bool {
	for _, r := range d.Flags {
		if r.Flag == f {
			return true
		}
	}
	return false
}

// User is an admin of an instance, known by account. Each user has one claim.
type User struct {
	ID         int64
	Account    string // "@name@domain"
	Username   string
	InstanceID int64
	// KeyHash is the lower case hex SHA-256 of salt and key.
	KeyHash string
	// KeySent is when the key was made, KeyUsed whether it was ever presented: a claim whose key never arrived can
	// be repeated.
	KeySent time.Time
	KeyUsed bool
}

// Account builds the account name of a user of an instance.
func Account(username string, d Domain) string { return "@" + username + "@" + string(d) }

// ReportType says what a line of the public log is about.
type ReportType string

const (
	ReportGuarantee    ReportType = "GUARANTEE"
	ReportEndorsement  ReportType = "ENDORSEMENT"
	ReportCensure      ReportType = "CENSURE"
	ReportHesitation   ReportType = "HESITATION"
	ReportClaim        ReportType = "CLAIM"
	ReportSolicitation ReportType = "SOLICITATION"
	ReportFlag         ReportType = "FLAG"
	ReportRebuttal     ReportType = "REBUTTAL"
)

// ReportTypes lists all report types in the order in which documents name them.
var ReportTypes = []ReportType{ReportGuarantee, ReportEndorsement, ReportCensure, ReportHesitation, ReportClaim,
	ReportSolicitation, ReportFlag, ReportRebuttal}

// ReportActivity says what happened to it.
type ReportActivity string

const (
	Added    ReportActivity = "ADDED"
	Deleted  ReportActivity = "DELETED"
	Modified ReportActivity = "MODIFIED"
)

// ReportActivities lists all activities in the order in which documents name them.
var ReportActivities = []ReportActivity{Added, Deleted, Modified}

// Targets that stand in a report for a domain: one that the list's visibility hides, and the many of a batch.
const (
	TargetRedacted = "[REDACTED]"
	TargetMultiple = "[MULTIPLE]"
)

// Report is one line of the public log of actions. Source and Target are plain text, since they outlive their instances.
type Report struct {
	Source, Target string
	Type           ReportType
	Activity       ReportActivity
	Created        time.Time
}

// Link is one step of a chain of trust.
type Link struct {
	ID     int64
	Domain Domain
}

// Chain is the way from an instance up through its guarantors. The first link is the instance itself.
type Chain []Link

// Unbroken reports whether the chain reaches the root.
func (c Chain) Unbroken() bool { return len(c) > 0 && c[len(c)-1].ID == RootID }

// BrokenAt returns the last instance of a broken chain: the one without a guarantor.
func (c Chain) BrokenAt() Domain {
	if len(c) == 0 {
		return ""
	}
	return c[len(c)-1].Domain
}

// SplitList cuts a comma-separated query value into trimmed, lower-cased items; empty items are kept, since they have a
// meaning in a reason filter. An empty text is no list.
func SplitList(csv string) []string {
	if csv == "" {
		return nil
	}
	items := strings.Split(csv, ",")
	for i, s := range items {
		items[i] = strings.ToLower(strings.TrimSpace(s))
	}
	return items
}

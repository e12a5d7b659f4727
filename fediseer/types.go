// SPDX-License-Identifier: AGPL-3.0-or-later

package fediseer

import "time"

// Enumerations keep values that this package does not know.
type (
	// Visibility says who sees a list of an instance.
	Visibility string
	// PMProxy says how private messages reach the admins of an instance.
	PMProxy string
	// State says how alive an instance is.
	State string
	// Flag is a sanction of the service's admin.
	Flag string
	// BadgeStyle says whether a badge has a text on its left.
	BadgeStyle string
	// ReportType and ReportActivity say what a line of the public log is about.
	ReportType     string
	ReportActivity string
	// ProofMethod is a way to prove that a domain is one's own.
	ProofMethod string
)

const (
	VisibilityOpen     Visibility = "OPEN"     // everybody
	VisibilityEndorsed Visibility = "ENDORSED" // those that the instance endorses
	VisibilityPrivate  Visibility = "PRIVATE"  // the instance itself

	ProxyNone     PMProxy = "NONE"
	ProxyMastodon PMProxy = "MASTODON"

	StateUp             State = "UP"
	StateUnreachable    State = "UNREACHABLE"
	StateOffline        State = "OFFLINE"
	StateDecommissioned State = "DECOMMISSIONED"

	FlagRestricted Flag = "RESTRICTED"
	FlagMuted      Flag = "MUTED"

	BadgeFull BadgeStyle = "FULL"
	BadgeIcon BadgeStyle = "ICON"

	ReportGuarantee    ReportType = "GUARANTEE"
	ReportEndorsement  ReportType = "ENDORSEMENT"
	ReportCensure      ReportType = "CENSURE"
	ReportHesitation   ReportType = "HESITATION"
	ReportClaim        ReportType = "CLAIM"
	ReportSolicitation ReportType = "SOLICITATION"
	ReportFlag         ReportType = "FLAG"
	ReportRebuttal     ReportType = "REBUTTAL"

	ReportAdded    ReportActivity = "ADDED"
	ReportDeleted  ReportActivity = "DELETED"
	ReportModified ReportActivity = "MODIFIED"

	ProofDNS       ProofMethod = "dns"
	ProofWellKnown ProofMethod = "well-known"
)

// Instance is what the service knows about a domain. Nil pointers are unknown.
type Instance struct {
	ID                int      `json:"id"`
	Domain            string   `json:"domain"`
	Software          string   `json:"software"`
	Version           string   `json:"version"`
	Claimed           int      `json:"claimed"` // number of claims
	OpenRegistrations *bool    `json:"open_registrations"`
	EmailVerify       *bool    `json:"email_verify"`
	ApprovalRequired  *bool    `json:"approval_required"`
	HasCaptcha        *bool    `json:"has_captcha"`
	Approvals         int      `json:"approvals"`    // endorsements given
	Endorsements      int      `json:"endorsements"` // endorsements received
	Guarantor         *string  `json:"guarantor"`
	CensureReasons    []string `json:"censure_reasons"` // only in lists of censures
	Sysadmins         *int     `json:"sysadmins"`
	Moderators        *int     `json:"moderators"`
	State             State    `json:"state"`
	Tags              []string `json:"tags"`
	// The following are nil where a list does not tell.
	VisibilityEndorsements *Visibility  `json:"visibility_endorsements"`
	VisibilityCensures     *Visibility  `json:"visibility_censures"`
	VisibilityHesitations  *Visibility  `json:"visibility_hesitations"`
	Flags                  []FlagRecord `json:"flags"`
}

// FlagRecord is a flag of an instance with the admin's comment.
type FlagRecord struct {
	Flag    Flag    `json:"flag"`
	Comment *string `json:"comment"`
}

// CensuredInstance is a line of a list of censures: of a received list the judge, of a given list the judged. Reasons are
// in the field CensureReasons of Instance.
type CensuredInstance struct {
	Instance
	CensureEvidence []string `json:"censure_evidence"`
	Rebuttal        []string `json:"rebuttal"`
	CensureCount    *int     `json:"censure_count"` // only in given lists
}

// EndorsedInstance is a line of a list of endorsements.
type EndorsedInstance struct {
	Instance
	EndorsementReasons []string `json:"endorsement_reasons"`
}

// DubiousInstance is a line of a list of hesitations.
type DubiousInstance struct {
	Instance
	HesitationReasons  []string `json:"hesitation_reasons"`
	HesitationEvidence []string `json:"hesitation_evidence"`
	Rebuttal           []string `json:"rebuttal"`
	HesitationCount    *int     `json:"hesitation_count"` // only in given lists
}

// SolicitedInstance asks for a guarantee.
type SolicitedInstance struct {
	Instance
	Comment *string `json:"comment"`
}

// SuspiciousInstance looks like a bot farm, with the numbers that say so.
type SuspiciousInstance struct {
	Domain               string  `json:"domain"`
	UptimeAllTime        float64 `json:"uptime_alltime"`
	LocalPosts           int64   `json:"local_posts"`
	CommentCounts        int64   `json:"comment_counts"`
	TotalUsers           int64   `json:"total_users"`
	ActiveUsersMonthly   int64   `json:"active_users_monthly"`
	Signup               bool    `json:"signup"`
	ActivitySuspicion    float64 `json:"activity_suspicion"`
	ActiveUsersSuspicion float64 `json:"active_users_suspicion"`
}

// Report is a line of the public log. Source and target are domains or, for the target, "[REDACTED]" or "[MULTIPLE]".
type Report struct {
	Source   string         `json:"source_domain"`
	Target   string         `json:"target_domain"`
	Type     ReportType     `json:"report_type"`
	Activity ReportActivity `json:"report_activity"`
	Created  time.Time      `json:"created"`
}

// Config are the limits of the service.
type Config struct {
	MaxGuarantees       int `json:"max_guarantees"`
	MaxGuarantors       int `json:"max_guarantors"`
	MaxActionsPerMinute int `json:"max_config_actions_per_min"`
	MaxTags             int `json:"max_tags"`
}

// TagCount is a tag in lower case and how many instances carry it.
type TagCount struct {
	Tag   string `json:"tag"`
	Count int    `json:"count"`
}

// FAQEntry is a question with its answer in Markdown.
type FAQEntry struct {
	Category           string `json:"category"`
	CategoryTranslated string `json:"category_translated"`
	Translated         bool   `json:"translated"`
	Added              string `json:"added"`
	Question           string `json:"question"`
	Stub               string `json:"stub"`
	Document           string `json:"document"`
}

// InstancePage is a page of the whitelist. Total counts all that pass the filter.
type InstancePage struct {
	Instances []Instance
	Total     int
}

// ClaimRequest asks for the key of an instance.
type ClaimRequest struct {
	Admin     string // local part of the admin's account
	Guarantor string // a domain to ask for a guarantee; empty for none
	PMProxy   PMProxy
}

// Proof tells what to publish to claim a domain without a private message: Value, either in a TXT record or in a file.
type Proof struct {
	Secret string `json:"secret"` // for ClaimWithProof; keep it to yourself
	Value  string `json:"value"`
	DNS    struct {
		Type string `json:"type"`
		Name string `json:"name"`
	} `json:"dns"`
	WellKnown string `json:"well_known"` // the address of the file
}

// InstanceUpdate changes settings; nil leaves them.
type InstanceUpdate struct {
	Sysadmins, Moderators               *int
	PMProxy                             *PMProxy
	Endorsements, Censures, Hesitations *Visibility
}

// Judgement is what to say. Empty texts are not sent. Endorsements have no evidence; it is not sent.
type Judgement struct{ Reason, Evidence string }

// JudgementPatch changes what was said: nil leaves it, an empty text clears it.
type JudgementPatch struct{ Reason, Evidence *string }

// JudgementEntry is a line of a batch.
type JudgementEntry struct{ Domain, Reason, Evidence string }

// BatchOptions say how a batch meets what is there. Delete removes what is not in the batch; Overwrite replaces the words
// of what is.
type BatchOptions struct{ Delete, Overwrite bool }

// GivenFilter selects from combined lists: at least Min judges (0 is 1), and reasons that contain one of Reasons.
type GivenFilter struct {
	Min     int
	Reasons []string
}

// WhitelistFilter selects from the whitelist. A nil MinGuarantors is 1.
type WhitelistFilter struct {
	MinEndorsements int
	MinGuarantors   *int
	Tags, Software  []string // any of them
}

// ReportFilter selects from the public log. Zero fields do not filter.
type ReportFilter struct {
	Sources, Targets []string // any of them
	Type             ReportType
	Activity         ReportActivity
}

// SuspicionFilter sets the limits of suspicions: users per post (0 is 20) and users per active user (0 is 500).
type SuspicionFilter struct{ Activity, Active int }

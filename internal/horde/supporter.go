// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

// SupportSource is a service through which people support the horde with money. The values are stored.
type SupportSource string

// The sources there are. Who supports the horde at Patreon is a patron, who may do more than others.
const (
	SourcePatreon SupportSource = "patreon"
	SourceStripe  SupportSource = "stripe"
)

// SupportSources are all of them.
var SupportSources = []SupportSource{SourcePatreon, SourceStripe}

// Supporter is what somebody gives, and gets for it each month (kudos chapter, 10.1). An account may have several.
type Supporter struct {
	User UserID `json:"user"`
	// Kudos are what the account gets each month, none for a subscription that is in no table.
	Kudos Kudos `json:"kudos"`
	// Monthly is what a patron gives each month, in whole units of the currency. Name is how patrons are thanked, Link where their
	// name leads, an https:// or http:// address or empty. Others are not thanked in public, and have none of these.
	Monthly int    `json:"monthly,omitempty"`
	Name    string `json:"name,omitempty"`
	Link    string `json:"link,omitempty"`
}

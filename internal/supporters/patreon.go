// SPDX-License-Identifier: AGPL-3.0-or-later

package supporters

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"time"

	"horde/internal/horde"
)

// PatreonURL is where Patreon is.
const PatreonURL = "https://www.patreon.com"

// Patreon asks Patreon for the members of a campaign. It is safe for concurrent use.
type Patreon struct {
	service
	campaign string
	amounts  Amounts
	log      *slog.Logger
}

// NewPatreon makes the way to the campaign with this id, by its creator's access token.
func NewPatreon(base, token, campaign string, amounts Amounts, log *slog.Logger) (*Patreon, error) {
	s, err := newService(base, token)
	if err != nil {
		return nil, err
	}
	if campaign == "" {
		return nil, fmt.Errorf("Patreon needs the id of a campaign beside the token")
	}
	return &Patreon{s, campaign, amounts, log}, nil
}

// Source implements [Service].
func (p *Patreon) Source() horde.SupportSource { return horde.SourcePatreon }

// Every implements [Service].
func (p *Patreon) Every() time.Duration { return time.Hour }

// members is a page of members of a campaign.
type members struct {
	Data []struct {
		Attributes member `json:"attributes"`
	} `json:"data"`
	Meta struct {
		Pagination struct {
			Cursors struct {
				Next *string `json:"next"`
			} `json:"cursors"`
		} `json:"pagination"`
	} `json:"meta"`
}

type member struct {
	Cents  int64   `json:"currently_entitled_amount_cents"`
	Name   *string `json:"full_name"`
	Note   *string `json:"note"`
	Status *string `json:"patron_status"`
}

// activePatron is the status of who pays.
const activePatron = "active_patron"

// Fetch asks for all members who pay and whose note says which account is theirs.
func (p *Patreon) Fetch(ctx context.Context) ([]horde.Supporter, error) {
	list := []horde.Supporter{}
	query := url.Values{"page[count]": {strconv.Itoa(pageSize)}, "fields[member]": {"currently_entitled_amount_cents,full_name,note,patron_status"}}
	for range maxPages {
		var page members
		if err := p.get(ctx, "/api/oauth2/v2/campaigns/"+url.PathEscape(p.campaign)+"/members", query, &page); err != nil {
			return nil, err
		}
		for i := range page.Data {
			if s, ok := p.supporter(&page.Data[i].Attributes); ok {
				list = append(list, s)
			}
		}
		next := page.Meta.Pagination.Cursors.Next
		switch {
		case next == nil || *next == "":
			return sorted(list), nil
		case *next == query.Get("page[cursor]"):
			return nil, errPages
		}
		query.Set("page[cursor]", *next)
	}
	return nil, errPages
}

// note is what the operator writes on a member, as JSON.
type note struct {
	// ID is the account's alias, or its number.
	ID any `json:"stable_id"`
	// Alias is how the member wants to be thanked, in place of the name; Link where that leads.
	Alias any `json:"alias"`
	Link  any `json:"sponsor_link"`
}

// supporter is a member who pays and whose account is known.
func (p *Patreon) supporter(m *member) (horde.Supporter, bool) {
	var n note
	if m.Status == nil || *m.Status != activePatron || m.Note == nil || json.Unmarshal([]byte(*m.Note), &n) != nil {
		return horde.Supporter{}, false
	}
	id, ok := userID(n.ID)
	if !ok {
		return horde.Supporter{}, false
	}
	const cents = 100 // in a unit
	s := horde.Supporter{User: id, Monthly: int(max(0, m.Cents) / cents)}
	kudos, known := p.amounts.Of(s.Monthly)
	if !known {
		p.log.Warn("no line of --patreon-kudos says what a patron gets", "user", id, "monthly", s.Monthly)
	}
	name := ""
	if m.Name != nil {
		name = *m.Name
	}
	alias, _ := n.Alias.(string)
	s.Kudos, s.Name = kudos, shown(cmp.Or(alias, name))
	if link, _ := n.Link.(string); isLink(link) {
		s.Link = link
	}
	return s, true
}

const (
	// maxName is how many characters of a name are shown, maxLink how many bytes an address may have.
	maxName = 100
	maxLink = 500
)

func shown(name string) string {
	if r := []rune(name); len(r) > maxName {
		return string(r[:maxName])
	}
	return name
}

func isLink(text string) bool {
	u, err := url.Parse(text)
	return err == nil && len(text) <= maxLink && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}

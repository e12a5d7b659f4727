// SPDX-License-Identifier: AGPL-3.0-or-later

package supporters

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"

	"horde/internal/horde"
)

// Whatever is written in a note or a name, it is nobody's account by accident, and what is shown of it is short and leads to the web.
func FuzzMember(f *testing.F) {
	f.Add(`{"stable_id":"a#7","alias":"A","sponsor_link":"https://a.example/"}`, "Some Body", int64(700))
	f.Add(`{"stable_id":8}`, "", int64(-1))
	f.Add(`{"stable_id":"#","alias":[],"sponsor_link":{}}`, strings.Repeat("n", 200), int64(1<<62))
	amounts, err := ParseAmounts(strings.Split(DefaultAmounts, ","))
	if err != nil {
		f.Fatal(err)
	}
	p := &Patreon{amounts: amounts, log: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, text, name string, cents int64) {
		status := activePatron
		s, ok := p.supporter(&member{Cents: cents, Name: &name, Note: &text, Status: &status})
		if !ok {
			return
		}
		if s.User <= horde.Anonymous || s.Kudos < 0 || s.Kudos > maxKudos*100 || s.Monthly < 0 || utf8.RuneCountInString(s.Name) > maxName ||
			s.Link != "" && !strings.HasPrefix(strings.ToLower(s.Link), "http") {
			t.Errorf("%q and %q make %+v", text, name, s)
		}
		kept, err := json.Marshal(s)
		var again horde.Supporter
		if err != nil || json.Unmarshal(kept, &again) != nil || utf8.ValidString(s.Name) && utf8.ValidString(s.Link) && again != s {
			t.Errorf("%+v is kept as %s", s, kept)
		}
	})
}

// A page of subscriptions is read or refused, never half.
func FuzzSubscription(f *testing.F) {
	f.Add(`{"id":"sub_1","status":"active","metadata":{"horde_id":"7"},"items":{"data":[{"price":{"product":"prod_1"}}]}}`)
	f.Add(`{"items":{"data":[{"price":null,"plan":{"product":{"id":"prod_1","name":"Sponsor"}}}]}}`)
	f.Add(`{"metadata":{"horde":"0"},"items":{"data":[{"price":{"product":null}}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		var s subscription
		if json.Unmarshal([]byte(text), &s) != nil {
			return
		}
		if id, ok := s.user(); ok && id <= horde.Anonymous {
			t.Errorf("%q is for %d", text, id)
		}
	})
}

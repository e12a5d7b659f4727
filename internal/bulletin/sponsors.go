// SPDX-License-Identifier: AGPL-3.0-or-later

package bulletin

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Sponsor is somebody who supports the horde.
type Sponsor struct {
	Name string `json:"name"`
	// URL is where the name leads, or empty.
	URL string `json:"url"`
	// Monthly is what they give a month, in units of the operator's currency. Zero is a sponsor in another way, who is named
	// first.
	Monthly float64 `json:"monthly"`
}

// What a sponsor gives in a month to be named on a line of their own, and to be named at all.
const (
	largeSponsor = 100
	smallSponsor = 3
)

// sponsorList reads a list of sponsors, for a document that begins with head.
func sponsorList(head *Document, data []byte) (*text, error) {
	var sponsors []Sponsor
	if err := json.Unmarshal(data, &sponsors); err != nil {
		return nil, err
	}
	for _, s := range sponsors {
		switch {
		case s.Name == "":
			return nil, errors.New("a sponsor without a name")
		case s.URL != "" && !isLink(s.URL):
			return nil, fmt.Errorf("%s: the address of a sponsor begins with https:// or http://", s.Name)
		}
	}
	d, err := thank(head, sponsors)
	if err != nil {
		return nil, err
	}
	return &text{*d, head, sponsors}, nil
}

// thank makes the document of sponsors: a text, a list of those who give most, and a line of the others, the highest first.
func thank(head *Document, sponsors []Sponsor) (*Document, error) {
	var large, small []string
	sponsors = slices.Clone(sponsors)
	slices.SortStableFunc(sponsors, func(x, y Sponsor) int { return cmp.Compare(y.rank(), x.rank()) })
	for _, s := range sponsors {
		name := html.EscapeString(s.Name)
		switch {
		case s.rank() < smallSponsor:
		case s.rank() < largeSponsor:
			small = append(small, name)
		case s.URL != "":
			large = append(large, fmt.Sprintf("<li><a href=\"%s\">%s</a></li>", html.EscapeString(s.URL), name))
		default:
			large = append(large, "<li>"+name+"</li>")
		}
	}
	text := head.HTML
	if len(large) > 0 {
		text += "\n<ul>\n" + strings.Join(large, "\n") + "\n</ul>"
	}
	if len(small) > 0 {
		text += "\n<p>" + strings.Join(small, ", ") + "</p>"
	}
	return fromHTML([]byte(text))
}

// SetPatrons names who else is thanked beside those in the operator's file: whoever supports the horde through a service.
// patrons is asked each time, and must not block. Those who give nothing, or have no name, are not thanked.
func (b *Board) SetPatrons(patrons func() []Sponsor) { b.patrons.Store(&patrons) }

// thanked is the document of sponsors that was made last, and of what.
type thanked struct {
	mu      sync.Mutex // guards all below
	of      *text
	patrons []Sponsor
	made    *Document
}

// thanks is the document of sponsors with the patrons of the moment.
func (b *Board) thanks(of *text) *Document {
	var patrons []Sponsor
	if list := b.patrons.Load(); list != nil {
		for _, s := range (*list)() {
			if s.Name != "" && s.Monthly > 0 && (s.URL == "" || isLink(s.URL)) {
				patrons = append(patrons, s)
			}
		}
	}
	if len(patrons) == 0 {
		return &of.Document
	}
	t := &b.thanked
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == of && slices.Equal(t.patrons, patrons) {
		return t.made
	}
	head := of.head
	if head == nil {
		head = &of.Document
	}
	made, err := thank(head, slices.Concat(of.sponsors, patrons))
	if err != nil {
		return &of.Document // what cannot be turned into Markdown; the operator's own text can
	}
	t.of, t.patrons, t.made = of, patrons, made
	return made
}

// rank puts sponsors in order; those who support in another way are before all.
func (s Sponsor) rank() float64 {
	if s.Monthly == 0 {
		return 1 << 30
	}
	return s.Monthly
}

func isLink(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}

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

// sponsorList makes the document of sponsors: the text before it, a list of those who give most, and a line of the others.
func sponsorList(intro, data []byte) (*Document, error) {
	var sponsors []Sponsor
	if err := json.Unmarshal(data, &sponsors); err != nil {
		return nil, err
	}
	head, err := fromMarkdown(intro)
	if err != nil {
		return nil, err
	}
	var large, small []string
	slices.SortStableFunc(sponsors, func(x, y Sponsor) int { return cmp.Compare(y.rank(), x.rank()) })
	for _, s := range sponsors {
		name := html.EscapeString(s.Name)
		switch {
		case s.Name == "":
			return nil, errors.New("a sponsor without a name")
		case s.URL != "" && !isLink(s.URL):
			return nil, fmt.Errorf("%s: the address of a sponsor begins with https:// or http://", s.Name)
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

// SPDX-License-Identifier: AGPL-3.0-or-later

package bulletin

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Values are what the places of a front page stand for, by their names (accounts chapter, 11).
type Values map[string]string

// scales are the prefixes of large numbers.
var scales = []struct {
	upTo   float64 // exclusive of what is shown with the next
	unit   float64
	prefix string
	letter string
}{
	{1e3, 1, "", ""}, {1e6, 1e3, "kilo", "K"}, {1e9, 1e6, "mega", "M"}, {1e12, 1e9, "giga", "G"}, {1e15, 1e12, "tera", "T"},
	{math.Inf(1), 1e15, "peta", "P"},
}

// Short is a number for people: 1000 stays, 1001 is 1.0 with the prefix kilo and the letter K.
func Short(x float64) (number, prefix, letter string) {
	for _, s := range scales {
		if x > s.upTo {
			continue
		}
		if s.unit == 1 {
			return strconv.FormatFloat(math.Round(x*10)/10, 'f', -1, 64), "", ""
		}
		return strconv.FormatFloat(x/s.unit, 'f', 1, 64), s.prefix, s.letter
	}
	return "", "", ""
}

// Things sets how much of a thing there is: the number at name, and what it counts at unitName.
func (v Values) Things(name, unitName string, x float64, thing string) {
	number, prefix, _ := Short(x)
	v[name], v[unitName] = number, prefix+thing
}

// Count sets a number at name, and the letter of its size at name with "_char" after it.
func (v Values) Count(name string, x float64) {
	v[name], _, v[name+"_char"] = Short(x)
}

// HasLanding tells whether the operator has a front page of their own.
func (b *Board) HasLanding() bool { return b.landing.path != "" }

// policies is what follows each front page.
const policies = "\n\n## Policies\n\n[Privacy Policy](/privacy)\n\n[Terms and Conditions](/terms)\n"

// newsShown is how many pieces of news a front page shows.
const newsShown = 3

// Landing is the operator's front page as a fragment of HTML, with values in their places. Those of the board itself are added.
func (b *Board) Landing(base string, v Values) (string, error) {
	text := b.landing.get()
	if text == "" {
		return "", fmt.Errorf("%s cannot be used", b.landing.path)
	}
	v["page_title"] = b.title
	var news strings.Builder
	for _, n := range b.News()[:min(newsShown, len(b.News()))] {
		if n.Text != nil {
			fmt.Fprintf(&news, "* %s%s\n", day(n), strings.Join(strings.Fields(*n.Text), " "))
		}
	}
	v["news"] = news.String()
	pairs := []string{"{title}", b.title, "{url}", base, "{contact}", b.contactAt(base)}
	for name, value := range v {
		pairs = append(pairs, "{"+name+"}", value)
	}
	var out bytes.Buffer
	err := markdown.Convert([]byte(strings.NewReplacer(pairs...).Replace(text)+policies), &out)
	return out.String(), err
}

func day(n Newspiece) string {
	if n.DatePublished == nil {
		return ""
	}
	return *n.DatePublished + ": "
}

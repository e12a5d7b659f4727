// SPDX-License-Identifier: AGPL-3.0-or-later

package supporters

import (
	"fmt"
	"strconv"
	"strings"

	"horde/internal/horde"
)

// The tables of the kudos chapter, 10.1, as [ParseAmounts] and [ParseProducts] read them. 102 to 108 are what a month of a yearly
// plan comes to; one product is really spelled so.
const (
	DefaultAmounts  = "0..9=10000x,10=150000,24=600000,25=900000,50=1500000,100=1500000,102..108=150000"
	DefaultProducts = "Celebrated=1500000|Sponsor=1500000|Treasured=700000|Cherised=200000|Recognised=75000|Superior Person=20000"
)

// maxKudos is the most that a line of a table may give a month: far more than anybody gets, and far from where sums end.
const maxKudos = 1_000_000_000

// Amounts say what a patron gets for what they give.
type Amounts []amount

// amount is a line: whole units of currency, from and to among them.
type amount struct {
	from, to int
	kudos    int
	each     bool // for each unit
}

// ParseAmounts reads lines such as "10=150000", "102..108=150000" and "0..9=10000x", where the x gives as much for each unit of
// currency. The first line that an amount is in counts.
func ParseAmounts(lines []string) (Amounts, error) {
	var all Amounts
	for _, line := range lines {
		bad := fmt.Errorf("%q is no line such as 10=150000, 102..108=150000 or 0..9=10000x", line)
		of, kudos, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok {
			return nil, bad
		}
		var a amount
		from, to, ranged := strings.Cut(of, "..")
		if !ranged {
			to = from
		}
		kudos, a.each = strings.CutSuffix(strings.TrimSpace(kudos), "x")
		for _, n := range []struct {
			text string
			out  *int
		}{{from, &a.from}, {to, &a.to}, {kudos, &a.kudos}} {
			v, err := strconv.ParseUint(strings.TrimSpace(n.text), 10, 32)
			if err != nil || v > maxKudos {
				return nil, bad
			}
			*n.out = int(v)
		}
		if a.to < a.from || a.each && a.kudos*a.to > maxKudos {
			return nil, bad
		}
		all = append(all, a)
	}
	return all, nil
}

// Of is what a patron gets for an amount; known tells whether a line says so.
func (t Amounts) Of(units int) (kudos horde.Kudos, known bool) {
	for _, a := range t {
		switch {
		case units < a.from || units > a.to:
		case a.each:
			return horde.Kudos(a.kudos*units) * 100, true
		default:
			return horde.Kudos(a.kudos) * 100, true
		}
	}
	return 0, false
}

// Products say what a subscriber gets for a product, by its name.
type Products map[string]horde.Kudos

// ParseProducts reads lines such as "Superior Person=20000", of which one text may have several, with | between them.
func ParseProducts(lines []string) (Products, error) {
	all := Products{}
	for line := range strings.SplitSeq(strings.Join(lines, "|"), "|") {
		at := strings.LastIndexByte(line, '=')
		if at < 0 {
			return nil, fmt.Errorf("%q is no line such as Sponsor=1500000", line)
		}
		name := strings.TrimSpace(line[:at])
		kudos, err := strconv.ParseUint(strings.TrimSpace(line[at+1:]), 10, 32)
		if err != nil || kudos > maxKudos || name == "" {
			return nil, fmt.Errorf("%q is no line such as Sponsor=1500000", line)
		}
		all[name] = horde.Kudos(kudos) * 100
	}
	return all, nil
}

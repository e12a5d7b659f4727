// SPDX-License-Identifier: AGPL-3.0-or-later

package moderation

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/rivo/uniseg"
)

// DefaultNegative steers away from minors. It becomes part of every prompt that was replaced (requests chapter, 8.1).
const DefaultNegative = "child, infant, underage, immature, teenager, tween"

// Data is what an operator decides on beside the filters. The real lists are the operator's own: none are in the program.
type Data struct {
	// Negative is put before the negative prompt of what was replaced. Empty means [DefaultNegative].
	Negative string `json:"negative"`
	// Emoji are whole emoji, with their skin tones and what joins them, that stand for an under-age context.
	Emoji []string `json:"emoji"`
	// Rules replace words in prompts for models that make lewd images, and in those of flagged users, in their order.
	Rules []Rule `json:"rules"`
	// CountTagModel is an image model whose prompts count people with tags like "1girl": where it is the only model of a
	// request, rules with CountTag do not apply right behind a digit 1.
	CountTagModel string `json:"count_tag_model"`
}

// Rule is a built-in rule: what Pattern finds becomes Substitute.
type Rule struct {
	Pattern    string `json:"pattern"`
	Substitute string `json:"substitute"`
	// CountTag leaves alone what follows a digit 1 directly, for the model of [Data.CountTagModel].
	CountTag bool `json:"count_tag"`

	re *regexp.Regexp
}

// ReadData reads the operator's data from a JSON file. Everything in it is checked.
func ReadData(path string) (Data, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Data{}, fmt.Errorf("filter data: %w", err)
	}
	var d Data
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return Data{}, fmt.Errorf("filter data %s: %w", path, err)
	}
	return d, d.compile()
}

// compile prepares the rules, and checks the whole.
func (d *Data) compile() error {
	for i := range d.Rules {
		if err := CheckRegex(d.Rules[i].Pattern); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
		d.Rules[i].re = regexp.MustCompile(group(d.Rules[i].Pattern))
	}
	for _, e := range d.Emoji {
		if uniseg.GraphemeClusterCount(e) != 1 {
			return fmt.Errorf("%q is not one emoji", e)
		}
	}
	return nil
}

func (d *Data) negative() string {
	if d.Negative == "" {
		return DefaultNegative
	}
	return d.Negative
}

// emojiIn lists the emoji of the data that are in a text, each once, in the order of the data. Only whole ones count: a family
// of two is not a family of three.
func (d *Data) emojiIn(text string) []string {
	if len(d.Emoji) == 0 || isASCII(text) {
		return nil
	}
	there := map[string]bool{}
	for state, rest := -1, text; rest != ""; {
		var cluster string
		cluster, rest, _, state = uniseg.FirstGraphemeClusterInString(rest, state)
		if len(cluster) > 1 {
			there[cluster] = true
		}
	}
	var found []string
	for _, e := range d.Emoji {
		if there[e] {
			found = append(found, e)
		}
	}
	return found
}

// apply replaces what the rule finds. spare leaves alone what is right behind a digit 1.
func (r *Rule) apply(text string, spare bool) string {
	if !spare || !r.CountTag {
		return r.re.ReplaceAllLiteralString(text, r.Substitute)
	}
	var b strings.Builder
	for from := 0; ; {
		at := r.re.FindStringIndex(text[from:])
		if at == nil {
			b.WriteString(text[from:])
			return b.String()
		}
		begin, end := from+at[0], from+at[1]
		if begin > 0 && text[begin-1] == '1' {
			b.WriteString(text[from : begin+1]) // as if it had not been found here: perhaps something begins further on
			from = begin + 1
			continue
		}
		b.WriteString(text[from:begin])
		b.WriteString(r.Substitute)
		from = end
	}
}

func (r *Rule) found(text string, spare bool) bool {
	if !spare || !r.CountTag {
		return r.re.MatchString(text)
	}
	return r.apply(text, true) != text
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"fmt"
	"slices"
	"testing"

	"horde/internal/api"
	"horde/internal/limit"
)

// The table of the errors chapter, section 8.2, with the raised limits of the clients chapter, section 6.
func TestLimitsAreThoseOfTheTable(t *testing.T) {
	t.Parallel()
	by := map[api.LimitBy]string{api.ByAddress: "address", api.ByPath: "path", api.ByKey: "key"}
	for name, c := range map[string]struct {
		limits api.Limits
		want   []string
	}{
		"submit": {LimitsSubmit, []string{
			"2 per 1 second by path, relaxed 10", "2 per 1 second by key, relaxed 60, anonymous 60", "90 per 1 minute by path, relaxed 300"}},
		"image status":   {LimitsImageStatus, []string{"12 per 1 minute by path"}},
		"text status":    {LimitsTextStatus, []string{"120 per 1 minute by path"}},
		"check":          {LimitsCheck, []string{"10 per 1 second by path"}},
		"rate":           {LimitsRate, []string{"5 per 1 minute by path"}},
		"worker":         {LimitsWorker, []string{"60 per 1 second by address"}},
		"community":      {LimitsCommunity, []string{"30 per 1 minute by path"}},
		"user":           {LimitsUser, []string{"60 per 1 minute by path"}},
		"modes":          {LimitsModes, []string{"30 per 1 minute by address"}},
		"kudos transfer": {LimitsKudosTransfer, []string{"1 per 1 second by key", "90 per 1 hour by key, relaxed 600"}},
		"styles":         {LimitsStyles, []string{"2 per 1 second by path, relaxed 10", "90 per 1 minute by path, relaxed 300"}},
		"style writes":   {LimitsStyleWrites, []string{"2 per 1 second by path, relaxed 10", "20 per 1 hour by path"}},
		"default":        {api.DefaultLimits, []string{"90 per 1 minute by address"}},
	} {
		var got []string
		for _, l := range c.limits {
			text := limit.Rule{Amount: l.Amount, Per: l.Per}.String() + " by " + by[l.By]
			if l.Relaxed != 0 {
				text += fmt.Sprint(", relaxed ", l.Relaxed)
			}
			if l.Anonymous != 0 {
				text += fmt.Sprint(", anonymous ", l.Anonymous)
			}
			got = append(got, text)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"horde/internal/horde"
)

// TestListsAreWhatSortingAllWouldGive changes styles in every way and compares each list with one that is made anew.
func TestListsAreWhatSortingAllWouldGive(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		index, all := newStyleIndex(), []*style{}
		words := []string{"", "a", "b", "c"}
		some := func(label string) []string {
			return rapid.SliceOfNDistinct(rapid.SampledFrom(words[1:]), 0, 2, rapid.ID).Draw(t, label)
		}
		made := func(i int) *style {
			return &style{Style: horde.Style{
				ID: horde.NewStyleID(), Kind: rapid.SampledFrom(horde.Generated).Draw(t, "kind"), Owner: 1, Name: fmt.Sprint(i),
				Public: rapid.IntRange(0, 9).Draw(t, "public") > 0, Tags: some("tags"), Models: some("models"),
				Created: time.Unix(int64(rapid.IntRange(0, 5).Draw(t, "created")), 0),
			}}
		}
		for i := range 60 {
			all = append(all, made(i))
			index.addStyle(all[i])
		}
		for range rapid.IntRange(0, 80).Draw(t, "changes") {
			i := rapid.IntRange(0, len(all)-1).Draw(t, "style")
			switch rapid.IntRange(0, 3).Draw(t, "change") {
			case 0:
				index.removeStyle(all[i])
				all = slices.Delete(all, i, i+1)
			case 1:
				index.removeStyle(all[i])
				next := made(i)
				next.ID, next.Name, next.Uses = all[i].ID, all[i].Name, all[i].Uses
				all[i].Style = next.Style
				index.addStyle(all[i])
			default:
				index.styleUsed(all[i], 1)
			}
		}
		for _, f := range []StyleFilter{{Sort: "popular"}, {Sort: "age"}} {
			f.Kind, f.Page = rapid.SampledFrom(horde.Generated).Draw(t, "kind"), rapid.IntRange(1, 4).Draw(t, "page")
			f.Tag, f.Model = rapid.SampledFrom(words).Draw(t, "tag"), rapid.SampledFrom(words).Draw(t, "model")
			var want []*style
			for _, s := range all {
				if s.Public && s.Kind == f.Kind && (f.Tag == "" || slices.Contains(s.Tags, f.Tag)) && (f.Model == "" || slices.Contains(s.Models, f.Model)) {
					want = append(want, s)
				}
			}
			order := byUse
			if f.Sort == "age" {
				order = byAge
			}
			slices.SortFunc(want, func(a, b *style) int { return order(a.used(), b.used()) })
			want = want[min(len(want), (f.Page-1)*stylesPerPage):]
			want = want[:min(len(want), stylesPerPage)]
			if got := index.listed(f); !slices.Equal(got, want) {
				t.Fatalf("%+v lists %d styles, want %d, or in another order", f, len(got), len(want))
			}
		}
		for _, s := range all {
			index.removeStyle(s)
		}
		if len(index.shelves) > 0 {
			t.Fatalf("%d shelves are left of nothing", len(index.shelves))
		}
	})
}

// TestEveryStyleThatTakesTheFieldsIsDrawn draws from collections in which few or all take a request.
func TestEveryStyleThatTakesTheFieldsIsDrawn(t *testing.T) {
	t.Parallel()
	for _, taking := range []int{0, 1, 3, 100} {
		e := &Engine{Config: Config{Random: rand.New(rand.NewPCG(1, 2))}, state: &state{styleIndex: newStyleIndex()}}
		c := &collection{}
		name := "caption"
		required := true
		for i := range 100 {
			s := &style{Style: horde.Style{ID: horde.NewStyleID(), Kind: horde.Image, Name: fmt.Sprint(i), Prompt: "{p}{np}"}}
			if i >= taking {
				s.Prompt += "{caption}"
				s.Fields = []horde.StyleField{{Name: &name, Description: &name, Required: &required}}
			}
			e.addStyle(s)
			c.Styles = append(c.Styles, s.ID)
		}
		drawn := map[*style]int{}
		const times = 10_000
		for range times {
			if s := e.draw(c, nil); s != nil {
				drawn[s]++
			}
		}
		if len(drawn) != taking {
			t.Errorf("%d styles are drawn, %d take the request", len(drawn), taking)
		}
		for s, n := range drawn {
			if expected := times / taking; n < expected*2/3 || n > expected*3/2 || len(s.Fields) > 0 {
				t.Errorf("one of %d styles is drawn %d times of %d", taking, n, times)
			}
		}
	}
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package dispatch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"horde/internal/horde"
)

// fits is what Take must find, one form after the other.
func fits(p *FormPop, e *FormEntry) bool {
	return slices.Contains(p.Forms, e.Needs.Name) && e.Needs.Tiles <= p.MaxTiles && (!p.Slow || e.Needs.SlowWorkers) &&
		(!p.OwnOnly || e.User == p.Friends[0])
}

func TestFormsAreTakenInOrder(t *testing.T) {
	t.Parallel()
	names := []string{"caption", "nsfw", "GFPGAN"}
	rapid.Check(t, func(t *rapid.T) {
		q := NewForms()
		var waiting []*FormEntry
		for step := range 60 {
			switch action := rapid.IntRange(0, 9).Draw(t, "action"); {
			case action < 6:
				e := &FormEntry{
					ID: horde.NewFormID(), User: horde.UserID(rapid.IntRange(0, 3).Draw(t, "user")),
					Needs: FormNeeds{
						Name: rapid.SampledFrom(names).Draw(t, "name"), Tiles: rapid.IntRange(1, 3).Draw(t, "tiles"),
						SlowWorkers: rapid.Bool().Draw(t, "slow"), TrustedWorkers: rapid.Bool().Draw(t, "trusted"),
					},
					Priority: int64(rapid.IntRange(-1, 1).Draw(t, "priority")), Created: int64(step / 3), Index: step,
				}
				q.Add(e)
				waiting = append(waiting, e)
			case action == 6 && len(waiting) > 0:
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "removed")
				q.Remove(waiting[i])
				q.Remove(waiting[i]) // again: nothing happens
				waiting = slices.Delete(waiting, i, i+1)
			default:
				p := &FormPop{
					Forms:    rapid.SliceOfN(rapid.SampledFrom(names), 0, 4).Draw(t, "forms"),
					MaxTiles: rapid.IntRange(1, 3).Draw(t, "max"), Slow: rapid.Bool().Draw(t, "is slow"),
					OwnerTrusted: rapid.Bool().Draw(t, "is trusted"), OwnOnly: rapid.Bool().Draw(t, "own"),
					Friends: []horde.UserID{1, 2}[:rapid.IntRange(1, 2).Draw(t, "friends")],
				}
				var want []*FormEntry
				untrusted := 0
				for _, e := range waiting {
					switch {
					case !fits(p, e):
					case e.Needs.TrustedWorkers && !p.OwnerTrusted:
						untrusted++
					default:
						want = append(want, e)
					}
				}
				slices.SortFunc(want, func(a, b *FormEntry) int {
					if x, y := slices.Contains(p.Friends, a.User), slices.Contains(p.Friends, b.User); x != y {
						return map[bool]int{true: -1, false: 1}[x]
					}
					if a.before(b) {
						return -1
					}
					return 1
				})
				n := rapid.IntRange(1, 4).Draw(t, "amount")
				want = want[:min(n, len(want))]
				found, skipped := q.Take(p, n)
				if !slices.Equal(found, want) || len(found) == 0 && skipped != untrusted || len(found) > 0 && skipped != 0 {
					t.Fatalf("%+v, %d: got %d forms and %d skipped, want %d and %d", p, n, len(found), skipped, len(want), untrusted)
				}
				waiting = slices.DeleteFunc(waiting, func(e *FormEntry) bool { return slices.Contains(found, e) })
			}
			if q.Len() != len(waiting) {
				t.Fatalf("%d wait, want %d", q.Len(), len(waiting))
			}
		}
		for _, e := range waiting {
			q.Remove(e)
		}
		if len(q.all) != 0 || len(q.byUser) != 0 {
			t.Errorf("an empty queue keeps %d names and %d users", len(q.all), len(q.byUser))
		}
	})
}

func TestSkippedFormsAreCountedToAHundred(t *testing.T) {
	t.Parallel()
	q := NewForms()
	for i := range 200 {
		q.Add(&FormEntry{ID: horde.NewFormID(), Needs: FormNeeds{Name: "caption", Tiles: 1, TrustedWorkers: true}, Index: i})
	}
	if _, skipped := q.Take(&FormPop{Forms: []string{"caption", "caption"}, MaxTiles: 1, Friends: []horde.UserID{1}}, 1); skipped != 100 {
		t.Errorf("%d are skipped", skipped)
	}
}

// A pop costs about the same however many forms wait.
func BenchmarkTakeForms(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			q, r := NewForms(), rand.New(rand.NewPCG(1, 2))
			for i := range n {
				q.Add(&FormEntry{
					ID: horde.NewFormID(), User: horde.UserID(r.IntN(1000)), Created: int64(time.Duration(i)), Priority: r.Int64N(1000),
					Needs: FormNeeds{Name: []string{"caption", "nsfw", "GFPGAN"}[r.IntN(3)], Tiles: 1 + r.IntN(20), SlowWorkers: r.IntN(2) == 0},
				})
			}
			p := &FormPop{Forms: []string{"caption", "GFPGAN"}, MaxTiles: 16, Friends: []horde.UserID{1, 2}}
			for b.Loop() {
				found, _ := q.Take(p, 1)
				q.Add(found[0])
			}
		})
	}
}

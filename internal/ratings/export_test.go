// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"horde/internal/horde"
)

// While exports are written everybody goes on, and the exports have what there was when they began.
func TestExportsHoldNobodyUp(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.earned(5)
	s.earned(6)
	err := s.snapshot(t.Context(), time.Now(), func(x *snapshot) error {
		n := 0
		return x.ratings(func(*ratingRow) error {
			if n++; n > 2 {
				t.Error("a rating that came later is in the snapshot")
			}
			s.earned(7)
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if rows, err := s.exportedRatings(); err != nil || len(rows) != 4 {
		t.Errorf("there are %d ratings, %v, want 4", len(rows), err)
	}
}

// Exports come whole or not at all, under two names, and neither a contact nor a name is in them.
func TestExportsAreWholeAndNameNobody(t *testing.T) {
	t.Parallel()
	s := open(t)
	id, other := uuid.NewString(), uuid.NewString()
	set := horde.RatingSet{
		Set: uuid.NewString(), All: []string{id, other}, Best: id, Agent: "shine:2:Greta of Lantern Lane",
		User: horde.RatingUser{Name: "Greta#5", Address: "198.51.100.7"}, Rated: []horde.ImageRating{{ID: id, Rating: 8}},
	}
	if err := s.Set(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	day := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for range 2 { // the second time in place of the first
		if err := s.Export(t.Context(), day); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(s.Dir, "exports")
	for _, name := range []string{
		"diffusiondb_export.parquet", "ratings-v1.parquet", "ratings-v1.jsonl.zst", "pairs-v1.parquet", "pairs-v1.jsonl.zst", "images-v1.parquet",
		"pipelines-v1.parquet", "pipelines-v1.jsonl.zst", "README.md",
	} {
		one, err := os.ReadFile(filepath.Join(dir, name))
		two, err2 := os.ReadFile(filepath.Join(dir, "2026-03-04-"+name))
		if err != nil || err2 != nil || len(one) == 0 || string(one) != string(two) {
			t.Errorf("%s: %d and %d bytes, %v, %v", name, len(one), len(two), err, err2)
		}
	}
	rows, err := s.exportedRatings()
	if err != nil || len(rows) != 1 || rows[0].ClientAgent != "shine:2" {
		t.Errorf("exported: %+v, %v", rows, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := s.Export(t.Context(), day.Add(31*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "2026-03-04-README.md")); err == nil {
		t.Error("after 31 days a dated export is still there")
	}
	card, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil || !strings.Contains(string(card), "1 ratings, 1 comparisons of two images, 1 images") || !strings.Contains(string(card), "| shine | 1 |") {
		t.Errorf("the card, %v:\n%s", err, card)
	}
	for _, secret := range []string{"Greta", "Lantern", "198.51"} {
		if strings.Contains(string(card), secret) {
			t.Errorf("the card has %s", secret)
		}
	}
}

// The strengths of pipelines, against figures worked out by hand: of two, won 3 of 4, it is half of ln(3.5/1.5).
func TestStrengthsOfPipelines(t *testing.T) {
	t.Parallel()
	two := newContest()
	for range 3 {
		two.add("a", "b", 1)
	}
	two.add("b", "a", 1)
	if s, want := two.strengths(), math.Log(3.5/1.5)/2; math.Abs(s[0]-want) > 1e-6 || math.Abs(s[1]+want) > 1e-6 {
		t.Errorf("two pipelines: %v, want ±%v", s, want)
	}
	three := newContest() // each a step better than the next: the steps are the same, and nobody is infinitely good
	for range 5 {
		three.add("a", "b", 1)
		three.add("b", "c", 1)
	}
	s := three.strengths()
	if math.Abs(s[0]+s[2]) > 1e-6 || math.Abs(s[1]) > 1e-6 || math.Abs(s[0]-math.Log(5.5/0.5)) > 1e-6 {
		t.Errorf("three pipelines: %v", s)
	}

	svc := open(t)
	var ids []string
	for i := range 2 {
		ids = append(ids, uuid.NewString())
		if err := svc.change(func() error {
			return svc.addImage(horde.SharedImage{ID: ids[i], Model: "m", Pipeline: []string{"pipeline0", "pipeline1"}[i]}, time.Now())
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := svc.Set(t.Context(), horde.RatingSet{Set: uuid.NewString(), All: ids, Best: ids[1], User: horde.RatingUser{Name: "x#5"}}); err != nil {
		t.Fatal(err)
	}
	var rows []pipelineRow
	if err := svc.snapshot(t.Context(), time.Now(), func(x *snapshot) error {
		return x.pipelines(func(r pipelineRow) error { rows = append(rows, r); return nil })
	}); err != nil {
		t.Fatal(err)
	}
	want := math.Log(1/0.5) / 2 // one comparison with the weight 1/2 of somebody unknown, and half a one on each side
	if len(rows) != 2 || rows[0].Pipeline != "pipeline1" || rows[0].Wins != 1 || rows[1].Losses != 1 || math.Abs(rows[0].Strength-want) > 1e-6 {
		t.Errorf("the pipelines: %+v, want strength %v", rows, want)
	}
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package dispatch

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"horde/internal/horde"
)

// mixedModels are models that differ in all that matching looks at.
func mixedModels() *horde.Reference {
	ref := &horde.Reference{Image: map[string]horde.ImageModel{
		"a":        {Name: "a", Baseline: horde.BaselineSD1, Requirements: horde.Requirements{MinSteps: new(4), MaxSteps: new(10)}},
		"b":        {Name: "b", Baseline: horde.BaselineFlux},
		"c":        {Name: "c", Baseline: horde.BaselineSD1, Inpainting: true},
		"SDXL 1.0": {Name: "SDXL 1.0", Baseline: horde.BaselineSDXL},
		"d":        {Name: "d", Baseline: horde.BaselineCascade},
	}}
	return ref
}

// drawAbility varies what drawOffer leaves alone.
func drawAbility(t *rapid.T, kind horde.Kind, id horde.WorkerID, ref *horde.Reference) *horde.Offer {
	w := drawOffer(t, kind, id).Worker
	yes := rapid.Bool()
	w.AllowImg2Img, w.AllowPainting, w.AllowPostProcessing = yes.Draw(t, "img2img"), yes.Draw(t, "painting"), yes.Draw(t, "post")
	w.AllowControlNet, w.AllowSDXLControlNet, w.AllowLora = yes.Draw(t, "control"), yes.Draw(t, "sdxl"), yes.Draw(t, "lora")
	w.AllowUnsafeIP, w.ExtraSlow = yes.Draw(t, "unsafe"), yes.Draw(t, "extra slow")
	if yes.Draw(t, "short") {
		w.MaxLength = 128
	}
	models := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "SDXL 1.0"}), 1, 4, rapid.ID[string]).Draw(t, "models")
	if rapid.Float64().Draw(t, "private") < 0.1 {
		models = append(models, horde.SpecialModel+"::x#1")
	}
	return horde.NewOffer(w, yes.Draw(t, "trusted owner"), models, ref)
}

func drawDemanding(t *rapid.T, kind horde.Kind, workers []horde.WorkerID) *horde.Order {
	o := drawOrder(t, kind, workers)
	yes := func(name string) bool { return rapid.Float64().Draw(t, name) < 0.15 }
	o.UnsafeIP, o.ExtraSlowWorkers, o.ValidatedBackends = yes("unsafe"), yes("slow"), yes("validated")
	if kind == horde.Text {
		return o
	}
	p := o.Image
	p.Transparent, p.Tiling, p.ReturnControlMap = yes("transparent"), yes("tiling"), yes("map")
	if yes("source") {
		o.SourceImage = "x"
		o.SourceProcessing = rapid.SampledFrom([]string{"img2img", "inpainting"}).Draw(t, "processing")
	}
	if yes("control") {
		p.ControlType = "canny"
	}
	if yes("loras") {
		p.Loras = []horde.Lora{{Name: "x"}}
	}
	if yes("qr") {
		p.Workflow = "qr_code"
	}
	return o
}

// TestFirstEqualsANaiveSearch parks random workers, lets some leave, and compares who a request is given to with a search
// through everybody in the order in which they came.
func TestFirstEqualsANaiveSearch(t *testing.T) {
	t.Parallel()
	ref := mixedModels()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(horde.Kinds).Draw(t, "kind")
		var ids []horde.WorkerID
		for range 6 {
			ids = append(ids, horde.NewWorkerID())
		}
		l := NewLot[*Pop]()
		var waiting []*Parked[*Pop] // longest first
		for range rapid.IntRange(0, 20).Draw(t, "workers") {
			offer := drawAbility(t, kind, rapid.SampledFrom(ids).Draw(t, "worker"), ref)
			p := &Pop{Offer: offer, Friends: []horde.UserID{offer.Worker.Owner}, OwnOnly: rapid.Float64().Draw(t, "own") < 0.1,
				MatchedTargeting: kind == horde.Image && rapid.Bool().Draw(t, "matched")}
			waiting = append(waiting, l.Park(offer, p))
			if len(waiting) > 1 && rapid.Float64().Draw(t, "leaves") < 0.3 {
				at := rapid.IntRange(0, len(waiting)-1).Draw(t, "who")
				l.Leave(waiting[at])
				waiting = slices.Delete(waiting, at, at+1)
			}
		}
		q := New(kind)
		r := &horde.Request{ID: horde.NewRequestID(), User: horde.UserID(rapid.IntRange(1, 3).Draw(t, "user")), Created: epoch, Queued: epoch,
			Wanted: 1, Left: 1}
		o := drawDemanding(t, kind, ids)
		r.Order = o.Pack()
		e := q.Add(r, o)
		var want *Parked[*Pop]
		for _, p := range waiting {
			found, _ := q.Match(p.Who)
			if takes := q.Takes(p.Who, e); takes != (found == e) {
				t.Fatalf("Takes says %t, and a pop finds %v", takes, found)
			}
			if found == e && want == nil {
				want = p
			}
		}
		if got := l.First(q, e, func(p *Pop) bool { return q.Takes(p, e) }); got != want {
			t.Fatalf("the request is given to %v, want %v", got, want)
		}
		for _, p := range waiting {
			l.Leave(p)
		}
		l.Tidy()
		if l.Len() != 0 || len(l.byModel)+len(l.anyWork)+len(l.byWorker) != 0 {
			t.Fatalf("an empty lot still holds %+v", l)
		}
	})
}

// BenchmarkFirst is what a new request costs by the number of parked workers: who takes it, and that nobody does.
func BenchmarkFirst(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		l, q := NewLot[*Pop](), New(horde.Image)
		for i := range n {
			w := &horde.Worker{ID: horde.NewWorkerID(), Kind: horde.Image, Owner: 1000, Agent: "AI Horde Worker reGen:13.0.0:x",
				MaxPixels: int64(8+8*(i%8)) * 8 * 64 * 64, NSFW: i%3 > 0, AllowLora: i%5 > 0, Speed: 1e6, AllowUnsafeIP: true}
			o := horde.NewOffer(w, true, []string{"model 1", fmt.Sprint("model ", i%20)}, &horde.Reference{})
			l.Park(o, &Pop{Offer: o})
		}
		for name, side := range map[string]int{"taken": 512, "too large for all": 3072} {
			r := &horde.Request{ID: horde.NewRequestID(), Created: epoch, Queued: epoch, Wanted: 1, Left: 1}
			e := q.Add(r, &horde.Order{
				Kind: horde.Image, Models: []string{"model 1"}, SlowWorkers: true, R2: true,
				Image: &horde.ImageParams{Width: side, Height: side, Steps: 30, Sampler: "k_euler_a"}})
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					p := l.First(q, e, func(p *Pop) bool { return q.Takes(p, e) })
					if (p == nil) != (side == 3072) {
						b.Fatal("not as the name says")
					}
				}
			})
			q.Remove(e, epoch)
		}
	}
}

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

// drawAbility makes a worker that can do everything, but for some of the few differences that all workers of a test have: so
// many are alike, and what parts them is one thing at a time.
func drawAbility(t *rapid.T, kind horde.Kind, id horde.WorkerID, differences []int, ref *horde.Reference) *horde.Offer {
	w := &horde.Worker{
		ID: id, Kind: kind, Owner: horde.UserID(rapid.IntRange(1, 3).Draw(t, "owner")), Agent: "AI Horde Worker reGen:13.0.0:x", NSFW: true,
		MaxPixels: 1024 * 1024, Speed: 2_000_000, MaxLength: 512, MaxContextLength: 4096, AllowUnsafeIP: true, AllowImg2Img: true,
		AllowPainting: true, AllowPostProcessing: true, AllowControlNet: true, AllowSDXLControlNet: true, AllowLora: true,
	}
	if kind == horde.Text {
		w.Agent = "KoboldCppEmbedWorker:2:x"
	}
	models, trusted := []string{"a", "b", "c", "d", "SDXL 1.0"}, true
	for _, d := range differences {
		if rapid.Bool().Draw(t, "like the others") {
			continue
		}
		switch d {
		case 0:
			w.Agent = rapid.SampledFrom([]string{"AI Horde Worker:17:x", "foo:1:x", "AI Horde Worker reGen:9.0.0:x", "AI Horde Worker reGen:4.0.0:x"}).Draw(t, "agent")
		case 1:
			w.NSFW = false
		case 2:
			w.MaxPixels = 512 * 512
		case 3:
			w.Speed = rapid.SampledFrom([]float64{2, 4, 100_000}).Draw(t, "speed")
		case 4:
			w.MaxLength = 128
		case 5:
			w.MaxContextLength = 1024
		case 6:
			w.AllowUnsafeIP = false
		case 7:
			w.AllowImg2Img = false
		case 8:
			w.AllowPainting = false
		case 9:
			w.AllowControlNet = false
		case 10:
			w.AllowSDXLControlNet = false
		case 11:
			w.AllowLora = false
		case 12:
			w.LimitMaxSteps = true
		case 13:
			w.ExtraSlow = true
		case 14:
			trusted = false
		case 15:
			w.Blacklist = []string{"dog"}
		case 17:
			w.AllowPostProcessing = false
		case 16:
			models = append(models, horde.SpecialModel+"::x#1")
		default:
			models = rapid.SliceOfNDistinct(rapid.SampledFrom(models), 1, 4, rapid.ID[string]).Draw(t, "models")
		}
	}
	return horde.NewOffer(w, trusted, models, ref)
}

// drawDemanding makes a request that everybody may take, but for one or two demands.
func drawDemanding(t *rapid.T, kind horde.Kind, workers []horde.WorkerID) *horde.Order {
	o := &horde.Order{Kind: kind, Prompt: rapid.SampledFrom([]string{"a cat", "a DOG on a hill"}).Draw(t, "prompt"), SlowWorkers: true, R2: true,
		ExtraSlowWorkers: true, RequesterTrusted: rapid.Bool().Draw(t, "requester trusted"),
		Models: rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "d", "SDXL 1.0"}), 0, 2, rapid.ID[string]).Draw(t, "models")}
	if kind == horde.Text {
		o.Text = &horde.TextParams{TextSettings: horde.TextSettings{MaxLength: new(80), MaxContextLength: new(1024)}}
	} else {
		o.Image = &horde.ImageParams{Width: 512, Height: 512, Steps: 5, Sampler: "k_euler_a", Karras: true}
	}
	for range rapid.IntRange(0, 2).Draw(t, "demands") {
		switch demand := rapid.IntRange(0, 17).Draw(t, "demand"); {
		case demand == 0:
			o.SlowWorkers = false
		case demand == 1:
			o.TrustedWorkers = true
		case demand == 2:
			o.UnsafeIP = true
		case demand == 3:
			o.ExtraSlowWorkers = false
		case demand == 4:
			o.ValidatedBackends = true
		case demand == 5:
			o.Workers = rapid.SliceOfNDistinct(rapid.SampledFrom(workers), 1, 2, rapid.ID[horde.WorkerID]).Draw(t, "named")
			o.WorkerBlacklist = rapid.Bool().Draw(t, "bar")
		case kind == horde.Text && demand%2 == 0:
			o.Text.MaxLength = new(300)
		case kind == horde.Text:
			o.Text.MaxContextLength = new(4096)
		case demand == 6:
			o.NSFW = true
		case demand == 7:
			o.Image.Width = 1024
		case demand == 8:
			o.Image.Steps = rapid.IntRange(6, 40).Draw(t, "steps")
		case demand == 9:
			o.SourceImage, o.SourceProcessing = "x", rapid.SampledFrom([]string{"img2img", "inpainting"}).Draw(t, "processing")
		case demand == 10:
			o.Image.Transparent = true
		case demand == 11:
			o.Image.Tiling = true
		case demand == 12:
			o.SourceImage, o.Image.ControlType, o.Image.ReturnControlMap = "x", "canny", rapid.Bool().Draw(t, "map")
		case demand == 13:
			o.Image.Loras = []horde.Lora{{Name: "x"}}
		case demand == 14:
			o.Image.Workflow = "qr_code"
		case demand == 15:
			o.Image.HiresFix = true
		case demand == 16:
			o.Image.PostProcessing = []string{"GFPGAN"}
		default:
			o.Image.Sampler, o.Image.Karras = "lcm", rapid.Bool().Draw(t, "karras")
		}
	}
	return o
}

// TestFirstEqualsANaiveSearch parks random workers, lets some leave, and compares who a request is given to with a search
// through everybody in the order in which they came.
func TestFirstEqualsANaiveSearch(t *testing.T) {
	t.Parallel()
	ref := mixedModels()
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom(horde.Generated).Draw(t, "kind")
		var ids []horde.WorkerID
		for range 6 {
			ids = append(ids, horde.NewWorkerID())
		}
		differences := rapid.SliceOfNDistinct(rapid.IntRange(0, 18), 1, 3, rapid.ID[int]).Draw(t, "differences")
		l := NewLot[*Pop]()
		var waiting []*Parked[*Pop] // longest first
		for range rapid.IntRange(0, 20).Draw(t, "workers") {
			offer := drawAbility(t, kind, rapid.SampledFrom(ids).Draw(t, "worker"), differences, ref)
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

// TestWhatModelsAWorkerHasMattersToRequestsForAny parks two workers that differ in their models alone, of whom the first cannot
// take the request and the second can.
func TestWhatModelsAWorkerHasMattersToRequestsForAny(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cannot, can []string
		agent       string
		order       func(*horde.Order)
	}{
		"Flux":            {[]string{"a", "b"}, []string{"a"}, "AI Horde Worker reGen:4.0.0:x", nil},
		"Stable Cascade":  {[]string{"a", "d"}, []string{"a"}, "AI Horde Worker reGen:4.0.0:x", func(o *horde.Order) { o.Image.HiresFix = true }},
		"SDXL":            {[]string{"a", "SDXL 1.0"}, []string{"a"}, "", func(o *horde.Order) { o.Image.Workflow = "qr_code" }},
		"no inpainting":   {[]string{"a"}, []string{"a", "c"}, "", func(o *horde.Order) { o.SourceImage, o.SourceProcessing = "x", "inpainting" }},
		"inpainting only": {[]string{"c"}, []string{"c", "e"}, "", nil},
		"limit of steps":  {[]string{"a", "e"}, []string{"e"}, "", func(o *horde.Order) { o.Image.Steps = 20 }},
	} {
		t.Run(name, func(t *testing.T) {
			l, q := NewLot[*Pop](), New(horde.Image)
			park := func(models []string) *Parked[*Pop] {
				w := &horde.Worker{ID: horde.NewWorkerID(), Kind: horde.Image, Owner: 1, Agent: "AI Horde Worker reGen:13.0.0:x", MaxPixels: 512 * 512,
					Speed: 2_000_000, AllowImg2Img: true, AllowPainting: true, AllowControlNet: true, LimitMaxSteps: true}
				if c.agent != "" {
					w.Agent = c.agent
				}
				o := horde.NewOffer(w, true, models, mixedModels())
				return l.Park(o, &Pop{Offer: o})
			}
			park(c.cannot)
			want := park(c.can)
			o := &horde.Order{Kind: horde.Image, SlowWorkers: true, R2: true,
				Image: &horde.ImageParams{Width: 512, Height: 512, Steps: 5, Sampler: "k_euler_a", Karras: true}}
			if c.order != nil {
				c.order(o)
			}
			e := q.Add(&horde.Request{ID: horde.NewRequestID(), User: 2, Created: epoch, Queued: epoch, Wanted: 1, Left: 1, Order: o.Pack()}, o)
			if got := l.First(q, e, func(p *Pop) bool { return q.Takes(p, e) }); got != want {
				t.Errorf("the request is given to %v, want the second worker", got)
			}
		})
	}
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

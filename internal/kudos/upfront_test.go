// SPDX-License-Identifier: AGPL-3.0-or-later

package kudos

import (
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"horde/internal/horde"
)

// horde20 is a load under which 774 pixels are free.
var horde20 = Load{Threads: 20, Queued: 500}

// quiet is a load under which 1024 pixels and 512 tokens are free.
var quiet = Load{}

func control(o *horde.Order) {
	source(o)
	o.Image.ControlType = "canny"
}

func TestFreeSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		o    *horde.Order
		load Load
		want int
	}{
		{"20 threads, 500 queued", image(), horde20, 774},
		{"no threads, 1000 queued", image(), Load{0, 1000}, 576},
		{"5 threads, 600 queued", image(), Load{5, 600}, 576},
		{"a large model", image(models("SDXL 1.0")), Load{5, 600}, 1024},
		{"a large model among others", image(models("Deliberate", "flux")), Load{5, 600}, 1024},
		{"Stable Diffusion 2 is no large model", image(models("SD2")), Load{5, 600}, 576},
		{"Qwen is none either", image(models("qwen")), Load{5, 600}, 576},
		{"fast workers only are not bounded", image(fast), Load{5, 600}, 534},
		{"fast workers only, few in the queue", image(fast), Load{100, 0}, 2024},
		{"halves are rounded to even", image(), Load{10, 5}, 1024},
		{"and seen where fast", image(fast), Load{10, 5}, 1120},
		{"and to even upwards", image(fast), Load{0, 15}, 1010},
		{"text, quiet", text(), quiet, 512},
		{"text, 300 queued", text(), Load{0, 300}, 256},
		{"text, threads raise nothing above", text(), Load{100, 0}, 512},
		{"text, in between", text(), Load{10, 200}, 382},
		{"text, fast workers only", text(fast), Load{0, 300}, 242},
		{"text, fast workers only, many", text(fast), Load{100, 0}, 1012},
	} {
		if got := (Rules{}).Upfront(c.o, 1, c.load, reference).Free; got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestWhatNeedsKudosUpfront(t *testing.T) {
	t.Parallel()
	lora := func(name string, version bool) func(*horde.Order) {
		return func(o *horde.Order) { o.Image.Loras = []horde.Lora{{Name: name, IsVersion: version}} }
	}
	list := Rules{UpfrontOnWorkerList: true}
	for _, c := range []struct {
		name              string
		rules             Rules
		o                 *horde.Order
		load              Load
		needed, forbidden bool
	}{
		{"the default", Rules{}, image(), quiet, false, false},
		{"fast workers only", Rules{}, image(fast), quiet, true, false},
		{"40 steps", Rules{}, image(steps(40)), quiet, false, false},
		{"41 steps", Rules{}, image(steps(41)), quiet, true, false},
		{"41 steps of any model", Rules{}, image(steps(41), models()), quiet, false, false},
		{"41 steps of a model that wants 100", Rules{}, image(steps(41), models("deep")), quiet, false, false},
		{"41 steps of that and another", Rules{}, image(steps(41), models("deep", "Deliberate")), quiet, true, false},
		{"9 steps of a model of 8", Rules{}, image(steps(9), models("flux")), quiet, true, false},
		{"20 steps of a second order", Rules{}, image(steps(20), sampler("k_heun")), quiet, false, false},
		{"25 steps of a second order", Rules{}, image(steps(25), sampler("k_heun")), quiet, true, false},
		{"adaptive steps are 40", Rules{}, image(steps(500), sampler("k_dpm_adaptive")), quiet, false, false},
		{"10 steps of lcm", Rules{}, image(steps(10), sampler("lcm")), quiet, false, false},
		{"11 steps of lcm", Rules{}, image(steps(11), sampler("lcm")), quiet, true, false},
		{"11 steps with an LCM LoRA by version", Rules{}, image(steps(11), lora("246747", true)), quiet, true, false},
		{"11 steps with that number as an id", Rules{}, image(steps(11), lora("246747", false)), quiet, false, false},
		{"11 steps with an LCM LoRA by id", Rules{}, image(steps(11), lora("195519", false)), quiet, true, false},
		{"20 steps under control", Rules{}, image(control, steps(20)), quiet, false, false},
		{"21 steps under control", Rules{}, image(control, steps(21)), quiet, true, false},
		{"768x768 where 774 is free", Rules{}, image(size(768, 768)), horde20, false, false},
		{"1024x1024 where 774 is free", Rules{}, image(size(1024, 1024)), horde20, true, false},
		{"1024x1024 of SDXL where 774 is free", Rules{}, image(xl...), horde20, false, false},
		{"1088x1024 when all is quiet", Rules{}, image(size(1088, 1024)), quiet, true, false},
		{"a list of workers", Rules{}, image(oneWorker), quiet, false, false},
		{"a list of workers with the switch", list, image(oneWorker), quiet, true, true},
		{"no list with the switch", list, image(), quiet, false, false},
		{"too large comes before the list", list, image(oneWorker, size(2048, 2048)), quiet, true, false},
		{"fast comes before the list", list, image(oneWorker, fast), quiet, true, false},

		{"text", Rules{}, text(), quiet, false, false},
		{"text for fast workers only", Rules{}, text(fast), quiet, true, false},
		{"512 tokens", Rules{}, text(tokensOut(512)), quiet, false, false},
		{"513 tokens", Rules{}, text(tokensOut(513)), quiet, true, false},
		{"257 tokens in a long queue", Rules{}, text(tokensOut(257)), Load{0, 300}, true, false},
		{"text with a list of workers and the switch", list, text(oneWorker), quiet, true, true},
		{"text too long comes before the list", list, text(oneWorker, tokensOut(600)), quiet, true, false},
	} {
		got := c.rules.Upfront(c.o, 1, c.load, reference)
		if got.Needed != c.needed || got.NoDowngrade != c.forbidden {
			t.Errorf("%s: %+v, want needed %v and no downgrade %v", c.name, got, c.needed, c.forbidden)
		}
	}
}

func TestRequired(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		o    *horde.Order
		n    int
		want float64
	}{
		{"50 steps of Stable Diffusion", image(steps(50)), 1, 12.59},
		{"two of SDXL", image(xl...), 2, 87.80},
		{"two texts of any model", text(), 2, 40},
		{"600 tokens of any model", text(tokensOut(600)), 1, 20},
		{"600 tokens of 70B", text(tokensOut(600), models("70B")), 1, 2000},
		{"the largest of the models counts", text(tokensOut(600), models("7B", "70B", "?")), 3, 6000},
		{"an unknown model counts as 1B", text(models("?")), 1, 3.81},
	} {
		if got := (Rules{}).Upfront(c.o, c.n, quiet, reference).Required; math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestDowngradeOfTheSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ w, h, free, wantW, wantH int }{
		{1536, 768, 576, 768, 384},
		{1216, 832, 774, 896, 640},
		{2048, 2048, 576, 576, 576},
		{1536, 1024, 1024, 1216, 832},
		{2048, 2048, 1024, 1024, 1024},
		{1024, 1024, 576, 576, 576},
		{832, 1216, 768, 576, 896},
		{1536, 512, 576, 960, 320},
		{512, 512, 576, 512, 512},
		{3072, 64, 576, 3072, 64},   // long, but small enough
		{1472, 256, 576, 1280, 256}, // rounding both sides down would leave less than 512x512
		{64, 3072, 100, 512, 512},   // there is no such picture
		{2048, 2048, -50, 512, 512}, // more queued than the formula was made for
		{2048, 2048, 534, 512, 512}, // 534 is what is free to who wants fast workers
		{2048, 1024, 2024, 2048, 1024},
	} {
		o := image(size(c.w, c.h))
		got := Upfront{Free: c.free}.Downgrade(o, reference).Image
		if got.Width != c.wantW || got.Height != c.wantH {
			t.Errorf("%dx%d at %d: %dx%d, want %dx%d", c.w, c.h, c.free, got.Width, got.Height, c.wantW, c.wantH)
		}
		if o.Image.Width != c.w || o.Image.Height != c.h {
			t.Errorf("the order itself was changed")
		}
	}
}

func TestDowngradeOfTheSteps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		o    *horde.Order
		want int
	}{
		{"50 steps", image(steps(50)), 30},
		{"30 steps stay", image(steps(30)), 30},
		{"5 steps stay", image(steps(5)), 5},
		{"any model", image(steps(50), models()), 30},
		{"a second order", image(steps(50), sampler("k_heun")), 15},
		{"a model of 8 steps", image(steps(50), models("Deliberate", "flux")), 8},
		{"a model of 100 steps", image(steps(120), models("deep")), 100},
		{"a model of 100 steps beside another", image(steps(120), models("deep", "Deliberate")), 30},
		{"under control", image(control, steps(40)), 20},
		{"under control, second order", image(control, steps(40), sampler("k_dpm_2")), 10},
		{"lcm", image(steps(40), sampler("lcm")), 10},
		{"adaptive", image(steps(60), sampler("k_dpm_adaptive")), 60},
		{"never below 4", image(steps(50), sampler("k_heun"), models("flux")), 4},
	} {
		if got := (Upfront{Free: 1024}).Downgrade(c.o, reference).Image.Steps; got != c.want {
			t.Errorf("%s: %d steps, want %d", c.name, got, c.want)
		}
	}
}

func TestDowngradeOfAText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ length, free, want int }{
		{600, 512, 512}, {80, 512, 80}, {600, 242, 242}, {600, -9, 16}, {4096, 1012, 1012},
	} {
		o := text(fast, tokensOut(c.length))
		got := Upfront{Free: c.free}.Downgrade(o, reference)
		if *got.Text.MaxLength != c.want || !got.SlowWorkers || *o.Text.MaxLength != c.length || o.SlowWorkers {
			t.Errorf("%d tokens at %d: %d, slow %v; want %d", c.length, c.free, *got.Text.MaxLength, got.SlowWorkers, c.want)
		}
	}
}

func TestADowngradedOrderIsFree(t *testing.T) {
	t.Parallel()
	names := []string{"stable_diffusion", "SDXL 1.0", "Stable Cascade 1.0", "flux", "qwen", "SD2", "deep", "?"}
	rapid.Check(t, func(t *rapid.T) {
		load := Load{rapid.IntRange(0, 200).Draw(t, "threads"), rapid.IntRange(0, 5000).Draw(t, "queued")}
		if rapid.Bool().Draw(t, "text") {
			o := text(tokensOut(rapid.IntRange(16, 4096).Draw(t, "length")))
			u := Rules{}.Upfront(o, 1, load, reference)
			if u.Needed {
				o = u.Downgrade(o, reference)
			}
			if u = (Rules{}).Upfront(o, 1, load, reference); u.Needed {
				t.Fatalf("still needs %+v", u)
			}
			return
		}
		side := rapid.IntRange(1, 48)
		o := image(size(64*side.Draw(t, "w"), 64*side.Draw(t, "h")), steps(rapid.IntRange(1, 500).Draw(t, "steps")),
			sampler(rapid.SampledFrom([]string{"k_euler_a", "k_dpmpp_2m", "DDIM"}).Draw(t, "sampler")))
		o.Models = rapid.SliceOfDistinct(rapid.SampledFrom(names), rapid.ID).Draw(t, "models")
		if rapid.Bool().Draw(t, "control") {
			control(o)
			o.Models = []string{"stable_diffusion"} // control maps and models of few steps do not go together
		}
		before := *o.Image
		u := Rules{}.Upfront(o, 1, load, reference)
		small := u.Downgrade(o, reference)
		if !reflect.DeepEqual(before, *o.Image) {
			t.Fatal("the order itself was changed")
		}
		p := small.Image
		if u := (Rules{}).Upfront(small, 1, load, reference); u.Needed {
			t.Fatalf("%dx%d, %d steps still needs %+v", p.Width, p.Height, p.Steps, u)
		}
		if p.Width%64 != 0 || p.Height%64 != 0 || p.Width < 64 || p.Height < 64 || p.Steps < 1 ||
			p.Pixels() > before.Pixels() || p.Steps > before.Steps {
			t.Fatalf("%dx%d, %d steps became %dx%d, %d steps", before.Width, before.Height, before.Steps, p.Width, p.Height, p.Steps)
		}
		// The aspect is kept within one step of 64: one side is off by less than that.
		if wide := float64(before.Width) / float64(before.Height); math.Abs(float64(p.Width)-wide*float64(p.Height)) > 64 &&
			math.Abs(float64(p.Height)-float64(p.Width)/wide) > 64 {
			t.Fatalf("%dx%d became %dx%d", before.Width, before.Height, p.Width, p.Height)
		}
	})
}

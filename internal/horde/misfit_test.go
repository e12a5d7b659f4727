// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// candidate is a worker as the naive matcher sees it: nothing is derived from it beforehand.
type candidate struct {
	w            Worker
	bridge       bridge
	ownerTrusted bool
	declared     []string
	validated    bool
}

func (c *candidate) offer() *Offer { return NewOffer(&c.w, c.ownerTrusted, c.declared, testReference) }

// naiveImage is the predicate of the dispatch chapter, 6, row by row, without the rows that look at one order's size,
// prompt, steps, targets and balance, and with models tested as the chapter wants it: those that the order could use on the
// worker.
func (c *candidate) naiveImage(o *Order) bool {
	w, p, gate := &c.w, o.Image, c.bridge.gate
	var usable []string
	for _, m := range c.declared {
		if len(o.Models) == 0 || slices.Contains(o.Models, m) {
			usable = append(usable, m)
		}
	}
	has := func(list []string, is func(ImageModel) bool) bool {
		return slices.ContainsFunc(list, func(m string) bool { return is(testReference.Image[m]) })
	}
	of := func(baseline string) bool {
		return slices.ContainsFunc(usable, func(m string) bool { return testReference.Baseline(m) == baseline })
	}
	painting := o.SourceProcessing == "inpainting" || o.SourceProcessing == "outpainting"
	special := slices.ContainsFunc(c.declared, func(m string) bool { return strings.Contains(m, "horde_special") })
	row := map[int]bool{
		3:  len(usable) > 0 && (len(o.Models) > 0 || !special),
		4:  o.SourceImage == "" || w.AllowImg2Img,
		5:  !painting || w.AllowPainting,
		6:  len(o.ExtraSources) == 0 || gate("extra_source_images"),
		7:  !o.UnsafeIP || w.AllowUnsafeIP,
		8:  !o.NSFW || w.NSFW,
		9:  !o.R2 || gate("r2"),
		10: p.Loras == nil || w.AllowLora && gate("lora"),
		11: p.TIs == nil || gate("textual_inversion"),
		12: p.ControlType == "" || w.AllowControlNet && gate("controlnet"),
		13: o.SlowWorkers || w.Speed >= 500000,
		14: !w.ExtraSlow || o.ExtraSlowWorkers,
		15: !p.Transparent || gate("layer_diffuse") && w.AllowSDXLControlNet,
		18: !o.TrustedWorkers || c.ownerTrusted,
		21: o.SourceImage == "" || gate("img2img"),
		22: !painting || gate("inpainting") && has(c.declared, func(m ImageModel) bool { return m.Inpainting }),
		23: painting || has(c.declared, func(m ImageModel) bool { return !m.Inpainting }),
		24: c.bridge.sampler(p.Sampler, p.Karras),
		25: len(p.PostProcessing) == 0 || gate("post-processing") &&
			!slices.ContainsFunc(p.PostProcessing, func(name string) bool { return !gate(name) }),
		26: !p.Tiling || gate("tiling"),
		27: !p.ReturnControlMap || gate("return_control_map"),
		28: p.ControlType == "" || gate("controlnet") && gate("image_is_control") && w.AllowControlNet,
		29: p.Workflow != "qr_code" || gate("controlnet") && gate("qr_code"),
		30: p.Workflow != "qr_code" || !of(BaselineSDXL) || w.AllowSDXLControlNet,
		31: !p.HiresFix || gate("hires_fix"),
		32: !p.HiresFix || !of(BaselineCascade) || gate("stable_cascade_2pass"),
		33: !of(BaselineFlux) || gate("flux"),
		34: p.ClipSkip == nil || *p.ClipSkip <= 1 || gate("clip_skip"),
		35: !slices.ContainsFunc(p.Loras, func(l Lora) bool { return l.IsVersion }) || gate("lora_versions"),
		37: c.ownerTrusted || !o.UnsafeIP || o.RequesterTrusted,
		38: w.AllowPostProcessing || len(p.PostProcessing) == 0,
	}
	for _, holds := range row {
		if !holds {
			return false
		}
	}
	return true
}

// naiveText is the predicate of the dispatch chapter, 7, in the same way.
func (c *candidate) naiveText(o *Order) bool {
	w, speed := &c.w, 5.0
	switch billions := testReference.Billions(c.declared[0]); {
	case billions >= 20:
		speed = 3
	case billions >= 13:
		speed = 4
	}
	return (!o.UnsafeIP || w.AllowUnsafeIP) &&
		(len(o.Models) == 0 || slices.ContainsFunc(o.Models, func(m string) bool { return slices.Contains(c.declared, m) })) &&
		(o.SlowWorkers || w.Speed >= speed) &&
		(c.validated || !o.ValidatedBackends) &&
		(!o.TrustedWorkers || c.ownerTrusted)
}

var (
	rarely   = rapid.Map(rapid.IntRange(0, 9), func(n int) bool { return n == 0 })
	mostly   = rapid.Map(rarely, func(b bool) bool { return !b })
	maybe    = rapid.Bool()
	anyModel = rapid.SampledFrom([]string{"Deliberate", "stable_diffusion_inpainting", "SDXL 1.0", "Stable Cascade 1.0", "Flux",
		"nobody knows", "a [Flux] mix", "horde_special::a#1"})
	anyTextModel = rapid.SampledFrom([]string{"70B", "20B", "13B", "X-8B", "X-7B-Instruct-Q4_K_M", "?"})
)

// anyBridge is mostly one beside a step of the table.
var anyBridge = rapid.Custom(func(t *rapid.T) bridge {
	if rarely.Draw(t, "unlisted") {
		return bridge{"foo", 1, false}
	}
	if maybe.Draw(t, "latest") {
		return bridge{"AI Horde Worker reGen", 13, false}
	}
	row := rapid.SampledFrom(chapterGates).Draw(t, "row")
	return bridge{row.bridge, row.version - rapid.Uint64Range(0, 1).Draw(t, "below"), rarely.Draw(t, "rc")}
})

// anyImageCandidate allows everything but a few things.
var anyImageCandidate = rapid.Custom(func(t *rapid.T) *candidate {
	c := r13(func(c *candidate) {
		c.bridge, c.ownerTrusted = anyBridge.Draw(t, "bridge"), maybe.Draw(t, "owner trusted")
		c.declared = rapid.SliceOfNDistinct(anyModel, 1, 4, rapid.ID).Draw(t, "declared")
	})
	w := &c.w
	for _, change := range rapid.SliceOfN(rapid.SampledFrom([]func(){
		func() { w.NSFW = false }, func() { w.ExtraSlow = true }, func() { w.AllowUnsafeIP = false },
		func() { w.AllowImg2Img = false }, func() { w.AllowPainting = false }, func() { w.AllowPostProcessing = false },
		func() { w.AllowControlNet = false }, func() { w.AllowSDXLControlNet = false }, func() { w.AllowLora = false },
		func() { w.Speed = 499_999 }, func() { w.Speed = 500_000 },
	}), 0, 2).Draw(t, "changes") {
		change()
	}
	w.Agent = c.bridge.String()
	return c
})

// anyImageOrder asks for a few things out of the ordinary.
var anyImageOrder = rapid.Custom(func(t *rapid.T) *Order {
	p := &ImageParams{Sampler: "k_euler_a", Karras: true}
	o := &Order{Kind: Image, Image: p, SlowWorkers: true, R2: maybe.Draw(t, "r2"),
		Models: rapid.SliceOfN(anyModel, 0, 3).Draw(t, "models")}
	for _, ask := range rapid.SliceOfN(rapid.SampledFrom([]func(){
		func() { p.Sampler = rapid.SampledFrom(strings.Fields(allSamplers)).Draw(t, "sampler") },
		func() { p.Karras = false }, func() { p.Transparent = true }, func() { p.Tiling = true },
		func() { p.ReturnControlMap = true }, func() { p.HiresFix = true }, func() { p.ControlType = "canny" },
		func() { p.Workflow = "qr_code" }, func() { p.ClipSkip = ptr(rapid.IntRange(1, 3).Draw(t, "clip skip")) },
		func() {
			p.Loras = rapid.SliceOfN(rapid.Map(maybe, func(v bool) Lora { return Lora{IsVersion: v} }), 0, 2).Draw(t, "loras")
		},
		func() { p.TIs = []TI{} },
		func() {
			p.PostProcessing = rapid.SliceOfN(rapid.SampledFrom([]string{"GFPGAN", "CodeFormers", "strip_background",
				"4x_AnimeSharp", "RestoreFormer"}), 0, 2).Draw(t, "post-processing")
		},
		func() {
			o.SourceImage = "a"
			o.SourceProcessing = rapid.SampledFrom([]string{"img2img", "inpainting", "outpainting", "remix"}).Draw(t, "processing")
		},
		func() { o.ExtraSources = []ExtraSource{{}} }, func() { o.NSFW = true }, func() { o.TrustedWorkers = true },
		func() { o.SlowWorkers = false }, func() { o.ExtraSlowWorkers = true }, func() { o.UnsafeIP = true },
		func() { o.UnsafeIP, o.RequesterTrusted = true, true }, func() { o.RequesterTrusted = true },
	}), 0, 3).Draw(t, "asks") {
		ask()
	}
	return o
})

// thoroughly checks a property more often than rapid does by default: each row of the predicate decides rarely.
func thoroughly(t *testing.T, property func(*rapid.T)) {
	for range 30 {
		rapid.Check(t, property)
		if t.Failed() {
			return
		}
	}
}

// The two share generators, which must not be used at the same time.
func TestMisfitIsThePredicateOfTheChapter(t *testing.T) {
	t.Parallel()
	t.Run("image", misfitOfImages)
	t.Run("text", misfitOfTexts)
}

func misfitOfImages(t *testing.T) {
	thoroughly(t, func(t *rapid.T) {
		c, o := anyImageCandidate.Draw(t, "worker"), anyImageOrder.Draw(t, "order")
		needs := o.Needs()
		wanted := needs.ModelList()
		got := c.offer().Misfit(&needs, wanted)
		if (got == 0) != c.naiveImage(o) {
			t.Fatalf("misfit %b, the chapter says %v\nworker %+v\norder %+v %+v", got, c.naiveImage(o), c, o, o.Image)
		}
		if usable := c.offer().Usable(wanted); got == 0 && len(usable) == 0 {
			t.Fatalf("a fit without a model: %+v, %+v", c, o)
		}
	})
}

func misfitOfTexts(t *testing.T) {
	agents := map[string]bool{"AI Horde Worker:1:x": true, "TabbyAPI:0:x": true, "KoboldCppEmbedWorker:1:x": true,
		"AI Horde Worker reGen:13:x": false, "koboldcpp:1:x": false}
	names := []string{"AI Horde Worker:1:x", "TabbyAPI:0:x", "KoboldCppEmbedWorker:1:x", "AI Horde Worker reGen:13:x", "koboldcpp:1:x"}
	thoroughly(t, func(t *rapid.T) {
		agent := rapid.SampledFrom(names).Draw(t, "agent")
		c := &candidate{ownerTrusted: maybe.Draw(t, "owner trusted"), validated: agents[agent],
			declared: rapid.SliceOfNDistinct(anyTextModel, 1, 3, rapid.ID).Draw(t, "declared")}
		c.w = Worker{Kind: Text, Agent: agent, AllowUnsafeIP: mostly.Draw(t, "unsafe"),
			Speed: rapid.SampledFrom([]float64{1, 2.9, 3, 3.9, 4, 4.9, 5}).Draw(t, "speed")}
		o := &Order{Kind: Text, Text: &TextParams{}, Models: rapid.SliceOfN(anyTextModel, 0, 2).Draw(t, "models"),
			SlowWorkers: maybe.Draw(t, "slow"), ValidatedBackends: rarely.Draw(t, "validated"),
			TrustedWorkers: rarely.Draw(t, "trusted"), UnsafeIP: rarely.Draw(t, "unsafe"), RequesterTrusted: maybe.Draw(t, "requester")}
		needs := o.Needs()
		if got := c.offer().Misfit(&needs, needs.ModelList()); (got == 0) != c.naiveText(o) {
			t.Fatalf("misfit %b, the chapter says %v\nworker %+v\norder %+v", got, c.naiveText(o), c, o)
		}
	})
}

func TestOrdersOfEqualNeedsFitTheSameWorkers(t *testing.T) {
	t.Parallel()
	a := imageOrder(ofModels("SDXL 1.0", "Deliberate", "SDXL 1.0"))
	b := imageOrder(ofModels("Deliberate", "SDXL 1.0"), sized(1024, 512, 70), func(o *Order) {
		o.Prompt, o.RequesterTrusted, o.CensorNSFW = "a dog", true, false
	})
	if a.Needs() != b.Needs() {
		t.Errorf("%+v is not %+v", a.Needs(), b.Needs())
	}
	if c := imageOrder(ofModels("Deliberate")); a.Needs() == c.Needs() {
		t.Error("other models are other needs")
	}
}

// r13 is a worker that can do everything.
func r13(change ...func(*candidate)) *candidate {
	c := &candidate{bridge: bridge{"AI Horde Worker reGen", 13, false}, declared: []string{"stable_diffusion"}}
	c.w = Worker{Kind: Image, Speed: 1e6, NSFW: true, AllowUnsafeIP: true, AllowImg2Img: true, AllowPainting: true,
		AllowPostProcessing: true, AllowControlNet: true, AllowSDXLControlNet: true, AllowLora: true}
	c.w.Agent = c.bridge.String()
	for _, f := range change {
		f(c)
	}
	return c
}

func TestEachRowOfThePredicateAloneDecides(t *testing.T) {
	t.Parallel()
	agent := func(a string) func(*candidate) { return func(c *candidate) { c.w.Agent = a + ":x" } }
	reGen := func(v string) func(*candidate) { return agent("AI Horde Worker reGen:" + v) }
	painting := func(o *Order) { o.SourceImage, o.SourceProcessing = "a", "outpainting" }
	for _, c := range []struct {
		name   string
		order  func(*Order)
		change func(*candidate)
	}{
		{"3 models", ofModels("SDXL 1.0"), func(c *candidate) { c.declared = []string{"Deliberate"} }},
		{"3 private models", ofModels(), func(c *candidate) { c.declared = append(c.declared, "horde_special::a#1") }},
		{"4 img2img", func(o *Order) { o.SourceImage = "a" }, func(c *candidate) { c.w.AllowImg2Img = false }},
		{"5 painting", painting, func(c *candidate) { c.w.AllowPainting = false }},
		{"6 extra source images", func(o *Order) { o.ExtraSources = []ExtraSource{{}} }, reGen("4.9.9")},
		{"7 unsafe address", func(o *Order) { o.UnsafeIP = true }, func(c *candidate) { c.w.AllowUnsafeIP = false }},
		{"8 nsfw", func(o *Order) { o.NSFW = true }, func(c *candidate) { c.w.NSFW = false }},
		{"9 r2", func(o *Order) { o.R2 = true }, agent("HordeAutoWebBridge:1")},
		{"10 loras", func(o *Order) { o.Image.Loras = []Lora{} }, func(c *candidate) { c.w.AllowLora = false }},
		{"10 gate lora", func(o *Order) { o.Image.Loras = []Lora{} }, agent("AI Horde Worker:21")},
		{"11 gate textual_inversion", func(o *Order) { o.Image.TIs = []TI{} }, agent("AI Horde Worker:23")},
		{"12 controlnet", controlled, func(c *candidate) { c.w.AllowControlNet = false }},
		{"13 performance", func(o *Order) { o.SlowWorkers = false }, func(c *candidate) { c.w.Speed = 499_999 }},
		{"14 extra slow", func(o *Order) {}, func(c *candidate) { c.w.ExtraSlow = true }},
		{"15 gate layer_diffuse", transparent, reGen("7.0")},
		{"15 sdxl controlnet", transparent, func(c *candidate) { c.w.AllowSDXLControlNet = false }},
		{"18 trusted workers", func(o *Order) { o.TrustedWorkers = true }, func(c *candidate) { c.ownerTrusted = false }},
		{"21 gate img2img", func(o *Order) { o.SourceImage = "a" }, agent("SD-WebUI Stable Horde Worker Bridge:4")},
		{"22 gate inpainting", painting, agent("HordeAutoWebBridge:2")},
		{"22 a model that paints", painting, func(c *candidate) { c.declared = []string{"Deliberate"} }},
		{"23 models that only paint", ofModels(), func(c *candidate) { c.declared = []string{"stable_diffusion_inpainting"} }},
		{"24 sampler", sampledBy("lcm"), reGen("2")},
		{"24 sampler with karras", sampledBy("DDIM"), agent("AI Horde Worker:24")},
		{"25 gate post-processing", post("CodeFormers"), agent("SD-WebUI Stable Horde Worker Bridge:4")},
		{"25 gate of a post-processor", post("GFPGAN", "RestoreFormer"), reGen("12.9")},
		{"26 gate tiling", func(o *Order) { o.Image.Tiling = true }, agent("AI Horde Worker:24")},
		{"27 gate return_control_map", func(o *Order) { o.Image.ReturnControlMap = true }, agent("AI Horde Worker:17")},
		{"28 gate image_is_control", controlled, agent("AI Horde Worker:22")},
		{"28 gate controlnet", controlled, agent("AI Horde Worker:14")},
		{"29 gate qr_code", func(o *Order) { o.Image.Workflow = "qr_code" }, reGen("6")},
		{"30 qr_code of SDXL", func(o *Order) { o.Image.Workflow, o.Models = "qr_code", []string{"SDXL 1.0"} },
			func(c *candidate) { c.w.AllowSDXLControlNet = false }},
		{"31 gate hires_fix", func(o *Order) { o.Image.HiresFix = true }, agent("AI Horde Worker:12")},
		{"32 hires_fix of a cascade", func(o *Order) { o.Image.HiresFix, o.Models = true, []string{"Stable Cascade 1.0"} }, reGen("5.9")},
		{"33 gate flux", ofModels("Flux"), reGen("8")},
		{"34 gate clip_skip", func(o *Order) { o.Image.ClipSkip = ptr(2) }, agent("AI Horde Worker:12")},
		{"35 gate lora_versions", func(o *Order) { o.Image.Loras = []Lora{{IsVersion: true}} }, reGen("2")},
		{"37 unsafe address and nobody trusted", func(o *Order) { o.UnsafeIP = true }, func(c *candidate) { c.ownerTrusted = false }},
		{"38 post-processing", post("GFPGAN"), func(c *candidate) { c.w.AllowPostProcessing = false }},
	} {
		o := imageOrder(func(o *Order) { o.NSFW, o.R2, o.Models = false, false, []string{"stable_diffusion"} }, c.order)
		all := func(w *candidate) {
			w.ownerTrusted = true
			w.declared = []string{"stable_diffusion", "stable_diffusion_inpainting", "SDXL 1.0", "Stable Cascade 1.0", "Flux"}
		}
		needs := o.Needs()
		wanted := needs.ModelList()
		if got := r13(all).offer().Misfit(&needs, wanted); got != 0 {
			t.Errorf("%s: a worker that can do everything does not fit: %b", c.name, got)
		}
		if got := r13(all, c.change).offer().Misfit(&needs, wanted); got == 0 {
			t.Errorf("%s: fits", c.name)
		}
	}
	trusted := imageOrder(func(o *Order) { o.UnsafeIP, o.RequesterTrusted = true, true }).Needs()
	if got := r13().offer().Misfit(&trusted, trusted.ModelList()); got != 0 {
		t.Errorf("a trusted requester's unsafe address: %b", got)
	}
	old := imageOrder().Needs() // a worker that also has a flux model is only too old for orders of that
	if got := r13(func(c *candidate) { c.declared = append(c.declared, "Flux"); c.w.Agent = "AI Horde Worker reGen:8:x" }).offer().
		Misfit(&old, old.ModelList()); got != 0 {
		t.Errorf("an old worker with a flux model: %b", got)
	}
	withoutKarras := imageOrder(sampledBy("DDIM"), func(o *Order) { o.Image.Karras = false }).Needs()
	if got := r13(agent("AI Horde Worker:24")).offer().Misfit(&withoutKarras, withoutKarras.ModelList()); got != 0 {
		t.Errorf("DDIM without karras: %b", got)
	}
}

func TestSkipped(t *testing.T) {
	t.Parallel()
	agent := func(a string) func(*candidate) { return func(c *candidate) { c.w.Agent = a } }
	declares := func(m ...string) func(*candidate) { return func(c *candidate) { c.declared = m } }
	noLora := func(c *candidate) { c.w.AllowLora = false }
	at := func(speed float64) func(*candidate) { return func(c *candidate) { c.w.Speed = speed } }
	lora := func(o *Order) { o.Image.Loras = []Lora{{Name: "x"}} }
	emptyLoras := func(o *Order) { o.Image.Loras = []Lora{} }
	base64 := func(o *Order) { o.R2 = false }
	fast := func(o *Order) { o.SlowWorkers = false }
	trusted := func(o *Order) { o.TrustedWorkers = true }
	scribe := func(models []string, speed float64) *candidate {
		return &candidate{declared: models, w: Worker{Kind: Text, Speed: speed, AllowUnsafeIP: true, Agent: "TabbyAPI:1:x"}}
	}
	for _, c := range []struct {
		name string
		c    *candidate
		o    *Order
		fits bool
		want Skipped
	}{
		{"another model", r13(declares("Deliberate")), imageOrder(ofModels("SDXL 1.0")), false, Skipped{Models: 1}},
		{"one of the models is missing", r13(declares("Deliberate")), imageOrder(ofModels("SDXL 1.0", "Deliberate")), true, Skipped{Models: 1}},
		{"the model", r13(), imageOrder(), true, Skipped{}},
		{"an old bridge and a lora", r13(agent("AI Horde Worker reGen:1.9.9:x")), imageOrder(lora), false, Skipped{BridgeVersion: 2}},
		{"loras are not allowed", r13(noLora), imageOrder(lora), false, Skipped{Lora: 1}},
		{"not even an empty list", r13(noLora), imageOrder(emptyLoras), false, Skipped{Lora: 1}},
		{"a release candidate", r13(agent("AI Horde Worker reGen:13.0.0-rc1:x")), imageOrder(post("RestoreFormer")), false, Skipped{BridgeVersion: 1}},
		{"the release", r13(), imageOrder(post("RestoreFormer")), true, Skipped{}},
		{"two parts are no agent", r13(agent("AI Horde Worker reGen:13")), imageOrder(base64, post("RestoreFormer")), false, Skipped{BridgeVersion: 1}},
		{"an unknown bridge has no r2, and is not told", r13(agent("foo:1:x")), imageOrder(), false, Skipped{}},
		{"an unknown bridge without r2", r13(agent("foo:1:x")), imageOrder(base64), true, Skipped{}},
		{"too slow", r13(at(499_999)), imageOrder(fast), false, Skipped{Performance: 1}},
		{"just fast enough", r13(at(500_000)), imageOrder(fast), true, Skipped{Performance: 1}},
		{"fast enough", r13(at(500_001)), imageOrder(fast), true, Skipped{}},
		{"slow in two ways", r13(at(1), func(c *candidate) { c.w.ExtraSlow = true }), imageOrder(fast), false, Skipped{Performance: 2}},
		{"for trusted workers", r13(), imageOrder(trusted), false, Skipped{Untrusted: 1}},
		{"for a trusted worker", r13(func(c *candidate) { c.ownerTrusted = true }), imageOrder(trusted), true, Skipped{}},
		{"nsfw", r13(func(c *candidate) { c.w.NSFW = false }), imageOrder(), false, Skipped{NSFW: 1}},
		{"an unsafe address", r13(func(c *candidate) { c.w.AllowUnsafeIP, c.ownerTrusted = false, true }),
			imageOrder(func(o *Order) { o.UnsafeIP = true }), false, Skipped{UnsafeIP: 1}},
		{"no img2img", r13(func(c *candidate) { c.w.AllowImg2Img = false }),
			imageOrder(func(o *Order) { o.SourceImage, o.SourceProcessing = "a", "img2img" }), false, Skipped{Img2Img: 1}},
		{"no painting", r13(func(c *candidate) { c.w.AllowPainting = false }, declares("stable_diffusion", "stable_diffusion_inpainting")),
			imageOrder(func(o *Order) { o.SourceImage, o.SourceProcessing = "a", "inpainting" }), false, Skipped{Painting: 1}},
		{"no model to paint with", r13(), imageOrder(func(o *Order) { o.SourceImage, o.SourceProcessing = "a", "inpainting" }), false, Skipped{}},
		{"no controlnet", r13(func(c *candidate) { c.w.AllowControlNet = false }), imageOrder(controlled), false, Skipped{ControlNet: 1}},
		{"a sampler it lacks", r13(agent("AI Horde Worker reGen:2:x")), imageOrder(sampledBy("lcm")), false, Skipped{BridgeVersion: 2}},
		{"trust comes before the bridge", r13(agent("AI Horde Worker reGen:12:x")), imageOrder(trusted, post("RestoreFormer")), false, Skipped{Untrusted: 1}},
		{"an old bridge under control", r13(agent("AI Horde Worker:14:x")), imageOrder(controlled), false, Skipped{BridgeVersion: 1}},
		{"a withheld feature", r13(func(c *candidate) { c.w.Withheld = FeatureTiling }),
			imageOrder(func(o *Order) { o.Image.Tiling = true }), false, Skipped{BridgeVersion: 2}},

		{"text for trusted workers", scribe([]string{"70B"}, 9), textOrder(trusted), false, Skipped{Untrusted: 1}},
		{"text for fast ones", scribe([]string{"70B"}, 2.9), textOrder(fast), false, Skipped{}},
		{"text for one fast enough", scribe([]string{"70B"}, 3), textOrder(fast), true, Skipped{}},
		{"text, an unknown model", scribe([]string{"?"}, 4.9), textOrder(fast), false, Skipped{}},
		{"text, an unknown model fast enough", scribe([]string{"?"}, 5), textOrder(fast), true, Skipped{}},
		{"text of another model, for trusted workers", scribe([]string{"70B"}, 9), textOrder(trusted, ofModels("X-7B")), false, Skipped{}},
	} {
		offer, needs, got := c.c.offer(), c.o.Needs(), Skipped{}
		wanted := needs.ModelList()
		m := offer.Misfit(&needs, wanted)
		if got.Count(offer, &needs, wanted, m, 1); (m == 0) != c.fits || got != c.want {
			t.Errorf("%s: fits %v, %+v; want %v, %+v", c.name, m == 0, got, c.fits, c.want)
		}
		got = Skipped{}
		got.Count(offer, &needs, wanted, m, 1)
		got.Count(offer, &needs, wanted, m, 7)
		if eight := c.want; eight != (Skipped{}) && got.Models+got.Performance+got.Untrusted+got.BridgeVersion+got.Lora+got.NSFW+
			got.UnsafeIP+got.Img2Img+got.Painting+got.ControlNet != 8*(eight.Models+eight.Performance+eight.Untrusted+
			eight.BridgeVersion+eight.Lora+eight.NSFW+eight.UnsafeIP+eight.Img2Img+eight.Painting+eight.ControlNet) {
			t.Errorf("%s: eight such requests count %+v", c.name, got)
		}
	}
}

func TestStepLimit(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		declared []string
		wanted   []string
		want     float64
	}{
		{"without requirements", []string{"Deliberate"}, []string{"Deliberate"}, 30},
		{"of Flux", []string{"Flux", "Deliberate"}, []string{"Flux"}, 5.5},
		{"of any model the strictest counts", []string{"Flux", "Deliberate"}, nil, 5.5},
		{"models that the worker has not do not count", []string{"Deliberate"}, []string{"Deliberate", "Flux"}, 30},
	} {
		o := r13(func(w *candidate) { w.w.LimitMaxSteps, w.declared = true, c.declared }).offer()
		if got, limited := o.StepLimit(c.wanted); got != c.want || !limited {
			t.Errorf("%s: %v, %v; want %v", c.name, got, limited, c.want)
		}
	}
	if got, limited := r13().offer().StepLimit(nil); limited {
		t.Errorf("a worker without the wish limits to %v", got)
	}
}

func TestAPopThatDeclaresNothingOffersTheStoredModels(t *testing.T) {
	t.Parallel()
	c := r13(func(c *candidate) { c.declared, c.w.Models = nil, []string{"Deliberate"} })
	for model, want := range map[string]bool{"Deliberate": true, "SDXL 1.0": false} {
		needs := imageOrder(ofModels(model)).Needs()
		if got := c.offer().Misfit(&needs, needs.ModelList()); (got == 0) != want {
			t.Errorf("%s: misfit %b", model, got)
		}
	}
	c.w.Models = nil
	needs := imageOrder(ofModels()).Needs()
	if got := c.offer().Misfit(&needs, nil); got == 0 {
		t.Error("a worker without a model fits")
	}
}

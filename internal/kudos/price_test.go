// SPDX-License-Identifier: AGPL-3.0-or-later

package kudos

import (
	"bufio"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"horde/internal/horde"
)

func ptr[T any](v T) *T { return &v }

var reference = &horde.Reference{
	Image: map[string]horde.ImageModel{
		"stable_diffusion":   {Baseline: horde.BaselineSD1},
		"Deliberate":         {Baseline: horde.BaselineSD1},
		"SDXL 1.0":           {Baseline: horde.BaselineSDXL},
		"Stable Cascade 1.0": {Baseline: horde.BaselineCascade},
		"flux": {Baseline: horde.BaselineFlux,
			Requirements: horde.Requirements{MinSteps: ptr(3), MaxSteps: ptr(8)}},
		"qwen": {Baseline: horde.BaselineQwen},
		"SD2":  {Baseline: horde.BaselineSD2},
		"deep": {Baseline: horde.BaselineSD1, Requirements: horde.Requirements{MaxSteps: ptr(100)}},
	},
	Text: map[string]horde.TextModel{
		"1B":  {Parameters: 1_000_000_000},
		"7B":  {Parameters: 7_000_000_000},
		"13B": {Parameters: 13_000_000_000},
		"70B": {Parameters: 70_000_000_000},
	},
}

// image makes an image order with the effective defaults: 512x512, 30 steps of k_euler_a, slow workers welcome.
func image(change ...func(*horde.Order)) *horde.Order {
	o := &horde.Order{Kind: horde.Image, SlowWorkers: true, Models: []string{"stable_diffusion"}, Image: &horde.ImageParams{
		Width: 512, Height: 512, Steps: 30, Sampler: "k_euler_a", CFGScale: 5, Karras: true,
	}}
	for _, c := range change {
		c(o)
	}
	return o
}

func text(change ...func(*horde.Order)) *horde.Order {
	o := &horde.Order{Kind: horde.Text, SlowWorkers: true, Text: &horde.TextParams{TextSettings: horde.TextSettings{
		MaxLength: ptr(80), MaxContextLength: ptr(2048),
	}}}
	for _, c := range change {
		c(o)
	}
	return o
}

func size(w, h int) func(*horde.Order) {
	return func(o *horde.Order) { o.Image.Width, o.Image.Height = w, h }
}
func steps(n int) func(*horde.Order)        { return func(o *horde.Order) { o.Image.Steps = n } }
func sampler(s string) func(*horde.Order)   { return func(o *horde.Order) { o.Image.Sampler = s } }
func models(m ...string) func(*horde.Order) { return func(o *horde.Order) { o.Models = m } }
func source(o *horde.Order)                 { o.SourceImage = "a" }
func fast(o *horde.Order)                   { o.SlowWorkers = false }
func blacklist(o *horde.Order)              { o.WorkerBlacklist = true }
func oneWorker(o *horde.Order)              { o.Workers = []horde.WorkerID{{UUID: uuid.Nil}} }
func tokensOut(n int) func(*horde.Order)    { return func(o *horde.Order) { o.Text.MaxLength = &n } }
func prompt(characters int) func(*horde.Order) {
	return func(o *horde.Order) { o.Prompt = strings.Repeat("ä", characters) }
}
func post(names ...string) func(*horde.Order) {
	return func(o *horde.Order) { o.Image.PostProcessing = names }
}

// payload reads a row of testdata/payloads.txt: number, size, steps, sampler, extras, price.
func payload(t *testing.T, line string) (name string, o *horde.Order, price float64) {
	t.Helper()
	f := strings.Fields(line)
	if len(f) != 6 {
		t.Fatalf("row of %d fields: %q", len(f), line)
	}
	w, h, _ := strings.Cut(f[1], "x")
	number := func(s string) int {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	o = image(size(number(w), number(h)), steps(number(f[2])), sampler(f[3]))
	for extra := range strings.SplitSeq(f[4], "+") {
		switch key, value, _ := strings.Cut(extra, "="); {
		case extra == "-":
		case extra == "hires":
			o.Image.HiresFix = true
		case key == "d":
			d, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			o.Image.DenoisingStrength = &d
		case extra == "img2img" || extra == "inpainting" || extra == "outpainting":
			o.SourceImage, o.SourceProcessing = "a", extra
		case extra == "mask":
			o.SourceMask = "b"
		case horde.PostProcessors[extra]:
			o.Image.PostProcessing = append(o.Image.PostProcessing, extra)
		case controlCosts[extra] != controlCost{}:
			o.Image.ControlType = extra
		default:
			t.Fatalf("unknown extra %q", extra)
		}
	}
	price, err := strconv.ParseFloat(f[5], 64)
	if err != nil {
		t.Fatal(err)
	}
	return "payload " + f[0], o, price
}

func TestImageWorkMatchesTheFortyPayloads(t *testing.T) {
	t.Parallel()
	file, err := os.Open("testdata/payloads.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	rows := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		name, o, want := payload(t, lines.Text())
		if got := ImageWork(o); math.Abs(got-want) > 0.005 {
			t.Errorf("%s: %.2f, want %.2f", name, got, want)
		}
		rows++
	}
	if rows != 40 {
		t.Errorf("%d payloads, want 40", rows)
	}
}

func TestImageWorkGrowsWithEverythingAsked(t *testing.T) {
	t.Parallel()
	var samplers, posts, controls []string
	for s := range samplerCosts {
		samplers = append(samplers, s)
	}
	for p := range horde.PostProcessors {
		posts = append(posts, p)
	}
	for c := range controlCosts {
		controls = append(controls, c)
	}
	rapid.Check(t, func(t *rapid.T) {
		side := rapid.IntRange(1, 48)
		o := image(size(64*side.Draw(t, "w"), 64*side.Draw(t, "h")), steps(rapid.IntRange(1, 500).Draw(t, "steps")),
			sampler(rapid.SampledFrom(samplers).Draw(t, "sampler")))
		o.Image.PostProcessing = rapid.SliceOfDistinct(rapid.SampledFrom(posts), rapid.ID).Draw(t, "post")
		if rapid.Bool().Draw(t, "source") {
			o.SourceImage = "a"
			o.SourceProcessing = rapid.SampledFrom([]string{"img2img", "inpainting", "outpainting", "remix"}).Draw(t, "mode")
			o.Image.DenoisingStrength = ptr(rapid.Float64Range(0.01, 1).Draw(t, "d"))
			o.Image.ControlType = rapid.SampledFrom(append(controls, "")).Draw(t, "control")
		}
		price := ImageWork(o)
		if price < 1 || math.IsNaN(price) || math.IsInf(price, 0) {
			t.Fatalf("price %v", price)
		}
		more := func(what string, change func(*horde.ImageParams)) {
			p := *o.Image
			change(&p)
			big := *o
			big.Image = &p
			if got := ImageWork(&big); got < price {
				t.Fatalf("%s lowers the price from %v to %v", what, price, got)
			}
		}
		more("width", func(p *horde.ImageParams) { p.Width += 64 })
		more("height", func(p *horde.ImageParams) { p.Height += 64 })
		more("a step", func(p *horde.ImageParams) { p.Steps++ })
		more("hires_fix", func(p *horde.ImageParams) { p.HiresFix = true })
		more("a post-processor", func(p *horde.ImageParams) {
			p.PostProcessing = append(append([]string{}, p.PostProcessing...), rapid.SampledFrom(posts).Draw(t, "one more"))
		})
	})
}

func TestPostProcessorsOfNoKnownCostAreCoveredByARelative(t *testing.T) {
	t.Parallel()
	for name := range horde.PostProcessors {
		if _, ok := postCosts[name]; !ok {
			t.Errorf("%s has no cost", name)
		}
	}
	if a, b := ImageWork(image(post("NMKD_Siax"))), ImageWork(image(post("something new"))); a != b {
		t.Errorf("an unknown post-processor costs %v, want %v", b, a)
	}
}

var xl = []func(*horde.Order){size(1024, 1024), func(o *horde.Order) { o.Models = []string{"SDXL 1.0"} }}

func TestPrice(t *testing.T) {
	t.Parallel()
	loras := func(n int) func(*horde.Order) {
		return func(o *horde.Order) { o.Image.Loras = make([]horde.Lora, n) }
	}
	tis := func(n int) func(*horde.Order) {
		return func(o *horde.Order) { o.Image.TIs = make([]horde.TI, n) }
	}
	for _, c := range []struct {
		name  string
		rules Rules
		o     *horde.Order
		want  float64
	}{
		{"payload 1 with defaults", Rules{}, image(steps(50), sampler("k_euler")), 11},
		{"two loras and a TI", Rules{}, image(size(1024, 1024), loras(2), tis(1)), 27.70},
		{"many TIs cost what one does", Rules{}, image(size(1024, 1024), tis(7)), 21.70},
		{"empty lists cost nothing", Rules{}, image(size(1024, 1024), loras(0), tis(0)), 20.70},
		{"a text has none", Rules{}, text(), 0},
		{"targeted", Rules{MatchedTargeting: true}, image(oneWorker, loras(2)), 0.1},
		{"targeted without the switch", Rules{}, image(oneWorker), 7.37},
		{"workers to avoid are no target", Rules{MatchedTargeting: true}, image(oneWorker, blacklist), 7.37},
		{"nobody is targeted", Rules{MatchedTargeting: true}, image(), 7.37},
	} {
		if got := c.rules.Price(c.o); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestModelFactor(t *testing.T) {
	t.Parallel()
	hires := func(o *horde.Order) { o.Image.HiresFix = true }
	qr := func(o *horde.Order) { o.Image.Workflow = "qr_code" }
	for _, c := range []struct {
		model string
		o     *horde.Order
		want  float64
	}{
		{"SDXL 1.0", image(), 2}, {"SDXL 1.0", image(qr), 4}, {"SDXL 1.0", image(hires), 2},
		{"Stable Cascade 1.0", image(), 4}, {"Stable Cascade 1.0", image(hires), 7},
		{"flux", image(), 8}, {"new [ZImage] model", image(), 8}, {"new [ZModel] model", image(), 8},
		{"qwen", image(), 12}, {"my [Qwen] mix", image(), 12}, {"my [Flux] mix", image(), 8}, {"my [SDXL] mix", image(), 2},
		{"Deliberate", image(hires), 1}, {"SD2", image(), 1}, {"nobody knows", image(qr), 1},
	} {
		if got := ModelFactor(c.o, c.model, reference); got != c.want {
			t.Errorf("%s: %v, want %v", c.model, got, c.want)
		}
	}
}

func TestBurn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		o      *horde.Order
		reward float64
		want   float64
	}{
		{"everything that makes it dearer", image(source, post("RealESRGAN_x4plus", "GFPGAN"), fast, blacklist), 10, 19.338},
		{"unknown agent", image(), 50, 51},
		{"SDXL", image(), 41.4, 42.4},
		{"censored", image(), 0, 1},
		{"censored, fast workers only", image(fast), 0, 1.2},
		{"two upscalers of a style", image(post("4x_AnimeSharp", "NMKD_Siax")), 10, 10*1.05*1.05 + 1},
		{"text pays one more", text(), 5.62, 6.62},
		{"text does not mind fast workers and lists", text(fast, blacklist), 5.62, 6.62},
		{"text, censored", text(), 0, 1},
	} {
		if got := Burn(c.o, c.reward); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestTax(t *testing.T) {
	t.Parallel()
	extras := func(n int) func(*horde.Order) {
		return func(o *horde.Order) { o.ExtraSources = make([]horde.ExtraSource, n) }
	}
	for _, c := range []struct {
		name   string
		o      *horde.Order
		styled bool
		want   horde.Kudos
	}{
		{"image", image(), false, 3_00}, {"styled image", image(), true, 3_00}, {"remix of two", image(extras(2)), false, 13_00},
		{"text", text(), false, 1_00}, {"styled text", text(), true, 3_00},
	} {
		if got := Tax(c.o, c.styled); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// The SDXL request of the chapter: estimated and settled, by a current and by an old bridge.
func TestAnImageIsEstimatedAsItIsSettled(t *testing.T) {
	t.Parallel()
	o := image(xl...)
	price := horde.NewKudos(Rules{}.Price(o))
	if price.Whole() != 21 {
		t.Errorf("the answer shows %d, want 21", price.Whole())
	}
	reward := ImageReward(price, o, "SDXL 1.0", reference)
	if math.Abs(reward-41.4) > 1e-9 {
		t.Errorf("reward %v, want 41.4", reward)
	}
	if got := horde.NewKudos(Burn(o, reward)); got != 42_40 {
		t.Errorf("debit %v, want 42.40", got)
	}
	for agent, want := range map[string]horde.Kudos{
		"AI Horde Worker reGen:13.0.0:u":         41_40,
		"AI Horde Worker reGen:9.0.1-citests:u":  37_26,
		"AI Horde Worker reGen:13.0.0-rc1:u":     37_26,
		"some other program:99:u":                31_05,
		"AI Horde Worker reGen:not a version:u":  31_05,
		"AI Horde Worker:24:u":                   41_40,
		"AI Horde Worker:23:https://example.org": 37_26,
	} {
		if got := horde.NewKudos(reward * horde.ParseAgent(agent).Capabilities().Multiplier); got != want {
			t.Errorf("%s earns %v, want %v", agent, got, want)
		}
	}
}

func TestEstimate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		rules Rules
		o     *horde.Order
		n     int
		want  float64
		whole int64
	}{
		{"two of SDXL", Rules{}, image(xl...), 2, 87.80, 88},
		{"50 steps", Rules{}, image(steps(50)), 1, 12.59, 13},
		{"the dearest of the models counts", Rules{}, image(models("stable_diffusion", "qwen", "SDXL 1.0")), 1, 8.37*12 + 1, 101},
		{"any model counts as SDXL", Rules{}, image(models()), 1, 8.37*2 + 1, 18},
		{"hires_fix makes a cascade dearer", Rules{}, image(models("Stable Cascade 1.0"),
			func(o *horde.Order) { o.Image.HiresFix = true }), 1, 13.37*7 + 1, 95},
		{"a source image is in it", Rules{}, image(source, func(o *horde.Order) { o.Image.DenoisingStrength = ptr(0.6) }), 1,
			6.66*1.3 + 2, 11},
		{"targeted", Rules{MatchedTargeting: true}, image(oneWorker), 3, 1.1*3 + 1, 4},
		{"text of any model", Rules{}, text(), 1, 37.36, 37},
		{"three texts of any model", Rules{}, text(), 3, 110.08, 110},
		{"text of 7B", Rules{}, text(models("7B", "70B")), 1, 21.04, 21},
		{"text of 7B, targeted", Rules{MatchedTargeting: true}, text(models("7B"), oneWorker), 2, 3.2, 3},
		{"text of an unknown model", Rules{}, text(models("nobody knows")), 1, 7.34 + 2, 9},
	} {
		got := c.rules.Estimate(c.o, c.n, reference)
		if math.Abs(got-c.want) > 1e-9 || horde.NewKudos(got).Whole() != c.whole {
			t.Errorf("%s: %v, want %v (%d)", c.name, got, c.want, c.whole)
		}
	}
}

func TestContextFactor(t *testing.T) {
	t.Parallel()
	for length, want := range map[int]float64{
		80: 1.2550, 512: 1.6545, 1024: 2.2, 2048: 3.4, 4096: 6.04, 8192: 11.848, 16384: 24.626, 32768: 30, 1 << 20: 30,
	} {
		if got := contextFactor(length); math.Abs(got-want) > 5e-4 {
			t.Errorf("c(%d) = %v, want %v", length, got, want)
		}
	}
}

func TestTextReward(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name               string
		rules              Rules
		o                  *horde.Order
		model              string
		characters         int
		trusted, validated bool
		want               float64
		debit              horde.Kudos
	}{
		{"7B", Rules{}, text(prompt(4000)), "7B", 500, true, true, 5.62, 6_62},
		{"7B, not validated", Rules{}, text(prompt(4000)), "7B", 500, true, false, 1.69, 2_69},
		{"7B, a quantised name", Rules{}, text(prompt(4000)), "7B-Instruct-Q4_K_M", 500, true, true, 5.62, 6_62},
		{"70B", Rules{}, text(tokensOut(512), prompt(8000)), "70B", 1000, true, true, 324.37, 325_37},
		{"13B, short", Rules{}, text(prompt(19)), "13B", 18, true, true, 2.52, 3_52},
		{"an empty answer counts 20 tokens", Rules{}, text(prompt(19)), "13B", 0, true, true, 2.52, 3_52},
		{"unknown model, untrusted owner", Rules{}, text(prompt(4000)), "?", 500, false, true, 1.255023, 2_26},
		{"unknown model, trusted owner", Rules{}, text(prompt(4000)), "?", 500, true, false, 2.710850, 3_71},
		{"targeted", Rules{MatchedTargeting: true}, text(oneWorker), "70B", 500, true, true, 0.1, 1_10},
	} {
		got := c.rules.TextReward(c.o, c.model, strings.Repeat("é", c.characters), c.trusted, c.validated, reference)
		if math.Abs(got-c.want) > 5e-7 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if debit := horde.NewKudos(Burn(c.o, got)); debit != c.debit {
			t.Errorf("%s: debit %v, want %v", c.name, debit, c.debit)
		}
	}
	if got := horde.NewKudos(1.255023); got != 1_26 {
		t.Errorf("1.255023 is posted as %v, want 1.26", got)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ characters, limit, want int }{
		{0, 80, 20}, {80, 80, 20}, {81, 80, 21}, {320, 80, 80}, {321, 80, 80}, {4, 16, 16}, {100_000, 4096, 4096},
	} {
		if got := Tokens(strings.Repeat("水", c.characters), c.limit); got != c.want {
			t.Errorf("%d characters of at most %d: %d tokens, want %d", c.characters, c.limit, got, c.want)
		}
	}
}

func TestUptimeReward(t *testing.T) {
	t.Parallel()
	textWorker := func(context int, models ...string) *horde.Worker {
		return &horde.Worker{Kind: horde.Text, Models: models, MaxContextLength: context}
	}
	imageModels := make([]string, 20)
	for _, c := range []struct {
		name      string
		w         *horde.Worker
		validated bool
		want      float64
	}{
		{"image, 20 models and loras", &horde.Worker{Kind: horde.Image, Models: imageModels, AllowLora: true}, false, 120},
		{"image, one model", &horde.Worker{Kind: horde.Image, Models: imageModels[:1]}, true, 52},
		{"13B at 8192", textWorker(8192, "13B"), true, 269.29},
		{"13B at 8192, not validated", textWorker(8192, "13B", "1B"), false, 80.79},
		{"unknown at 8192", textWorker(8192, "?", "13B"), true, 72.50},
		{"unknown at 8192, not validated", textWorker(8192, "?"), false, 72.50},
		{"no model at 8192", textWorker(8192), true, 72.50},
		{"1B at 2048", textWorker(2048, "1B"), true, 13.75},
		{"7B at 2048", textWorker(2048, "7B"), true, 55},
		{"7B at 16384", textWorker(16384, "7B"), true, 265},
		{"more declared context than counts", textWorker(1_000_000, "7B"), true, 265},
	} {
		if got := UptimeReward(c.w, c.validated, reference); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

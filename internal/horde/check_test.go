// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// call is all that the rules for an image request look at.
type call struct {
	s     ImageSubmission
	u     User
	agent string
}

func newCall(change ...func(*call)) *call {
	c := &call{s: ImageSubmission{Prompt: ptr("a cat"), Params: &ImageSettings{}, Models: []string{"Deliberate"}},
		u: User{ID: 7, Name: "me"}, agent: "test:1:me"}
	for _, f := range change {
		f(c)
	}
	return c
}

func (c *call) model(names ...string) { c.s.Models = append(slices.Clone(c.s.Models), names...) }

// imageRows are the rows of the requests chapter, 8.2, in their order, each with what makes it fail. touches names what the
// change is about: two rows that touch the same thing cannot be broken at the same time.
var imageRows = []struct {
	row, rc string
	status  int
	touches string
	breaks  func(*call)
}{
	{"2", "HiResMismatch", 400, "", func(c *call) { c.s.Params.HiresFix = ptr(true); c.model("Flux") }},
	{"3", "TooManyLoras", 400, "loras", func(c *call) { c.s.Params.Loras = make([]LoraSettings, 6) }},
	{"3", "BadLoraVersion", 400, "loras", func(c *call) {
		c.s.Params.Loras = []LoraSettings{{Name: ptr("1"), IsVersion: ptr(true)}, {Name: ptr("12a"), IsVersion: ptr(true)}}
	}},
	{"4", "TooManyTIs", 400, "", func(c *call) { c.s.Params.TIs = make([]TISettings, 21) }},
	{"5", "InvalidTransparencyModel", 400, "", func(c *call) { c.s.Params.Transparent = ptr(true); c.model("Stable Cascade 1.0") }},
	{"6", "ControlNetMismatch.", 400, "workflow", func(c *call) { c.s.Params.Workflow = ptr("qr_code"); c.model("SD2") }},
	{"7", "InvalidPromptSize", 400, "prompt", func(c *call) { c.s.Prompt = ptr(strings.Repeat("word\n ", 7501)) }},
	{"8", "UnexpectedModelName", 400, "", func(c *call) { c.model("GFPGAN") }},
	{"9", "TooManyUpscalers", 400, "", func(c *call) { c.s.Params.PostProcessing = []string{"NMKD_Siax", "GFPGAN", "4x_AnimeSharp"} }},
	{"10", "BadCFGDecimals", 400, "", func(c *call) { c.s.Params.CFGScale = ptr(7.123) }},
	{"11a", "Forbidden", 403, "special", func(c *call) { c.model("horde_special::me#7") }},
	{"11b", "SpecialMissingUsername", 400, "special", func(c *call) { c.u.Roles = Special; c.model("horde_special") }},
	{"11c", "Forbidden", 403, "special", func(c *call) { c.u.Roles = Special; c.model("horde_special::you#8") }},
	{"11d", "SpecialMissingPayload", 400, "special", func(c *call) { c.u.Roles = Special; c.model("horde_special::me#7") }},
	{"13", "BadRequest", 400, "special", func(c *call) { c.s.Params.Special = json.RawMessage(`{"a":1}`) }},
	{"14", "SourceMaskUnnecessary", 400, "source", func(c *call) { c.s.SourceMask = ptr("m") }},
	{"15", "ControlNetUnsupported", 400, "source", func(c *call) {
		c.s.SourceImage, c.s.Params.ControlType = ptr("i"), ptr("normal")
		c.model("Stable Diffusion 2 Depth")
	}},
	{"15", "ControlNetUnsupported", 400, "source", func(c *call) {
		c.s.SourceImage, c.s.Params.ControlType = ptr("i"), ptr("hough")
		c.model("SD2")
	}},
	{"16", "ControlNetUnsupported", 400, "source", func(c *call) {
		c.s.SourceImage, c.s.Params.ControlType = ptr("i"), ptr("canny")
		c.model("pix2pix")
	}},
	{"17", "ControlNetSourceMissing", 400, "source", func(c *call) { c.s.Params.ControlType = ptr("canny") }},
	{"18", "ControlNetInpaintingMismatch", 400, "source", func(c *call) {
		c.s.SourceImage, c.s.Params.ControlType, c.s.SourceProcessing = ptr("i"), ptr("canny"), ptr("inpainting")
	}},
	{"19", "ControlNetMismatch", 400, "source", func(c *call) {
		c.s.SourceImage, c.s.Params.ControlType = ptr("i"), ptr("canny")
		c.model("SDXL 1.0")
	}},
	{"20a", "InvalidTransparencyImg2Img", 400, "source", func(c *call) {
		c.s.Params.Transparent, c.s.ExtraSourceImages = ptr(true), []ExtraSourceImage{{Image: ptr("x")}}
	}},
	{"20b", "InvalidTransparencyCN", 400, "source", func(c *call) {
		c.s.Params.Transparent, c.s.SourceImage, c.s.Params.ControlType = ptr(true), ptr("i"), ptr("canny")
	}},
	{"21", "InvalidRemix", 400, "source", func(c *call) { c.s.SourceImage, c.s.SourceProcessing = ptr("i"), ptr("remix") }},
	{"22", "InvalidExtraSourceImages.", 400, "source", func(c *call) { c.s.ExtraSourceImages = []ExtraSourceImage{{Image: ptr("x")}} }},
	{"23", "InvalidExtraTexts.", 400, "workflow", func(c *call) { c.s.Params.ExtraTexts = []ExtraText{{ptr("t"), ptr("qr_code")}} }},
	{"24", "MissingExtraTexts.", 400, "workflow", func(c *call) { c.s.Params.Workflow = ptr("qr_code") }},
	{"24", "MissingExtraTexts.", 400, "workflow", func(c *call) {
		c.s.Params.Workflow, c.s.Params.ExtraTexts = ptr("qr_code"), []ExtraText{{Text: ptr("t")}, {ptr("t"), ptr("other")}}
	}},
	{"25", "ControlNetInvalidPayload", 400, "", func(c *call) {
		c.s.Params.InitAsImage, c.s.Params.ReturnControlMap = json.RawMessage(`true`), ptr(true)
	}},
	{"26", "SourceImageRequiredForModel", 400, "source", func(c *call) { c.model("Stable Diffusion 2 Depth") }},
	{"26, pix2pix", "SourceImageRequiredForModel", 400, "source", func(c *call) { c.model("pix2pix") }},
	{"27", "UnexpectedModelName", 400, "source", func(c *call) { c.model("canny only") }},
	{"29", "BannedClientAgent", 403, "", func(c *call) { c.agent = "My-Project:v0.0.1:My-Contact" }},
	{"30", "NulByteInPayload", 400, "prompt", func(c *call) { c.s.Prompt = ptr("a\x00b") }},
}

// togetherEarlier are pairs of rows that, broken together, break one before both: a QR code or transparency wants other
// models than the second one brings.
var togetherEarlier = map[string]string{
	"6 20a": "InvalidTransparencyModel", "6 20b": "InvalidTransparencyModel", "15 24": "ControlNetMismatch.", "24 26": "ControlNetMismatch.",
}

func TestTheFirstRowThatFailsWins(t *testing.T) {
	t.Parallel()
	if err := newCall().check(); err != nil {
		t.Fatalf("a plain request: %v", err)
	}
	for i, first := range imageRows {
		err := newCall(first.breaks).check()
		if err == nil || err.RC != first.rc || err.Status != first.status || err.Message == "" {
			t.Errorf("row %s: %#v, want %s, %d", first.row, err, first.rc, first.status)
			continue
		}
		for _, second := range imageRows[i+1:] {
			if first.touches != "" && first.touches == second.touches {
				continue
			}
			want := first.rc
			if earlier, ok := togetherEarlier[first.row+" "+second.row]; ok {
				want = earlier
			}
			for _, both := range []*call{newCall(first.breaks, second.breaks), newCall(second.breaks, first.breaks)} {
				if got := rcOf(both.check()); got != want {
					t.Errorf("rows %s and %s: %q, want %q", first.row, second.row, got, want)
				}
			}
		}
	}
}

func (c *call) check() *Error {
	return c.s.Check(&c.u, testReference, Door{BannedAgent: c.agent == PlaceholderAgent})
}

func TestWhatImageRequestsMayAsk(t *testing.T) {
	t.Parallel()
	lora := func(name string, version bool) func(*call) {
		return func(c *call) { c.s.Params.Loras = []LoraSettings{{Name: &name, IsVersion: &version}} }
	}
	source := func(c *call) { c.s.SourceImage = ptr("i") }
	processing := func(p string) func(*call) { return func(c *call) { c.s.SourceProcessing = &p } }
	control := func(p string) func(*call) { return func(c *call) { source(c); c.s.Params.ControlType = &p } }
	models := func(m ...string) func(*call) { return func(c *call) { c.s.Models = m } }
	cfg := func(x float64) func(*call) { return func(c *call) { c.s.Params.CFGScale = &x } }
	qr := func(c *call) {
		c.s.Params.Workflow, c.s.Params.ExtraTexts = ptr("qr_code"), []ExtraText{{ptr("https://x"), ptr("qr_code")}}
	}
	hires := func(c *call) { c.s.Params.HiresFix = ptr(true) }
	clear := func(c *call) { c.s.Params.Transparent = ptr(true) }
	for _, c := range []struct {
		name string
		call *call
		rc   string // empty: accepted
	}{
		{"no params", newCall(func(c *call) { c.s.Params = nil }), ""},
		{"no models", newCall(models()), ""},
		{"the default model", newCall(func(c *call) { c.s.Models = nil }), ""},
		{"hires_fix on SDXL", newCall(hires, models("SDXL 1.0")), ""},
		{"hires_fix on Qwen", newCall(hires, models("Qwen-Image")), "HiResMismatch"},
		{"hires_fix on Z-Image", newCall(hires, models("Z-Image-Turbo")), "HiResMismatch"},
		{"hires_fix on a name that says Flux", newCall(hires, models("my [Flux] mix")), "HiResMismatch"},
		{"hires_fix switched off on Flux", newCall(models("Flux"), func(c *call) { c.s.Params.HiresFix = ptr(false) }), ""},
		{"5 loras", newCall(func(c *call) { c.s.Params.Loras = make([]LoraSettings, 5) }), ""},
		{"a version number", newCall(lora("12345", true)), ""},
		{"a name that is no version", newCall(lora("my lora", false)), ""},
		{"no digits at all", newCall(lora("", true)), "BadLoraVersion"},
		{"other digits", newCall(lora("١٢", true)), "BadLoraVersion"},
		{"20 TIs", newCall(func(c *call) { c.s.Params.TIs = make([]TISettings, 20) }), ""},
		{"transparent on SDXL", newCall(clear, models("SDXL 1.0", "Deliberate")), ""},
		{"transparent on SD 2", newCall(clear, models("SD2")), "InvalidTransparencyModel"},
		{"transparent and a source image", newCall(clear, source), ""},
		{"a QR code", newCall(qr, models("SDXL 1.0", "Deliberate")), ""},
		{"7500 words", newCall(func(c *call) { c.s.Prompt = ptr(strings.Repeat("word ", 7500)) }), ""},
		{"one long word", newCall(func(c *call) { c.s.Prompt = ptr(strings.Repeat("x", 100_000)) }), ""},
		{"one upscaler", newCall(func(c *call) { c.s.Params.PostProcessing = []string{"GFPGAN", "CodeFormers", "NMKD_Siax"} }), ""},
		{"cfg 4.35", newCall(cfg(4.35)), ""}, {"cfg 1.1", newCall(cfg(1.1)), ""}, {"cfg 7.07", newCall(cfg(7.07)), ""},
		{"cfg 0", newCall(cfg(0)), ""}, {"cfg 100", newCall(cfg(100)), ""}, {"cfg 7.123", newCall(cfg(7.123)), "BadCFGDecimals"},
		{"cfg 0.001", newCall(cfg(0.001)), "BadCFGDecimals"}, {"cfg 4.350001", newCall(cfg(4.350001)), "BadCFGDecimals"},
		{"the own special model", newCall(models("horde_special::me#7"), func(c *call) {
			c.u.Roles, c.s.Params.Special = Special, json.RawMessage(`{"a":1}`)
		}), ""},
		{"a mask", newCall(source, func(c *call) { c.s.SourceMask = ptr("m") }), ""},
		{"canny on SD 2", newCall(control("canny"), models("SD2")), ""},
		{"hough on SD 1", newCall(control("hough")), ""},
		{"control of outpainting", newCall(control("canny"), processing("outpainting")), ""},
		{"control on a cascade", newCall(control("canny"), models("Stable Cascade 1.0")), "ControlNetMismatch"},
		{"control on Flux", newCall(control("canny"), models("Flux")), "ControlNetMismatch"},
		{"control on Qwen", newCall(control("canny"), models("Qwen-Image")), "ControlNetMismatch"},
		{"control on Z-Image", newCall(control("canny"), models("Z-Image-Turbo")), "ControlNetMismatch"},
		{"control on an unknown model", newCall(control("canny"), models("nobody knows")), ""},
		{"inpainting without control", newCall(source, processing("inpainting")), ""},
		{"a remix", newCall(source, processing("remix"), models("Stable Cascade 1.0"), func(c *call) {
			c.s.ExtraSourceImages = make([]ExtraSourceImage, 2)
		}), ""},
		{"a remix of another model too", newCall(source, processing("remix"), models("Stable Cascade 1.0", "Deliberate")), "InvalidRemix"},
		{"init_as_image alone", newCall(func(c *call) { c.s.Params.InitAsImage = json.RawMessage(`1`) }), ""},
		{"a false init_as_image", newCall(func(c *call) {
			c.s.Params.InitAsImage, c.s.Params.ReturnControlMap = json.RawMessage(` "" `), ptr(true)
		}), ""},
		{"pix2pix with a picture", newCall(source, models("pix2pix")), ""},
		{"a control model with a picture", newCall(source, models("canny only")), ""},
		{"nearly the example's agent", newCall(func(c *call) { c.agent = "My-Project:v0.0.2:My-Contact" }), ""},
		{"NUL in a lora", newCall(lora("a\x00", false)), "NulByteInPayload"},
		{"NUL in a model", newCall(models("a\x00")), "NulByteInPayload"},
		{"NUL in a text", newCall(qr, func(c *call) { c.s.Params.ExtraTexts[0].Text = ptr("\x00") }), "NulByteInPayload"},
	} {
		err := c.call.check()
		if got := rcOf(err); got != c.rc {
			t.Errorf("%s: %q, want %q", c.name, got, c.rc)
		}
	}
}

func rcOf(err *Error) string {
	if err == nil {
		return ""
	}
	return err.RC
}

func TestTextRequests(t *testing.T) {
	t.Parallel()
	many := func(n, characters int) []string {
		list := make([]string, n)
		for i := range list {
			s := strconv.Itoa(i)
			list[i] = s + strings.Repeat("ß", max(0, characters-len(s)))
		}
		return list
	}
	// rows are those of the requests chapter, 8.3, in their order.
	rows := []struct {
		rc     string
		breaks func(*TextSubmission)
	}{
		{"TokenOverflow", func(s *TextSubmission) { s.Params.MaxContextLength = ptr(79) }},
		{"MissingFullSamplerOrder", func(s *TextSubmission) { s.Params.SamplerOrder = []int{0, 1, 2, 3, 4, 5, 5} }},
		{"TooManyStopSequences", func(s *TextSubmission) { s.Params.StopSequence = append(s.Params.StopSequence, many(129, 1)...) }},
		{"ExcessiveStopSequence", func(s *TextSubmission) { s.Params.StopSequence = append(s.Params.StopSequence, many(20, 101)...) }},
		{"InvalidExtraSourceImages.", func(s *TextSubmission) { s.ExtraSourceImages = make([]ExtraSourceImage, 1) }},
		{"NulByteInPayload", func(s *TextSubmission) { s.Prompt = ptr("a\x00") }},
	}
	for i, first := range rows {
		for _, second := range rows[i:] {
			s := &TextSubmission{Prompt: ptr("a"), Params: &TextSettings{}}
			first.breaks(s)
			second.breaks(s)
			if got := rcOf(s.Check()); got != first.rc {
				t.Errorf("%s and %s: %q", first.rc, second.rc, got)
			}
		}
	}
	for _, c := range []struct {
		name string
		p    *TextSettings
		rc   string
	}{
		{"nothing", nil, ""},
		{"as long as the context", &TextSettings{MaxLength: ptr(512), MaxContextLength: ptr(512)}, ""},
		{"longer than the default context", &TextSettings{MaxLength: ptr(2049)}, "TokenOverflow"},
		{"as long as the default context", &TextSettings{MaxLength: ptr(2048)}, ""},
		{"no samplers", &TextSettings{SamplerOrder: []int{}}, "MissingFullSamplerOrder"},
		{"all samplers, one twice", &TextSettings{SamplerOrder: []int{6, 0, 1, 2, 3, 4, 5, 0}}, ""},
		{"128 stops", &TextSettings{StopSequence: many(128, 1)}, ""},
		{"128 stops, some twice", &TextSettings{StopSequence: append(many(128, 1), "5", "7")}, ""},
		{"stops of 2000 characters", &TextSettings{StopSequence: many(20, 100)}, ""},
		{"one stop of 2001 characters", &TextSettings{StopSequence: []string{strings.Repeat("ß", 2001)}}, "ExcessiveStopSequence"},
		{"a long stop twice", &TextSettings{StopSequence: []string{strings.Repeat("ß", 2000), strings.Repeat("ß", 2000)}}, ""},
		{"NUL in a stop", &TextSettings{StopSequence: []string{"\x00"}}, "NulByteInPayload"},
	} {
		if got := rcOf((&TextSubmission{Prompt: ptr("a"), Params: c.p}).Check()); got != c.rc {
			t.Errorf("%s: %q, want %q", c.name, got, c.rc)
		}
	}
	for _, s := range []TextSubmission{{Softprompt: ptr("\x00")}, {Models: []string{"\x00"}}, {Webhook: ptr("https://\x00")}} {
		if got := rcOf(s.Check()); got != "NulByteInPayload" {
			t.Errorf("%+v: %q", s, got)
		}
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		models []string
		p      *ImageSettings
		want   string
	}{
		{"Flux with 30 steps, cfg 9 and DDIM", []string{"Flux"},
			&ImageSettings{Steps: ptr(30), CFGScale: ptr(9.0), Sampler: ptr("DDIM")}, "StepsTooMany CfgScaleTooLarge SamplerMismatch"},
		{"Flux with nothing said", []string{"Flux"}, nil, "StepsTooMany CfgScaleTooLarge SamplerMismatch"},
		{"Flux as it wants", []string{"Flux"}, &ImageSettings{Steps: ptr(3), CFGScale: ptr(4.0), Sampler: ptr("k_euler")}, ""},
		{"Flux with too little", []string{"Flux"}, &ImageSettings{Steps: ptr(2), CFGScale: ptr(0.5), Sampler: ptr("k_euler"),
			Karras: ptr(false)}, "StepsTooFew CfgScaleTooSmall SchedulerMismatch"},
		{"clip_skip 2 and none sent", []string{"Pony"}, nil, "ClipSkipMismatch"},
		{"clip_skip 2", []string{"Pony"}, &ImageSettings{ClipSkip: ptr(2)}, ""},
		{"cfg 7 and none sent", []string{"seven"}, &ImageSettings{Karras: ptr(false)}, "CfgScaleMismatch"},
		{"simple instead of karras", []string{"seven"}, &ImageSettings{CFGScale: ptr(7.0)}, "SchedulerMismatch"},
		{"each code once", []string{"Flux", "Deliberate", "seven", "Flux"},
			&ImageSettings{Steps: ptr(5), CFGScale: ptr(9.0), Sampler: ptr("k_euler")}, "CfgScaleTooLarge CfgScaleMismatch SchedulerMismatch"},
		{"no requirements", []string{"Deliberate", "nobody knows"}, nil, ""},
		{"no models", []string{}, nil, ""},
	} {
		var got []string
		for _, w := range (&ImageSubmission{Models: c.models, Params: c.p}).Warnings(testReference) {
			got = append(got, w.Code)
			if w.Message == "" {
				t.Errorf("%s: %s says nothing", c.name, w.Code)
			}
		}
		want := strings.Fields(c.want)
		slices.Sort(got)
		slices.Sort(want)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", c.name, got, want)
		}
	}
	if NoAvailableWorker.Code != "NoAvailableWorker" || NoAvailableWorker.Message == "" {
		t.Errorf("%+v", NoAvailableWorker)
	}
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import "testing"

func ptr[T any](v T) *T { return &v }

// testReference has one model for each rule that looks at models.
var testReference = &Reference{
	Image: map[string]ImageModel{
		"stable_diffusion":            {Baseline: BaselineSD1},
		"Deliberate":                  {Baseline: BaselineSD1},
		"stable_diffusion_inpainting": {Baseline: BaselineSD1, Inpainting: true},
		"Stable Diffusion 2 Depth":    {Baseline: BaselineSD2x512},
		"SD2":                         {Baseline: BaselineSD2},
		"pix2pix":                     {Baseline: BaselineSD1},
		"SDXL 1.0":                    {Baseline: BaselineSDXL},
		"Stable Cascade 1.0":          {Baseline: BaselineCascade},
		"Flux": {Baseline: BaselineFlux, Requirements: Requirements{MinSteps: ptr(3), MaxSteps: ptr(8),
			MinCFGScale: ptr(1.0), MaxCFGScale: ptr(4.0), Samplers: []string{"k_euler"}, Schedulers: []string{"karras"}}},
		"Qwen-Image":    {Baseline: BaselineQwen},
		"Z-Image-Turbo": {Baseline: BaselineZImage},
		"Pony":          {Baseline: BaselineSDXL, Requirements: Requirements{ClipSkip: ptr(2)}},
		"seven":         {Baseline: BaselineSD1, Requirements: Requirements{CFGScale: ptr(7.0), Schedulers: []string{"simple"}}},
		"canny only":    {Baseline: BaselineSD1, Type: "controlnet"},
		"strange":       {Baseline: "something else"},
	},
	Text: map[string]TextModel{
		"X-7B": {Parameters: 7_000_000_000}, "X-11B": {Parameters: 11_000_000_000}, "X-8B": {Parameters: 8_000_000_000},
		"koboldcpp/Some-Model-7B": {Parameters: 7_000_000_000}, "70B": {Parameters: 70_000_000_000},
		"20B": {Parameters: 20_000_000_000}, "13B": {Parameters: 13_000_000_000}, "name": {Parameters: 3_000_000_000},
	},
}

func TestTextModelsAreFoundByTheirQuantisedNames(t *testing.T) {
	t.Parallel()
	for name, billions := range map[string]float64{
		"X-7B": 7, "X-7B-Instruct-Q4_K_M": 7, "X-11B.i1-Q4_K_M": 11, "X-7B-GPTQ-Int4": 7, "X-8B-IQ4_XS": 8,
		"koboldcpp/Some-Model-7B-IQ4_XS": 7, "X-7B::owner#12": 7, "X-7B-Instruct-Q4_K_M::owner#12": 7,
		"name-v2-Q4_K_M": 3, "X-7B-GPTQ-int8": 7,
	} {
		m, ok := testReference.TextModel(name)
		if !ok || float64(m.Parameters)/1e9 != billions || testReference.Billions(name) != billions || !testReference.Known(Text, name) {
			t.Errorf("%s: %v, %v; want %v", name, m.Parameters, ok, billions)
		}
	}
	for _, name := range []string{"X-Q4_0", "X-7B.Q4_K_M", "X-7B-GPTQ", "X-7B,Q8_0", "name-Q4_K_M", "x-7b", "X-7B::a::b", "",
		"aphrodite/X-7B"} {
		if m, ok := testReference.TextModel(name); ok || testReference.Billions(name) != 1 || testReference.Known(Text, name) {
			t.Errorf("%q was found as %+v", name, m)
		}
	}
}

func TestQuantisationIsCutAsTheChapterShows(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"X-7B-Instruct-Q4_K_M": "X-7B", "X-11B.i1-Q4_K_M": "X-11B", "X-7B-GPTQ-Int4": "X-7B", "X-8B-IQ4_XS": "X-8B",
		"Foo-7B.i1-Q4_K_M": "Foo-7B", "Foo-7B-Instruct.IQ4_XS": "Foo-7B-Instruct", "Foo-7B-GPTQ-Int4": "Foo-7B", "Foo-7B-Q4_K_M": "Foo",
		"Foo-7B.Q4_K_M": "Foo-7B.Q4_K_M", "Foo-7B-Q1_K": "Foo-7B-Q1_K", "Foo-AWQ": "Foo-AWQ", // example 15 of the status chapter
		"X-Q4_0": "X-Q4_0", "X-13b.Q4_K_M": "X-13b.Q4_K_M", "X-13B-GPTQ": "X-13B-GPTQ", "X,Q8_0": "X,Q8_0",
	} {
		if got := quantisation.ReplaceAllString(name, ""); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestBaseline(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]string{
		"SDXL 1.0": BaselineSDXL, "SD2": BaselineSD2, "strange": "something else", "nobody knows": BaselineSD1, "": BaselineSD1,
		"My Model [SDXL]": BaselineSDXL, "My Model": BaselineSD1, // example 18 of the status chapter
		"a [SDXL] mix": BaselineSDXL, "a [Flux] mix": BaselineFlux, "a [Qwen] mix": BaselineQwen,
		"a [ZModel] mix": BaselineZImage, "a [ZImage] mix": BaselineZImage, "a [sdxl] mix": BaselineSD1,
	} {
		if got := testReference.Baseline(model); got != want {
			t.Errorf("%q: %s, want %s", model, got, want)
		}
	}
}

func TestServed(t *testing.T) {
	t.Parallel()
	for model, want := range map[string]bool{
		"Deliberate": true, "Flux": true, "Qwen-Image": true, "Z-Image-Turbo": true, "SD2": true,
		"Stable Diffusion 2 Depth": true, "Stable Cascade 1.0": true, "strange": false, "a [SDXL] mix": false,
	} {
		if got := testReference.Served(model); got != want {
			t.Errorf("%s: %v, want %v", model, got, want)
		}
	}
	if (&Reference{}).Known(Image, "Deliberate") || (&Reference{}).Baseline("Deliberate") != BaselineSD1 {
		t.Error("the zero reference knows something")
	}
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package horde

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// chapterGates is the table of the dispatch chapter, 9: what a version of a bridge adds.
var chapterGates = []struct {
	bridge  string
	version uint64
	adds    string
}{
	{"AI Horde Worker reGen", 1, "img2img inpainting post-processing GFPGAN RealESRGAN_x4plus r2"},
	{"AI Horde Worker reGen", 1, "CodeFormers clip_skip r2_source controlnet strip_background return_control_map"},
	{"AI Horde Worker reGen", 1, "RealESRGAN_x4plus_anime_6B NMKD_Siax"},
	{"AI Horde Worker reGen", 1, "4x_AnimeSharp image_is_control RealESRGAN_x2plus hires_fix tiling"},
	{"AI Horde Worker reGen", 2, "textual_inversion lora"},
	{"AI Horde Worker reGen", 3, "lora_versions"},
	{"AI Horde Worker reGen", 5, "extra_source_images"},
	{"AI Horde Worker reGen", 6, "stable_cascade_2pass"},
	{"AI Horde Worker reGen", 7, "qr_code extra_texts workflow"},
	{"AI Horde Worker reGen", 8, "layer_diffuse"},
	{"AI Horde Worker reGen", 9, "flux"},
	{"AI Horde Worker reGen", 13, "4xNomos8kSC 4xLSDIRplus 4xNomosWebPhoto_RealPLKSR 4xNomos2_realplksr_dysample"},
	{"AI Horde Worker reGen", 13, "4xNomos2_hq_dat2 2xModernSpanimationV1 GFPGANv1.3 RestoreFormer"},
	{"AI Horde Worker", 3, "img2img"},
	{"AI Horde Worker", 4, "inpainting"},
	{"AI Horde Worker", 7, "post-processing GFPGAN RealESRGAN_x4plus"},
	{"AI Horde Worker", 8, "r2"},
	{"AI Horde Worker", 9, "CodeFormers"},
	{"AI Horde Worker", 13, "hires_fix clip_skip"},
	{"AI Horde Worker", 14, "r2_source"},
	{"AI Horde Worker", 15, "controlnet"},
	{"AI Horde Worker", 18, "strip_background return_control_map RealESRGAN_x4plus_anime_6B"},
	{"AI Horde Worker", 19, "NMKD_Siax 4x_AnimeSharp"},
	{"AI Horde Worker", 21, "RealESRGAN_x2plus"},
	{"AI Horde Worker", 22, "lora"},
	{"AI Horde Worker", 23, "image_is_control"},
	{"AI Horde Worker", 24, "textual_inversion"},
	{"SD-WebUI Stable Horde Worker Bridge", 1, "inpainting r2 CodeFormers"},
	{"SD-WebUI Stable Horde Worker Bridge", 2, "tiling"},
	{"SD-WebUI Stable Horde Worker Bridge", 3, "r2_source"},
	{"SD-WebUI Stable Horde Worker Bridge", 4, "clip_skip"},
	{"HordeAutoWebBridge", 1, "img2img"},
	{"HordeAutoWebBridge", 2, "tiling"},
}

const chapterA = "k_lms k_heun k_euler k_euler_a k_dpm_2 k_dpm_2_a k_dpm_fast k_dpm_adaptive k_dpmpp_2s_a k_dpmpp_2m dpmsolver"

// chapterSamplers is the second table there.
var chapterSamplers = []struct {
	bridge        string
	version       uint64
	karras, extra string
}{
	{"AI Horde Worker reGen", 2, chapterA + " k_dpmpp_sde DDIM", ""},
	{"AI Horde Worker reGen", 3, "lcm", ""},
	{"AI Horde Worker", 11, chapterA, ""},
	{"AI Horde Worker", 12, "k_dpmpp_sde", ""},
	{"AI Horde Worker", 17, "", "DDIM"},
	{"SD-WebUI Stable Horde Worker Bridge", 1,
		strings.TrimSuffix(chapterA, " dpmsolver") + " k_dpmpp_sde", "DDIM"},
	{"HordeAutoWebBridge", 1, "k_lms k_dpm_2 k_dpm_2_a k_dpmpp_2s_a k_dpmpp_2m dpmsolver",
		"k_heun k_euler k_euler_a k_dpm_fast k_dpm_adaptive"},
}

const allSamplers = chapterA + " k_dpmpp_sde DDIM lcm"

// bridge is an agent of a whole version or, with pre, of the release candidate before it.
type bridge struct {
	name    string
	version uint64
	pre     bool
}

func (b bridge) String() string {
	if b.pre {
		return fmt.Sprintf("%s:%d.0.0-rc1:https://x", b.name, b.version)
	}
	return fmt.Sprintf("%s:%d:https://x", b.name, b.version)
}

func (b bridge) reaches(version uint64) bool {
	return b.version > version || b.version == version && !b.pre
}

// gate looks a feature up in the chapter's table.
func (b bridge) gate(feature string) bool {
	for _, row := range chapterGates {
		if row.bridge == b.name && b.reaches(row.version) && slices.Contains(strings.Fields(row.adds), feature) {
			return true
		}
	}
	return false
}

// sampler looks a sampler up in the chapter's table.
func (b bridge) sampler(name string, karras bool) bool {
	known := false
	for _, row := range chapterGates {
		known = known || row.bridge == b.name
	}
	if !known {
		b = bridge{"AI Horde Worker", 23, false}
	}
	for _, row := range chapterSamplers {
		if row.bridge == b.name && b.reaches(row.version) && (slices.Contains(strings.Fields(row.karras), name) ||
			!karras && slices.Contains(strings.Fields(row.extra), name)) {
			return true
		}
	}
	return false
}

func everyBridge() (list []bridge) {
	for _, name := range []string{"AI Horde Worker reGen", "AI Horde Worker", "SD-WebUI Stable Horde Worker Bridge",
		"HordeAutoWebBridge", "ai horde worker regen", "AI Horde Worker reGen fork", "foo"} {
		for v := uint64(0); v <= 26; v++ {
			list = append(list, bridge{name, v, false}, bridge{name, v, true})
		}
	}
	return list
}

func TestCapabilitiesOfEveryBridge(t *testing.T) {
	t.Parallel()
	features := map[string]bool{}
	for _, row := range chapterGates {
		for _, f := range strings.Fields(row.adds) {
			features[f] = true
		}
	}
	for name := range PostProcessors {
		if !features[name] {
			t.Errorf("no bridge has the post-processor %s", name)
		}
	}
	for _, b := range everyBridge() {
		caps := ParseAgent(b.String()).Capabilities()
		for f := range features {
			if bit := ParseFeatures([]string{f}); bit == 0 || (caps.Features&bit != 0) != b.gate(f) {
				t.Errorf("%s: %s is %v, want %v", b, f, caps.Features&bit != 0, b.gate(f))
			}
		}
		for _, s := range strings.Fields(allSamplers) {
			bit := SamplerNamed(s)
			if bit == 0 || (caps.Karras&bit != 0) != b.sampler(s, true) || (caps.Plain&bit != 0) != b.sampler(s, false) {
				t.Errorf("%s: %s is %v with karras and %v without, want %v and %v", b, s, caps.Karras&bit != 0,
					caps.Plain&bit != 0, b.sampler(s, true), b.sampler(s, false))
			}
		}
	}
	if SamplerNamed("plms") != 0 || SamplerNamed("") != 0 || ParseFeatures([]string{"karras", "painting", ""}) != 0 {
		t.Error("a name that no check uses means something")
	}
}

func TestOwnWorkers(t *testing.T) {
	t.Parallel()
	want := ParseAgent("AI Horde Worker reGen:13:x").Capabilities()
	if got := ParseAgent("horde Dreamer:1.0.0:x").Capabilities(); got != want {
		t.Errorf("our dreamer: %+v, want %+v", got, want)
	}
	for _, backend := range []string{"koboldcpp", "llamacpp", "vllm", "ollama", "tabby", "aphrodite", "openai", "sandbox"} {
		if !ParseAgent("horde Scribe~" + backend + ":1:x").Capabilities().ValidatedText {
			t.Errorf("our scribe on %s is not validated", backend)
		}
	}
}

func TestMultiplierAndValidation(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		agent     string
		want      float64
		validated bool
	}{
		{"AI Horde Worker reGen:13:x", 1, false}, {"AI Horde Worker reGen:99.1.2:x", 1, false},
		{"AI Horde Worker reGen:13.0.0-rc1:x", 0.9, false}, {"AI Horde Worker reGen:9.0.1-citests:x", 0.9, false},
		{"AI Horde Worker:24:x", 1, true}, {"AI Horde Worker:23.9.9:x", 0.9, true}, {"AI Horde Worker:0:x", 0.9, true},
		{"AI Horde Worker~aphrodite~oai:1:x", 0.75, true}, {"AI Horde Worker~aphrodite~kai:1:x", 0.75, true},
		{"AI Horde Worker~aphrodite:1:x", 0.75, false}, {"KoboldCppEmbedWorker:0:x", 0.75, true},
		{"TabbyAPI:2:https://x:y", 0.75, true}, {"tabbyapi:2:x", 0.75, false},
		{"SD-WebUI Stable Horde Worker Bridge:4:x", 0.75, false}, {"HordeAutoWebBridge:2:x", 0.75, false},
		{"TabbyAPI:2", 0.75, false}, {UnknownAgent, 0.75, false}, {"", 0.75, false},
	} {
		got := ParseAgent(c.agent).Capabilities()
		if got.Multiplier != c.want || got.ValidatedText != c.validated {
			t.Errorf("%s: multiplier %v, validated %v; want %v, %v", c.agent, got.Multiplier, got.ValidatedText, c.want, c.validated)
		}
	}
}

func TestParseAgent(t *testing.T) {
	t.Parallel()
	unknown := Agent{Name: "unknown"}
	for s, want := range map[string]Agent{
		"a:13:https://x:8080/y":    {"a", Version{Major: 13}, "https://x:8080/y"},
		"a b~c:13.1:":              {"a b~c", Version{Major: 13, Minor: 1}, ""},
		":1.2.3:x":                 {"", Version{1, 2, 3, ""}, "x"},
		"a:1.2.3-rc.1+build5:x":    {"a", Version{1, 2, 3, "rc.1"}, "x"},
		"a:9.0.1-citests:x":        {"a", Version{9, 0, 1, "citests"}, "x"},
		"a:0:x":                    {"a", Version{}, "x"},
		"AI Horde Worker reGen:13": unknown, "": unknown, "a": unknown, "a:v13:x": unknown, "a:013:x": unknown,
		"a:1.02:x": unknown, "a:1.2.3.4:x": unknown, "a::x": unknown, "a: 1:x": unknown, "a:1.0.0-01:x": unknown,
		"a:1.0.0-:x": unknown, "a:99999999999999999999:x": unknown, "a:-1:x": unknown, "a:１:x": unknown,
		UnknownAgent: {"unknown", Version{}, "unknown"},
	} {
		if got := ParseAgent(s); got != want {
			t.Errorf("%q: %+v, want %+v", s, got, want)
		}
	}
}

func TestVersionsAreOrdered(t *testing.T) {
	t.Parallel()
	order := []string{"0", "0.0.1", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
		"1.0.0-beta.11", "1.0.0-rc.1", "1", "1.0.1", "1.1", "1.10", "9", "9.0.1-x", "9.0.1", "13.0.0-rc1", "13"}
	var versions []Version
	for _, s := range order {
		v, ok := ParseVersion(s)
		if !ok {
			t.Fatalf("%s is no version", s)
		}
		versions = append(versions, v)
	}
	for i, a := range versions {
		for j, b := range versions {
			if got := a.Compare(b); got != cmpInt(i, j) {
				t.Errorf("%s against %s: %d, want %d", order[i], order[j], got, cmpInt(i, j))
			}
		}
	}
	a, _ := ParseVersion("1.0.0+a")
	if b, _ := ParseVersion("1"); a.Compare(b) != 0 {
		t.Error("the build counts")
	}
}

func cmpInt(a, b int) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func FuzzParseAgent(f *testing.F) {
	for _, s := range []string{"", UnknownAgent, "a:1.2.3-rc.1+b:c", "AI Horde Worker reGen:13:https://x:1", "::", "a:1.0.0-0a.-:b"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, s, other string) {
		a, b := ParseAgent(s), ParseAgent(other)
		if a.Version.Compare(a.Version) != 0 || a.Version.Compare(b.Version) != -b.Version.Compare(a.Version) {
			t.Errorf("%q and %q are not ordered", s, other)
		}
		if a.Name == "unknown" && a.Contact == "" && a.Version == (Version{}) {
			return
		}
		if parts := strings.SplitN(s, ":", 3); len(parts) != 3 || a.Name != parts[0] || a.Contact != parts[2] {
			t.Errorf("%q was read as %+v", s, a)
		}
		if caps := a.Capabilities(); caps.Karras&^caps.Plain != 0 || caps.Multiplier <= 0 || caps.Multiplier > 1 {
			t.Errorf("%q has %+v", s, caps)
		}
	})
}

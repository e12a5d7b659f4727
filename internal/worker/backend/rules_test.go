// SPDX-License-Identifier: AGPL-3.0-or-later

package backend

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"horde/client"
)

// Worked examples 8 to 10 of the workers chapter.
func TestSecondPass(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		base     Baseline
		size     Size
		steps    int
		strength float64
		two      bool
		first    Size
		second   int
	}{
		{SD1, Size{768, 1152}, 30, 0.65, true, Size{512, 768}, 14},
		{SD1, Size{1024, 1024}, 30, 0.65, true, Size{512, 512}, 16},
		{SD1, Size{768, 768}, 12, 0.4, true, Size{512, 512}, 6},
		{SD1, Size{512, 2048}, 30, 0.65, false, Size{512, 2048}, 0},
		{SDXL, Size{1536, 1536}, 30, 0.65, true, Size{1024, 1024}, 18},
		{SDXL, Size{1536, 1536}, 20, 0.65, true, Size{1024, 1024}, 13},
		{SDXL, Size{2048, 2048}, 30, 0.65, true, Size{1024, 1024}, 30},
		{SDXL, Size{1280, 1280}, 30, 0.65, true, Size{1024, 1024}, 0},
		{SDXL, Size{1920, 1088}, 30, 0.65, true, Size{1344, 768}, 0},
		{SDXL, Size{1216, 1536}, 30, 0.65, true, Size{896, 1152}, 0},
		{SDXL, Size{1600, 1088}, 30, 0.65, true, Size{1216, 832}, 0},
		{SDXL, Size{1024, 1536}, 30, 0.65, false, Size{896, 1152}, 0},
		{Flux1, Size{2048, 2048}, 30, 0.65, false, Size{512, 512}, 0},
		{"something new", Size{1024, 1024}, 30, 0.65, true, Size{512, 512}, 0},
	} {
		if two := tc.base.TwoPasses(tc.size); two != tc.two {
			t.Errorf("%s %v: two passes %v, want %v", tc.base, tc.size, two, tc.two)
		}
		if tc.two {
			if got := tc.base.FirstPass(tc.size); got != tc.first {
				t.Errorf("%s %v: first pass %v, want %v", tc.base, tc.size, got, tc.first)
			}
		}
		if tc.second > 0 {
			if got := tc.base.SecondPassSteps(tc.size, tc.steps, tc.strength); got != tc.second {
				t.Errorf("%s %v %d steps at %v: %d steps, want %d", tc.base, tc.size, tc.steps, tc.strength, got, tc.second)
			}
		}
	}
}

func TestSecondPassStepsStayInRange(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SampledFrom([]Baseline{SD1, SD2, SDXL, StableCascade, "x"}).Draw(t, "baseline")
		s := Size{64 * rapid.IntRange(1, 48).Draw(t, "w"), 64 * rapid.IntRange(1, 48).Draw(t, "h")}
		steps := rapid.IntRange(1, 500).Draw(t, "steps")
		n := b.SecondPassSteps(s, steps, rapid.Float64Range(0, 2).Draw(t, "strength"))
		if n < 1 || n > steps {
			t.Fatalf("%d of %d steps", n, steps)
		}
		if f := b.FirstPass(s); f.W%64 != 0 || f.H%64 != 0 || f.W < 64 || f.H < 64 {
			t.Fatalf("first pass %v", f)
		}
	})
}

// Worked examples 11 and 12.
func TestSizes(t *testing.T) {
	t.Parallel()
	for in, want := range map[Size]Size{{640, 960}: {512, 768}, {576, 1024}: {512, 896}, {512, 2048}: {512, 2048}} {
		if got := MinRule(in); got != want {
			t.Errorf("MinRule(%v) = %v, want %v", in, got, want)
		}
	}
	for in, want := range map[Size]Size{{1536, 1024}: {1024, 640}, {2048, 1280}: {1024, 640}, {1024, 768}: {1024, 768}} {
		if got := MaxRule(in); got != want {
			t.Errorf("MaxRule(%v) = %v, want %v", in, got, want)
		}
	}
	if RoundUp64(520) != 576 || RoundUp64(1000) != 1024 || RoundUp64(512) != 512 {
		t.Error("rounding up to 64")
	}
	for steps, want := range map[int][2]int{20: {13, 7}, 25: {17, 8}, 30: {20, 10}} {
		if c, b := CascadeSteps(steps); [2]int{c, b} != want {
			t.Errorf("CascadeSteps(%d) = %d, %d, want %v", steps, c, b, want)
		}
	}
}

// Worked example 6.
func TestLoad(t *testing.T) {
	t.Parallel()
	job := func(w, h, steps, n int, f func(*ImageJob)) *ImageJob {
		j := &ImageJob{Width: w, Height: h, Steps: steps, Count: n}
		if f != nil {
			f(j)
		}
		return j
	}
	for name, tc := range map[string]struct {
		job  *ImageJob
		want int
	}{
		"512":                    {job(512, 512, 30, 1, nil), 7},
		"1024":                   {job(1024, 1024, 30, 1, nil), 31},
		"batch, upscaler, lora":  {job(1024, 1024, 30, 2, func(j *ImageJob) { j.PostProcessing = []string{"RealESRGAN_x4plus"}; j.Loras = make([]LoraFile, 1) }), 83},
		"flux":                   {job(1024, 1024, 4, 1, func(j *ImageJob) { j.Model.Name = "Flux.1-Schnell fp8 (Compact)" }), 25},
		"two passes":             {job(768, 1152, 30, 1, func(j *ImageJob) { j.HiresRequested = true }), 34},
		"qr code":                {job(1024, 1024, 30, 1, func(j *ImageJob) { j.Workflow = "qr_code" }), 125},
		"face fix is no upscale": {job(512, 512, 30, 1, func(j *ImageJob) { j.PostProcessing = []string{"GFPGAN"} }), 7},
	} {
		if got := tc.job.Load(); got != tc.want {
			t.Errorf("%s: %d eMPS, want %d", name, got, tc.want)
		}
	}
}

// Worked example 7.
func TestGateWait(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pace             Pace
		pending, threads int
		want             float64
	}{
		{PaceNormal, 15, 1, 0}, {PaceNormal, 31, 1, 15.5}, {PaceNormal, 31, 2, 11.625}, {PaceNormal, 70, 1, 49},
		{PaceNormal, 97, 1, 77.6}, {PaceModerate, 97, 1, 31.04}, {PaceHigh, 97, 1, 1}, {PaceModerate, 60, 1, 0}, {PaceModerate, 61, 1, 1},
	} {
		got := tc.pace.GateWait(tc.pending, tc.threads).Seconds()
		if fmt.Sprintf("%.3f", got) != fmt.Sprintf("%.3f", tc.want) {
			t.Errorf("pace %d, %d pending, %d threads: %v s, want %v", tc.pace, tc.pending, tc.threads, got, tc.want)
		}
	}
}

// Worked example 20.
func TestServerTTL(t *testing.T) {
	t.Parallel()
	for want, got := range map[time.Duration]time.Duration{
		150 * time.Second: ServerTTL(Size{512, 512}, 30, SD1, false, false),
		270 * time.Second: ServerTTL(Size{1024, 1024}, 30, SDXL, false, false),
		540 * time.Second: ServerTTL(Size{1024, 1024}, 30, SDXL, true, false),
		810 * time.Second: ServerTTL(Size{1024, 1024}, 30, SDXL, false, true),
		282 * time.Second: ServerTTL(Size{1024, 1024}, 8, Flux1, false, false),
	} {
		if got != want {
			t.Errorf("ttl %v, want %v", got, want)
		}
	}
}

// Worked example 3.
func TestParseSeed(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]uint32{"3735928559": 3735928559, "4294967299": 3, "0": 0} {
		if got, ok := ParseSeed(in); !ok || got != want {
			t.Errorf("ParseSeed(%q) = %d, %v, want %d", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "x", "-1", "1.5", strings.Repeat("9", 1000)} {
		if got, ok := ParseSeed(in); ok {
			t.Errorf("ParseSeed(%q) = %d", in, got)
		}
	}
}

// Worked example 15.
func TestPrompt(t *testing.T) {
	t.Parallel()
	p, n := SplitPrompt("a {red|red} cat###blurry###x")
	out := ResolveAlternatives(7, p, n)
	if out[0] != "a red cat" || out[1] != "blurry" {
		t.Errorf("got %q", out)
	}
	if p, n := SplitPrompt("###neg "); p != "" || n != "neg " {
		t.Errorf("got %q, %q", p, n)
	}
	for in, want := range map[string]string{
		"{a}": "a", "{}": "", "{{x}}": "x", "{a|{b|b}|{a|b}": "", "}{a}": "}a", "{": "{", "a } b": "a } b", "{{a|a}|{a|a}}!": "a!",
	} {
		if got := ResolveAlternatives(1, in)[0]; got != want && want != "" {
			t.Errorf("ResolveAlternatives(%q) = %q, want %q", in, got, want)
		}
	}
	seen := map[string]bool{}
	for seed := range uint32(50) {
		a, b := ResolveAlternatives(seed, "{a|b|c}")[0], ResolveAlternatives(seed, "{a|b|c}")[0]
		if a != b {
			t.Errorf("seed %d gives %q and %q", seed, a, b)
		}
		seen[a] = true
	}
	if len(seen) != 3 {
		t.Errorf("50 seeds chose only %v", seen)
	}
}

func FuzzResolveAlternatives(f *testing.F) {
	f.Add("a {b|c} d", uint32(1))
	f.Add("}}{{|}{", uint32(2))
	f.Fuzz(func(t *testing.T, s string, seed uint32) {
		if len(s) > 2000 {
			return
		}
		if out := ResolveAlternatives(seed, s)[0]; len(out) > len(s) {
			t.Errorf("%q grew to %q", s, out)
		}
	})
}

// Worked example 14.
func TestSamplers(t *testing.T) {
	t.Parallel()
	if s := LookupSampler("k_dpmpp_2m"); s.ComfyUI != "dpmpp_2m" || s.A1111 != "DPM++ 2M" || s.SDCPP != "dpm++2m" {
		t.Errorf("k_dpmpp_2m is %+v", s)
	}
	if s := LookupSampler("DDIM"); s.ComfyUI != "ddim" {
		t.Errorf("DDIM is %+v", s)
	}
	if s := LookupSampler("K_EULER_A"); s.ComfyUI != "euler_ancestral" {
		t.Errorf("K_EULER_A is %+v", s)
	}
	if s := LookupSampler("brand_new"); s.ComfyUI != "euler" || s.A1111 != "Euler" {
		t.Errorf("an unknown sampler is %+v", s)
	}
}

func TestOrderPostProcessing(t *testing.T) {
	t.Parallel()
	got, unknown := OrderPostProcessing([]string{"GFPGAN", "RealESRGAN_x4plus", "nonsense", "CodeFormers", "strip_background"})
	if strings.Join(got, " ") != "RealESRGAN_x4plus strip_background GFPGAN CodeFormers" || len(unknown) != 1 {
		t.Errorf("got %v, unknown %v", got, unknown)
	}
}

// Worked example 24.
func TestFormatting(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		f        Formatting
		in, want string
	}{
		{Formatting{TrimIncomplete: true}, "He left. She sta", "He left."},
		{Formatting{TrimIncomplete: true}, "no end", "no end"},
		{Formatting{TrimIncomplete: true}, "Wait… and", "Wait…"},
		{Formatting{RemoveBlankLines: true}, "a\n\n\nb", "a\nb"},
		{Formatting{SingleLine: true}, "x\ny", "x"},
		{Formatting{RemoveSpecial: true}, "a#b@c", "abc"},
		{Formatting{SingleLine: true, TrimIncomplete: true}, "One. Two\nThree.", "One."},
		{Formatting{}, " kept as is\n\n", " kept as is\n\n"},
	} {
		if got := tc.f.Format(tc.in); got != tc.want {
			t.Errorf("%+v on %q: %q, want %q", tc.f, tc.in, got, tc.want)
		}
	}
	for in, want := range map[string]string{"a": "a ", "a ": "a ", "a\n": "a\n", "": ""} {
		if got := SpaceAtEnd(in); got != want {
			t.Errorf("SpaceAtEnd(%q) = %q", in, got)
		}
	}
}

func TestFormattingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := Formatting{false, rapid.Bool().Draw(t, "s"), rapid.Bool().Draw(t, "t"), rapid.Bool().Draw(t, "b"), rapid.Bool().Draw(t, "r")}
		s := rapid.StringOf(rapid.SampledFrom([]rune("ab .!\n#~\"…"))).Draw(t, "text")
		once := f.Format(s)
		// Removing "~" may lay bare a later cut; the horde's order has special characters last all the same.
		if f.RemoveSpecial && f.TrimIncomplete && strings.Contains(s, "~") {
			return
		}
		if f.RemoveSpecial && f.RemoveBlankLines {
			return
		}
		if twice := f.Format(once); twice != once {
			t.Fatalf("%q became %q", once, twice)
		}
	})
}

func TestCutAtStop(t *testing.T) {
	t.Parallel()
	text, found := CutAtStop(" a\nUser: b", []string{"###", "\nUser:", "\n"})
	if text != " a\nUser:" || found != "\nUser:" {
		t.Errorf("got %q, %q", text, found)
	}
	if text, found := CutAtStop("abc", []string{"x"}); text != "abc" || found != "" {
		t.Errorf("got %q, %q", text, found)
	}
}

func TestTrimming(t *testing.T) {
	t.Parallel()
	words := func(_ context.Context, s string) (int, error) { return len(strings.Fields(s)), nil }
	long := strings.Repeat("one two three four five\n", 100)
	got, err := TrimWords(t.Context(), words, long, 50)
	if n := len(strings.Fields(got)); err != nil || n > 50 || n < 40 || !strings.HasSuffix(long, got) || !strings.HasPrefix(got, "one ") {
		t.Errorf("kept %d words: %q, %v", n, got, err)
	}
	if got, _ := TrimWords(t.Context(), words, "short", 50); got != "short" {
		t.Errorf("got %q", got)
	}
	if got := TrimEstimate(strings.Repeat("é", 1000), 100); len([]rune(got)) > 330 || len([]rune(got)) < 300 {
		t.Errorf("kept %d characters", len([]rune(got)))
	}
}

func TestTrimWordsKeepsAValidSuffix(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOf(rapid.SampledFrom([]rune("aé字 \n😀"))).Draw(t, "text")
		n := rapid.IntRange(0, 300).Draw(t, "n")
		got := dropLeft(s, n)
		if !strings.HasSuffix(s, got) || len(got) > max(0, len(s)-n) {
			t.Fatalf("dropLeft(%q, %d) = %q", s, n, got)
		}
	})
}

// B087: pictures, ids and upload links of a batch keep the order in which they came.
func TestUploadLinksKeepTheirOrder(t *testing.T) {
	t.Parallel()
	j := client.ImageJob{Job: client.Job{IDs: []string{"f3b0", "0a5f", "9c1e"}}, R2Uploads: []string{"z/f3b0", "z/0a5f", "z/9c1e"}}
	for i, id := range j.IDs {
		if !strings.HasSuffix(j.UploadURL(i), id) {
			t.Errorf("id %s goes to %s", id, j.UploadURL(i))
		}
	}
	if j.UploadURL(3) != "" {
		t.Error("a fourth link out of nothing")
	}
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"image"
	"image/color"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func paintJob(t testing.TB, job ImageJob) []*image.RGBA {
	t.Helper()
	if job.Width == 0 {
		job.Width, job.Height = 256, 256
	}
	if job.Seeds == nil {
		job.Seeds = []uint64{7}
	}
	list, err := Painter{}.Paint(t.Context(), job, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []*image.RGBA
	for _, m := range list {
		if m.Bounds() != image.Rect(0, 0, job.Width, job.Height) {
			t.Fatalf("size %v", m.Bounds())
		}
		out = append(out, m.(*image.RGBA))
	}
	return out
}

func sum(m *image.RGBA) string {
	h := fnv.New64a()
	h.Write(m.Pix)
	return fmt.Sprintf("%016x", h.Sum64())
}

// distance is the mean difference of two pictures' parts, 0..255, within a part of the picture.
func distance(a, b *image.RGBA, in image.Rectangle) float64 {
	total, n := 0, 0
	for y := in.Min.Y; y < in.Max.Y; y++ {
		for x := in.Min.X; x < in.Max.X; x++ {
			i := a.PixOffset(x, y)
			for k := range 3 {
				d := int(a.Pix[i+k]) - int(b.Pix[i+k])
				total += max(d, -d)
				n++
			}
		}
	}
	return float64(total) / float64(n)
}

// mean is the mean colour of a part of a picture.
func mean(m *image.RGBA, in image.Rectangle) (r, g, b float64) {
	n := float64(in.Dx() * in.Dy())
	for y := in.Min.Y; y < in.Max.Y; y++ {
		for x := in.Min.X; x < in.Max.X; x++ {
			c := m.RGBAAt(x, y)
			r, g, b = r+float64(c.R)/n, g+float64(c.G)/n, b+float64(c.B)/n
		}
	}
	return
}

var everything = []string{
	"a calm sea at sunset with a boat", "mountains and a lake, birds", "autumn forest", "neon city at night", "a ginger cat in the garden",
	"portrait of a queen", "red house in a meadow with flowers", "abstract", "starry night, aurora", "space", "desert",
	"lighthouse in a storm", "castle, rainbow", "robot", "winter, snow, fog", "balloon", "watercolor river", "pixel art hills",
	"ink drawing of a castle", "oil painting, village", "mosaic cat", "poster of a tree", "noir street, rain", "sepia ship",
	"beach with palm", "zxqv",
}

// The pictures are part of what users keep: a seed of today must give the same picture on every machine tomorrow.
// The sum was taken on amd64 and is the same on 386 and arm64.
func TestASeedIsAPictureForEver(t *testing.T) {
	t.Parallel()
	h := fnv.New64a()
	for i, prompt := range everything {
		h.Write(paintJob(t, ImageJob{Prompt: prompt, Width: 128, Height: 192, Steps: 10 + i, Seeds: []uint64{uint64(i)}})[0].Pix)
	}
	const want = "dcf52b1b3f71d50c"
	if got := fmt.Sprintf("%016x", h.Sum64()); got != want {
		t.Errorf("the pictures changed: %s, want %s", got, want)
	}
}

func TestSeedsMakePictures(t *testing.T) {
	t.Parallel()
	seeds := []uint64{1, 2, 3, 1 << 40, 1}
	list := paintJob(t, ImageJob{Prompt: "mountain lake", Seeds: seeds})
	if len(list) != len(seeds) {
		t.Fatalf("%d pictures", len(list))
	}
	seen := map[string]bool{}
	for _, m := range list {
		seen[sum(m)] = true
	}
	if len(seen) != 4 || sum(list[0]) != sum(list[4]) {
		t.Errorf("%d different pictures of 4 seeds", len(seen))
	}
	if one := paintJob(t, ImageJob{Prompt: "mountain lake", Seeds: []uint64{3}})[0]; sum(one) != sum(list[2]) {
		t.Error("a picture of a batch cannot be made again alone")
	}
	prompts := map[string]bool{}
	for _, p := range []string{"qwrt", "plmk", "vbnx", "the"} {
		prompts[sum(paintJob(t, ImageJob{Prompt: p})[0])] = true
	}
	if len(prompts) != 4 {
		t.Errorf("words that mean nothing to it give %d pictures of 4", len(prompts))
	}
}

func TestThePromptIsSeen(t *testing.T) {
	t.Parallel()
	top := image.Rect(0, 0, 256, 80)
	all := image.Rect(0, 0, 256, 256)
	for _, c := range []struct {
		prompt string
		in     image.Rectangle
		ok     func(r, g, b float64) bool
	}{
		{"red sky over the desert", top, func(r, g, b float64) bool { return r > g+40 && r > b+40 }},
		{"green sky over the sea at noon", top, func(r, g, b float64) bool { return g > r+15 && g > b }},
		{"blue sky at noon over the hills", top, func(r, g, b float64) bool { return b > r+30 }},
		{"night over the city", all, func(r, g, b float64) bool { return r+g+b < 240 }},
		{"noon in the snow, winter", image.Rect(0, 200, 256, 240), func(r, g, b float64) bool { return r > 150 && g > 150 && b > 150 }},
		{"spring meadow at noon", image.Rect(0, 170, 256, 240), func(r, g, b float64) bool { return g > b+10 }},
		{"monochrome city", all, func(r, g, b float64) bool { return max(r, g, b)-min(r, g, b) < 3 }},
		{"purple abstract", all, func(r, g, b float64) bool { return b > g+10 && r > g }},
	} {
		for seed := range uint64(4) {
			r, g, b := mean(paintJob(t, ImageJob{Prompt: c.prompt, Seeds: []uint64{seed}})[0], c.in)
			if !c.ok(r, g, b) {
				t.Errorf("%q, seed %d: mean colour %.0f %.0f %.0f", c.prompt, seed, r, g, b)
			}
		}
	}
}

func TestTheNegativePromptTakesAway(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ prompt, negative, like string }{
		{"mountain lake, boat, clouds", "boat", "mountain lake, clouds"},
		{"winter hills, moon, stars, night", "moon", "winter hills, stars, night"},
		{"a cat in the garden", "cat", "the garden"},
		{"pixel art sea", "pixel art", "sea"},
		{"mountain lake, (boat:0)", "", "mountain lake"},
	} {
		b := read(c.prompt, c.negative, newRandom(1, ""))
		like := read(c.like, c.negative, newRandom(1, ""))
		for m := range b.has {
			if !strings.HasPrefix(m, "no ") && b.has[m] != like.has[m] {
				t.Errorf("%q without %q: %s is %v", c.prompt, c.negative, m, b.has[m])
			}
		}
		if b.style != like.style || b.time != like.time {
			t.Errorf("%q without %q: %s %s, want %s %s", c.prompt, c.negative, b.style, b.time, like.style, like.time)
		}
	}
	// What is not named stays where it is: only the birds' pixels differ.
	with := paintJob(t, ImageJob{Prompt: "mountain lake at noon, sun, birds"})[0]
	without := paintJob(t, ImageJob{Prompt: "mountain lake at noon, sun, birds", Negative: "birds"})[0]
	if d := distance(with, without, with.Bounds()); d == 0 || d > 3 {
		t.Errorf("without birds the picture differs by %.2f", d)
	}
	_, _, blue := mean(paintJob(t, ImageJob{Prompt: "sea at noon"})[0], with.Bounds())
	_, _, less := mean(paintJob(t, ImageJob{Prompt: "sea at noon", Negative: "blue"})[0], with.Bounds())
	if less > blue-10 {
		t.Errorf("blue %.0f, not wanted %.0f", blue, less)
	}
}

func TestAColourBelongsToItsMotif(t *testing.T) {
	t.Parallel()
	b := read("a blue cat, a small red sailing boat and green", "", newRandom(1, ""))
	if b.tints["cat"] != colourWords["blue"] || b.tints["boat"] != colourWords["red"] {
		t.Errorf("tints %v", b.tints)
	}
	if len(b.colours) != 1 || b.colours[0] != colourWords["green"] {
		t.Errorf("colours %v", b.colours)
	}
}

func TestMoreStepsAreFiner(t *testing.T) {
	t.Parallel()
	for _, prompt := range []string{"mountain lake", "a cat", "city at night"} {
		full := paintJob(t, ImageJob{Prompt: prompt, Steps: stepsFull})[0]
		last := 256.0
		for _, steps := range []int{1, 4, 8, 12, 16, 20, 25, 30, 50, 500} {
			d := distance(full, paintJob(t, ImageJob{Prompt: prompt, Steps: steps})[0], full.Bounds())
			if d > last || steps <= stepsFull-5 && d == 0 {
				t.Errorf("%q: %d steps are %.2f away, fewer were %.2f", prompt, steps, d, last)
			}
			last = d
		}
		if last != 0 {
			t.Errorf("%q: 500 steps are %.2f away from %d", prompt, last, stepsFull)
		}
	}
}

func TestCFGScaleMakesColoursStronger(t *testing.T) {
	t.Parallel()
	last := -1.0
	for _, cfg := range []float64{1, 4, 7, 12, 20} {
		m := paintJob(t, ImageJob{Prompt: "sunset sea", CFGScale: cfg})[0]
		total := 0.0
		for i := 0; i < len(m.Pix); i += 4 {
			total += float64(max(m.Pix[i], m.Pix[i+1], m.Pix[i+2]) - min(m.Pix[i], m.Pix[i+1], m.Pix[i+2]))
		}
		if total <= last {
			t.Errorf("cfg %v: %.0f after %.0f", cfg, total, last)
		}
		last = total
	}
}

func TestASourceIsPaintedOver(t *testing.T) {
	t.Parallel()
	source := paintJob(t, ImageJob{Prompt: "a cat on a meadow", Seeds: []uint64{3}})[0]
	away := image.Rect(0, 0, 256, 230) // without the signature
	last := -1.0
	for _, d := range []float64{0.01, 0.2, 0.4, 0.6, 0.8, 1} {
		m := paintJob(t, ImageJob{Prompt: "city at night", Source: source, Denoise: d})[0]
		far := distance(source, m, away)
		if far <= last {
			t.Errorf("denoise %v: %.1f from the source, less was %.1f", d, far, last)
		}
		if d == 0.01 && far > 4 {
			t.Errorf("hardly any denoising changes it by %.1f", far)
		}
		last = far
	}
	all := paintJob(t, ImageJob{Prompt: "city at night", Source: source, Denoise: 1})[0]
	if d := distance(all, paintJob(t, ImageJob{Prompt: "city at night"})[0], away); d > 1 {
		t.Errorf("with denoise 1 the source still shows: %.2f", d)
	}
	// Another size is stretched.
	paintJob(t, ImageJob{Prompt: "x", Source: source, Denoise: 0.5, Width: 320, Height: 128})
}

func TestOnlyTheMaskIsPainted(t *testing.T) {
	t.Parallel()
	source := paintJob(t, ImageJob{Prompt: "a cat on a meadow", Seeds: []uint64{3}})[0]
	white, black := image.Rect(0, 0, 128, 220), image.Rect(136, 0, 256, 220)
	mask := image.NewGray(image.Rect(0, 0, 64, 64))
	cut := image.NewNRGBA(image.Rect(0, 0, 256, 256))
	for y := range 256 {
		for x := range 256 {
			c := source.RGBAAt(x, y)
			a := uint8(255)
			if x < 128 {
				a = 0
				mask.SetGray(x/4, y/4, color.Gray{Y: 255})
			}
			cut.SetNRGBA(x, y, color.NRGBA{c.R, c.G, c.B, a})
		}
	}
	for name, job := range map[string]ImageJob{
		"a mask":           {Prompt: "night, aurora", Source: source, Mask: mask},
		"transparent half": {Prompt: "night, aurora", Source: cut},
	} {
		m := paintJob(t, job)[0]
		if d := distance(source, m, black); d > 0.5 {
			t.Errorf("%s: the rest changed by %.2f", name, d)
		}
		if d := distance(source, m, white.Inset(8)); d < 20 {
			t.Errorf("%s: the marked half changed by %.2f", name, d)
		}
	}
}

func TestTilesFitTogether(t *testing.T) {
	t.Parallel()
	step := func(m *image.RGBA, x0, x1 int) float64 { // mean difference of two columns
		total := 0
		for y := range 220 {
			a, b := m.RGBAAt(x0, y), m.RGBAAt(x1, y)
			total += max(int(a.G)-int(b.G), int(b.G)-int(a.G))
		}
		return float64(total) / 220
	}
	for _, prompt := range []string{"abstract", "clouds at noon", "mountains"} {
		m := paintJob(t, ImageJob{Prompt: prompt, Tiling: true})[0]
		inside := (step(m, 100, 101) + step(m, 60, 61) + step(m, 150, 151)) / 3
		if seam := step(m, 255, 0); seam > inside*2.5+4 {
			t.Errorf("%q: the seam is %.1f, inside it is %.1f", prompt, seam, inside)
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ w, h int }{{64, 64}, {64, 3072}, {3072, 64}, {320, 1024}, {1024, 320}, {65, 127}} {
		for _, prompt := range []string{"mountain lake boat", "city", "cat", "oil portrait", "pixel space"} {
			paintJob(t, ImageJob{Prompt: prompt, Width: c.w, Height: c.h})
		}
	}
	for _, c := range []struct{ w, h int }{{63, 64}, {64, 0}, {3073, 64}, {-1, 64}, {1 << 30, 1 << 30}} {
		if _, err := (Painter{}).Paint(t.Context(), ImageJob{Width: c.w, Height: c.h, Seeds: []uint64{1}}, nil); !errors.Is(err, ErrSize) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestProgressCountsEveryStep(t *testing.T) {
	t.Parallel()
	for _, steps := range []int{1, 3, 30, 500} {
		var got []int
		_, err := Painter{}.Paint(t.Context(), ImageJob{Prompt: "sea", Width: 64, Height: 64, Steps: steps, Seeds: []uint64{1, 2}}, func(step, of int) {
			if of != 2*steps {
				t.Fatalf("of %d", of)
			}
			got = append(got, step)
		})
		if err != nil || len(got) != 2*steps {
			t.Fatalf("%d reports, %v", len(got), err)
		}
		for i, step := range got {
			if step != i+1 {
				t.Fatalf("report %d is step %d", i, step)
			}
		}
	}
}

func TestPaintingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	calls := 0
	start := time.Now()
	_, err := Painter{}.Paint(ctx, ImageJob{Prompt: "oil painting of mountains and a lake", Width: 2048, Height: 2048, Seeds: []uint64{1, 2, 3, 4}}, func(step, of int) {
		calls++
		cancel()
	})
	if !errors.Is(err, context.Canceled) || calls > stepsFull {
		t.Errorf("%v after %d reports", err, calls)
	}
	t.Logf("ended after %v", time.Since(start))
}

func TestEveryPictureIsSigned(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ w, h int }{{64, 64}, {512, 512}, {1024, 640}} {
		plain := newCanvas(t.Context(), c.w, c.h)
		signed := plain.clone()
		sign(signed)
		corner := image.Rect(c.w-c.w/2, c.h-c.h/4, c.w, c.h)
		if d := distance(plain.image(), signed.image(), corner); d < 0.2 {
			t.Errorf("%v: the corner differs by %.3f", c, d)
		}
		rest := image.Rect(0, 0, c.w, c.h-c.h/4)
		if distance(plain.image(), signed.image(), rest) != 0 {
			t.Errorf("%v: it writes elsewhere", c)
		}
	}
}

func TestAnyPromptIsPainted(t *testing.T) {
	t.Parallel()
	vocabulary := []string{"###", "(moon:1.2)", "(((", "\x00", "night"}
	for _, words := range motifWords {
		vocabulary = append(vocabulary, strings.Fields(words)[0])
	}
	for _, words := range styleWords {
		vocabulary = append(vocabulary, strings.Fields(words)[0])
	}
	for c := range colourWords {
		vocabulary = append(vocabulary, c)
	}
	words := rapid.OneOf(rapid.SampledFrom(vocabulary), rapid.String())
	rapid.Check(t, func(rt *rapid.T) {
		job := ImageJob{
			Prompt:   strings.Join(rapid.SliceOfN(words, 0, 8).Draw(rt, "prompt"), " "),
			Negative: strings.Join(rapid.SliceOfN(words, 0, 4).Draw(rt, "negative"), " "),
			Width:    rapid.IntRange(64, 110).Draw(rt, "width"),
			Height:   rapid.IntRange(64, 110).Draw(rt, "height"),
			Steps:    rapid.IntRange(0, 40).Draw(rt, "steps"),
			CFGScale: rapid.Float64Range(0, 100).Draw(rt, "cfg"),
			Tiling:   rapid.Bool().Draw(rt, "tiling"),
			Seeds:    []uint64{rapid.Uint64().Draw(rt, "seed")},
		}
		paintJob(t, job)
	})
}

// BenchmarkPaint tells the time for one picture of each motif at the usual sizes.
func BenchmarkPaint(b *testing.B) {
	for _, side := range []int{512, 1024} {
		b.Run(fmt.Sprint(side), func(b *testing.B) {
			for i := range b.N {
				paintJob(b, ImageJob{Prompt: everything[i%len(everything)], Width: side, Height: side, Seeds: []uint64{uint64(i)}})
			}
		})
	}
}

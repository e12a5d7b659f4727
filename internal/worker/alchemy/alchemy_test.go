// SPDX-License-Identifier: AGPL-3.0-or-later

package alchemy

import (
	"image"
	"image/color"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"testing"

	"horde/internal/picture"
)

// painted makes a picture of a function.
func painted(w, h int, f func(x, y int) color.NRGBA) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, f(x, y))
		}
	}
	return m
}

func plain(c color.NRGBA) func(int, int) color.NRGBA { return func(int, int) color.NRGBA { return c } }

var red, blue = color.NRGBA{255, 0, 0, 255}, color.NRGBA{0, 0, 255, 255}

func TestPalette(t *testing.T) {
	t.Parallel()
	quarter := painted(400, 100, func(x, _ int) color.NRGBA {
		if x < 100 {
			return blue
		}
		return red
	})
	got := Palette(quarter)
	if len(got) != 2 || got[0] != (Color{"#ff0000", 0.75}) || got[1] != (Color{"#0000ff", 0.25}) {
		t.Errorf("got %v", got)
	}
	if got := Palette(painted(9, 9, plain(color.NRGBA{255, 0, 0, 10}))); len(got) != 0 {
		t.Errorf("what cannot be seen has the colours %v", got)
	}
	rainbow := Palette(painted(1000, 700, func(x, y int) color.NRGBA { return color.NRGBA{uint8(x), uint8(y), uint8(x + y), 255} }))
	sum := 0.0
	for i, c := range rainbow {
		sum += c.Proportion
		if i > 0 && c.Proportion > rainbow[i-1].Proportion {
			t.Errorf("not in order: %v", rainbow)
		}
	}
	if len(rainbow) != maxColors || math.Abs(sum-1) > 0.001 {
		t.Errorf("%d colours that are %v of the whole", len(rainbow), sum)
	}
}

// differ counts the bits in which two fingerprints differ.
func differ(t *testing.T, a, b string) int {
	t.Helper()
	x, errX := strconv.ParseUint(a, 16, 64)
	y, errY := strconv.ParseUint(b, 16, 64)
	if errX != nil || errY != nil || len(a) != 16 || len(b) != 16 {
		t.Fatalf("%q and %q are no fingerprints", a, b)
	}
	return bits.OnesCount64(x ^ y)
}

func TestFingerprints(t *testing.T) {
	t.Parallel()
	scene := func(scale, light float64) *image.NRGBA {
		return painted(int(300*scale), int(200*scale), func(x, y int) color.NRGBA {
			u, v := float64(x)/scale, float64(y)/scale
			g := uint8(light * (110 + 60*math.Sin(u/31) + 50*math.Cos(v/23+u/50)))
			return color.NRGBA{g, g / 2, 255 - g, 255}
		})
	}
	other := painted(300, 200, func(x, y int) color.NRGBA { return color.NRGBA{uint8(x * y / 200), uint8(y), uint8(x), 255} })
	for name, hash := range map[string]func(*image.NRGBA) string{"dhash": DHash, "phash": PHash} {
		original := hash(scene(1, 1))
		for _, same := range []*image.NRGBA{scene(2, 1), scene(0.7, 1), scene(1, 0.9)} {
			if n := differ(t, original, hash(same)); n > 8 {
				t.Errorf("%s: the same scene differs in %d bits", name, n)
			}
		}
		if n := differ(t, original, hash(other)); n < 16 {
			t.Errorf("%s: another scene differs in %d bits", name, n)
		}
	}
	rising := painted(90, 80, func(x, _ int) color.NRGBA { return color.NRGBA{uint8(x), uint8(x), uint8(x), 255} })
	if got := DHash(rising); got != "ffffffffffffffff" {
		t.Errorf("a picture that gets lighter to the right is %s", got)
	}
}

// number reads digits of a BlurHash.
func number(s string) (n int) {
	for _, r := range s {
		n = n*83 + strings.IndexRune(base83, r)
	}
	return n
}

func TestBlurHash(t *testing.T) {
	t.Parallel()
	for _, c := range []color.NRGBA{red, blue, {18, 200, 77, 255}, {0, 0, 0, 255}, {255, 255, 255, 255}} {
		got := BlurHash(painted(50, 30, plain(c)))
		if len(got) != 28 || number(got[:1]) != 21 || number(got[2:6]) != int(c.R)<<16|int(c.G)<<8|int(c.B) {
			t.Errorf("%v is %s, of the colour %06x", c, got, number(got[2:6]))
		}
		for i := 6; i < len(got); i += 2 {
			if n := number(got[i : i+2]); n != 9*19*19+9*19+9 {
				t.Errorf("one colour has waves: %s", got)
			}
		}
	}
	// Light on the left: the first wave along x goes up at its start, that is it is above the middle.
	left := BlurHash(painted(64, 64, func(x, _ int) color.NRGBA {
		if x < 32 {
			return color.NRGBA{255, 255, 255, 255}
		}
		return color.NRGBA{A: 255}
	}))
	if n := number(left[6:8]); n != 18*19*19+18*19+18 {
		t.Errorf("light on the left: %s, wave %d", left, n)
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	for _, size := range [][2]int{{1, 1}, {3, 700}, {640, 480}} {
		p := &picture.Picture{
			Info:  picture.Info{Format: picture.PNG, Width: size[0], Height: size[1], Channels: 4},
			NRGBA: painted(size[0], size[1], plain(red)),
		}
		d := Describe(p)
		if d.Format != "PNG" || d.Width != size[0] || d.Height != size[1] || !d.HasAlpha || d.DominantColor != "#ff0000" ||
			d.AspectRatio != math.Round(float64(size[0])/float64(size[1])*10_000)/10_000 || len(d.BlurHash) != 28 {
			t.Errorf("%v is described as %+v", size, d)
		}
	}
}

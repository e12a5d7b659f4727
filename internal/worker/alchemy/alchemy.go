// SPDX-License-Identifier: AGPL-3.0-or-later

// Package alchemy looks at pictures: what colours they have, and fingerprints by which similar ones are found. It needs no model
// and no inference server.
package alchemy

import (
	"cmp"
	"fmt"
	"image"
	"math"
	"slices"
	"strings"

	"horde/internal/picture"
)

// Color is one of the colours of a palette, with its share of the visible pixels, 0..1.
type Color struct {
	Hex        string  `json:"hex"` // "#rrggbb"
	Proportion float64 `json:"proportion"`
}

const (
	// maxColors is how many colours a palette has at most.
	maxColors = 8
	// apart is how far two colours of a palette are from each other at least, in steps of 8-bit channels.
	apart = 48
	// sampled is how many pixels of a side are looked at, at most.
	sampled = 256
	// visible is the alpha from which a pixel counts.
	visible = 128
)

type rgb [3]float64

func (a rgb) distance(b rgb) float64 {
	return math.Sqrt((a[0]-b[0])*(a[0]-b[0]) + (a[1]-b[1])*(a[1]-b[1]) + (a[2]-b[2])*(a[2]-b[2]))
}

func (a rgb) hex() string {
	return fmt.Sprintf("#%02x%02x%02x", int(math.Round(a[0])), int(math.Round(a[1])), int(math.Round(a[2])))
}

// pixels are the visible ones of a picture, or of a grid over a large one.
func pixels(m *image.NRGBA) (list []rgb) {
	stepX, stepY := max(1, m.Rect.Dx()/sampled), max(1, m.Rect.Dy()/sampled)
	for y := 0; y < m.Rect.Dy(); y += stepY {
		for x := 0; x < m.Rect.Dx(); x += stepX {
			if p := m.Pix[y*m.Stride+4*x:]; p[3] >= visible {
				list = append(list, rgb{float64(p[0]), float64(p[1]), float64(p[2])})
			}
		}
	}
	return list
}

// Palette is the colours of a picture, the largest share first. A picture of which nothing is visible has none.
func Palette(m *image.NRGBA) []Color {
	all := pixels(m)
	// The most frequent colours, coarsely, that are far enough from each other are where the shares grow around.
	const coarse = 16
	bins := map[[3]int][]rgb{}
	for _, p := range all {
		key := [3]int{int(p[0]) / coarse, int(p[1]) / coarse, int(p[2]) / coarse}
		bins[key] = append(bins[key], p)
	}
	keys := make([][3]int, 0, len(bins))
	for k := range bins {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b [3]int) int {
		return cmp.Or(cmp.Compare(len(bins[b]), len(bins[a])), slices.Compare(a[:], b[:]))
	})
	var centres []rgb
	for _, k := range keys {
		if c := mean(bins[k]); len(centres) < maxColors && !slices.ContainsFunc(centres, func(o rgb) bool { return o.distance(c) < apart }) {
			centres = append(centres, c)
		}
	}
	shares := make([][]rgb, len(centres))
	for _, p := range all {
		nearest := 0
		for i, c := range centres {
			if c.distance(p) < centres[nearest].distance(p) {
				nearest = i
			}
		}
		shares[nearest] = append(shares[nearest], p)
	}
	slices.SortStableFunc(shares, func(a, b []rgb) int { return cmp.Compare(len(b), len(a)) })
	colors := []Color{}
	for _, s := range shares {
		if len(s) > 0 {
			colors = append(colors, Color{mean(s).hex(), math.Round(float64(len(s))/float64(len(all))*10_000) / 10_000})
		}
	}
	return colors
}

func mean(list []rgb) (m rgb) {
	for _, p := range list {
		for i := range m {
			m[i] += p[i] / float64(len(list))
		}
	}
	return m
}

// Description is what can be told of a picture without knowing what it shows.
type Description struct {
	Format      string  `json:"format"` // "WEBP", "PNG", …
	Width       int     `json:"width"`
	Height      int     `json:"height"`
	AspectRatio float64 `json:"aspect_ratio"`
	HasAlpha    bool    `json:"has_alpha"`
	// DHash and PHash are 64 bits in hexadecimal: pictures that look alike differ in few of them.
	DHash    string `json:"dhash"`
	PHash    string `json:"phash"`
	BlurHash string `json:"blurhash"`
	// DominantColor is the first of the palette, empty where nothing is visible.
	DominantColor string `json:"dominant_color,omitempty"`
}

// Describe tells what can be told of a picture.
func Describe(p *picture.Picture) Description {
	d := Description{
		Format: strings.ToUpper(string(p.Format)), Width: p.Width, Height: p.Height, HasAlpha: p.Channels == 4,
		AspectRatio: math.Round(float64(p.Width)/float64(p.Height)*10_000) / 10_000,
		DHash:       DHash(p.NRGBA), PHash: PHash(p.NRGBA), BlurHash: BlurHash(p.NRGBA),
	}
	if colors := Palette(p.NRGBA); len(colors) > 0 {
		d.DominantColor = colors[0].Hex
	}
	return d
}

// shrink makes a picture w by h values large; each is the mean of value over the pixels that it stands for.
func shrink[T ~[3]float64](m *image.NRGBA, w, h int, value func(r, g, b uint8) T) []T {
	out := make([]T, w*h)
	for y := range h {
		y0 := y * m.Rect.Dy() / h
		y1 := max(y0+1, (y+1)*m.Rect.Dy()/h)
		for x := range w {
			x0 := x * m.Rect.Dx() / w
			x1 := max(x0+1, (x+1)*m.Rect.Dx()/w)
			var sum T
			for v := y0; v < y1; v++ {
				for u := x0; u < x1; u++ {
					p := m.Pix[v*m.Stride+4*u:]
					c := value(p[0], p[1], p[2])
					for i := range sum {
						sum[i] += c[i]
					}
				}
			}
			for i := range sum {
				sum[i] /= float64((y1 - y0) * (x1 - x0))
			}
			out[y*w+x] = sum
		}
	}
	return out
}

// luma is the brightness of a pixel, 0..255, in the first value.
func luma(r, g, b uint8) rgb {
	return rgb{0.299*float64(r) + 0.587*float64(g) + 0.114*float64(b)}
}

// DHash says of 8 rows of 9 pixels which are darker than their right neighbours.
func DHash(m *image.NRGBA) string {
	grey := shrink(m, 9, 8, luma)
	var bits uint64
	for y := range 8 {
		for x := range 8 {
			bits <<= 1
			if grey[y*9+x][0] < grey[y*9+x+1][0] {
				bits |= 1
			}
		}
	}
	return fmt.Sprintf("%016x", bits)
}

// PHash says of the 64 lowest frequencies which are above their median.
func PHash(m *image.NRGBA) string {
	const side, kept = 32, 8
	grey := shrink(m, side, side, luma)
	var low [kept * kept]float64
	for v := range kept {
		for u := range kept {
			for y := range side {
				for x := range side {
					low[v*kept+u] += grey[y*side+x][0] * wave(u, x, side) * wave(v, y, side)
				}
			}
		}
	}
	sorted := low
	slices.Sort(sorted[:])
	median := (sorted[31] + sorted[32]) / 2
	var bits uint64
	for _, f := range low {
		bits <<= 1
		if f > median {
			bits |= 1
		}
	}
	return fmt.Sprintf("%016x", bits)
}

// wave is a cosine with n half periods over a number of places, in the middle of one.
func wave(n, at, places int) float64 {
	return math.Cos(math.Pi * float64(n) * (float64(at) + 0.5) / float64(places))
}

// The size of a BlurHash, in waves along each side.
const (
	blurX, blurY = 4, 3
	blurSide     = 32
)

const base83 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"

// BlurHash is a blurred picture in 28 characters, in the format of that name: few waves of linear light.
func BlurHash(m *image.NRGBA) string {
	light := shrink(m, blurSide, blurSide, func(r, g, b uint8) rgb { return rgb{linear(r), linear(g), linear(b)} })
	var waves [blurX * blurY]rgb
	strongest := 0.0
	for j := range blurY {
		for i := range blurX {
			w := &waves[j*blurX+i]
			scale := 2.0 / (blurSide * blurSide)
			if i == 0 && j == 0 {
				scale /= 2
			}
			for y := range blurSide {
				for x := range blurSide {
					basis := scale * wave(i, x, blurSide) * wave(j, y, blurSide)
					for c, v := range light[y*blurSide+x] {
						w[c] += basis * v
					}
				}
			}
			if i+j > 0 {
				for _, v := range w {
					strongest = max(strongest, math.Abs(v))
				}
			}
		}
	}
	var s strings.Builder
	digits := func(value, length int) {
		for i := length - 1; i >= 0; i-- {
			s.WriteByte(base83[value/int(math.Pow(83, float64(i)))%83])
		}
	}
	digits(blurX-1+(blurY-1)*9, 1)
	quantised := min(max(int(strongest*166-0.5), 0), 82)
	digits(quantised, 1)
	strongest = float64(quantised+1) / 166
	digits(encoded(waves[0][0])<<16|encoded(waves[0][1])<<8|encoded(waves[0][2]), 4)
	for _, w := range waves[1:] {
		value := 0
		for _, v := range w {
			root := math.Copysign(math.Sqrt(math.Abs(v/strongest)), v)
			value = value*19 + min(max(int(math.Floor(root*9+9.5)), 0), 18)
		}
		digits(value, 2)
	}
	return s.String()
}

// linear is the light of a channel in sRGB, 0..1, and encoded the reverse.
func linear(c uint8) float64 {
	v := float64(c) / 255
	if v <= 0.04045 {
		return v / 12.92
	}
	return math.Pow((v+0.055)/1.055, 2.4)
}

func encoded(v float64) int {
	v = min(max(v, 0), 1)
	if v <= 0.0031308 {
		return int(v*12.92*255 + 0.5)
	}
	return int((1.055*math.Pow(v, 1/2.4)-0.055)*255 + 0.5)
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

import (
	"context"
	"image"
	"math"
	"slices"
)

// rgb is an opaque colour, each part 0..255. The parts are wider than needed so that mixing does not overflow.
type rgb struct{ r, g, b int32 }

// whole is the amount that means "all" where colours are mixed.
const whole = 256

// mixRGB goes from a to b by t of whole.
func mixRGB(a, b rgb, t int32) rgb {
	return rgb{a.r + (b.r-a.r)*t/whole, a.g + (b.g-a.g)*t/whole, a.b + (b.b-a.b)*t/whole}
}

// scale multiplies by t of whole, up to white.
func (c rgb) scale(t int32) rgb {
	return rgb{min(255, c.r*t/whole), min(255, c.g*t/whole), min(255, c.b*t/whole)}
}

func (c rgb) add(d rgb) rgb { return rgb{min(255, c.r+d.r), min(255, c.g+d.g), min(255, c.b+d.b)} }

// luma is the brightness, 0..255.
func (c rgb) luma() int32 { return (c.r*77 + c.g*150 + c.b*29) >> 8 }

// saturate moves the colour away from grey (t > whole) or towards it.
func (c rgb) saturate(t int32) rgb {
	l := c.luma()
	return rgb{clamp8(l + (c.r-l)*t/whole), clamp8(l + (c.g-l)*t/whole), clamp8(l + (c.b-l)*t/whole)}
}

func clamp8(v int32) int32 { return max(0, min(255, v)) }

// point is a place on a canvas in pixels.
type point struct{ x, y float64 }

// paint gives the colour of a pixel.
type paint func(x, y int) rgb

func solid(c rgb) paint { return func(int, int) rgb { return c } }

// upright goes from top at row y0 to bottom at row y1.
func upright(top, bottom rgb, y0, y1 float64) paint {
	a, span := int32(y0), max(1, int32(y1-y0))
	return func(_, y int) rgb {
		return mixRGB(top, bottom, max(0, min(whole, (int32(y)-a)*whole/span)))
	}
}

// canvas is a picture in the making. One goroutine uses it.
//
// Shapes are given in floating point but rounded to 1/256 pixel before anything is drawn, and all that happens to pixels
// is integer arithmetic: a picture must not depend on how a processor rounds.
type canvas struct {
	w, h int
	pix  []uint8 // as in image.RGBA, opaque
	// cover and crossings are scratch memory of fill.
	cover     []int32
	crossings []crossing
	ctx       context.Context
}

type crossing struct{ x, winding int32 }

func newCanvas(ctx context.Context, w, h int) *canvas {
	c := &canvas{w: w, h: h, pix: make([]uint8, 4*w*h), cover: make([]int32, w+1), ctx: ctx}
	for i := 3; i < len(c.pix); i += 4 {
		c.pix[i] = 255
	}
	return c
}

func (c *canvas) image() *image.RGBA {
	return &image.RGBA{Pix: c.pix, Stride: 4 * c.w, Rect: image.Rect(0, 0, c.w, c.h)}
}

func (c *canvas) clone() *canvas {
	d := *c
	d.pix = slices.Clone(c.pix)
	return &d
}

// small is the unit for sizes of things: the shorter side.
func (c *canvas) small() float64 { return float64(min(c.w, c.h)) }

func (c *canvas) at(x, y int) rgb {
	p := c.pix[4*(y*c.w+x):]
	return rgb{int32(p[0]), int32(p[1]), int32(p[2])}
}

// near is at with the place moved inside.
func (c *canvas) near(x, y int) rgb {
	return c.at(max(0, min(c.w-1, x)), max(0, min(c.h-1, y)))
}

func (c *canvas) set(x, y int, v rgb) {
	p := c.pix[4*(y*c.w+x):]
	p[0], p[1], p[2] = uint8(v.r), uint8(v.g), uint8(v.b)
}

// blend lays v over a pixel with alpha of whole.
func (c *canvas) blend(x, y int, v rgb, alpha int32) {
	if alpha >= whole {
		c.set(x, y, v)
		return
	}
	p := c.pix[4*(y*c.w+x):]
	p[0] = uint8(int32(p[0]) + (v.r-int32(p[0]))*alpha/whole)
	p[1] = uint8(int32(p[1]) + (v.g-int32(p[1]))*alpha/whole)
	p[2] = uint8(int32(p[2]) + (v.b-int32(p[2]))*alpha/whole)
}

// each replaces every pixel.
func (c *canvas) each(f func(x, y int, old rgb) rgb) {
	for y := range c.h {
		if c.ctx.Err() != nil {
			return
		}
		for x := range c.w {
			c.set(x, y, f(x, y, c.at(x, y)))
		}
	}
}

// subpixel is the resolution of shapes: 1/256 pixel.
const subpixel = 256

// fixed rounds to 1/256 pixel, far outside at most 2^20 pixels away so that no product overflows.
func fixed(v float64) int32 {
	return int32(math.Floor(max(-1<<20, min(1<<20, v))*subpixel + 0.5))
}

// fill draws the inside of a closed outline with alpha of whole. Overlapping parts of the outline count once.
func (c *canvas) fill(outline []point, alpha int32, p paint) {
	type edge struct{ x0, y0, x1, y1, winding int32 }
	edges := make([]edge, 0, len(outline))
	top, bottom := int32(1<<30), int32(-1<<30)
	for i, a := range outline {
		b := outline[(i+1)%len(outline)]
		e := edge{fixed(a.x), fixed(a.y), fixed(b.x), fixed(b.y), 1}
		if e.y0 > e.y1 {
			e = edge{e.x1, e.y1, e.x0, e.y0, -1}
		}
		if e.y0 != e.y1 {
			edges = append(edges, e)
			top, bottom = min(top, e.y0), max(bottom, e.y1)
		}
	}
	if len(edges) == 0 || c.ctx.Err() != nil {
		return
	}
	const lines = 4 // per pixel
	first, last := max(0, int(top)/subpixel), min(c.h-1, int(bottom)/subpixel)
	for y := first; y <= last; y++ {
		left, right := c.w, -1
		for k := range int32(lines) {
			at := int32(y)*subpixel + subpixel/(2*lines) + k*subpixel/lines
			c.crossings = c.crossings[:0]
			for _, e := range edges {
				if e.y0 <= at && at < e.y1 {
					x := e.x0 + int32(int64(e.x1-e.x0)*int64(at-e.y0)/int64(e.y1-e.y0))
					c.crossings = append(c.crossings, crossing{x, e.winding})
				}
			}
			slices.SortFunc(c.crossings, func(a, b crossing) int { return int(a.x - b.x) })
			winding := int32(0)
			for i := 0; i+1 < len(c.crossings); i++ {
				winding += c.crossings[i].winding
				if winding != 0 {
					l, r := c.span(c.crossings[i].x, c.crossings[i+1].x)
					left, right = min(left, l), max(right, r)
				}
			}
		}
		for x := left; x <= right && x < c.w; x++ {
			if v := c.cover[x]; v != 0 {
				c.blend(x, y, p(x, y), min(whole, v*alpha/(lines*subpixel)))
				c.cover[x] = 0
			}
		}
	}
}

// span adds the coverage of one line from a to b, in 1/256 pixel, and returns the first and last pixel touched.
func (c *canvas) span(a, b int32) (int, int) {
	a, b = max(0, a), min(b, int32(c.w)*subpixel)
	if a >= b {
		return c.w, -1
	}
	l, r := a/subpixel, b/subpixel
	if l == r {
		c.cover[l] += b - a
		return int(l), int(r)
	}
	c.cover[l] += (l+1)*subpixel - a
	for x := l + 1; x < r; x++ {
		c.cover[x] += subpixel
	}
	c.cover[r] += b - r*subpixel // cover has one more than w
	return int(l), int(r)
}

// turnSteps are the directions of a full turn; sine holds theirs, rounded so that it is the same everywhere.
const turnSteps = 1024

var sine = func() (t [turnSteps]float64) {
	for i := range t {
		t[i] = math.Round(math.Sin(2*math.Pi*float64(i)/turnSteps)*65536) / 65536
	}
	return t
}()

func sin(turn int) float64 { return sine[uint(turn)%turnSteps] }
func cos(turn int) float64 { return sine[uint(turn+turnSteps/4)%turnSteps] }

// ellipse is an outline around (x, y).
func ellipse(x, y, rx, ry float64) []point {
	n := 48
	if max(rx, ry) > 150 {
		n = 96
	}
	list := make([]point, n)
	for i := range list {
		t := i * turnSteps / n
		list[i] = point{x + float64(rx*cos(t)), y + float64(ry*sin(t))}
	}
	return list
}

func rectangle(x, y, w, h float64) []point {
	return []point{{x, y}, {x + w, y}, {x + w, y + h}, {x, y + h}}
}

// smooth rounds a closed outline: a Catmull-Rom curve through its points.
func smooth(list []point) []point {
	const parts = 8
	n := len(list)
	out := make([]point, 0, n*parts)
	for i := range list {
		a, b, d, e := list[(i+n-1)%n], list[i], list[(i+1)%n], list[(i+2)%n]
		for k := range parts {
			t := float64(k) / parts
			out = append(out, point{catmull(a.x, b.x, d.x, e.x, t), catmull(a.y, b.y, d.y, e.y, t)})
		}
	}
	return out
}

func catmull(a, b, d, e, t float64) float64 {
	c1 := (d - a) / 2
	c2 := a - float64(2.5*b) + float64(2*d) - e/2
	c3 := (e-a)/2 + float64(1.5*(b-d))
	return b + float64(t*(c1+float64(t*(c2+float64(t*c3)))))
}

// line draws a stroke with round ends from a to b.
func (c *canvas) line(a, b point, width float64, alpha int32, p paint) {
	dx, dy := b.x-a.x, b.y-a.y
	length := math.Sqrt(float64(dx*dx) + float64(dy*dy))
	if length > 0 {
		nx, ny := float64(-dy/length*width)/2, float64(dx/length*width)/2
		c.fill([]point{{a.x + nx, a.y + ny}, {b.x + nx, b.y + ny}, {b.x - nx, b.y - ny}, {a.x - nx, a.y - ny}}, alpha, p)
	}
	if width > 3 {
		c.fill(ellipse(a.x, a.y, width/2, width/2), alpha, p)
		c.fill(ellipse(b.x, b.y, width/2, width/2), alpha, p)
	}
}

// glow adds light around (x, y) that fades out at radius.
func (c *canvas) glow(x, y, radius float64, light rgb, strength int32) {
	cx, cy, r := int64(fixed(x))/subpixel, int64(fixed(y))/subpixel, max(1, int64(fixed(radius))/subpixel)
	for py := max(0, cy-r); py <= min(int64(c.h)-1, cy+r); py++ {
		for px := max(0, cx-r); px <= min(int64(c.w)-1, cx+r); px++ {
			d := (px-cx)*(px-cx) + (py-cy)*(py-cy)
			if d >= r*r {
				continue
			}
			t := int32(whole - d*whole/(r*r))
			t = t * t / whole * t / whole * strength / whole
			c.set(int(px), int(py), c.at(int(px), int(py)).add(light.scale(t)))
		}
	}
}

// under fills each column from the height that top gives, in 1/256 pixel, down to the row bottom, below which other
// layers cover everything. depth is in pixels.
func (c *canvas) under(top func(x int) int32, bottom float64, p func(x, y, depth int) rgb) {
	last := min(c.h, int(fixed(bottom)/subpixel))
	for x := range c.w {
		if x%64 == 0 && c.ctx.Err() != nil {
			return
		}
		t := max(0, top(x))
		y := int(t / subpixel)
		if y >= last {
			continue
		}
		c.blend(x, y, p(x, y, 0), whole-t%subpixel)
		for k := y + 1; k < last; k++ {
			c.set(x, k, p(x, k, k-y))
		}
	}
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

// applyStyle turns the finished scene into the way of painting that the prompt names.
func applyStyle(c *canvas, b *brief, seed uint64) {
	r := newRandom(seed, "style")
	switch b.style {
	case "watercolor":
		watercolor(c, r)
	case "pixel":
		pixels(c)
	case "ink":
		ink(c, r, len(b.colours) > 0)
	case "neon":
		neon(c)
	case "oil":
		oil(c, r)
	case "mosaic":
		mosaic(c, r)
	case "poster":
		blur(c, max(1, int(c.small())/240))
		c.each(func(_, _ int, v rgb) rgb {
			v = v.saturate(280).scale(240)
			return rgb{(v.r + 24) / 48 * 51, (v.g + 24) / 48 * 51, (v.b + 24) / 48 * 51}.scale(whole)
		})
	case "grey":
		c.each(func(_, _ int, v rgb) rgb { return v.saturate(0) })
	case "sepia":
		c.each(func(_, _ int, v rgb) rgb {
			l := v.luma()
			return rgb{clamp8(l*110/100 + 22), clamp8(l*98/100 + 8), clamp8(l * 78 / 100)}
		})
	}
}

func watercolor(c *canvas, r *random) {
	n, wash, grain := newNoise(r), newNoise(r), newNoise(r)
	u := int(c.small())
	soft := c.clone()
	blur(soft, max(1, u/180))
	old := soft.clone()
	paper := rgb{250, 246, 236}
	c.each(func(x, y int, _ rgb) rgb {
		// Colour runs a little, gathers at edges and dries unevenly.
		dx := int(n.layers(across(x, 14, u), across(y, 14, u), 3)-32768) * u / 36 / 32768
		dy := int(n.layers(across(x, 14, u)+unit*40, across(y, 14, u), 3)-32768) * u / 36 / 32768
		v := old.near(x+dx, y+dy)
		e := v.luma() - old.near(x+dx+u/130+1, y+dy+u/130+1).luma()
		if e < 0 {
			e = -e
		}
		t := wash.layers(across(x, 4, u), across(y, 4, u), 4)
		v = mixRGB(v, paper, max(20, min(150, 64+(t-32768)/230)))
		v = v.saturate(290).scale(whole - min(70, e*3))
		v = v.scale(246 + (grain.corner(int32(x), int32(y))-32768)/3600)
		// The brush did not reach the edges of the sheet.
		edge := min(x, y, c.w-1-x, c.h-1-y) + int(n.layers(across(x, 20, u), across(y, 20, u), 3)-32768)*u/22/32768
		return mixRGB(paper.scale(252+(grain.corner(int32(x)/2, int32(y)/2)-32768)/8000), v, max(0, min(whole, int32(edge-u/40)*2600/int32(u))))
	})
}

// pixels paints with about a hundred squares to the shorter side and few colours.
func pixels(c *canvas) {
	side := max(2, min(c.w, c.h)/96)
	bayer := [16]int32{0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5}
	for y := 0; y < c.h && c.ctx.Err() == nil; y += side {
		for x := 0; x < c.w; x += side {
			var sum rgb
			count := int32(0)
			for j := y; j < min(c.h, y+side); j++ {
				for i := x; i < min(c.w, x+side); i++ {
					v := c.at(i, j)
					sum.r, sum.g, sum.b = sum.r+v.r, sum.g+v.g, sum.b+v.b
					count++
				}
			}
			v := rgb{sum.r / count, sum.g / count, sum.b / count}.saturate(310)
			d := bayer[y/side%4*4+x/side%4]*3/2 - 12
			const step = 30
			q := func(p int32) int32 { return clamp8((p + d + step/2) / step * step) }
			v = rgb{q(v.r), q(v.g), q(v.b)}
			for j := y; j < min(c.h, y+side); j++ {
				for i := x; i < min(c.w, x+side); i++ {
					c.set(i, j, v)
				}
			}
		}
	}
}

// edges is the strength of outlines at a pixel, 0..255 and more.
func edges(c *canvas, x, y, reach int) int32 {
	l := func(dx, dy int) int32 { return c.near(x+dx*reach, y+dy*reach).luma() }
	gx := l(1, -1) + 2*l(1, 0) + l(1, 1) - l(-1, -1) - 2*l(-1, 0) - l(-1, 1)
	gy := l(-1, 1) + 2*l(0, 1) + l(1, 1) - l(-1, -1) - 2*l(0, -1) - l(1, -1)
	if gx < 0 {
		gx = -gx
	}
	if gy < 0 {
		gy = -gy
	}
	return (gx + gy) / 4
}

func ink(c *canvas, r *random, tinted bool) {
	n := newNoise(r)
	u := int(c.small())
	old := c.clone()
	blur(old, max(1, u/300))
	reach := max(1, u/420)
	paper, black := rgb{248, 244, 234}, rgb{34, 32, 40}
	pitch := max(4, u/80)
	c.each(func(x, y int, _ rgb) rgb {
		v := old.at(x, y)
		l := v.luma()
		wobble := int(n.layers(across(x, 10, u), across(y, 10, u), 2)) * pitch / 20000
		out := paper
		if tinted {
			out = mixRGB(paper, v.saturate(330), 100)
		}
		dark := int32(0)
		hatch := func(at, below int32, p int) {
			if l < below {
				// The darker, the thicker the line.
				thick := 1 + int(below-l)*pitch/int(below)/2
				if (p+wobble)%pitch < thick {
					dark = max(dark, at)
				}
			}
		}
		hatch(140, 165, x+y)
		hatch(150, 110, x-y+4*c.h)
		hatch(170, 62, 2*y+x/3)
		dark = max(dark, min(240, max(0, edges(old, x, y, reach)-10)*7))
		return mixRGB(out, black, dark)
	})
}

func neon(c *canvas) {
	u := int(c.small())
	old := c.clone()
	blur(old, max(1, u/400))
	lines := c.clone()
	reach := max(1, u/380)
	lines.each(func(x, y int, _ rgb) rgb {
		e := min(whole, max(0, edges(old, x, y, reach)-20)*3)
		v := old.near(x, y).saturate(700)
		m := max(v.r, v.g, v.b, 1)
		return rgb{v.r * 255 / m, v.g * 255 / m, v.b * 255 / m}.scale(e)
	})
	halo := lines.clone()
	blur(halo, max(2, u/60))
	c.each(func(x, y int, v rgb) rgb {
		dark := mixRGB(v.saturate(340), rgb{10, 6, 30}, 96)
		return dark.add(lines.at(x, y).scale(170)).add(halo.at(x, y).scale(280))
	})
}

// oil paints the picture again with strokes that lie along its contours.
func oil(c *canvas, r *random) {
	old := c.clone()
	u := c.small()
	blur(old, max(1, int(u)/260))
	for _, size := range []float64{0.034, 0.017, 0.009} {
		length := u * size
		count := int(float64(c.w)*float64(c.h)/(length*length)*1.5) + 1
		for i := range count {
			if i%256 == 0 && c.ctx.Err() != nil {
				return
			}
			x, y := r.intn(c.w), r.intn(c.h)
			if size < 0.03 && edges(old, x, y, max(1, int(length/2))) < int32(r.between(8, 40)) {
				continue // fine strokes only where there is something fine
			}
			reach := max(1, int(length/2))
			gx := float64(old.near(x+reach, y).luma() - old.near(x-reach, y).luma())
			gy := float64(old.near(x, y+reach).luma() - old.near(x, y-reach).luma())
			dx, dy := -gy, gx
			if m := max(dx, -dx) + max(dy, -dy); m > 4 {
				dx, dy = dx/m, dy/m
			} else {
				dx, dy = 0.9, 0.25
			}
			v := old.at(x, y).saturate(290).scale(int32(r.between(232, 284)))
			l, w := length*0.75, length*0.3
			px, py := float64(x), float64(y)
			nx, ny := -dy*w, dx*w
			c.fill([]point{{px - dx*l, py - dy*l}, {px - dx*l*0.5 + nx, py - dy*l*0.5 + ny}, {px + dx*l*0.7 + nx*0.8, py + dy*l*0.7 + ny*0.8},
				{px + dx*l, py + dy*l}, {px + dx*l*0.6 - nx, py + dy*l*0.6 - ny}, {px - dx*l*0.7 - nx*0.8, py - dy*l*0.7 - ny*0.8}}, 225, solid(v))
		}
	}
}

func mosaic(c *canvas, r *random) {
	n := newNoise(r)
	old := c.clone()
	side := max(4, int(c.small())/36)
	center := func(gx, gy int) (int, int) {
		v := n.corner(int32(gx), int32(gy))
		w := n.corner(int32(gx), int32(gy)+9999)
		return gx*side + int(v)*side/65536, gy*side + int(w)*side/65536
	}
	c.each(func(x, y int, _ rgb) rgb {
		best, second, bx, by := 1<<30, 1<<30, 0, 0
		gx, gy := x/side, y/side
		for j := gy - 1; j <= gy+1; j++ {
			for i := gx - 1; i <= gx+1; i++ {
				px, py := center(i, j)
				d := (px-x)*(px-x) + (py-y)*(py-y)
				if d < best {
					best, second, bx, by = d, best, px, py
				} else if d < second {
					second = d
				}
			}
		}
		if second-best < side*side/9 {
			return rgb{36, 34, 40}
		}
		return old.near(bx, by).saturate(330).scale(int32(236 + n.corner(int32(bx), int32(by))>>11))
	})
}

// blur is two passes of a box of 2·radius+1 pixels in each direction.
func blur(c *canvas, radius int) {
	if radius < 1 {
		return
	}
	line := make([]rgb, max(c.w, c.h))
	for range 2 {
		for y := 0; y < c.h && c.ctx.Err() == nil; y++ {
			blurLine(line[:c.w], radius, func(i int) rgb { return c.at(i, y) }, func(i int, v rgb) { c.set(i, y, v) })
		}
		for x := 0; x < c.w && c.ctx.Err() == nil; x++ {
			blurLine(line[:c.h], radius, func(i int) rgb { return c.at(x, i) }, func(i int, v rgb) { c.set(x, i, v) })
		}
	}
}

func blurLine(line []rgb, radius int, get func(int) rgb, set func(int, rgb)) {
	n := len(line)
	for i := range line {
		line[i] = get(i)
	}
	at := func(i int) rgb { return line[max(0, min(n-1, i))] }
	var sum rgb
	for i := -radius; i <= radius; i++ {
		v := at(i)
		sum.r, sum.g, sum.b = sum.r+v.r, sum.g+v.g, sum.b+v.b
	}
	width := int32(2*radius + 1)
	for i := range n {
		set(i, rgb{sum.r / width, sum.g / width, sum.b / width})
		out, in := at(i-radius), at(i+radius+1)
		sum.r, sum.g, sum.b = sum.r+in.r-out.r, sum.g+in.g-out.g, sum.b+in.b-out.b
	}
}

// stepsFull is the number of steps after which nothing gets finer.
const stepsFull = 30

// unfinish takes back what the missing steps would have made finer: with few steps a picture is blurred and grainy.
func unfinish(c *canvas, steps int, seed uint64) {
	missing := stepsFull - steps
	if missing <= 0 {
		return
	}
	grain := int32(missing * missing * whole / (stepsFull * stepsFull))
	part := grain * int32(missing) / stepsFull
	blur(c, int(int32(c.small())*part/whole/34))
	n := newNoise(newRandom(seed, "grain"))
	c.each(func(x, y int, v rgb) rgb {
		d := (n.corner(int32(x), int32(y)) - 32768) * grain / whole / 640
		return rgb{clamp8(v.r + d), clamp8(v.g + d), clamp8(v.b + d)}
	})
}

// letters are "demo" in five by seven dots, a row in five bits.
var letters = [4][7]uint8{
	{0x01, 0x01, 0x0d, 0x13, 0x11, 0x13, 0x0d}, // d
	{0x00, 0x00, 0x0e, 0x11, 0x1f, 0x10, 0x0e}, // e
	{0x00, 0x00, 0x1a, 0x15, 0x15, 0x15, 0x15}, // m
	{0x00, 0x00, 0x0e, 0x11, 0x11, 0x11, 0x0e}, // o
}

// sign writes "demo" into the lower right corner, so that a picture that travels alone still says what it is.
func sign(c *canvas) {
	dot := max(1, min(c.w, c.h)/300)
	x0, y0 := c.w-dot*(4*6+2), c.h-dot*9
	for pass, offset := range []int{max(1, dot/2), 0} {
		colour := [...]rgb{{20, 20, 28}, {250, 250, 246}}[pass]
		for i, rows := range letters {
			for j, bits := range rows {
				for k := range 5 {
					if bits&(0x10>>k) == 0 {
						continue
					}
					for dy := range dot {
						for dx := range dot {
							x, y := x0+(i*6+k)*dot+dx+offset, y0+j*dot+dy+offset
							if x >= 0 && y >= 0 && x < c.w && y < c.h {
								c.blend(x, y, colour, int32(110+pass*60))
							}
						}
					}
				}
			}
		}
	}
}

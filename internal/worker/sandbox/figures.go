// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

// Figures are drawn in a frame of their own: a frame maps a figure's units to pixels. One unit is the figure's height,
// x goes to the right from its middle and y up from its feet.
type frame struct {
	x, y, size float64
	flip       bool
}

func (f frame) at(x, y float64) point {
	if f.flip {
		x = -x
	}
	return point{f.x + float64(x*f.size), f.y - float64(y*f.size)}
}

// outline maps pairs of x and y.
func (f frame) outline(xy ...float64) []point {
	list := make([]point, 0, len(xy)/2)
	for i := 0; i+1 < len(xy); i += 2 {
		list = append(list, f.at(xy[i], xy[i+1]))
	}
	return list
}

func (f frame) oval(x, y, rx, ry float64) []point {
	p := f.at(x, y)
	return ellipse(p.x, p.y, rx*f.size, ry*f.size)
}

// trees are a belt of trees: row 0 stands far at the horizon, row 1 frames the picture in front.
func (s *scene) trees(row int) {
	r := s.random("trees" + string(rune('0'+row)))
	small := s.c.small()
	round := s.b.has["autumn"] || r.chance(0.3)
	if row == 0 {
		for depth := range 3 {
			size := small * (0.11 + float64(depth)*0.045)
			c := mixRGB(s.p.haze, s.p.leaf, int32(110+depth*60))
			for x := -size; x < s.x(1)+size; x += size * r.span(0.16, 0.34) {
				h := size * r.span(0.7, 1.25)
				s.tree(frame{x: x, y: s.horizon + small*(0.015+float64(depth)*0.014), size: h}, c.scale(int32(r.between(215, 290))), round, r)
			}
		}
		return
	}
	for _, side := range []float64{0, 1} {
		for range 5 {
			x := side + (0.5-side)*r.span(-0.1, 0.62)
			size := small * r.span(0.38, 0.72)
			y := s.y(r.span(0.93, 1.06))
			s.tree(frame{x: s.x(x), y: y, size: size}, s.p.leaf.scale(int32(r.between(170, 250))), round, r)
		}
	}
}

func (s *scene) tree(f frame, c rgb, round bool, r *random) {
	trunk := mixRGB(rgb{84, 58, 42}.scale(s.p.bright+40), c, 120)
	s.c.fill(f.outline(-0.025, 0, -0.018, 0.4, 0.018, 0.4, 0.025, 0), whole, solid(trunk))
	if round {
		n := newNoise(r)
		u := int(f.size)
		for i := range 26 {
			// From the shaded lower leaves to the light ones on top.
			part := float64(i) / 26
			x, y := r.span(-0.25, 0.25)*(1.1-part*0.5), 0.4+part*0.45+r.span(-0.06, 0.06)
			light := c.scale(int32(150 + part*130))
			s.c.fill(f.oval(x, y, r.span(0.07, 0.12), r.span(0.06, 0.1)), 235, func(px, py int) rgb {
				return light.scale(190 + n.at(across(px, 40, u), across(py, 40, u))*120/65536)
			})
		}
		return
	}
	tiers := 5
	for i := range tiers {
		low := 0.1 + float64(i)*0.165
		wide := 0.23 * (1 - float64(i)/float64(tiers)*0.78)
		top := min(1, low+0.34)
		left, right := c.scale(286), c.scale(205)
		a, b := r.span(0.85, 1.15)*wide, r.span(0.85, 1.15)*wide
		if s.sunX > f.x {
			left, right = right, left
		}
		s.c.fill(f.outline(-a, low, -a*0.55, low+0.03, 0, low-0.01, 0, top), whole, solid(left))
		s.c.fill(f.outline(b, low, b*0.55, low+0.03, 0, low-0.01, 0, top), whole, solid(right))
	}
	if s.b.any("snowfield", "snow") {
		s.c.fill(f.outline(-0.05, 0.86, 0, 1, 0.05, 0.86, 0, 0.89), 220, solid(rgb{244, 248, 252}.scale(s.p.bright+20)))
	}
}

func (s *scene) flowers() {
	r := s.random("flowers")
	kinds := []rgb{{232, 72, 70}, {250, 204, 70}, {246, 246, 250}, {196, 120, 220}, {250, 140, 170}}
	if c, ok := s.b.tints["flowers"]; ok {
		kinds = []rgb{c, c.scale(290), c.scale(215)}
	}
	n := 70
	if s.b.has["flowers"] {
		n = 190
	}
	for i := range n {
		part := float64(i) / float64(n) // from back to front
		y := s.horizon + (s.y(1.03)-s.horizon)*(0.3+part*0.72)
		size := s.c.small() * (0.006 + part*part*0.026)
		if s.b.has["flowers"] {
			size *= 1.35
		}
		x := s.x(r.float())
		c := kinds[r.intn(len(kinds))].scale(s.p.bright)
		stem := s.p.grass.scale(165)
		s.c.line(point{x, y}, point{x + size*r.span(-0.8, 0.8), y + size*3}, max(0.8, size*0.22), 220, solid(stem))
		turn := r.intn(turnSteps)
		for k := range 6 {
			t := turn + k*turnSteps/6
			s.c.fill(ellipse(x+size*0.72*cos(t), y+size*0.6*sin(t), size*0.52, size*0.44), 240, solid(c.scale(int32(225+k*8))))
		}
		s.c.fill(ellipse(x, y, size*0.42, size*0.36), whole, solid(rgb{250, 200, 70}.scale(s.p.bright)))
	}
}

func (s *scene) birds() {
	r := s.random("birds")
	cx, cy := r.span(0.2, 0.8), r.span(0.14, 0.34)
	c := s.b.tint("birds", mixRGB(s.p.rock, rgb{30, 34, 50}, 160))
	for range r.between(5, 9) {
		x, y := s.x(cx+r.span(-0.16, 0.16)), s.y(cy+r.span(-0.08, 0.08))
		w := s.c.small() * r.span(0.014, 0.032)
		lift := w * r.span(0.3, 0.6)
		s.c.fill([]point{{x - w, y - lift}, {x - w*0.45, y - lift*0.9}, {x, y}, {x + w*0.45, y - lift*0.9}, {x + w, y - lift},
			{x + w*0.4, y - lift*0.45}, {x, y + lift*0.35}, {x - w*0.4, y - lift*0.45}}, 235, solid(c))
	}
}

func (s *scene) balloon() {
	r := s.random("balloon")
	for i := range r.between(1, 3) {
		size := s.c.small() * (0.26 - float64(i)*0.075)
		f := frame{x: s.x(r.span(0.2, 0.8)), y: s.y(r.span(0.34, 0.5)), size: size}
		a := s.b.tint("balloon", s.p.accent).scale(int32(256 - i*20))
		b := mixRGB(a, rgb{255, 244, 220}.scale(s.p.bright+40), 180)
		for k, part := range []float64{1, 0.72, 0.42, 0.14} {
			c := a
			if k%2 == 1 {
				c = b
			}
			s.c.fill(smooth(f.outline(0, 1, 0.2*part, 0.96, 0.34*part, 0.8, 0.32*part, 0.58, 0.08*part, 0.26, -0.08*part, 0.26, -0.32*part, 0.58, -0.34*part, 0.8, -0.2*part, 0.96)), whole, solid(c))
		}
		s.c.line(f.at(-0.07, 0.26), f.at(-0.05, 0.12), max(0.7, size*0.008), 230, solid(rgb{70, 54, 44}))
		s.c.line(f.at(0.07, 0.26), f.at(0.05, 0.12), max(0.7, size*0.008), 230, solid(rgb{70, 54, 44}))
		s.c.fill(f.outline(-0.06, 0.12, 0.06, 0.12, 0.05, 0.02, -0.05, 0.02), whole, solid(rgb{120, 82, 50}.scale(s.p.bright)))
	}
}

func (s *scene) house() {
	r := s.random("house")
	size := s.c.small() * r.span(0.22, 0.28)
	y := s.horizon + (s.y(1)-s.horizon)*0.42
	f := frame{x: s.x(r.span(0.25, 0.75)), y: y, size: size, flip: r.chance(0.5)}
	wall := s.b.tint("house", rgb{236, 222, 196}).scale(s.p.bright)
	roof := rgb{152, 66, 50}.scale(s.p.bright)
	window := rgb{250, 214, 120}
	if s.b.time == "day" {
		window = rgb{120, 150, 176}
	}
	s.c.fill(f.oval(0, 0, 0.75, 0.06), 90, solid(rgb{20, 26, 30}))
	s.c.fill(f.outline(0.3, 0.72, 0.3, 1.0, 0.4, 1.0, 0.4, 0.66), whole, solid(roof.scale(200)))
	s.c.fill(f.outline(-0.6, 0, -0.6, 0.5, -0.15, 0.5, -0.15, 0), whole, solid(wall.scale(215)))
	s.c.fill(f.outline(-0.15, 0, -0.15, 0.5, 0.2, 0.86, 0.55, 0.5, 0.55, 0), whole, solid(wall))
	s.c.fill(f.outline(-0.68, 0.46, -0.5, 0.86, 0.2, 0.9, -0.12, 0.46), whole, solid(roof))
	s.c.fill(f.outline(0.2, 0.9, 0.63, 0.45, 0.57, 0.42, 0.2, 0.8), whole, solid(roof.scale(215)))
	s.c.fill(f.outline(0.12, 0, 0.12, 0.28, 0.3, 0.28, 0.3, 0), whole, solid(rgb{96, 62, 44}.scale(s.p.bright)))
	for _, x := range []float64{-0.5, -0.33, -0.06, 0.38} {
		s.c.fill(f.outline(x, 0.2, x, 0.36, x+0.11, 0.36, x+0.11, 0.2), whole, solid(window))
		if s.b.time != "day" {
			p := f.at(x+0.055, 0.28)
			s.c.glow(p.x, p.y, size*0.22, rgb{250, 190, 90}, 120)
		}
	}
	for i := range 6 {
		d := float64(i)
		s.c.fill(f.oval(0.36+d*0.05+r.span(-0.02, 0.02), 1.07+d*0.09, 0.04+d*0.015, 0.035+d*0.012), int32(120-i*16), solid(mixRGB(s.p.haze, rgb{240, 240, 240}, 100)))
	}
}

func (s *scene) castle() {
	r := s.random("castle")
	f := frame{x: s.x(r.span(0.3, 0.7)), y: s.horizon + s.c.small()*0.05, size: s.c.small() * r.span(0.4, 0.5)}
	stone := s.b.tint("castle", mixRGB(s.p.rock, rgb{196, 188, 180}.scale(s.p.bright), 150))
	roof := mixRGB(s.p.accent, rgb{90, 70, 130}, 110).scale(s.p.bright + 30)
	n := newNoise(r)
	u := int(f.size)
	wall := func(t int32) paint {
		return func(x, y int) rgb { return stone.scale(t + n.at(across(x, 24, u), across(y, 40, u))/1500) }
	}
	s.c.fill(smooth(f.outline(-0.8, -0.05, -0.55, 0.03, -0.4, 0.08, 0.4, 0.08, 0.55, 0.03, 0.8, -0.05, 0, -0.07)), whole, upright(mixRGB(s.p.grass, s.p.rock, 110).scale(240), s.p.grass.scale(200), f.y-f.size*0.1, f.y+f.size*0.12))
	tower := func(x, low, wide, high float64, t int32) {
		s.c.fill(f.outline(x-wide, low, x-wide, high, x+wide, high, x+wide, low), whole, wall(t))
		s.c.fill(f.outline(x+wide*0.3, low, x+wide*0.3, high, x+wide, high, x+wide, low), 90, solid(stone.scale(140)))
		s.c.fill(f.outline(x-wide*1.35, high, x, high+wide*3.2, x+wide*1.35, high), whole, solid(roof))
		s.c.fill(f.outline(x+wide*0.1, high, x, high+wide*3.2, x+wide*1.35, high), 110, solid(roof.scale(150)))
		s.c.line(f.at(x, high+wide*3.2), f.at(x, high+wide*4.1), max(0.8, f.size*0.006), whole, solid(stone.scale(120)))
		s.c.fill(f.outline(x, high+wide*4.1, x+wide*1.2, high+wide*3.8, x, high+wide*3.5), whole, solid(s.p.accent))
		lamp := rgb{60, 56, 70}
		if s.b.time != "day" {
			lamp = rgb{255, 206, 110}
		}
		s.c.fill(f.oval(x-wide*0.1, high-wide*1.3, wide*0.22, wide*0.4), whole, solid(lamp))
	}
	tower(-0.12, 0.05, 0.07, 0.62, 190)
	tower(0.14, 0.05, 0.06, 0.52, 200)
	for x := -0.4; x < 0.4; x += 0.1 {
		s.c.fill(f.outline(x, 0.3, x, 0.36, x+0.055, 0.36, x+0.055, 0.3), whole, wall(215))
	}
	s.c.fill(f.outline(-0.42, 0.02, -0.42, 0.31, 0.42, 0.31, 0.42, 0.02), whole, wall(215))
	tower(-0.42, 0, 0.085, 0.42, 225)
	tower(0.42, 0, 0.085, 0.46, 225)
	s.c.fill(append(f.outline(0.08, 0.02, -0.08, 0.02), ringTop(f, 0, 0.12, 0.08)...), whole, solid(rgb{52, 42, 44}))
}

// ringTop is the arch over a gate, from left to right.
func ringTop(f frame, x, y, radius float64) []point {
	var list []point
	for t := turnSteps / 2; t <= turnSteps; t += 32 {
		list = append(list, f.at(x+float64(radius*cos(t)), y-float64(radius*sin(t))))
	}
	return list
}

func (s *scene) lighthouse() {
	r := s.random("lighthouse")
	f := frame{x: s.x(r.span(0.2, 0.8)), y: s.horizon + s.c.small()*0.08, size: s.c.small() * 0.42}
	rock := mixRGB(s.p.rock, s.p.haze, 50)
	s.c.fill(smooth(f.outline(-0.5, -0.06, -0.34, 0.06, -0.16, 0.12, 0.1, 0.14, 0.3, 0.07, 0.52, -0.06, 0.1, -0.1, -0.2, -0.1)), whole, solid(rock.scale(220)))
	s.c.fill(smooth(f.outline(0, 0.12, 0.12, 0.13, 0.3, 0.06, 0.48, -0.05, 0.1, -0.07)), 150, solid(rock.scale(150)))
	a, b := s.b.tint("lighthouse", rgb{206, 58, 52}).scale(s.p.bright+20), rgb{246, 242, 234}.scale(s.p.bright+20)
	const bands = 6
	for i := range bands {
		y0, y1 := 0.1+float64(i)*0.1, 0.1+float64(i+1)*0.1
		w0, w1 := 0.1-float64(i)*0.007, 0.1-float64(i+1)*0.007
		c := b
		if i%2 == 0 {
			c = a
		}
		s.c.fill(f.outline(-w0, y0, -w1, y1, w1, y1, w0, y0), whole, solid(c))
		s.c.fill(f.outline(w0*0.2, y0, w1*0.2, y1, w1, y1, w0, y0), 80, solid(rgb{40, 30, 50}))
	}
	s.c.fill(f.outline(-0.085, 0.7, -0.085, 0.725, 0.085, 0.725, 0.085, 0.7), whole, solid(rgb{50, 50, 60}))
	s.c.fill(f.outline(-0.045, 0.725, -0.045, 0.8, 0.045, 0.8, 0.045, 0.725), whole, solid(rgb{255, 240, 180}))
	s.c.fill(f.outline(-0.065, 0.8, 0, 0.87, 0.065, 0.8), whole, solid(a.scale(200)))
	p := f.at(0, 0.76)
	if s.b.time != "day" {
		s.c.fill([]point{p, {p.x + s.x(1), p.y - s.y(0.13)}, {p.x + s.x(1), p.y + s.y(0.03)}}, 60, solid(rgb{255, 244, 200}))
		s.c.fill([]point{p, {p.x - s.x(1), p.y - s.y(0.13)}, {p.x - s.x(1), p.y + s.y(0.03)}}, 60, solid(rgb{255, 244, 200}))
		s.c.glow(p.x, p.y, f.size*0.4, rgb{255, 230, 160}, 220)
	}
}

func (s *scene) boat() {
	r := s.random("boat")
	size := s.c.small() * r.span(0.24, 0.34)
	f := frame{x: s.x(r.span(0.25, 0.75)), y: s.horizon + (s.y(1)-s.horizon)*r.span(0.16, 0.34), size: size, flip: r.chance(0.5)}
	hull := s.b.tint("boat", s.p.accent).scale(s.p.bright + 20)
	sail := rgb{250, 246, 234}.scale(s.p.bright + 30)
	// The mirror image first.
	s.c.fill(f.outline(-0.36, 0, 0.4, 0, 0.26, -0.14, -0.24, -0.14), 90, solid(hull.scale(140)))
	s.c.fill(f.outline(0.02, -0.1, 0.02, -0.7, 0.3, -0.16), 50, solid(sail))
	s.c.line(f.at(0, 0.08), f.at(0, 1), max(1, size*0.018), whole, solid(rgb{92, 66, 48}.scale(s.p.bright+40)))
	s.c.fill(smooth(f.outline(0.03, 0.94, 0.2, 0.6, 0.36, 0.2, 0.18, 0.18, 0.03, 0.18)), whole, upright(sail, sail.scale(215), f.y-size, f.y))
	s.c.fill(smooth(f.outline(-0.03, 0.86, -0.14, 0.5, -0.28, 0.22, -0.14, 0.2, -0.03, 0.2)), whole, upright(sail.scale(238), sail.scale(190), f.y-size, f.y))
	s.c.fill(f.outline(0, 1, 0, 0.94, -0.12, 0.97), whole, solid(hull))
	s.c.fill(smooth(f.outline(-0.4, 0.13, -0.2, 0.1, 0.2, 0.1, 0.46, 0.15, 0.36, 0, 0.24, -0.05, -0.24, -0.05, -0.34, 0)), whole, upright(hull.scale(290), hull.scale(190), f.y-size*0.14, f.y+size*0.05))
	for i := range 5 {
		s.c.line(f.at(-0.5+float64(i)*0.2, -0.06-float64(i%2)*0.03), f.at(-0.34+float64(i)*0.2, -0.06-float64(i%2)*0.03), max(0.8, size*0.012), 140, solid(s.p.cloud))
	}
}

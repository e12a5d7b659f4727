// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

// scene paints one picture, layer by layer from the back. Each layer has its own stream of chance, so that taking one
// away leaves the others where they are.
type scene struct {
	c       *canvas
	b       *brief
	p       palette
	seed    uint64
	horizon float64 // in pixels from the top
	sunX    float64 // where the light comes from
	sunY    float64
}

func (s *scene) random(layer string) *random { return newRandom(s.seed, layer) }

func (s *scene) x(part float64) float64 { return part * float64(s.c.w) }
func (s *scene) y(part float64) float64 { return part * float64(s.c.h) }

func (s *scene) layers() []func() {
	var list []func()
	when := func(motif string, f func()) {
		if s.b.has[motif] {
			list = append(list, f)
		}
	}
	r := s.random("composition")
	s.horizon = s.y(r.span(0.52, 0.66))
	if s.b.has["city"] {
		s.horizon = s.y(r.span(0.68, 0.76))
	}
	s.sunX, s.sunY = s.x(r.span(0.15, 0.85)), s.y(r.span(0.12, 0.3))
	if s.b.time == "sunset" || s.b.time == "dawn" {
		s.sunY = s.horizon - s.c.small()*r.span(0.02, 0.14)
	}
	landscape := s.b.any(grounds...)
	close := s.b.any("portrait", "cat", "robot") && !landscape
	switch {
	case s.b.has["abstract"]:
		list = append(list, s.abstract)
	case s.b.has["space"]:
		list = append(list, s.nebula, s.stars, s.planets)
	case close && s.b.has["portrait"]:
		list = append(list, s.backdrop)
	default:
		list = append(list, s.sky)
		when("stars", s.stars)
		when("aurora", s.aurora)
		when("sun", s.sun)
		when("moon", s.moon)
		when("clouds", s.clouds)
		when("rainbow", s.rainbow)
	}
	if landscape {
		when("mountain", s.mountains)
		if !s.b.any("mountain", "city", "sea", "space") {
			list = append(list, s.hills)
		}
		when("city", s.skyline)
		if s.b.has["forest"] {
			list = append(list, func() { s.trees(0) })
		}
		if s.b.has["space"] || s.b.has["abstract"] {
			landscape = false
		}
	}
	if landscape {
		switch {
		case s.b.any("sea", "lake"):
			list = append(list, s.water)
			if s.b.any("city") {
				break
			}
			when("sea", s.beach)
			when("lake", s.shore)
		case s.b.has["city"]:
			list = append(list, s.street)
		case s.b.has["desert"]:
			list = append(list, s.dunes)
		default:
			list = append(list, s.ground)
		}
	} else if !close && !s.b.any("space", "abstract") || close && !s.b.any("portrait", "space", "abstract") {
		list = append(list, s.ground)
	}
	when("castle", s.castle)
	when("lighthouse", s.lighthouse)
	when("boat", s.boat)
	when("house", s.house)
	if landscape && s.b.has["forest"] {
		list = append(list, func() { s.trees(1) })
	}
	if landscape && s.b.any("flowers", "meadow") && !s.b.has["city"] && !s.b.has["no flowers"] {
		list = append(list, s.flowers)
	}
	when("birds", s.birds)
	when("balloon", s.balloon)
	when("robot", s.robot)
	when("cat", s.cat)
	when("portrait", func() {
		if !s.b.any("cat", "robot") {
			s.portrait()
		}
	})
	when("fog", s.fog)
	when("rain", s.rain)
	when("snow", s.snow)
	return list
}

func (s *scene) sky() {
	n := newNoise(s.random("sky"))
	h := max(1, int32(s.horizon))
	s.c.each(func(x, y int, _ rgb) rgb {
		t := min(whole, int32(y)*whole/h)
		c := mixRGB(s.p.skyTop, s.p.skyMid, min(whole, t*2))
		if t > whole/2 {
			c = mixRGB(s.p.skyMid, s.p.skyLow, (t-whole/2)*2)
		}
		d := n.corner(int32(x), int32(y))>>14 - 1 // hides the steps of the gradient
		return rgb{clamp8(c.r + d), clamp8(c.g + d), clamp8(c.b + d)}
	})
}

func (s *scene) stars() {
	r := s.random("stars")
	for range 420 {
		x, y := s.x(r.float()), s.y(r.float())
		size := s.c.small() * r.span(0.0006, 0.0022)
		light := int32(r.between(90, 250))
		if s.b.has["space"] || y < s.horizon {
			s.c.fill(ellipse(x, y, max(0.55, size), max(0.55, size)), light, solid(mixRGB(rgb{255, 255, 255}, s.p.light, int32(r.between(0, whole)))))
			if size > s.c.small()*0.002 {
				s.c.glow(x, y, size*7, rgb{190, 205, 255}, 150)
			}
		}
	}
}

func (s *scene) sun() {
	c := s.b.tint("sun", s.p.light)
	size := s.c.small() * 0.055
	wide, strength := 6.0, int32(110)
	if s.b.time != "day" {
		wide, strength = 10, 170
	}
	s.c.glow(s.sunX, s.sunY, size*wide, c.scale(190), strength)
	s.c.glow(s.sunX, s.sunY, size*2.4, c, 150)
	s.c.fill(ellipse(s.sunX, s.sunY, size, size), whole, solid(mixRGB(c, rgb{255, 255, 255}, 90)))
}

func (s *scene) moon() {
	r := s.random("moon")
	c := s.b.tint("moon", rgb{244, 240, 222})
	size := s.c.small() * r.span(0.055, 0.085)
	x, y := s.x(r.span(0.18, 0.82)), s.y(r.span(0.13, 0.28))
	if s.b.has["sun"] {
		x = float64(s.c.w) - s.sunX
	}
	s.sunX, s.sunY = x, y
	s.c.glow(x, y, size*7, c.scale(120), 170)
	n := newNoise(r)
	shape := ellipse(x, y, size, size)
	if r.chance(0.45) { // a crescent: from pole to pole along the rim, and back along a flatter arc
		shape = shape[:0]
		for t := -turnSteps / 4; t <= turnSteps/4; t += 16 {
			shape = append(shape, point{x - float64(size*cos(t)), y + float64(size*sin(t))})
		}
		for t := turnSteps / 4; t >= -turnSteps/4; t -= 16 {
			shape = append(shape, point{x - float64(size*0.45*cos(t)), y + float64(size*sin(t))})
		}
	}
	s.c.fill(shape, whole, func(px, py int) rgb {
		v := n.layers(across(px, 9, int(size*4)), across(py, 9, int(size*4)), 3)
		return c.scale(200 + v*70/65536)
	})
}

func (s *scene) clouds() {
	r := s.random("clouds")
	n := newNoise(r)
	thin := int32(r.between(30500, 34500))
	if s.b.has["rain"] {
		thin = 26000
	}
	u := int(s.c.small())
	h := int(s.horizon)
	for y := range min(s.c.h, h) {
		if s.c.ctx.Err() != nil {
			return
		}
		// Towards the horizon clouds are seen from the side: flatter.
		fy := across(y, 5, u) + int32(int64(across(y, 3, u))*int64(y)/int64(max(1, h)))
		for x := range s.c.w {
			v := n.layers(across(x, 2, u), fy, 5)
			t := (v - thin) / 28
			if t <= 0 {
				continue
			}
			shade := n.layers(across(x, 2, u), fy-unit/6, 3)
			c := mixRGB(s.p.cloud, s.p.cloudShade, max(0, min(whole, (shade-24000)/90)))
			if s.b.has["rain"] {
				c = mixRGB(c, rgb{84, 92, 106}, 120)
			}
			s.c.blend(x, y, c, min(235, t))
		}
	}
}

func (s *scene) aurora() {
	r := s.random("aurora")
	n := newNoise(r)
	u := int(s.c.small())
	a, b := s.b.tint("aurora", rgb{70, 240, 160}), rgb{150, 90, 240}
	for x := range s.c.w {
		wave := n.layers(across(x, 3, u), 0, 3)
		foot := int(s.horizon*0.35) + int(int64(wave)*int64(s.horizon)/65536/2)
		strength := n.layers(across(x, 14, u), unit*9, 2) / 300
		tall := int(s.horizon) / 2
		for y := max(0, foot-tall); y < min(foot, s.c.h); y++ {
			t := int32((y - (foot - tall)) * whole / max(1, tall))
			s.c.set(x, y, s.c.at(x, y).add(mixRGB(b, a, t).scale(t*t/whole*strength/whole)))
		}
	}
}

func (s *scene) rainbow() {
	r := s.random("rainbow")
	x, radius := s.x(r.span(0.3, 0.7)), s.c.small()*0.55
	bands := []rgb{{230, 50, 50}, {245, 150, 40}, {250, 230, 70}, {80, 190, 90}, {60, 120, 220}, {120, 70, 190}}
	for i, c := range bands {
		outer, inner := radius-float64(i)*s.c.small()*0.013, radius-float64(i+1)*s.c.small()*0.013
		s.c.fill(ring(x, s.horizon, outer, inner), 110, solid(c))
	}
}

// ring is the upper half of a ring as an outline.
func ring(x, y, outer, inner float64) []point {
	var list []point
	for t := turnSteps / 2; t <= turnSteps; t += 8 {
		list = append(list, point{x + float64(outer*cos(t)), y + float64(outer*sin(t))})
	}
	for t := turnSteps; t >= turnSteps/2; t -= 8 {
		list = append(list, point{x + float64(inner*cos(t)), y + float64(inner*sin(t))})
	}
	return list
}

// profile is a line of heights above y in pixels, from noise with so many cells across the picture.
func (s *scene) profile(n noise, y, height float64, cells, octaves int, sharp bool) func(x int) int32 {
	base, span := int64(fixed(y)), int64(fixed(height))
	u := s.c.w
	if s.c.w > s.c.h { // a wide picture shows more, not wider mountains
		cells = cells * s.c.w / s.c.h
	}
	return func(x int) int32 {
		v := n.layers(across(x, cells, u), 0, octaves)
		if sharp {
			v = n.ridges(across(x, cells, u), 0, octaves)
		}
		return int32(base - span*int64(v)/65536)
	}
}

func (s *scene) mountains() {
	r := s.random("mountain")
	const rows = 3
	for i := range rows {
		n, grain := newNoise(r), newNoise(r)
		near := float64(i) / (rows - 1)
		height := s.c.small() * r.span(0.46, 0.6) * (1 - float64(near*0.55))
		top := s.profile(n, s.horizon+s.c.small()*0.06, height, 2+i, 6, true)
		rock := mixRGB(s.p.haze, s.p.rock, int32(90+float64(near*140)))
		snow := mixRGB(s.p.haze, rgb{250, 252, 255}.scale(s.p.bright+50), int32(170+float64(near*60)))
		snowline := int(s.horizon - height*0.34)
		u := int(s.c.small())
		step := int32(unit / 5)
		if s.sunX < s.x(0.5) {
			step = -step
		}
		s.c.under(top, s.horizon+s.c.small()*0.12, func(x, y, depth int) rgb {
			gx, gy := across(x, 9, u), across(y, 6, u)
			// The difference to a place nearer to the light is the slope.
			a := grain.ridges(gx+gy/2, gy, 4)
			d := (a - grain.ridges(gx+gy/2+step, gy, 4)) / 190
			c := rock.scale(max(120, min(370, 236+d)))
			edge := snowline + int((a-30000)*int32(u)/400000)
			if i < rows-1 && y < edge {
				c = mixRGB(c, snow.scale(max(150, min(270, 244+d/2))), min(whole, int32(edge-y)*2000/int32(u)))
			}
			return mixRGB(c, s.p.haze, max(0, min(150, int32(y-int(s.horizon)+u/4)*300/int32(u)))*int32(rows-i)/rows)
		})
	}
}

func (s *scene) hills() {
	r := s.random("hills")
	for i := range 3 {
		n := newNoise(r)
		top := s.profile(n, s.horizon+s.c.small()*0.03, s.c.small()*(0.26-float64(i)*0.07), 2+i, 3, false)
		near := int32(60 + i*60)
		base := s.p.grass
		if s.b.has["desert"] {
			base = s.p.sand.scale(230)
		}
		c := mixRGB(s.p.haze, mixRGB(base, s.p.leaf, 90), near)
		s.c.under(top, s.horizon+s.c.small()*0.12, func(_, _, depth int) rgb {
			return mixRGB(c, s.p.haze, min(120, int32(depth)*120/int32(s.c.small()*0.2+1)))
		})
	}
}

// water fills all below the horizon with what is above it, upside down, and with waves.
func (s *scene) water() {
	r := s.random("water")
	n := newNoise(r)
	h := max(1, min(s.c.h-1, int(s.horizon)))
	u := int(s.c.small())
	calm := !s.b.has["sea"]
	mirror := int32(110)
	if calm {
		mirror = 185
	}
	for y := h; y < s.c.h; y++ {
		if s.c.ctx.Err() != nil {
			return
		}
		d := y - h
		far := max(1, int(s.c.h)-h)
		deep := mixRGB(mixRGB(s.p.skyLow, s.p.water, 150), s.p.water.scale(170), int32(d*whole/far))
		up := max(0, h-1-d*5/4)
		rows := across(d, 60, u)
		if d > 0 { // nearer waves are larger
			rows = int32(int64(unit) * 40 * int64(d) / int64(d+u/6))
		}
		columns := 5 * u / (d + u/8)
		for x := range s.c.w {
			wave := n.layers(across(x, max(2, columns), u), rows, 2)
			shift := int(wave-32768) * (d/6 + u/90) / 32768
			c := mixRGB(deep, s.c.near(x+shift/3, up+shift/2), mirror-int32(d*60/far))
			if calm {
				c = c.scale(232 + (wave-32768)/1100)
			} else {
				c = c.scale(226 + (wave-32768)/420)
				if wave > 47000 {
					c = mixRGB(c, s.p.cloud, min(150, (wave-47000)/60))
				}
			}
			s.c.set(x, y, c)
		}
	}
	if s.b.any("sun", "moon") { // the light lies on the water
		for y := h; y < s.c.h; y++ {
			d := y - h
			reach := u/28 + d/4
			for x := max(0, int(s.sunX)-reach); x < min(s.c.w, int(s.sunX)+reach); x++ {
				wave := n.layers(across(x, 12, u)+unit*50, across(d, 46, u), 2)
				off := x - int(s.sunX)
				if off < 0 {
					off = -off
				}
				if t := int32(reach-off) * whole / int32(reach) * max(0, wave-30000) / 20000; t > 0 {
					s.c.blend(x, y, s.p.light, min(230, t))
				}
			}
		}
	}
}

func (s *scene) beach() {
	r := s.random("beach")
	if !s.b.has["sea"] || r.chance(0.35) && !s.b.any("cat", "robot", "portrait", "house") {
		return
	}
	n, grain := newNoise(r), newNoise(r)
	left, right := r.span(0.80, 0.96), r.span(0.80, 0.96)
	curve := s.profile(n, 0, s.c.small()*0.09, 2, 3, false)
	top := func(x int) int32 {
		t := float64(x) / float64(max(1, s.c.w))
		return fixed(s.y(left+float64(t*(right-left)))) + curve(x)
	}
	foam := int(s.c.small() * 0.012)
	s.c.under(top, s.y(1), func(x, y, depth int) rgb {
		if depth <= foam {
			return mixRGB(s.p.water, s.p.cloud, 190)
		}
		wet := max(0, 130-int32(depth-foam)*130/int32(foam*3+1))
		g := grain.corner(int32(x), int32(y)) >> 11
		return mixRGB(s.p.sand.scale(232+g), s.p.sand.scale(170), wet)
	})
}

func (s *scene) shore() {
	r := s.random("shore")
	n, grain := newNoise(r), newNoise(r)
	top := s.profile(n, s.y(1.01), s.c.small()*0.16, 2, 4, false)
	u := int(s.c.small())
	s.c.under(top, s.y(1), func(x, y, depth int) rgb {
		v := grain.layers(across(x, 40, u), across(y, 24, u), 3)
		return mixRGB(s.p.grass.scale(130), s.p.grass.scale(220), v*whole/65536)
	})
}

// ground is land from the horizon to the viewer.
func (s *scene) ground() {
	r := s.random("ground")
	u := int(s.c.small())
	if s.horizon > s.y(0.75) || !s.b.any(grounds...) {
		s.horizon = s.y(0.7)
	}
	for i := range 3 {
		n, grain := newNoise(r), newNoise(r)
		near := float64(i) / 2
		y := s.horizon + (s.y(1)-s.horizon)*(0.1+near*0.5)
		top := s.profile(n, y, s.c.small()*(0.09+near*0.07), 2, 3, false)
		c := mixRGB(mixRGB(s.p.haze, s.p.grass, 150), s.p.grass, int32(near*whole))
		bottom := y + (s.y(1)-s.horizon)*0.3 + s.c.small()*0.02
		if i == 2 {
			bottom = s.y(1)
		}
		s.c.under(top, bottom, func(x, y, depth int) rgb {
			v := grain.layers(across(x, 7, u), across(y, 44, u), 4)
			return c.scale(max(150, min(330, 252+(v-32768)/560-int32(depth)*46/int32(u))))
		})
	}
	if s.b.has["snowfield"] {
		return
	}
	for range 900 { // grass
		y := s.y(r.span(0, 1))
		if y < s.horizon+s.c.small()*0.2 {
			continue
		}
		tall := (y - s.horizon) * r.span(0.05, 0.12)
		x := s.x(r.float())
		c := s.c.near(int(x), int(y)).scale(int32(r.between(190, 320)))
		s.c.fill([]point{{x - tall*0.07, y}, {x + tall*r.span(-0.4, 0.4), y - tall}, {x + tall*0.07, y}}, 190, solid(c))
	}
}

func (s *scene) dunes() {
	r := s.random("dunes")
	u := int(s.c.small())
	for i := range 4 {
		n, grain := newNoise(r), newNoise(r)
		near := float64(i) / 3
		y := s.horizon + (s.y(1.05)-s.horizon)*near*0.8
		top := s.profile(n, y+s.c.small()*0.05, s.c.small()*(0.12+near*0.14), 2, 2, false)
		c := mixRGB(mixRGB(s.p.haze, s.p.sand, 140), s.p.sand, int32(near*whole))
		reach := max(2, u/24)
		s.c.under(top, s.y(1), func(x, y, depth int) rgb {
			slope := int32(int64(top(x+reach)-top(x-reach)) * 44 / int64(reach*subpixel))
			if s.sunX > s.x(0.5) {
				slope = -slope
			}
			ripple := grain.layers(across(x, 5, u), across(y, 70, u), 2) / 2600
			return c.scale(max(130, min(290, 232+slope+ripple-int32(depth)*50/int32(u))))
		})
	}
}

func (s *scene) fog() {
	n := newNoise(s.random("fog"))
	u := int(s.c.small())
	s.c.each(func(x, y int, c rgb) rgb {
		v := n.layers(across(x, 2, u), across(y, 5, u), 4)
		d := y - int(s.horizon)
		if d < 0 {
			d = -d
		}
		t := 210 - int32(d*260/u) + (v-32768)/300
		return mixRGB(c, s.p.haze, max(30, min(225, t)))
	})
}

func (s *scene) rain() {
	r := s.random("rain")
	for range 500 {
		x, y := s.x(r.span(-0.1, 1.1)), s.y(r.span(-0.1, 1))
		l := s.c.small() * r.span(0.03, 0.09)
		s.c.line(point{x, y}, point{x - l*0.16, y + l}, max(0.7, s.c.small()*0.0016), int32(r.between(30, 100)), solid(rgb{214, 224, 238}))
	}
}

func (s *scene) snow() {
	r := s.random("snow")
	for range 420 {
		d := s.c.small() * r.span(0.0015, 0.0075)
		s.c.fill(ellipse(s.x(r.float()), s.y(r.float()), max(0.6, d), max(0.6, d)), int32(r.between(110, 240)), solid(rgb{250, 252, 255}))
	}
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

// skyline is rows of houses, the far ones pale.
func (s *scene) skyline() {
	r := s.random("city")
	small := s.c.small()
	lit := s.b.time == "night" || s.b.style == "neon"
	lamps := []rgb{{255, 214, 130}, {255, 190, 96}, {250, 236, 200}, {170, 214, 255}}
	if s.b.style == "neon" {
		lamps = []rgb{{255, 80, 190}, {80, 240, 255}, {255, 214, 130}, {170, 110, 255}}
	}
	const rows = 3
	for row := range rows {
		near := float64(row) / (rows - 1)
		base := s.b.tint("city", s.p.rock)
		for x := -0.05 * small; x < s.x(1); {
			w := small * r.span(0.06, 0.13) * (0.7 + near*0.55)
			h := small * r.span(0.14, 0.36) * (1.35 - near*0.5)
			if r.chance(0.16) {
				h *= 1.5
				w *= 0.8
			}
			if row == rows-1 {
				h *= 0.62
			}
			c := mixRGB(s.p.haze, base.scale(int32(r.between(190, 270))), int32(70+near*170))
			if lit {
				c = mixRGB(c, s.p.skyTop, int32(60+near*90))
			}
			s.building(x, s.horizon+small*0.01, w, h, c, row, lit, lamps, r)
			x += w * r.span(0.86, 1.12)
		}
	}
}

func (s *scene) building(x, y, w, h float64, c rgb, row int, lit bool, lamps []rgb, r *random) {
	light, shade := c.scale(272), c.scale(205)
	if s.sunX > x {
		light, shade = shade, light
	}
	s.c.fill(rectangle(x, y-h, w, h), whole, upright(light, mixRGB(light, s.p.haze, 70), y-h, y))
	s.c.fill(rectangle(x+w*0.62, y-h, w*0.38, h), whole, upright(shade, mixRGB(shade, s.p.haze, 70), y-h, y))
	switch r.intn(4) {
	case 0:
		s.c.fill(rectangle(x+w*0.2, y-h*1.06, w*0.55, h*0.06), whole, solid(shade))
	case 1:
		s.c.line(point{x + w/2, y - h}, point{x + w/2, y - h*1.16}, max(0.8, w*0.03), whole, solid(shade))
	case 2:
		s.c.fill([]point{{x, y - h}, {x + w/2, y - h*1.1}, {x + w, y - h}}, whole, solid(shade))
	}
	columns := max(2, int(w/max(3.2, s.c.small()*0.013)))
	rows := max(3, int(h/max(4, s.c.small()*0.019)))
	cw, ch := w/float64(columns), h/float64(rows)
	for i := range columns {
		for j := range rows - 1 {
			on := r.chance(0.42)
			lamp := lamps[r.intn(len(lamps))]
			alpha := int32(170)
			switch {
			case lit && !on, !lit && row == 0 && !on:
				continue
			case !lit:
				lamp, alpha = mixRGB(s.p.skyLow, c, 120).scale(210), 120
			}
			if lit {
				alpha = int32(110 + row*60)
			}
			s.c.fill(rectangle(x+float64(i)*cw+cw*0.25, y-h+float64(j)*ch+ch*0.35, cw*0.5, ch*0.5), alpha, solid(lamp))
		}
	}
	if s.b.style == "neon" && row == 2 && r.chance(0.6) {
		sign := lamps[r.intn(3)]
		s.c.fill(rectangle(x+w*0.1, y-h*0.9, w*0.12, h*0.5), whole, solid(sign))
		s.c.glow(x+w*0.16, y-h*0.65, h*0.4, sign, 100)
	}
}

// street is the wet foreground of a city: the houses in it upside down, and a road.
func (s *scene) street() {
	r := s.random("street")
	n := newNoise(r)
	h := max(1, min(s.c.h-1, int(s.horizon)))
	u := int(s.c.small())
	asphalt := mixRGB(s.p.rock, rgb{40, 42, 52}, 140)
	wet := int32(70)
	if s.b.time == "night" || s.b.any("rain") {
		wet = 160
	}
	for y := h; y < s.c.h; y++ {
		d := y - h
		for x := range s.c.w {
			wave := n.layers(across(x, 7, u), across(d, 60, u), 3)
			shift := int(wave-32768) * u / 30 / 32768
			c := mixRGB(asphalt.scale(226+(wave-32768)/900), s.c.near(x+shift, max(0, h-1-d*3/2)), max(0, wet-int32(d*90/u)))
			s.c.set(x, y, c)
		}
	}
	middle := s.x(r.span(0.4, 0.6))
	for i := range 5 {
		a, b := float64(i)/5, (float64(i)+0.55)/5
		y0, y1 := s.horizon+(s.y(1)-s.horizon)*a*a, s.horizon+(s.y(1)-s.horizon)*b*b
		w0, w1 := s.c.small()*0.004*(0.4+a*4), s.c.small()*0.004*(0.4+b*4)
		s.c.fill([]point{{middle - w0, y0}, {middle + w0, y0}, {middle + w1, y1}, {middle - w1, y1}}, 200, solid(mixRGB(asphalt, rgb{250, 240, 220}, 170)))
	}
	for _, side := range []float64{-1, 1} { // lamps along the road
		for i := range 3 {
			t := 0.2 + float64(i)*0.3
			x, y := middle+side*s.x(0.12+t*0.4), s.horizon+(s.y(1)-s.horizon)*t*t
			tall := s.c.small() * (0.08 + t*0.22)
			s.c.line(point{x, y}, point{x, y - tall}, max(0.9, tall*0.03), whole, solid(rgb{38, 38, 48}))
			s.c.line(point{x, y - tall}, point{x - side*tall*0.16, y - tall}, max(0.9, tall*0.025), whole, solid(rgb{38, 38, 48}))
			s.c.fill(ellipse(x-side*tall*0.16, y-tall*0.98, tall*0.035, tall*0.025), whole, solid(rgb{255, 236, 190}))
			if s.b.time != "day" {
				s.c.glow(x-side*tall*0.16, y-tall*0.98, tall*0.5, rgb{255, 200, 120}, 200)
			}
		}
	}
}

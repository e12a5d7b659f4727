// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

// abstract is bands of colour that flow around each other, with a few shapes.
func (s *scene) abstract() {
	r := s.random("abstract")
	n, warp := newNoise(r), newNoise(r)
	u := int(s.c.small())
	colours := []rgb{s.p.skyTop, s.p.accent, s.p.skyLow, s.p.water, s.p.light, s.p.leaf}
	for i := len(colours) - 1; i > 0; i-- {
		k := r.intn(i + 1)
		colours[i], colours[k] = colours[k], colours[i]
	}
	if own := s.own("abstract"); len(own) > 0 { // the prompt's own colours, lighter and darker, leave little room for others
		for i := range colours {
			c := own[i%len(own)]
			switch i / len(own) % 3 {
			case 1:
				c = mixRGB(c, rgb{255, 255, 255}, 110)
			case 2:
				c = mixRGB(c.scale(140), colours[i], 60)
			}
			colours[i] = c
		}
	}
	bands := int32(r.between(6, 11))
	s.horizon = s.y(1)
	s.c.each(func(x, y int, _ rgb) rgb {
		px, py := across(x, 2, u), across(y, 2, u)
		wx, wy := warp.layers(px, py, 3)-32768, warp.layers(px+unit*20, py+unit*13, 3)-32768
		v := n.layers(px+wx/6, py+wy/6, 4)
		band := v * bands * 16 / 65536 // sixteenths of a band
		i, t := int(band/16)%len(colours), band%16*16
		edge := max(0, t-200) * 4
		c := mixRGB(colours[i], colours[(i+1)%len(colours)], min(whole, edge))
		return c.scale(220 + (v-n.layers(px+wx/6+unit/10, py+wy/6-unit/10, 3))/150)
	})
	for range r.between(3, 7) {
		x, y := s.x(r.span(0.1, 0.9)), s.y(r.span(0.1, 0.9))
		size := s.c.small() * r.span(0.04, 0.19)
		c := colours[r.intn(len(colours))]
		s.c.fill(ellipse(x+size*0.08, y+size*0.1, size, size), 70, solid(rgb{10, 10, 24}))
		s.c.fill(ellipse(x, y, size, size), 235, upright(c.scale(300), c.scale(180), y-size, y+size))
		if r.chance(0.5) {
			s.c.fill(ellipse(x, y, size*0.55, size*0.55), 235, solid(colours[r.intn(len(colours))]))
		}
	}
}

// own is the colours that the prompt names for a motif that is all of the picture.
func (s *scene) own(motif string) []rgb {
	if c, ok := s.b.tints[motif]; ok {
		return append([]rgb{c}, s.b.colours...)
	}
	return s.b.colours
}

// nebula is the ground of a picture of space.
func (s *scene) nebula() {
	r := s.random("nebula")
	n, warp := newNoise(r), newNoise(r)
	u := int(s.c.small())
	s.horizon = s.y(1)
	clouds := []rgb{{150, 60, 170}, {50, 110, 200}, {220, 90, 110}}
	turn := r.intn(3)
	a, b, c := clouds[turn], clouds[(turn+1)%3], clouds[(turn+2)%3]
	own := s.own("space")
	if len(own) > 0 {
		a = own[0]
		b = mixRGB(b, a, 130)
	}
	if len(own) > 1 {
		c = own[1]
	}
	s.c.each(func(x, y int, _ rgb) rgb {
		px, py := across(x, 2, u), across(y, 2, u)
		w := warp.layers(px, py, 4) - 32768
		v := n.layers(px+w/5, py-w/7, 5)
		k := n.layers(px-w/9+unit*31, py+w/8, 4)
		out := rgb{7, 8, 22}
		out = out.add(a.scale(max(0, min(170, (v-32000)/95))))
		out = out.add(b.scale(max(0, min(150, (k-33000)/95))))
		return out.add(c.scale(max(0, min(160, (v+k-74000)/120))))
	})
}

func (s *scene) planets() {
	r := s.random("planets")
	kinds := []rgb{{206, 140, 92}, {110, 150, 200}, {190, 90, 80}, {150, 190, 160}, {214, 190, 140}}
	u := int(s.c.small())
	for i := range r.between(1, 3) {
		size := s.c.small() * r.span(0.11, 0.2)
		if i > 0 {
			size *= 0.32
		}
		x, y := s.x(r.span(0.2, 0.8)), s.y(r.span(0.2, 0.75))
		c := kinds[r.intn(len(kinds))]
		if i == 0 {
			c = s.b.tint("space", c)
		}
		n := newNoise(r)
		tilted := r.chance(0.5)
		s.c.glow(x, y, size*1.7, c.scale(150), 130)
		ringed := i == 0 && r.chance(0.65)
		if ringed {
			s.planetRing(x, y, size, c, true)
		}
		cx, cy, radius := int32(x), int32(y), int32(size)
		s.c.fill(ellipse(x, y, size, size), whole, func(px, py int) rgb {
			bx, by := across(px, 3, u), across(py, 15, u)
			if tilted {
				by += bx
			}
			v := n.layers(bx, by, 4)
			out := c.scale(180 + v*150/65536)
			// Light from the upper left; the rim lies in shadow.
			dx, dy := int32(px)-cx+radius/2, int32(py)-cy+radius/2
			d := int64(dx)*int64(dx) + int64(dy)*int64(dy)
			t := int32(d * whole / max(1, int64(radius)*int64(radius)))
			return out.scale(max(26, 300-t*100/whole*12/10-max(0, t-whole)*70/whole))
		})
		if ringed {
			s.planetRing(x, y, size, c, false)
		}
	}
}

// planetRing draws the half of a ring behind a planet or the one before it.
func (s *scene) planetRing(x, y, size float64, c rgb, behind bool) {
	for k, band := range []float64{1.95, 1.78, 1.6, 1.44} {
		var list []point
		from := 0
		if behind {
			from = turnSteps / 2
		}
		edge := func(radius float64, t int) point {
			ex, ey := radius*size*cos(t), radius*size*0.26*sin(t)
			return point{x + ex + float64(ey*0.2), y + ey - float64(ex*0.22)}
		}
		for t := 0; t <= turnSteps/2; t += 8 {
			list = append(list, edge(band, from+t))
		}
		for t := turnSteps / 2; t >= 0; t -= 8 {
			list = append(list, edge(band-0.13, from+t))
		}
		s.c.fill(list, int32(200-k*34), solid(c.scale(int32(300-k*30))))
	}
}

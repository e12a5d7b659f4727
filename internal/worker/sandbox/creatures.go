// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

// stand is where a creature stands: in front, large where it is what the picture is about.
func (s *scene) stand(motif string, r *random) frame {
	size := 0.66
	if s.b.any(grounds...) {
		size = 0.46
	}
	f := frame{x: s.x(r.span(0.36, 0.64)), y: s.y(0.965), size: s.c.small() * size, flip: r.chance(0.5)}
	if s.b.any("cat") && s.b.any("robot") { // side by side
		f.x = s.x(0.3)
		if motif == "robot" {
			f.x = s.x(0.7)
		}
	}
	return f
}

// dim fits a colour to the light of the picture, less than the land, for what stands in front should be seen.
func (s *scene) dim(c rgb) rgb { return c.scale(min(whole, s.p.bright/2+140)) }

func (s *scene) cat() {
	r := s.random("cat")
	f := s.stand("cat", r)
	coats := []rgb{{226, 134, 62}, {92, 92, 100}, {58, 54, 58}, {214, 196, 170}, {150, 112, 80}}
	coat := s.dim(s.b.tint("cat", coats[r.intn(len(coats))]))
	dark, pale := coat.scale(180), mixRGB(coat, s.dim(rgb{255, 248, 236}), 190)
	eyes := []rgb{{150, 200, 80}, {240, 190, 60}, {90, 180, 220}}[r.intn(3)]
	fur := newNoise(r)
	u := int(f.size)
	hair := func(c rgb) paint {
		return func(x, y int) rgb { return c.scale(236 + fur.at(across(x, 60, u), across(y, 22, u))/1600) }
	}
	s.c.fill(f.oval(0.02, 0.01, 0.42, 0.045), 110, solid(rgb{16, 18, 26}))
	// tail, body, haunches
	s.c.fill(smooth(f.outline(0.22, 0.03, 0.42, 0.06, 0.5, 0.2, 0.45, 0.36, 0.5, 0.44, 0.56, 0.36, 0.6, 0.18, 0.5, 0.01, 0.3, -0.02)), whole, hair(dark))
	s.c.fill(smooth(f.outline(-0.27, 0.02, -0.29, 0.2, -0.2, 0.42, -0.1, 0.58, 0.1, 0.58, 0.2, 0.42, 0.29, 0.2, 0.27, 0.02, 0, -0.01)), whole, hair(coat))
	s.c.fill(f.oval(-0.2, 0.12, 0.11, 0.13), 90, hair(dark))
	s.c.fill(f.oval(0.2, 0.12, 0.11, 0.13), 90, hair(dark))
	s.c.fill(smooth(f.outline(-0.09, 0.5, -0.12, 0.34, -0.06, 0.16, 0.06, 0.16, 0.12, 0.34, 0.09, 0.5)), 230, hair(pale))
	for _, x := range []float64{-0.085, 0.085} { // front legs
		s.c.fill(smooth(f.outline(x-0.06, 0.3, x-0.062, 0.1, x-0.075, 0.0, x+0.07, 0.0, x+0.062, 0.1, x+0.055, 0.3)), whole, hair(coat.scale(266)))
		s.c.fill(f.oval(x, 0.025, 0.072, 0.035), whole, hair(pale))
		for _, d := range []float64{-0.025, 0.02} {
			s.c.line(f.at(x+d, 0.035), f.at(x+d, 0.005), max(0.7, f.size*0.006), 150, solid(dark.scale(150)))
		}
	}
	// ears, head
	for _, side := range []float64{-1, 1} {
		s.c.fill(f.outline(side*0.215, 0.76, side*0.2, 1.0, side*0.05, 0.87), whole, hair(coat))
		s.c.fill(f.outline(side*0.182, 0.8, side*0.175, 0.935, side*0.085, 0.86), 220, solid(s.dim(rgb{232, 160, 150})))
	}
	s.c.fill(smooth(f.outline(-0.235, 0.7, -0.22, 0.82, -0.11, 0.895, 0.11, 0.895, 0.22, 0.82, 0.235, 0.7, 0.15, 0.57, 0, 0.535, -0.15, 0.57)), whole, hair(coat))
	for i := range 3 { // stripes
		x := float64(i-1) * 0.055
		s.c.line(f.at(x, 0.885), f.at(x*0.7, 0.825), f.size*0.018, 190, solid(dark))
	}
	for _, side := range []float64{-1, 1} {
		for i := range 2 {
			y := 0.66 + float64(i)*0.05
			s.c.line(f.at(side*0.225, y), f.at(side*0.16, y+0.006), f.size*0.014, 170, solid(dark))
		}
		s.c.fill(f.oval(side*0.062, 0.615, 0.072, 0.05), whole, hair(pale))
		s.c.fill(f.oval(side*0.1, 0.715, 0.058, 0.05), whole, solid(rgb{24, 24, 28}))
		s.c.fill(f.oval(side*0.1, 0.715, 0.05, 0.043), whole, solid(eyes))
		s.c.fill(f.oval(side*0.1, 0.715, 0.02, 0.041), whole, solid(rgb{14, 14, 18}))
		s.c.fill(f.oval(side*0.1-0.018, 0.733, 0.013, 0.012), whole, solid(rgb{255, 255, 255}))
	}
	s.c.fill(f.outline(-0.028, 0.657, 0.028, 0.657, 0, 0.628), whole, solid(s.dim(rgb{216, 120, 120})))
	for _, side := range []float64{-1, 1} {
		s.c.line(f.at(0, 0.63), f.at(side*0.045, 0.594), max(0.8, f.size*0.008), 220, solid(rgb{60, 40, 44}))
		for i := range 3 {
			y := 0.63 - float64(i)*0.022
			s.c.line(f.at(side*0.08, y), f.at(side*0.3, y+0.035-float64(i)*0.03), max(0.6, f.size*0.004), 190, solid(rgb{250, 248, 244}))
		}
	}
}

func (s *scene) robot() {
	r := s.random("robot")
	f := s.stand("robot", r)
	metal := s.dim(s.b.tint("robot", []rgb{{150, 168, 182}, {206, 130, 70}, {110, 160, 140}, {196, 190, 176}}[r.intn(4)]))
	dark := metal.scale(120)
	glow := []rgb{{90, 230, 255}, {255, 200, 80}, {130, 255, 150}}[r.intn(3)]
	body := func(y0, y1 float64) paint {
		return upright(metal.scale(300), metal.scale(196), f.y-y1*f.size, f.y-y0*f.size)
	}
	s.c.fill(f.oval(0, 0.005, 0.34, 0.04), 110, solid(rgb{16, 18, 26}))
	for _, side := range []float64{-1, 1} {
		s.c.fill(f.outline(side*0.07, 0.28, side*0.08, 0.06, side*0.17, 0.06, side*0.16, 0.28), whole, solid(dark))
		s.c.fill(smooth(f.outline(side*0.05, 0.09, side*0.05, 0, side*0.22, 0, side*0.2, 0.08)), whole, body(0, 0.09))
		lift := 0.0
		if side > 0 && !f.flip || side < 0 && f.flip { // one arm waves
			lift = 0.34
		}
		elbow, hand := f.at(side*0.34, 0.4+lift*0.3), f.at(side*0.38, 0.26+lift*1.35)
		s.c.line(f.at(side*0.23, 0.54), elbow, f.size*0.055, whole, solid(dark))
		s.c.line(elbow, hand, f.size*0.05, whole, solid(dark.scale(300)))
		s.c.fill(ellipse(hand.x, hand.y, f.size*0.055, f.size*0.055), whole, solid(metal))
	}
	s.c.fill(smooth(f.outline(-0.21, 0.6, -0.24, 0.5, -0.2, 0.25, -0.14, 0.24, 0.14, 0.24, 0.2, 0.25, 0.24, 0.5, 0.21, 0.6, 0.1, 0.62, -0.1, 0.62)), whole, body(0.24, 0.62))
	s.c.fill(smooth(f.outline(-0.11, 0.52, -0.11, 0.38, 0.11, 0.38, 0.11, 0.52)), whole, solid(dark))
	for i := range 3 {
		s.c.fill(f.oval(-0.06+float64(i)*0.06, 0.45, 0.02, 0.02), whole, solid([]rgb{{240, 90, 80}, {250, 200, 80}, {110, 220, 130}}[i]))
	}
	s.c.fill(f.outline(-0.05, 0.6, -0.05, 0.67, 0.05, 0.67, 0.05, 0.6), whole, solid(dark))
	s.c.fill(smooth(f.outline(-0.24, 0.84, -0.24, 0.7, -0.2, 0.655, 0.2, 0.655, 0.24, 0.7, 0.24, 0.84, 0.18, 0.9, -0.18, 0.9)), whole, body(0.65, 0.9))
	s.c.fill(smooth(f.outline(-0.18, 0.83, -0.18, 0.72, 0.18, 0.72, 0.18, 0.83)), whole, solid(rgb{26, 30, 42}))
	for _, side := range []float64{-1, 1} {
		s.c.fill(f.oval(side*0.085, 0.785, 0.042, 0.042), whole, solid(glow))
		p := f.at(side*0.085, 0.785)
		s.c.glow(p.x, p.y, f.size*0.13, glow, 130)
		s.c.fill(f.oval(side*0.255, 0.77, 0.025, 0.05), whole, solid(dark))
	}
	for i := range 7 {
		x := float64(i-3) * 0.016
		s.c.fill(f.oval(x, 0.728+x*x*6, 0.009, 0.006), whole, solid(glow))
	}
	s.c.line(f.at(0, 0.9), f.at(0.02, 0.985), max(1, f.size*0.014), whole, solid(dark))
	s.c.fill(f.oval(0.022, 0.995, 0.026, 0.026), whole, solid(s.p.accent))
}

// backdrop is what a portrait stands before: soft light and blurred lamps.
func (s *scene) backdrop() {
	r := s.random("backdrop")
	n := newNoise(r)
	u := int(s.c.small())
	s.horizon = s.y(1)
	a, b, c := s.p.skyTop, s.p.skyMid, mixRGB(s.p.skyLow, s.p.haze, 128)
	s.c.each(func(x, y int, _ rgb) rgb {
		v := n.layers(across(x, 2, u), across(y, 2, u), 3)
		t := max(0, min(whole, (v-18000)/110))
		return mixRGB(mixRGB(a, b, t), c, int32(y*150/s.c.h))
	})
	for range 26 {
		size := s.c.small() * r.span(0.02, 0.075)
		s.c.fill(ellipse(s.x(r.float()), s.y(r.float()), size, size), int32(r.between(14, 52)), solid(mixRGB(s.p.light, s.p.accent, int32(r.between(0, 200)))))
	}
}

func (s *scene) portrait() {
	r := s.random("portrait")
	f := frame{x: s.x(0.5), y: s.y(1.03), size: s.c.small() * 0.98, flip: r.chance(0.5)}
	if s.b.any(grounds...) {
		f.size = s.c.small() * 0.72
		f.x = s.x(r.span(0.34, 0.66))
	}
	skin := s.dim([]rgb{{244, 208, 178}, {224, 172, 130}, {180, 122, 84}, {122, 80, 56}, {250, 220, 196}}[r.intn(5)])
	hair := s.dim([]rgb{{52, 36, 30}, {112, 70, 40}, {206, 160, 90}, {30, 28, 34}, {150, 60, 36}, {178, 176, 178}}[r.intn(6)])
	coat := s.b.tint("portrait", s.p.accent).scale(s.p.bright/2 + 120)
	iris := []rgb{{84, 128, 88}, {74, 116, 170}, {96, 62, 40}, {120, 112, 90}}[r.intn(4)]
	long := r.chance(0.6)
	shade := skin.scale(206)
	if long {
		s.c.fill(smooth(f.outline(-0.2, 0.8, -0.24, 0.6, -0.25, 0.36, -0.16, 0.26, 0.16, 0.26, 0.25, 0.36, 0.24, 0.6, 0.2, 0.8, 0, 0.88)), whole, solid(hair.scale(200)))
	}
	s.c.fill(smooth(f.outline(-0.44, -0.1, -0.42, 0.14, -0.3, 0.24, -0.1, 0.3, 0.1, 0.3, 0.3, 0.24, 0.42, 0.14, 0.44, -0.1)), whole, upright(coat.scale(280), coat.scale(170), f.y-f.size*0.3, f.y))
	s.c.fill(smooth(f.outline(-0.085, 0.46, -0.08, 0.32, -0.12, 0.27, 0, 0.2, 0.12, 0.27, 0.08, 0.32, 0.085, 0.46)), whole, solid(shade))
	s.c.fill(f.outline(-0.13, 0.3, 0, 0.17, -0.06, 0.1, -0.2, 0.25), whole, solid(coat.scale(320)))
	s.c.fill(f.outline(0.13, 0.3, 0, 0.17, 0.06, 0.1, 0.2, 0.25), whole, solid(coat.scale(290)))
	for _, side := range []float64{-1, 1} {
		s.c.fill(f.oval(side*0.172, 0.57, 0.026, 0.045), whole, solid(shade))
	}
	face := smooth(f.outline(-0.165, 0.68, -0.165, 0.56, -0.13, 0.45, -0.06, 0.385, 0, 0.372, 0.06, 0.385, 0.13, 0.45, 0.165, 0.56, 0.165, 0.68, 0.1, 0.78, -0.1, 0.78))
	s.c.fill(face, whole, upright(skin.scale(266), skin.scale(240), f.y-f.size*0.78, f.y-f.size*0.37))
	s.c.fill(smooth(f.outline(0.165, 0.7, 0.165, 0.56, 0.13, 0.45, 0.05, 0.38, 0.1, 0.48, 0.125, 0.6)), 90, solid(shade))
	for _, side := range []float64{-1, 1} {
		x := side * 0.07
		s.c.fill(f.oval(side*0.095, 0.5, 0.036, 0.026), 70, solid(s.dim(rgb{226, 104, 96})))
		s.c.fill(smooth(f.outline(x-0.036, 0.585, x, 0.607, x+0.036, 0.585, x, 0.57)), whole, solid(rgb{250, 250, 248}))
		s.c.fill(f.oval(x, 0.588, 0.0185, 0.0185), whole, solid(iris))
		s.c.fill(f.oval(x, 0.588, 0.009, 0.009), whole, solid(rgb{16, 16, 20}))
		s.c.fill(f.oval(x-0.006, 0.595, 0.005, 0.005), whole, solid(rgb{255, 255, 255}))
		s.c.line(f.at(x-0.038, 0.589), f.at(x-0.012, 0.606), f.size*0.007, 230, solid(hair.scale(150)))
		s.c.line(f.at(x-0.012, 0.606), f.at(x+0.014, 0.606), f.size*0.007, 230, solid(hair.scale(150)))
		s.c.line(f.at(x+0.014, 0.606), f.at(x+0.038, 0.589), f.size*0.007, 230, solid(hair.scale(150)))
		s.c.line(f.at(side*0.035, 0.64), f.at(side*0.075, 0.65), f.size*0.012, 220, solid(hair.scale(200)))
		s.c.line(f.at(side*0.075, 0.65), f.at(side*0.108, 0.634), f.size*0.009, 220, solid(hair.scale(200)))
	}
	s.c.fill(smooth(f.outline(-0.006, 0.585, -0.024, 0.51, 0, 0.498, 0.024, 0.51, 0.008, 0.585)), 90, solid(shade))
	s.c.line(f.at(-0.018, 0.503), f.at(0.018, 0.503), f.size*0.006, 120, solid(shade.scale(190)))
	lips := s.dim(mixRGB(rgb{190, 80, 80}, skin, 70))
	s.c.fill(smooth(f.outline(-0.055, 0.45, -0.02, 0.463, 0, 0.458, 0.02, 0.463, 0.055, 0.45, 0.02, 0.43, -0.02, 0.43)), whole, solid(lips))
	s.c.line(f.at(-0.056, 0.452), f.at(0, 0.445), f.size*0.005, 200, solid(lips.scale(150)))
	s.c.line(f.at(0, 0.445), f.at(0.056, 0.452), f.size*0.005, 200, solid(lips.scale(150)))
	top := f.outline(-0.185, 0.6, -0.2, 0.74, -0.13, 0.85, 0, 0.88, 0.13, 0.85, 0.2, 0.74, 0.185, 0.6, 0.16, 0.69, 0.06, 0.735, -0.06, 0.755, -0.14, 0.7)
	s.c.fill(smooth(top), whole, upright(hair.scale(320), hair.scale(225), f.y-f.size*0.88, f.y-f.size*0.6))
	for range 26 { // strands
		x := r.span(-0.15, 0.12)
		s.c.line(f.at(x*0.5, 0.875-x*x), f.at(x, 0.79-x*x*3), max(0.6, f.size*0.003), 70, solid(hair.scale(int32(r.between(330, 430)))))
	}
	if s.b.has["crown"] {
		gold := s.dim(rgb{238, 190, 70})
		s.c.fill(f.outline(-0.17, 0.81, -0.2, 0.98, -0.11, 0.9, 0, 1.0, 0.11, 0.9, 0.2, 0.98, 0.17, 0.81, 0, 0.835), whole, upright(gold.scale(300), gold.scale(200), f.y-f.size, f.y-f.size*0.81))
		for i, x := range []float64{-0.1, 0, 0.1} {
			s.c.fill(f.oval(x, 0.865, 0.018, 0.022), whole, solid([]rgb{{60, 120, 220}, {220, 50, 60}, {60, 170, 110}}[i]))
		}
	}
	if long {
		for _, side := range []float64{-1, 1} {
			s.c.fill(smooth(f.outline(side*0.16, 0.72, side*0.2, 0.72, side*0.24, 0.55, side*0.25, 0.34, side*0.2, 0.27, side*0.17, 0.36, side*0.18, 0.52)), whole, upright(hair.scale(290), hair.scale(190), f.y-f.size*0.72, f.y-f.size*0.27))
		}
	}
}

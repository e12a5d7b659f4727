// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

// palette is the colours of one picture.
type palette struct {
	skyTop, skyMid, skyLow rgb
	haze                   rgb // what far things fade into
	rock, leaf, grass      rgb
	water, sand            rgb
	light                  rgb // of sun, moon and lamps
	cloud, cloudShade      rgb
	accent                 rgb // of what should be seen
	bright                 int32
}

var palettes = map[string][]palette{
	"day": {
		{skyTop: rgb{52, 118, 200}, skyMid: rgb{112, 172, 228}, skyLow: rgb{204, 228, 240}, haze: rgb{190, 214, 232}, rock: rgb{104, 106, 116}, leaf: rgb{40, 92, 60}, grass: rgb{104, 156, 70},
			water: rgb{34, 104, 150}, sand: rgb{232, 210, 160}, light: rgb{255, 246, 206}, cloud: rgb{252, 252, 250}, cloudShade: rgb{176, 194, 214}, accent: rgb{214, 64, 52}, bright: 256},
		{skyTop: rgb{66, 140, 196}, skyMid: rgb{140, 200, 220}, skyLow: rgb{240, 238, 214}, haze: rgb{214, 224, 214}, rock: rgb{120, 108, 104}, leaf: rgb{56, 104, 56}, grass: rgb{134, 168, 72},
			water: rgb{40, 128, 150}, sand: rgb{238, 216, 170}, light: rgb{255, 240, 190}, cloud: rgb{255, 252, 242}, cloudShade: rgb{190, 200, 206}, accent: rgb{232, 96, 44}, bright: 256},
	},
	"dawn": {
		{skyTop: rgb{104, 128, 196}, skyMid: rgb{206, 170, 204}, skyLow: rgb{255, 214, 184}, haze: rgb{236, 200, 200}, rock: rgb{112, 100, 128}, leaf: rgb{58, 88, 84}, grass: rgb{116, 138, 92},
			water: rgb{110, 122, 170}, sand: rgb{228, 196, 172}, light: rgb{255, 230, 190}, cloud: rgb{255, 226, 214}, cloudShade: rgb{176, 150, 190}, accent: rgb{222, 84, 100}, bright: 236},
	},
	"sunset": {
		{skyTop: rgb{50, 46, 110}, skyMid: rgb{204, 84, 104}, skyLow: rgb{255, 186, 92}, haze: rgb{240, 150, 100}, rock: rgb{86, 62, 92}, leaf: rgb{40, 52, 60}, grass: rgb{98, 92, 60},
			water: rgb{82, 60, 110}, sand: rgb{212, 150, 110}, light: rgb{255, 226, 150}, cloud: rgb{255, 170, 120}, cloudShade: rgb{120, 68, 120}, accent: rgb{250, 110, 50}, bright: 210},
		{skyTop: rgb{40, 70, 130}, skyMid: rgb{230, 140, 110}, skyLow: rgb{255, 214, 130}, haze: rgb{236, 176, 130}, rock: rgb{100, 76, 84}, leaf: rgb{48, 64, 56}, grass: rgb{124, 110, 58},
			water: rgb{70, 84, 124}, sand: rgb{222, 172, 120}, light: rgb{255, 236, 170}, cloud: rgb{255, 196, 150}, cloudShade: rgb{150, 90, 116}, accent: rgb{214, 60, 70}, bright: 216},
	},
	"night": {
		{skyTop: rgb{8, 12, 36}, skyMid: rgb{20, 32, 78}, skyLow: rgb{52, 74, 128}, haze: rgb{44, 62, 108}, rock: rgb{34, 40, 68}, leaf: rgb{12, 28, 40}, grass: rgb{28, 50, 58},
			water: rgb{14, 30, 66}, sand: rgb{84, 86, 110}, light: rgb{252, 246, 220}, cloud: rgb{92, 106, 150}, cloudShade: rgb{28, 36, 72}, accent: rgb{250, 190, 80}, bright: 110},
	},
}

// choosePalette takes one for the time of day and bends it to the prompt's season and colours.
func choosePalette(b *brief, r *random) palette {
	list := palettes[b.time]
	p := list[r.intn(len(list))]
	// A little of chance, so that two pictures of one prompt differ in mood.
	turn := int32(r.between(-14, 14))
	for _, c := range []*rgb{&p.skyTop, &p.skyMid, &p.skyLow, &p.haze, &p.water} {
		*c = rgb{clamp8(c.r + turn), c.g, clamp8(c.b - turn)}
	}
	if b.has["autumn"] {
		p.leaf, p.grass = rgb{170, 84, 34}.scale(p.bright), rgb{178, 132, 60}.scale(p.bright)
	}
	if b.has["snowfield"] {
		p.grass, p.leaf = rgb{232, 238, 246}.scale(p.bright+20), mixRGB(p.leaf, rgb{200, 214, 226}.scale(p.bright), 110)
	}
	if len(b.colours) > 0 {
		c := b.colours[0]
		p.accent = c
		dim := c.scale(p.bright)
		p.skyTop = mixRGB(p.skyTop, dim.scale(170), 180)
		p.skyMid = mixRGB(p.skyMid, dim, 180)
		p.skyLow = mixRGB(p.skyLow, mixRGB(c, rgb{255, 255, 255}, 90).scale(p.bright+30), 130)
		p.haze = mixRGB(p.haze, dim, 120)
		p.water = mixRGB(p.water, dim, 100)
		p.cloud = mixRGB(p.cloud, c, 60)
	}
	if len(b.colours) > 1 {
		c := b.colours[1].scale(p.bright)
		p.grass, p.leaf, p.rock = mixRGB(p.grass, c, 120), mixRGB(p.leaf, c.scale(170), 120), mixRGB(p.rock, c, 90)
		p.accent = b.colours[1]
	}
	if c, ok := b.tints["sky"]; ok {
		dim := c.scale(p.bright)
		p.skyTop, p.skyMid, p.skyLow = mixRGB(p.skyTop, dim.scale(190), 225), mixRGB(p.skyMid, dim, 215), mixRGB(p.skyLow, mixRGB(dim, rgb{255, 255, 255}, 100), 190)
		p.haze = mixRGB(p.haze, p.skyLow, 150)
	}
	p.water = b.tint("sea", b.tint("lake", p.water))
	p.rock = b.tint("mountain", p.rock)
	p.leaf = b.tint("forest", p.leaf)
	p.grass = b.tint("meadow", p.grass)
	p.sand = b.tint("desert", p.sand)
	p.cloud = b.tint("clouds", p.cloud)
	return p
}

// avoidColours turns colours near to those that are not wanted into others.
func avoidColours(c *canvas, avoid []rgb) {
	for _, a := range avoid {
		mean := (a.r + a.g + a.b) / 3
		ar, ag, ab := a.r-mean, a.g-mean, a.b-mean
		length := ar*ar + ag*ag + ab*ab
		c.each(func(_, _ int, v rgb) rgb {
			m := (v.r + v.g + v.b) / 3
			r, g, b := v.r-m, v.g-m, v.b-m
			if length < 300 { // black, grey or white: a matter of brightness
				d := v.luma() - a.luma()
				if d < 0 {
					d = -d
				}
				if d < 60 && r*r+g*g+b*b < 2000 {
					return mixRGB(v, rgb{150, 120, 100}, (60-d)*3)
				}
				return v
			}
			dot := r*ar + g*ag + b*ab
			if dot <= 0 || int64(dot)*int64(dot)*2 < int64(length)*int64(r*r+g*g+b*b) {
				return v
			}
			// Take away the part of the colour that points where it should not.
			k := dot * whole / length
			return rgb{clamp8(v.r - ar*k/whole*5/4), clamp8(v.g - ag*k/whole*5/4), clamp8(v.b - ab*k/whole*5/4)}
		})
	}
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package sandbox

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// brief is what the painter understands of a prompt and a negative prompt.
type brief struct {
	has     map[string]bool // motifs, see motifWords
	tints   map[string]rgb  // the colour of a motif: "red boat"
	colours []rgb           // colours that belong to no motif, in order
	avoid   []rgb           // colours of the negative prompt
	time    string          // day, dawn, sunset or night
	style   string          // see styleWords, "" is plain
	rich    int32           // how strong the colours are, of whole; from the prompt's own words
}

// motifWords are the things that the painter can paint, and the stems by which a prompt calls for them.
var motifWords = map[string]string{
	"sea":        "sea ocean beach wave coast shore seascape bay harbour harbor island whale tide",
	"lake":       "lake river pond water reflection fjord lagoon",
	"mountain":   "mountain mountains peak alps cliff volcano hill himalaya summit",
	"forest":     "forest wood woods tree trees jungle pine woodland deer fox bear elf",
	"meadow":     "meadow field grass garden flower flowers countryside farm spring prairie sheep horse cow hobbit",
	"desert":     "desert dune dunes sahara pyramid camel mars sand cactus",
	"snowfield":  "winter snowy arctic ice icy glacier tundra penguin",
	"city":       "city town street skyline building buildings skyscraper metropolis cyberpunk urban downtown tokyo york london paris",
	"space":      "space galaxy nebula planet planets universe cosmos astronaut spaceship starship rocket asteroid",
	"abstract":   "abstract pattern texture fractal geometric shapes swirl psychedelic wallpaper marble background",
	"portrait":   "portrait woman man girl boy face person lady king queen princess knight wizard witch warrior character selfie elf astronaut",
	"cat":        "cat kitten kitty feline cats",
	"robot":      "robot android mech cyborg droid",
	"house":      "house cottage cabin hut home farm barn village hobbit",
	"castle":     "castle fortress palace kingdom tower dragon fairytale",
	"boat":       "boat ship sailboat sail sailing ferry yacht vessel pirate",
	"lighthouse": "lighthouse",
	"sun":        "sun sunny sunshine sunrise sunset",
	"moon":       "moon moonlight moonlit lunar crescent",
	"stars":      "star stars starry constellation milky",
	"clouds":     "cloud clouds cloudy storm stormy overcast",
	"rain":       "rain rainy storm stormy raining",
	"snow":       "snow snowing blizzard snowfall christmas",
	"fog":        "fog foggy mist misty haze hazy",
	"aurora":     "aurora borealis northern",
	"rainbow":    "rainbow",
	"birds":      "bird birds seagull gull raven crow swallow",
	"balloon":    "balloon balloons airship zeppelin",
	"flowers":    "flower flowers rose tulip poppy poppies bloom blossom daisy sunflower",
	"autumn":     "autumn fall october",
	"crown":      "king queen prince princess crown royal",
	"sky":        "sky",
}

// motifOrder makes reading the map above the same every time.
var motifOrder = func() []string {
	list := make([]string, 0, len(motifWords))
	for m := range motifWords {
		list = append(list, m)
	}
	slices.Sort(list)
	return list
}()

// timeNamesFirst is how many of the words below name the time itself; the others only hint at it.
const timeNamesFirst = 2

var timeWords = map[string]string{
	"night":  "night midnight dark starry moonlight moonlit moon nocturnal stars aurora neon",
	"sunset": "sunset dusk evening golden twilight",
	"dawn":   "dawn morning sunrise pink pastel",
	"day":    "day noon sunny daylight afternoon bright sun",
}

var styleWords = map[string]string{
	"watercolor": "watercolor watercolour aquarelle gouache",
	"pixel":      "pixel pixelart 8bit 16bit 8-bit 16-bit voxel",
	"ink":        "ink sketch drawing pencil lineart line-art engraving etching charcoal manga",
	"neon":       "neon cyberpunk synthwave vaporwave glowing blacklight",
	"oil":        "oil impressionist impressionism painting monet gogh brushstrokes painterly acrylic",
	"mosaic":     "mosaic stained voronoi tiles low-poly lowpoly polygonal",
	"poster":     "poster flat vector minimalist minimal silhouette screenprint",
	"grey":       "monochrome grayscale greyscale noir black-and-white",
	"sepia":      "sepia vintage old-photo daguerreotype",
}

var colourWords = map[string]rgb{
	"red": {214, 48, 44}, "crimson": {176, 20, 50}, "scarlet": {230, 50, 30}, "orange": {242, 132, 36}, "amber": {245, 180, 50},
	"yellow": {248, 212, 60}, "gold": {222, 176, 64}, "golden": {222, 176, 64}, "green": {60, 150, 74}, "emerald": {20, 150, 105},
	"lime": {150, 210, 60}, "olive": {122, 124, 50}, "teal": {24, 140, 140}, "turquoise": {60, 200, 196}, "cyan": {60, 200, 230},
	"blue": {48, 104, 206}, "navy": {26, 44, 100}, "azure": {80, 160, 240}, "indigo": {70, 56, 160}, "purple": {132, 66, 176},
	"violet": {140, 90, 210}, "lavender": {180, 160, 226}, "magenta": {214, 50, 150}, "pink": {246, 142, 176}, "rose": {236, 110, 140},
	"brown": {126, 82, 50}, "beige": {220, 200, 168}, "white": {244, 244, 240}, "black": {30, 30, 36}, "gray": {130, 134, 140},
	"grey": {130, 134, 140}, "silver": {190, 196, 204}, "ginger": {224, 128, 54}, "blonde": {230, 196, 120},
}

// promptWord is a word, perhaps weighted as in "(moon:1.3)".
var promptWord = regexp.MustCompile(`[\pL\pN][\pL\pN-]*(?::-?[0-9.]+)?`)

const (
	// promptWordsMax is how many words of a prompt are read.
	promptWordsMax = 400
	// tintReach is how many words a colour may stand before the motif that it belongs to: "red sailing boat".
	tintReach = 2
)

// wordsOf returns the words of a prompt in lower case, without those that are weighted with nothing.
func wordsOf(prompt string) []string {
	var list []string
	for _, w := range promptWord.FindAllString(strings.ToLower(prompt), promptWordsMax) {
		word, weight, weighted := strings.Cut(w, ":")
		if weighted {
			if f, err := strconv.ParseFloat(weight, 64); err == nil && f <= 0.05 {
				continue
			}
		}
		list = append(list, word)
	}
	return list
}

// calls tells whether a list of words holds word or its singular.
func calls(list, word string) bool {
	for w := range strings.FieldsSeq(list) {
		if w == word || w == strings.TrimSuffix(word, "s") {
			return true
		}
	}
	return false
}

func read(prompt, negative string, r *random) *brief {
	b := &brief{has: map[string]bool{}, tints: map[string]rgb{}, rich: whole}
	list := wordsOf(prompt)
	times, styles := map[string]bool{}, map[string]bool{}
	colourAt := -tintReach - 1
	var colour rgb
	pending := false // a colour that may still find its motif
	for i, w := range list {
		if c, ok := colourWords[w]; ok {
			if pending {
				b.colours = append(b.colours, colour)
			}
			colour, colourAt, pending = c, i, true
		}
		for _, m := range motifOrder {
			if calls(motifWords[m], w) {
				b.has[m] = true
				if i-colourAt <= tintReach && i > colourAt {
					b.tints[m] = colour
					pending = false
				}
			}
		}
		for t, words := range timeWords {
			times[t] = times[t] || calls(words, w)
		}
		for s, words := range styleWords {
			styles[s] = styles[s] || calls(words, w)
		}
		switch w {
		case "vivid", "vibrant", "colorful", "colourful", "saturated":
			b.rich = whole * 5 / 4
		case "muted", "pale", "faded", "pastel", "desaturated", "soft":
			b.rich = whole * 3 / 4
		}
	}
	if pending {
		b.colours = append(b.colours, colour)
	}
	// What the negative prompt names is taken away, whatever the prompt said.
	for _, w := range wordsOf(negative) {
		for _, m := range motifOrder {
			if calls(motifWords[m], w) && isMainWord(m, w) {
				b.has[m] = false
				b.has["no "+m] = true
			}
		}
		for t, words := range timeWords {
			if timeNames := strings.Fields(words)[:timeNamesFirst]; slices.Contains(timeNames, w) {
				times[t], times["no "+t] = false, true
			}
		}
		for s, words := range styleWords {
			if calls(words, w) {
				styles[s] = false
			}
		}
		if c, ok := colourWords[w]; ok {
			b.avoid = append(b.avoid, c)
			b.colours = slices.DeleteFunc(b.colours, func(have rgb) bool { return have == c })
			for _, m := range motifOrder {
				if b.tints[m] == c {
					delete(b.tints, m)
				}
			}
		}
	}
	b.time = firstOf(times, "night", "sunset", "dawn", "day")
	b.style = firstOf(styles, "pixel", "watercolor", "ink", "neon", "mosaic", "oil", "poster", "grey", "sepia")
	b.complete(times, r)
	return b
}

// isMainWord tells whether taking the word away takes the motif away: "beach" in a negative prompt does not mean that
// there may be no boat.
func isMainWord(motif, word string) bool {
	for i, w := range strings.Fields(motifWords[motif]) {
		if i < 3 && (w == word || w == strings.TrimSuffix(word, "s")) {
			return true
		}
	}
	return false
}

func firstOf(set map[string]bool, order ...string) string {
	for _, k := range order {
		if set[k] {
			return k
		}
	}
	return ""
}

// grounds are the motifs that fill the picture; one at least is needed.
var grounds = []string{"sea", "lake", "mountain", "forest", "meadow", "desert", "snowfield", "city"}

// complete decides what the prompt leaves open. Each decision has its own stream of chance, so that one that is
// settled by the prompt does not change the others.
func (b *brief) complete(times map[string]bool, r *random) {
	seed := r.next()
	chance := func(of string, p float64) bool { return newRandom(seed, of).chance(p) }
	draw := func(of string, list ...string) string {
		list = slices.DeleteFunc(slices.Clone(list), func(m string) bool { return b.has["no "+m] || times["no "+m] })
		if len(list) == 0 {
			return ""
		}
		return list[newRandom(seed, of).intn(len(list))]
	}
	if b.time == "" {
		if b.has["city"] && b.style == "neon" {
			b.time = "night"
		} else if b.time = draw("time", "day", "day", "dawn", "sunset"); b.time == "" {
			b.time = "day"
		}
	}
	if b.has["lighthouse"] || b.has["boat"] && !b.any("lake", "sea") {
		b.add("sea")
	}
	if !b.has["abstract"] && !b.has["space"] && !b.any(grounds...) && !b.any("cat", "portrait", "robot") {
		first := draw("ground", grounds...)
		b.add(first)
		if first == "lake" || first == "forest" && chance("mountain", 0.4) {
			b.add("mountain")
		}
		if first == "mountain" && chance("before", 0.5) {
			b.add(draw("second", "lake", "forest", "meadow"))
		}
	}
	if b.time == "night" {
		b.add("stars")
		if chance("moon", 0.7) {
			b.add("moon")
		}
	} else if !b.any("rain", "fog", "moon") && chance("sun", 0.75) {
		b.add("sun")
	}
	if !b.any("clouds", "stars") && chance("clouds", 0.7) {
		b.add("clouds")
	}
	if b.any("sea", "meadow", "mountain") && b.time != "night" && chance("birds", 0.4) {
		b.add("birds")
	}
}

func (b *brief) any(list ...string) bool {
	return slices.ContainsFunc(list, func(m string) bool { return b.has[m] })
}

// add is for what nobody asked for: it respects the negative prompt.
func (b *brief) add(motif string) {
	if motif != "" && !b.has["no "+motif] {
		b.has[motif] = true
	}
}

// tint is the colour of a motif, or c.
func (b *brief) tint(motif string, c rgb) rgb {
	if t, ok := b.tints[motif]; ok {
		return t
	}
	return c
}

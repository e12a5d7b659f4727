// SPDX-License-Identifier: AGPL-3.0-or-later

// Package badge draws the two-part badges that instances show on their pages: who guarantees for them, and how many
// endorse them.
package badge

import (
	"encoding/base64"
	"html/template"
	"math"
	"strconv"
	"strings"

	"horde/internal/fediseer"
)

// Style says whether the left part has a text.
type Style string

const (
	Full Style = "FULL" // icon and text
	Icon Style = "ICON" // icon only
)

// Valid reports whether s is one of the two names.
func (s Style) Valid() bool { return s == Full || s == Icon }

const (
	iconSize   = 14 // px
	iconGap    = 3  // px between icon and text
	padding    = 10 // px, both sides of a text together
	goldColour = "#f8cc1c"
)

// advance holds the advance widths of DejaVu Sans in units of the font, of which the em has 2048. Other characters are
// taken to be as wide as an m, so that no text leaves its box.
var advance = func() map[rune]int {
	m := map[rune]int{'a': 1255, 'o': 1253, 'c': 1126, 'e': 1260, 'f': 721, 'i': 569, 'l': 569, 'j': 569, 'k': 1186, 'm': 1995,
		'r': 842, 's': 1067, 't': 803, 'v': 1212, 'x': 1212, 'y': 1212, 'w': 1675, 'z': 1075, 'h': 1298, 'n': 1298, 'u': 1298,
		'.': 651, '-': 739, '*': 1024, 'E': 1294, 'G': 1587, 'N': 1532}
	for _, r := range "bdgpq" {
		m[r] = 1300
	}
	for _, r := range "0123456789" {
		m[r] = 1303
	}
	return m
}()

const (
	widest   = 1995
	em       = 2048 // units of the font
	fontSize = 11   // px
)

// Width is the width of a text in pixels, to a tenth.
func Width(s string) float64 {
	units := 0
	for _, r := range s {
		w, ok := advance[r]
		if !ok {
			w = widest
		}
		units += w
	}
	return math.Round(float64(units)*fontSize*10/em) / 10
}

// badge is what the template draws. Widths are in pixels.
type badge struct {
	Title, LeftTitle, RightTitle string
	LeftText, RightText          string
	LeftLink, RightLink          string
	RightFill                    string
	Icon                         template.URL
	Left, Right                  float64
}

// Guarantee draws who guarantees for a domain; guarantor is empty for nobody.
func Guarantee(domain string, guarantor fediseer.Domain, style Style) string {
	b := badge{Title: "Fediseer Guarantee", LeftTitle: domain, RightTitle: "Guarantor", LeftText: "Guarantor", RightText: string(guarantor),
		RightFill: "DarkOliveGreen", RightLink: "/api/v1/endorsements/" + domain, Icon: chainIcon}
	if guarantor == "" {
		b.RightText, b.RightFill = "None", "DarkRed"
	}
	return b.draw(style)
}

// Endorsements draws how many instances endorse a domain.
func Endorsements(domain string, count int, style Style) string {
	b := badge{Title: "Fediseer Endorsements", LeftTitle: domain, RightTitle: "Endorsements Count", LeftText: "Endorsements",
		RightText: strconv.Itoa(count), RightFill: "DarkOliveGreen", RightLink: "/api/v1/whitelist/" + domain, Icon: thumbIcon}
	if count == 0 {
		b.RightFill = "DarkRed"
	}
	return b.draw(style)
}

func (b badge) draw(style Style) string {
	if style == Icon {
		b.LeftText = ""
	}
	b.Left = Width(b.LeftText) + padding + iconSize
	if b.LeftText != "" {
		b.Left += iconGap
	}
	b.Right = Width(b.RightText) + padding
	b.LeftLink = "/"
	var out strings.Builder
	if err := svg.Execute(&out, b); err != nil {
		panic("badge: the template does not fit its data: " + err.Error())
	}
	return out.String()
}

// Total is the width of the whole badge.
func (b badge) Total() string { return px(b.Left + b.Right) }

// LeftMid and RightMid are the middles of the texts.
func (b badge) LeftMid() string {
	return px((b.Left + iconSize + iconGap + padding/2) / 2)
}
func (b badge) RightMid() string { return px(b.Left + b.Right/2) }
func (b badge) LeftPx() string   { return px(b.Left) }
func (b badge) RightPx() string  { return px(b.Right) }

func px(f float64) string { return strconv.FormatFloat(f, 'f', 1, 64) }

func icon(paths string) template.URL {
	svg := `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 14 14" fill="none" stroke="` + goldColour +
		`" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round">` + paths + `</svg>`
	return template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString([]byte(svg)))
}

var (
	chainIcon = icon(`<rect x="1" y="7" width="7.5" height="4.4" rx="2.2" transform="rotate(-45 4.7 9.2)"/>` +
		`<rect x="5.5" y="2.6" width="7.5" height="4.4" rx="2.2" transform="rotate(-45 9.3 4.8)"/>`)
	thumbIcon = icon(`<path d="M2 6.5h2.2v6H2z"/><path d="M4.2 7 7 1.6c1.2 0 1.7.8 1.5 1.9L8.1 5.6h3c1 0 1.5.8 1.3 1.7l-1 4.1c-.2.7-.7 1.1-1.4 1.1H4.2"/>`)
)

// svg is made with html/template, which escapes the texts for their places.
var svg = template.Must(template.New("badge").Parse(`<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{{.Total}}" height="20" role="img" aria-label="{{.Title}}: {{.RightText}}">
<title>{{.Title}}</title>
<linearGradient id="shade" x2="0" y2="100%"><stop offset="0" stop-color="#bbb" stop-opacity=".1"/><stop offset="1" stop-opacity=".1"/></linearGradient>
<clipPath id="round"><rect width="{{.Total}}" height="20" rx="3" fill="#fff"/></clipPath>
<g clip-path="url(#round)"><rect width="{{.LeftPx}}" height="20" fill="DarkSlateGray"/><rect x="{{.LeftPx}}" width="{{.RightPx}}" height="20" fill="{{.RightFill}}"/><rect width="{{.Total}}" height="20" fill="url(#shade)"/></g>
<image x="5" y="3" width="14" height="14" href="{{.Icon}}"/>
<g fill="#fff" text-anchor="middle" font-family="DejaVu Sans,Verdana,Geneva,sans-serif" font-size="11">{{if .LeftText}}
<text x="{{.LeftMid}}" y="15" fill="#010101" fill-opacity=".3">{{.LeftText}}</text><text x="{{.LeftMid}}" y="14">{{.LeftText}}</text>{{end}}
<text x="{{.RightMid}}" y="15" fill="#010101" fill-opacity=".3">{{.RightText}}</text><text x="{{.RightMid}}" y="14">{{.RightText}}</text></g>
<a href="{{.LeftLink}}"><title>{{.LeftTitle}}</title><rect width="{{.LeftPx}}" height="20" fill="rgba(0,0,0,0)"/></a>
<a href="{{.RightLink}}"><title>{{.RightTitle}}</title><rect x="{{.LeftPx}}" width="{{.RightPx}}" height="20" fill="rgba(0,0,0,0)"/></a>
</svg>
`))

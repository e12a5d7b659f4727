// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"html/template"
	"net/url"
	"strings"

	"horde/internal/fediseer"
)

// Sizes of the picture, in pixels.
const (
	boxWidth  = 230
	boxHeight = 34
	boxGap    = 30
	margin    = 12
	// maxBelow bounds the guaranteed instances that are drawn; an instance has 20 at most, the root any number.
	maxBelow = 20
	// maxName is the longest name that fits in a box, in characters.
	maxName = 30
)

// box is an instance in the picture.
type box struct {
	X, Y        int
	Name, Short string
	Link        string
	Class       string
	// Arrow from the box above or to the left; empty for none.
	Arrow string
}

type picture struct {
	Width, Height, BoxWidth, BoxHeight int
	Boxes                              []box
	Broken                             bool
}

// drawChain draws the guarantors of an instance above it, the root at the top, and what it guarantees to its right.
func drawChain(chain fediseer.Chain, below []*fediseer.Details) template.HTML {
	p := picture{BoxWidth: boxWidth, BoxHeight: boxHeight, Broken: !chain.Unbroken(), Width: boxWidth + 2*margin}
	add := func(x, y int, d fediseer.Domain, class, arrow string) {
		name := string(d)
		short := name
		if len(short) > maxName {
			short = short[:maxName-1] + "…"
		}
		p.Boxes = append(p.Boxes, box{X: x, Y: y, Name: name, Short: short, Link: "/instances/" + url.PathEscape(name), Class: class, Arrow: arrow})
		p.Height = max(p.Height, y+boxHeight+margin)
	}
	y := margin
	for i := len(chain) - 1; i >= 0; i-- {
		class, arrow := "link", ""
		if i == 0 {
			class = "self"
		} else if chain[i].ID == fediseer.RootID {
			class = "root"
		}
		if i < len(chain)-1 {
			arrow = "down"
		}
		add(margin, y, chain[i].Domain, class, arrow)
		y += boxHeight + boxGap
	}
	drawn := 0
	for _, d := range below {
		if len(chain) > 0 && d.ID == chain[0].ID || drawn == maxBelow {
			continue
		}
		p.Width = 2*boxWidth + 2*margin + 2*boxGap
		add(margin+boxWidth+2*boxGap, margin+drawn*(boxHeight+10), d.Domain, "below", "")
		drawn++
	}
	var b strings.Builder
	if err := chainSVG.Execute(&b, p); err != nil {
		panic("web: the picture does not fit its data: " + err.Error())
	}
	return template.HTML(b.String())
}

func (b box) Mid() int   { return b.X + boxWidth/2 }
func (b box) TextY() int { return b.Y + boxHeight/2 + 5 }
func (b box) From() int  { return b.Y - boxGap }
func (b box) Tip() int   { return b.Y - 3 }

var chainSVG = template.Must(template.New("chain").Parse(`<svg class="chain" role="img" aria-label="Chain of trust" viewBox="0 0 {{.Width}} {{.Height}}" width="{{.Width}}" height="{{.Height}}">
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>
{{range .Boxes}}{{if .Arrow}}<line x1="{{.Mid}}" y1="{{.From}}" x2="{{.Mid}}" y2="{{.Tip}}" marker-end="url(#tip)"/>{{end}}
<a href="{{.Link}}"><title>{{.Name}}</title><rect class="{{.Class}}" x="{{.X}}" y="{{.Y}}" width="{{$.BoxWidth}}" height="{{$.BoxHeight}}" rx="6"/><text x="{{.Mid}}" y="{{.TextY}}">{{.Short}}</text></a>
{{end}}</svg>`))

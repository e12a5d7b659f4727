// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"fmt"
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
	// indent is how far the guaranteed instances stand to the right, and siblingGap the space between them.
	indent     = 36
	siblingGap = 10
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
	// Edge is the path from the guarantor to this box; empty for none.
	Edge string
}

type picture struct {
	Width, Height, BoxWidth, BoxHeight int
	Boxes                              []box
}

// drawChain draws the guarantors of an instance above it, the root at the top, and what it guarantees below it. Everyone
// but the topmost is joined to its guarantor.
func drawChain(chain fediseer.Chain, below []*fediseer.Details) template.HTML {
	p := picture{BoxWidth: boxWidth, BoxHeight: boxHeight, Width: boxWidth + 2*margin}
	add := func(x, y int, d fediseer.Domain, class, edge string) {
		name := string(d)
		short := name
		if len(short) > maxName {
			short = short[:maxName-1] + "…"
		}
		p.Boxes = append(p.Boxes, box{X: x, Y: y, Name: name, Short: short, Link: "/instances/" + url.PathEscape(name), Class: class, Edge: edge})
		p.Height = max(p.Height, y+boxHeight+margin)
	}
	y := margin
	for i := len(chain) - 1; i >= 0; i-- {
		class, edge := "link", ""
		if i == 0 {
			class = "self"
		} else if chain[i].ID == fediseer.RootID {
			class = "root"
		}
		if i < len(chain)-1 {
			edge = fmt.Sprintf("M%d %dV%d", margin+boxWidth/2, y-boxGap, y)
		}
		add(margin, y, chain[i].Domain, class, edge)
		y += boxHeight + boxGap
	}
	// The guaranteed ones hang on one line that comes out of the instance's box.
	under, trunk := y-boxGap, margin+indent/2
	y = under + siblingGap
	drawn := 0
	for _, d := range below {
		if len(chain) == 0 || d.ID == chain[0].ID || drawn == maxBelow {
			continue
		}
		p.Width = boxWidth + indent + 2*margin
		add(margin+indent, y, d.Domain, "below", fmt.Sprintf("M%d %dV%dH%d", trunk, under, y+boxHeight/2, margin+indent))
		y += boxHeight + siblingGap
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

var chainSVG = template.Must(template.New("chain").Parse(`<svg class="chain" role="img" aria-label="Chain of trust" viewBox="0 0 {{.Width}} {{.Height}}" width="{{.Width}}" height="{{.Height}}">
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>
{{range .Boxes}}{{if .Edge}}<path class="edge" d="{{.Edge}}" marker-end="url(#tip)"/>{{end}}
<a href="{{.Link}}"><title>{{.Name}}</title><rect class="{{.Class}}" x="{{.X}}" y="{{.Y}}" width="{{$.BoxWidth}}" height="{{$.BoxHeight}}" rx="6"/><text x="{{.Mid}}" y="{{.TextY}}">{{.Short}}</text></a>
{{end}}</svg>`))

// SPDX-License-Identifier: AGPL-3.0-or-later

package bulletin

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"html"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"

	htmltomarkdown "github.com/JohannesKaufmann/html-to-markdown/v2"
	"github.com/yuin/goldmark"
	goldmarkhtml "github.com/yuin/goldmark/renderer/html"
)

// Config says where the operator's texts are.
type Config struct {
	// News is a JSON file with an array of [Newspiece]. Empty means no news.
	News string
	// Terms, Privacy and Sponsors are files in Markdown (.md), or fragments of HTML. Empty means the text of the program.
	// Sponsors may also be a JSON file with an array of [Sponsor].
	Terms, Privacy, Sponsors string
	// Landing is a Markdown file with a front page, in which names in braces stand for [Values]. Empty means that there is none.
	Landing string
	// Title is what the horde is called, Contact how its operator is reached: an e-mail address, or empty.
	Title, Contact string
	// Log takes what is wrong with a file, once; nil means [slog.Default].
	Log *slog.Logger
}

// Document is a text in both its forms, without a frame. Their outer newlines are trimmed.
type Document struct{ HTML, Markdown string }

// Name names a document.
type Name string

// The documents there are.
const (
	Terms    Name = "terms"
	Privacy  Name = "privacy"
	Sponsors Name = "sponsors"
)

// Board has what is told. Its methods may be called at any time by anybody.
type Board struct {
	title, contact string
	patrons        atomic.Pointer[func() []Sponsor]
	thanked        thanked
	news           watched[[]Newspiece]
	landing        watched[string]
	documents      map[Name]*posted
}

// posted is a document: that of the operator if it can be had, else that of the program.
type posted struct {
	builtin *text
	watched[*text]
}

// text is a document as it was read. Of one that ends with a list of sponsors, head is what comes before it.
type text struct {
	Document
	head     *Document
	sponsors []Sponsor
}

// plain makes the text of a document without a list.
func plain(parse func([]byte) (*Document, error)) func([]byte) (*text, error) {
	return func(data []byte) (*text, error) {
		d, err := parse(data)
		if err != nil {
			return nil, err
		}
		return &text{Document: *d}, nil
	}
}

//go:embed builtin
var builtin embed.FS

// New returns the board of a horde. It fails where a file cannot be used now; what becomes of it later is logged.
func New(c Config) (*Board, error) {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	b := &Board{
		title: c.Title, contact: c.Contact, documents: map[Name]*posted{},
		news:    watched[[]Newspiece]{path: c.News, parse: parseNews, log: c.Log},
		landing: watched[string]{path: c.Landing, parse: func(data []byte) (string, error) { return string(data), nil }, keep: true, log: c.Log},
	}
	if c.Landing != "" && b.landing.get() == "" {
		return nil, fmt.Errorf("%s cannot be used: %s", c.Landing, cmp.Or(b.landing.told, "it is empty"))
	}
	if c.News != "" {
		b.news.get() // what is wrong with it is told at the start
	}
	for _, d := range []struct {
		name Name
		path string
	}{{Terms, c.Terms}, {Privacy, c.Privacy}, {Sponsors, c.Sponsors}} {
		intro, err := builtin.ReadFile("builtin/" + string(d.name) + ".md")
		if err != nil {
			return nil, fmt.Errorf("document %s: %w", d.name, err)
		}
		own, err := fromMarkdown(intro)
		if err != nil {
			return nil, fmt.Errorf("document %s: %w", d.name, err)
		}
		p := &posted{&text{Document: *own}, watched[*text]{path: d.path, parse: plain(fromHTML), keep: true, log: c.Log}}
		switch strings.ToLower(filepath.Ext(d.path)) {
		case ".md", ".markdown":
			p.parse = plain(fromMarkdown)
		case ".json":
			if d.name != Sponsors {
				return nil, fmt.Errorf("%s: a document is Markdown (.md) or HTML", d.path)
			}
			p.parse = func(data []byte) (*text, error) { return sponsorList(own, data) }
		}
		if d.path != "" && p.get() == nil {
			return nil, fmt.Errorf("%s cannot be used: %s", d.path, p.told)
		}
		b.documents[d.name] = p
	}
	return b, nil
}

// News are all news, the newest first. The list is shared: do not change it. It is never nil.
func (b *Board) News() []Newspiece {
	if news := b.news.get(); news != nil {
		return news
	}
	return []Newspiece{}
}

// Document is a document for somebody who reaches the horde at base.
func (b *Board) Document(name Name, base string) Document {
	p := b.documents[name]
	of := p.get()
	if of == nil {
		of = p.builtin
	}
	d := &of.Document
	if name == Sponsors {
		d = b.thanks(of)
	}
	contact := b.contactAt(base)
	return Document{
		HTML: strings.NewReplacer(tokenTitle, html.EscapeString(b.title), tokenURL, html.EscapeString(base),
			tokenContact, html.EscapeString(contact)).Replace(d.HTML),
		Markdown: strings.NewReplacer(tokenTitle, b.title, tokenURL, base, tokenContact, contact).Replace(d.Markdown),
	}
}

// contactAt is how the operator is reached: without an address, through the horde.
func (b *Board) contactAt(base string) string { return cmp.Or(b.contact, base) }

// What stands for the values while a text is turned from one form into the other: words that no form treats specially.
const (
	tokenTitle   = "hordeTitlePlaceholder"
	tokenURL     = "hordeURLPlaceholder"
	tokenContact = "hordeContactPlaceholder"
)

var tokens = strings.NewReplacer("{title}", tokenTitle, "{url}", tokenURL, "{contact}", tokenContact)

// markdown takes HTML inside of Markdown as it is, for it is the operator's own.
var markdown = goldmark.New(goldmark.WithRendererOptions(goldmarkhtml.WithUnsafe()))

func fromMarkdown(text []byte) (*Document, error) {
	source := tokens.Replace(string(text))
	var b bytes.Buffer
	if err := markdown.Convert([]byte(source), &b); err != nil {
		return nil, err
	}
	return &Document{HTML: strings.Trim(b.String(), "\r\n"), Markdown: strings.Trim(source, "\r\n")}, nil
}

func fromHTML(text []byte) (*Document, error) {
	source := strings.Trim(tokens.Replace(string(text)), "\r\n")
	md, err := htmltomarkdown.ConvertString(source)
	if err != nil {
		return nil, err
	}
	return &Document{HTML: source, Markdown: strings.Trim(md, "\r\n")}, nil
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package v2

import (
	"context"
	"net/http"

	"horde/internal/api"
	"horde/internal/bulletin"
	"horde/internal/horde"
)

// bulletins serves what the operator tells everybody. It needs no engine, so every node of several does.
type bulletins struct {
	board *bulletin.Board
	// public is where the world reaches the horde; empty means the address by which each caller came.
	public string
}

// RegisterBulletins adds the operations of news and documents to a router.
func RegisterBulletins(r *api.Router, board *bulletin.Board, publicURL string) {
	b := &bulletins{board, publicURL}
	api.Handle(r, api.Operation{
		Method: http.MethodGet, Path: prefix + "/status/news", Limits: api.DefaultLimits, ID: "get_horde_news",
		Summary: "News of this horde, the newest first.",
	}, b.news)
	for _, d := range []struct {
		name        bulletin.Name
		id, summary string
	}{
		{bulletin.Terms, "get_docs_terms", "The terms and conditions of this horde."},
		{bulletin.Privacy, "get_docs_privacy", "The privacy policy of this horde."},
		{bulletin.Sponsors, "get_docs_sponsors", "Who supports this horde."},
	} {
		api.Handle(r, api.Operation{
			Method: http.MethodGet, Path: prefix + "/documents/" + string(d.name), Limits: api.DefaultLimits, ID: d.id, Summary: d.summary,
			Refuses: []int{http.StatusBadRequest},
		}, func(_ context.Context, c *api.Call[documentInput]) (int, hordeDocument, error) {
			return b.document(d.name, c)
		})
	}
}

// newspiece is a piece of news. Members that its author left out are null.
type newspiece struct {
	DatePublished *string   `json:"date_published" doc:"A day, as in 2026-01-31."`
	Text          *string   `json:"newspiece" doc:"The text, in Markdown."`
	Importance    *string   `json:"importance" doc:"How much it matters: Information, Workers, Integration, Upcoming, Crisis or another word."`
	Tags          *[]string `json:"tags"`
	Title         *string   `json:"title"`
	MoreInfoURLs  *[]string `json:"more_info_urls"`
}

func (b *bulletins) news(context.Context, *api.Call[api.NoInput]) (int, []newspiece, error) {
	news := b.board.News()
	out := make([]newspiece, len(news))
	for i, n := range news {
		out[i] = newspiece(n)
	}
	return http.StatusOK, out, nil
}

type documentInput struct {
	Format string `query:"format" default:"html" doc:"html or markdown."`
}

// hordeDocument has one of the two.
type hordeDocument struct {
	HTML     *string `json:"html,omitempty" doc:"A fragment: headings, paragraphs and lists, without a frame."`
	Markdown *string `json:"markdown,omitempty"`
}

var errFormat = &horde.Error{RC: "BadRequest", Status: http.StatusBadRequest, Message: "format is html or markdown."}

func (b *bulletins) document(name bulletin.Name, c *api.Call[documentInput]) (int, hordeDocument, error) {
	d := b.board.Document(name, baseOf(b.public, c.Request))
	switch c.In.Format {
	case "", "html":
		return http.StatusOK, hordeDocument{HTML: &d.HTML}, nil
	case "markdown":
		return http.StatusOK, hordeDocument{Markdown: &d.Markdown}, nil
	}
	return 0, hordeDocument{}, errFormat
}

// baseOf is where a caller reaches the horde, without a slash at the end.
func baseOf(public string, r *http.Request) string {
	switch {
	case public != "":
		return public
	case r.TLS != nil:
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

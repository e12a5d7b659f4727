// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"html/template"
	"net/http"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"

	"horde/internal/fediseer/faq"
)

type faqEntry struct {
	faq.Entry
	Anchor string
	HTML   template.HTML
	// Opens is true for the first entry of a category.
	Opens bool
}

// htmlLang maps the languages of the questions to the names that HTML has for them.
var htmlLang = map[string]string{"eng": "en", "deu": "de", "ell": "el"}

// faq shows the questions in a language. Unknown languages lead to the English page.
func (s *site) faq(w http.ResponseWriter, r *http.Request) {
	lang := r.PathValue("lang")
	if lang == "" {
		lang = faq.English
	}
	list, err := faq.List(lang, "")
	if err != nil {
		http.Redirect(w, r, "/faq/", http.StatusFound)
		return
	}
	var entries []faqEntry
	category := ""
	for _, e := range list {
		var b strings.Builder
		if err := goldmark.Convert([]byte(e.Document), &b); err != nil {
			s.fail(w, err)
			return
		}
		entries = append(entries, faqEntry{Entry: e, Anchor: slug(e.Question), HTML: template.HTML(b.String()), Opens: e.Category != category})
		category = e.Category
	}
	s.renderIn(w, htmlLang[lang], http.StatusOK, "faq", "Questions and answers", map[string]any{"Lang": lang, "Languages": faq.Languages, "Entries": entries})
}

// slug makes an anchor of a heading: "What is a guarantee?" becomes "what-is-a-guarantee".
func slug(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }), "-")
}

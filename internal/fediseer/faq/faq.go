// SPDX-License-Identifier: AGPL-3.0-or-later

// Package faq holds the questions and answers about the Fediseer, in English (eng), German (deu) and, in part, Greek
// (ell). Each language is one Markdown file: "# category: title" opens a category, "## stub: question" an entry.
package faq

import (
	"embed"
	"fmt"
	"strings"
)

// English is the language that stands in where a translation is missing.
const English = "eng"

// Languages lists the languages.
var Languages = []string{"eng", "ell", "deu"}

// Entry is one question with its answer in Markdown.
type Entry struct {
	Category           string `json:"category"`
	CategoryTranslated string `json:"category_translated"`
	// Translated is false where the English text stands in for a missing translation.
	Translated bool   `json:"translated"`
	Added      string `json:"added"`
	Question   string `json:"question"`
	Stub       string `json:"stub"`
	Document   string `json:"document"`
}

const (
	firstAdded = "2023-09-25T00:00:00"
	tagAdded   = "2023-09-27T00:00:00" // the entry about tags came later
)

//go:embed *.md
var files embed.FS

var entries = func() map[string][]Entry {
	out := map[string][]Entry{}
	for _, lang := range Languages {
		b, err := files.ReadFile(lang + ".md")
		if err != nil {
			panic(err) // embedded
		}
		out[lang] = parse(string(b))
	}
	return out
}()

func parse(text string) []Entry {
	var list []Entry
	var category, title string
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "## "); ok {
			stub, question, _ := strings.Cut(strings.TrimSpace(rest), ": ")
			e := Entry{Category: category, CategoryTranslated: title, Translated: true, Added: firstAdded, Question: question, Stub: stub}
			if stub == "tag" {
				e.Added = tagAdded
			}
			list = append(list, e)
		} else if rest, ok := strings.CutPrefix(line, "# "); ok {
			category, title, _ = strings.Cut(strings.TrimSpace(rest), ": ")
		} else if n := len(list); n > 0 {
			list[n-1].Document += line
		}
	}
	for i := range list {
		list[i].Document = strings.TrimSpace(list[i].Document)
	}
	return list
}

// List returns the entries in a language, of one category or of all when category is empty. What is not translated is
// in English. Unknown languages and categories are errors.
func List(lang, category string) ([]Entry, error) {
	own, ok := entries[lang]
	if !ok {
		return nil, fmt.Errorf("there is no language %q; there are %s", lang, strings.Join(Languages, ", "))
	}
	titles, byStub := map[string]string{}, map[string]Entry{}
	for _, e := range own {
		titles[e.Category], byStub[e.Stub] = e.CategoryTranslated, e
	}
	var out []Entry
	for _, e := range entries[English] {
		if category != "" && e.Category != category {
			continue
		}
		if t, ok := byStub[e.Stub]; ok {
			e = t
		} else {
			e.Translated = false
			if titles[e.Category] != "" {
				e.CategoryTranslated = titles[e.Category]
			}
		}
		out = append(out, e)
	}
	if out == nil {
		return nil, fmt.Errorf("there is no category %q", category)
	}
	return out, nil
}

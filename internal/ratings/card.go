// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// columnMeanings say what the columns of ratings-v1 hold, by name. The first ones are those of diffusiondb_export.
var columnMeanings = map[string]string{
	"id": "the image", "ratings_count": "ratings of this image in the file", "rating": "1 to 10", "kudos": "of the rater, then; -50 for anonymous raters",
	"account_age": "seconds, then", "usage_requests": "images that the rater had requested, then", "created_at": "when it was rated, UTC",
	"client_agent": "the client of the rater", "artifacts": "0 to 5, or null", "user_id": "a hash; one value for all anonymous raters",
	"trusted": "whether the rater was trusted, then", "validated": "whether a moderator checked the rater by hand",
	"captchas_failed": "failures minus passes of the rater, now", "country": "ISO 3166-1 alpha-2, or null", "rating_id": "the rating",
	"dataset": "diffusiondb or horde_shared", "source": "pop: an image that the service chose; post_generation: the rater had requested it",
	"weight": "0 to 1: how far to trust the rating", "excluded": "always false", "image_url": "where the image is, or empty",
}

// columnTable has a line for each column of a type of row, embedded ones first.
func columnTable(row reflect.Type) string {
	var out strings.Builder
	for _, f := range reflect.VisibleFields(row) {
		if f.Anonymous {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("parquet"), ",")
		kind := strings.TrimPrefix(f.Type.String(), "*")
		switch kind {
		case "time.Time":
			kind = "timestamp"
		case "float64":
			kind = "double"
		}
		fmt.Fprintf(&out, "| `%s` | %s | %s |\n", name, kind, columnMeanings[name])
	}
	return out.String()
}

// population has a line for each of the most frequent values, and one for the rest.
func population(rows []ratingRow, value func(ratingRow) string) string {
	const shown = 20
	counts := map[string]int{}
	for _, r := range rows {
		counts[value(r)]++
	}
	names := make([]string, 0, len(counts))
	for name := range counts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	var out strings.Builder
	rest := 0
	for i, name := range names {
		if i >= shown {
			rest += counts[name]
			continue
		}
		fmt.Fprintf(&out, "| %s | %d |\n", cell(name), counts[name])
	}
	if rest > 0 {
		fmt.Fprintf(&out, "| others | %d |\n", rest)
	}
	return out.String()
}

// cell makes a text of a client harmless in a table of Markdown.
func cell(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || strings.ContainsRune("|`<>[]()\\*_", r) {
			return ' '
		}
		return r
	}, text)
	if text = strings.TrimSpace(text); text == "" {
		return "not known"
	}
	return text
}

// sizeCategory is what a data-set hub calls so many rows.
func sizeCategory(n int) string {
	switch {
	case n < 1_000:
		return "n<1K"
	case n < 10_000:
		return "1K<n<10K"
	case n < 100_000:
		return "10K<n<100K"
	case n < 1_000_000:
		return "100K<n<1M"
	}
	return "1M<n<10M"
}

// dataCard describes the files for people.
func dataCard(ratings []ratingRow, pairs, images int, now time.Time) []byte {
	return []byte(strings.ReplaceAll(fmt.Sprintf(cardText, sizeCategory(len(ratings)), len(ratings), pairs, images, now.UTC().Format(time.DateOnly)), "'", "`") +
		columnTable(reflect.TypeFor[ratingRow]()) + "\n## Population\n\n| Country | Ratings |\n| --- | --- |\n" + population(ratings, func(r ratingRow) string {
		if r.Country == nil {
			return ""
		}
		return *r.Country
	}) + "\n| Client | Ratings |\n| --- | --- |\n" + population(ratings, func(r ratingRow) string {
		name, _, _ := strings.Cut(r.ClientAgent, ":") // without the contact
		return name
	}) + cardChanges)
}

const cardText = `---
license: cc-by-sa-4.0
language: [en]
tags: [aesthetics, ratings, images]
pretty_name: Ratings of images
size_categories: ["%s"]
---
# Ratings of images

%d ratings, %d comparisons of two images, %d images, as of %s.

## Collection

People see one image at a time and say how much they like it, from 1 to 10, and how broken it is, from 0 (flawless) to 5 (garbage).
Images come from requests whose owners agreed to share them. Raters are paid 5 kudos for each rating, 500 times a day at most;
anonymous raters are not paid.

## Countermeasures and weaknesses

Some images demand a certain rating. Ratings within a second are left out. Raters who always say the same, agree with nobody, or
contradict themselves when they see an image again get a low 'weight' and no reward, but are in the files. Raters choose themselves,
and are no sample of any population; rewards attract careless ones.

## Privacy and removal

No names, keys or addresses are exported; 'user_id' is a hash with a secret key. The ratings of an erased account stay under the hash
of a random value. Whoever has an account can have all own ratings left out of later files: 'DELETE /api/v1/user/ratings/{user_id}' with
the own key.

## Columns

Of 'ratings-v1'; 'diffusiondb_export.parquet' has those up to 'country'.

| Column | Type | Content |
| --- | --- | --- |
`

const cardChanges = `
## Changes

| Schema | |
| --- | --- |
| 1 | the first one |
`

// SPDX-License-Identifier: AGPL-3.0-or-later

package ratings

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
)

// columnMeanings say what the columns of ratings-v1 hold, by name. The first ones are those of diffusiondb_export.
var columnMeanings = map[string]string{
	"id": "the image", "ratings_count": "ratings of this image in the file", "rating": "1 to 10", "kudos": "of the rater, then; -50 for anonymous raters",
	"account_age": "seconds, then", "usage_requests": "images that the rater had requested, then", "created_at": "when it was rated, UTC",
	"client_agent": "name and version of the client", "artifacts": "0 to 5, or null", "user_id": "a hash; one value for all anonymous raters",
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

// population has a line for each of the most frequent values of an expression over the ratings, and one for the rest.
func (x *snapshot) population(value string) (string, error) {
	const shown = 20
	var out strings.Builder
	rest, lines := int64(0), 0
	err := x.rows("select coalesce("+value+", ''), count(*) n from ratings r where excluded = 0 group by 1 order by n desc, 1", func(r *sqlite.Stmt) error {
		if lines++; lines > shown {
			rest += r.ColumnInt64(1)
			return nil
		}
		fmt.Fprintf(&out, "| %s | %d |\n", cell(r.ColumnText(0)), r.ColumnInt64(1))
		return nil
	})
	if rest > 0 {
		fmt.Fprintf(&out, "| others | %d |\n", rest)
	}
	return out.String(), err
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

// dataCard describes the files for people. It has no rows.
func (x *snapshot) dataCard(out io.Writer) (int, error) {
	var ratings, pairs, images int
	if err := x.rows(`select (select count(*) from ratings where excluded = 0), (select count(*) from pairs where excluded = 0),
		(select count(*) from images where active = 1 or rating_count > 0)`, func(r *sqlite.Stmt) error {
		ratings, pairs, images = r.ColumnInt(0), r.ColumnInt(1), r.ColumnInt(2)
		return nil
	}); err != nil {
		return 0, err
	}
	countries, err := x.population("r.country")
	if err != nil {
		return 0, err
	}
	clients, err := x.population("case when instr(r.client_agent, ':') > 0 then substr(r.client_agent, 1, instr(r.client_agent, ':') - 1) else r.client_agent end") // without version and contact
	if err != nil {
		return 0, err
	}
	text := fmt.Sprintf(cardText, sizeCategory(ratings), ratings, pairs, images, x.now.UTC().Format(time.DateOnly), x.url)
	_, err = io.WriteString(out, strings.ReplaceAll(text, "'", "`")+columnTable(reflect.TypeFor[ratingRow]())+
		"\n## Population\n\n| Country | Ratings |\n| --- | --- |\n"+countries+"\n| Client | Ratings |\n| --- | --- |\n"+clients+cardChanges)
	return 0, err
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

People see one image at a time and say how much they like it, from 1 to 10, and how broken it is: 0 flawless; 1 small flaws, hard to see;
2 small flaws, easy to see, harmless; 3 obviously wrong, a little harm; 4 obviously wrong, much harm; 5 garbage. Owners of requests
rate what they asked for in the same way ('source' is 'post_generation'), and say which of several images is the best ('pairs-v1').
Images come from requests whose owners agreed to share them ('horde_shared'). Images with fewer than five ratings are shown first.

## Reward

Raters are paid 5 kudos for each rating, 500 times a day at most. Anonymous raters are not paid. Owners are paid 15 kudos for the best
image, or 5 for each rating and 5 for saying how broken an image is, less than the request cost.

## Countermeasures and weaknesses

Only an image that was handed out to the rater within half an hour can be rated. Some images demand a certain rating: who fails is sent
away and loses rewards. Ratings within a second are left out. Raters who always say the same, agree with nobody, or contradict themselves
when they see an image again get a low 'weight' and no reward, but are in the files. Raters choose themselves, and are no sample of
any population; rewards attract careless ones.

'pipelines-v1' has the strengths of the Bradley-Terry model for the pipelines that are compared, natural logarithms whose sum for a model
is 0, each comparison with the weight of its rater.

## Privacy and removal

No names, keys, addresses or contacts are exported; 'user_id' is a hash with a secret key, one value for all anonymous raters. The
ratings of an erased account stay under the hash of a random value. Whoever has an account can have all own ratings left out of later
files: send 'DELETE %s/api/v1/user/ratings/{user_id}' with the own key, where 'user_id' is the number behind the '#' of the own name.

## Columns

Of 'ratings-v1'; 'diffusiondb_export.parquet' has those up to 'country'.

| Column | Type | Content |
| --- | --- | --- |
`

const cardChanges = `
## Changes

| Schema | |
| --- | --- |
| 1 | the first one; without the contacts of clients |
`

// SPDX-License-Identifier: AGPL-3.0-or-later

package bulletin

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
)

// Newspiece is one piece of news. Members that its author left out are nil.
type Newspiece struct {
	DatePublished *string   `json:"date_published"` // a day: "2026-01-31"
	Text          *string   `json:"newspiece"`      // Markdown
	Importance    *string   `json:"importance"`     // a word for people: "Information", "Workers", "Crisis"
	Tags          *[]string `json:"tags"`
	Title         *string   `json:"title"`
	MoreInfoURLs  *[]string `json:"more_info_urls"`
}

// parseNews reads a JSON array of news and puts the newest first; those of a day keep their order.
func parseNews(data []byte) ([]Newspiece, error) {
	var news []Newspiece
	if err := json.Unmarshal(data, &news); err != nil {
		return nil, err
	}
	if news == nil {
		return nil, errors.New("not a list of news: null")
	}
	slices.SortStableFunc(news, func(a, b Newspiece) int { return strings.Compare(b.day(), a.day()) })
	return news, nil
}

func (n Newspiece) day() string {
	if n.DatePublished == nil {
		return ""
	}
	return *n.DatePublished
}

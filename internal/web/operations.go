// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"horde/internal/api"
)

// group is operations that belong together, as the page about the API shows them.
type group struct {
	Name       string
	Operations []api.Route
}

// chapters are the groups in their order, each with what its paths begin with after the prefix. The first that fits takes an
// operation, and the last fits all.
var chapters = []struct {
	name     string
	prefixes []string
}{
	{"Work for a horde", []string{"/generate/pop", "/generate/submit", "/generate/text/pop", "/generate/text/submit", "/interrogate/pop", "/interrogate/submit"}},
	{"Text", []string{"/generate/text/"}},
	{"Images", []string{"/generate/"}},
	{"Alchemy", []string{"/interrogate/"}},
	{"News of a request", []string{"/events/"}},
	{"Styles", []string{"/styles", "/collections", "/collection_by_name"}},
	{"Accounts", []string{"/find_user", "/users", "/kudos", "/sharedkeys"}},
	{"Workers", []string{"/workers", "/teams"}},
	{"Moderation", []string{"/filters", "/operations"}},
	{"The horde", []string{"/status", "/stats", "/documents"}},
	{"More", []string{""}},
}

// order is how the chapters are shown.
var order = []string{"Images", "Text", "Alchemy", "News of a request", "Styles", "Accounts", "Workers", "The horde", "Moderation", "More", "Work for a horde"}

// describe sorts the operations of version 2 into groups.
func describe(all []api.Route) []group {
	found := make(map[string][]api.Route)
	for _, o := range all {
		rest, ok := strings.CutPrefix(o.Path, "/api/v2")
		if !ok {
			continue
		}
		name := chapterOf(rest)
		found[name] = append(found[name], o)
	}
	var groups []group
	for _, name := range order {
		slices.SortFunc(found[name], func(a, b api.Route) int {
			return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(rank(a.Method), rank(b.Method)))
		})
		if len(found[name]) > 0 {
			groups = append(groups, group{name, found[name]})
		}
	}
	return groups
}

func chapterOf(path string) string {
	for _, c := range chapters {
		for _, prefix := range c.prefixes {
			if strings.HasPrefix(path, prefix) {
				return c.name
			}
		}
	}
	return ""
}

// rank puts what people do first first.
func rank(method string) int {
	return slices.Index([]string{http.MethodPost, http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete}, method)
}

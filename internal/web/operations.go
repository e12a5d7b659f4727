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
	Operations []operation
}

type operation struct {
	api.Operation
	// Does says in a few words what it is for; empty where nobody wrote it down.
	Does string
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
	{"News of a request", []string{"/events/"}},
	{"Accounts", []string{"/find_user", "/users", "/kudos", "/sharedkeys"}},
	{"Workers", []string{"/workers", "/teams"}},
	{"The horde", []string{"/status", "/stats", "/documents"}},
	{"More", []string{""}},
}

// order is how the chapters are shown.
var order = []string{"Images", "Text", "News of a request", "Accounts", "Workers", "The horde", "More", "Work for a horde"}

// does tells what an operation is for.
var does = map[string]string{
	"POST /generate/async":              "Ask for images. Answers with the id of your request.",
	"GET /generate/check/{id}":          "How the request stands: position in the queue, seconds to wait. Ask as often as once a second.",
	"GET /generate/status/{id}":         "The same with the finished images. Ask once, when check says done.",
	"DELETE /generate/status/{id}":      "Cancel the request.",
	"POST /generate/text/async":         "Ask for a text. Answers with the id of your request.",
	"GET /generate/text/status/{id}":    "How the request stands, with the text once it is done.",
	"DELETE /generate/text/status/{id}": "Cancel the request.",
	"POST /generate/pop":                "Take an image job. With wait, the answer comes as soon as there is one.",
	"POST /generate/submit":             "Hand in its image.",
	"POST /generate/text/pop":           "Take a text job. With wait, the answer comes as soon as there is one.",
	"POST /generate/text/submit":        "Hand in its text.",
	"GET /events/{id}":                  "Tells every change of a request, of any kind, as server-sent events, and in the end its results. Better than asking.",
	"GET /find_user":                    "The account that your key opens.",
	"GET /users":                        "All accounts, 25 a page.",
	"GET /users/{id}":                   "One account.",
	"PUT /users/{id}":                   "Change an account.",
	"DELETE /users/{id}":                "Delete an account.",
	"GET /workers":                      "All workers that are online.",
	"GET /workers/{id}":                 "One worker.",
	"PUT /workers/{id}":                 "Pause, rename or describe a worker of yours.",
	"DELETE /workers/{id}":              "Remove a worker of yours.",
	"GET /workers/name/{name}":          "One worker by its name.",
	"GET /teams":                        "All teams.",
	"POST /teams":                       "Found a team.",
	"GET /teams/{team_id}":              "One team, and what it has made.",
	"PATCH /teams/{team_id}":            "Rename or describe a team of yours.",
	"DELETE /teams/{team_id}":           "Dissolve a team of yours.",
	"GET /status/heartbeat":             "Whether this server is well.",
	"GET /status/performance":           "How many work and how much waits.",
	"GET /status/models":                "Models that are served now, with ?type=image or ?type=text.",
	"GET /status/models/{name}":         "One model.",
	"GET /status/modes":                 "Whether the horde is in maintenance.",
	"PUT /status/modes":                 "Change that, for moderators.",
}

// describe sorts the operations of version 2 into groups.
func describe(all []api.Operation) []group {
	found := make(map[string][]operation)
	for _, o := range all {
		rest, ok := strings.CutPrefix(o.Path, "/api/v2")
		if !ok {
			continue
		}
		name := chapterOf(rest)
		found[name] = append(found[name], operation{Operation: o, Does: does[o.Method+" "+rest]})
	}
	var groups []group
	for _, name := range order {
		slices.SortFunc(found[name], func(a, b operation) int {
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

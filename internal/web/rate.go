// SPDX-License-Identifier: AGPL-3.0-or-later

package web

import (
	"net/http"
	"strconv"
	"strings"

	"horde/internal/api"
)

// RatingsPath is where the ratings service of the program, and with it the page on which people rate, is on the horde's address.
const RatingsPath = "/ratings"

// ratingChoice is a degree of brokenness that can be chosen, by hand or with a key.
type ratingChoice struct {
	Value     int
	Key, Name string
}

// artifactChoices are the degrees (ratings chapter, 3.2).
var artifactChoices = []ratingChoice{
	{0, "A", "Flawless"}, {1, "B", "Small flaws, hard to see"}, {2, "C", "Small flaws, easy to see"},
	{3, "D", "Obviously wrong, a little harm"}, {4, "E", "Obviously wrong, much harm"}, {5, "F", "Garbage"},
}

// ratingMarks are the ratings that can be given.
var ratingMarks = func() (marks []string) {
	for i := 1; i <= 10; i++ {
		marks = append(marks, strconv.Itoa(i))
	}
	return marks
}()

// MountRatings adds the pages of the ratings service to its router, below a prefix: the one on which people rate, and what its API
// can do. An empty prefix means that the service has a host name of its own; other pages are then those of s.PublicURL. document is
// the path of the OpenAPI document. It comes after the operations.
func MountRatings(s Site, r *api.Router, prefix, document string) {
	s.PublicURL = strings.TrimRight(s.PublicURL, "/")
	p := &pages{Site: s, router: r, policy: []string{policy(s)}, prefix: prefix}
	if p.Ratings = prefix; prefix == "" {
		p.Ratings = "/"
		if p.horde = s.PublicURL; p.horde != "" { // the page asks the horde as well
			p.policy = []string{strings.Replace(p.policy[0], "connect-src 'self'", "connect-src 'self' "+originOf(p.horde), 1)}
		}
		r.Mount("/{$}", LimitsPage, p.show("rate"))
		p.mountFiles()
	} else {
		r.Mount(prefix, LimitsPage, p.show("rate"))
	}
	p.operations = describeAs(r.Routes(prefix+"/api/"), prefix)
	r.Mount(prefix+"/api", LimitsPage, p.show("ratings-api"))
	mountReference(r, s.Title, prefix+"/api", document)
	r.SetErrorPage(p.refuse)
}

// describeAs sorts the operations of the ratings service into groups.
func describeAs(all []api.Route, prefix string) []group {
	groups := []group{{Name: "Rate"}, {Name: "Lists"}, {Name: "Moderation"}}
	for _, o := range all {
		path, below := strings.CutPrefix(o.Path, prefix+"/api/v1")
		if !below {
			continue
		}
		at := 2
		switch {
		case strings.HasPrefix(path, "/rating/"):
			at = 0
		case path == "/datasets", path == "/teams", strings.HasPrefix(path, "/download/"):
			at = 1
		}
		groups[at].Operations = append(groups[at].Operations, o)
	}
	return groups
}

// mountFiles adds what all pages load.
func (p *pages) mountFiles() {
	p.router.Mount("/assets/{file}", nil, http.HandlerFunc(p.serveAsset))
	p.router.Mount("/favicon.ico", nil, http.HandlerFunc(serveFavicon))
	p.router.Mount("/robots.txt", nil, http.HandlerFunc(serveRobots))
}

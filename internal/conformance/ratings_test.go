// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/node"
)

// ratingsServer is a ratings service that keeps what it is told, and takes each set once.
type ratingsServer struct {
	*httptest.Server
	mu   sync.Mutex
	sets []map[string]any
	mute bool // cut the line after taking a set
}

func newRatingsServer(t *testing.T) *ratingsServer {
	r := &ratingsServer{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var set map[string]any
		if err := json.NewDecoder(req.Body).Decode(&set); err != nil {
			t.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, other := range r.sets {
			if other["set"] == set["set"] {
				w.WriteHeader(http.StatusForbidden)
			}
		}
		r.sets = append(r.sets, set)
		if r.mute {
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

// rated is an horde whose images are shared where the client says so, with one model that is compared in pairs.
func rated(service *ratingsServer) func(*node.Config) {
	return func(c *node.Config) {
		c.Sharing, c.Pairs = horde.SharingOptIn, []string{"Deliberate"}
		if service != nil {
			c.RatingsURL = service.URL + "/api/v1"
		}
	}
}

// The two-image comparison: ratings chapter, 5.3 and worked example 11; and the rating of what it made.
func TestTwoImagesAreCompared(t *testing.T) {
	t.Parallel()
	example(t, "ratings", 8, 11)
	service := newRatingsServer(t)
	s := open(t, rated(service))
	u, owner := s.user(10_000, 0), s.user(0, horde.Trusted)
	order := func(n any) fields {
		params := fields{"width": 512, "height": 512, "steps": 10}
		if n != nil {
			params["n"] = n
		}
		return fields{"prompt": "a lighthouse", "models": []string{"stable_diffusion", "Deliberate"}, "params": params}
	}
	s.refused(s.call("POST", "/generate/async", anonymous, order(2)), http.StatusForbidden, "BetaAnonForbidden")
	s.refused(s.call("POST", "/generate/async", u, order(1)), http.StatusBadRequest, "BetaComparisonFault")
	s.refused(s.call("POST", "/generate/async", u, order(nil)), http.StatusBadRequest, "BetaComparisonFault")

	id := s.image(u, order(4))
	s.shows(s.status("image", id), fields{"shared": true, "waiting": 2})
	rate := func(body any) answer { return s.call("POST", "/generate/rate/"+id, account{}, body) }
	s.refused(rate(fields{}), http.StatusBadRequest, "AestheticsNotCompleted")
	first, second := s.popImage(owner, "one", fields{"amount": 2}), s.popImage(owner, "two", fields{"amount": 2})
	for i, p := range []answer{first, second} {
		name := []string{"pipeline0", "pipeline1"}[i]
		if len(p.strings("ids")) != 1 || p.str("payload", "special", "model_name") != name || p.str("payload", "special", "comfy_pipeline") != name+".json" ||
			p.str("payload", "special", "pair_id") != id || p.str("payload", "seed") != first.str("payload", "seed") {
			t.Errorf("pop %d got %s", i, p.text)
		}
	}
	// What comes back is made by the same pipeline again.
	s.fault("image", owner, s.job(first))
	first = s.popImage(owner, "three", nil)
	if name := first.str("payload", "special", "model_name"); name != "pipeline0" {
		t.Errorf("the image that failed is made by %s", name)
	}
	s.noJob(s.popImage(owner, "four", nil))
	a, b := s.job(first), s.job(second)
	s.deliver(owner, first)
	s.refused(rate(fields{"best": a}), http.StatusBadRequest, "AestheticsNotCompleted")
	s.deliver(owner, second)

	other := "00000000-0000-4000-8000-000000000000"
	for _, c := range []struct {
		name, body string
		status     int
		rc, field  string
	}{
		{"nothing", `{}`, 400, "AestheticsMissing", ""},
		{"an empty list", `{"ratings":[]}`, 400, "AestheticsMissing", ""},
		{"no text", `{"best":null}`, 400, "", "best"},
		{"a fraction", `{"ratings":[{"id":"A","rating":7.5}]}`, 400, "", "ratings.0.rating"},
		{"a fraction of nothing", `{"ratings":[{"id":"A","rating":7.0}]}`, 400, "", "ratings.0.rating"},
		{"an exponent", `{"ratings":[{"id":"A","rating":7,"artifacts":1e0}]}`, 400, "", "ratings.0.artifacts"},
		{"a boolean", `{"ratings":[{"id":"A","rating":true}]}`, 400, "", "ratings.0.rating"},
		{"a text for a number", `{"ratings":[{"id":"A","rating":"7"}]}`, 400, "", "ratings.0.rating"},
		{"too much", `{"ratings":[{"id":"A","rating":11}]}`, 400, "", "ratings.0.rating"},
		{"too broken", `{"ratings":[{"id":"A","rating":1,"artifacts":6}]}`, 400, "", "ratings.0.artifacts"},
		{"twice", `{"ratings":[{"id":"A","rating":1},{"id":"A","rating":1}]}`, 400, "AestheticsDuplicate", ""},
		{"unknown", `{"ratings":[{"id":"C","rating":1},{"id":"C","rating":1}]}`, 400, "ProcGenNotFound", ""},
		{"an unknown best", `{"best":"C"}`, 400, "ProcGenNotFound", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			got := s.call("POST", "/generate/rate/"+id, account{}, strings.NewReplacer(`"A"`, `"`+a+`"`, `"C"`, `"`+other+`"`).Replace(c.body))
			if c.field != "" {
				s.invalid(got, c.field)
				return
			}
			s.refused(got, c.status, c.rc)
		})
	}
	s.refused(s.call("POST", "/generate/rate/"+other, account{}, fields{}), http.StatusNotFound, "RequestNotFound")
	s.refused(s.call("POST", "/generate/rate/nope", account{}, fields{}), http.StatusNotFound, "RequestNotFound")

	before := s.kudos(u)
	consumed := s.check(id).number("kudos")
	answers := s.atOnce(2, func(int) answer { return rate(fields{"best": strings.ToUpper(b)}) })
	s.counted("ratings at the same time", answers, map[string]int{"200": 1, "400 AestheticsAlreadyExist": 1})
	want := min(15, consumed-1)
	if got := s.kudos(u) - before; got != want {
		t.Errorf("the owner got %v, want %v", got, want)
	}
	s.refused(rate(fields{"best": a}), http.StatusBadRequest, "AestheticsAlreadyExist")
	if len(service.sets) != 1 || service.sets[0]["best"] != b || service.sets[0]["set"] != id || len(service.sets[0]["all_set_ids"].([]any)) != 2 {
		t.Errorf("the service was told %v", service.sets)
	}
	s.away(0)
	s.refused(rate(fields{"best": a}), http.StatusBadRequest, "AestheticsAlreadyExist")
	if got := s.kudos(u) - before; got != want {
		t.Errorf("after a restart the owner has got %v, want %v", got, want)
	}
}

// A rating that the service took is paid once, though its answer was lost or the horde stopped before it had paid.
func TestRatingsWithoutAnAnswerArePaidOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"the horde starts again", "the client tries again"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			service := newRatingsServer(t)
			s := open(t, rated(service))
			u, owner := s.user(10_000, 0), s.user(0, horde.Trusted)
			id := s.image(u, fields{"prompt": "a lighthouse", "models": []string{"Deliberate"}, "params": fields{"n": 2, "width": 512, "height": 512, "steps": 10}})
			first, second := s.popImage(owner, "one", nil), s.popImage(owner, "two", nil)
			s.deliver(owner, first)
			s.deliver(owner, second)
			before, want := s.kudos(u), min(15, s.check(id).number("kudos")-1)
			rate := func() answer { return s.call("POST", "/generate/rate/"+id, account{}, fields{"best": s.job(first)}) }
			service.mu.Lock()
			service.mute = true
			service.mu.Unlock()
			s.refused(rate(), http.StatusBadRequest, "InvalidAestheticAttempt")
			if got := s.kudos(u); got != before {
				t.Errorf("nobody knows of the rating, and kudos went from %v to %v", before, got)
			}
			service.mu.Lock()
			service.mute = false
			service.mu.Unlock()
			if name == "the client tries again" {
				s.want(rate(), http.StatusOK)
			} else {
				s.away(0)
				for end := time.Now().Add(20 * time.Second); s.kudos(u) == before && time.Now().Before(end); {
					time.Sleep(50 * time.Millisecond)
				}
			}
			if got := s.kudos(u) - before; got != want {
				t.Errorf("the owner got %v, want %v", got, want)
			}
			s.refused(rate(), http.StatusBadRequest, "AestheticsAlreadyExist")
			s.away(0)
			s.refused(rate(), http.StatusBadRequest, "AestheticsAlreadyExist")
			if got := s.kudos(u) - before; got != want {
				t.Errorf("after another start the owner has %v, want %v", got, want)
			}
		})
	}
}

// Which requests are shared: ratings chapter, 5.1.
func TestWhatIsShared(t *testing.T) {
	t.Parallel()
	s := open(t, rated(nil))
	u, owner := s.user(10_000, 0), s.user(0, horde.Trusted)
	make := func(as account, shared bool) string {
		id := s.image(as, fields{"prompt": "a lighthouse", "models": []string{"stable_diffusion"}, "shared": shared, "params": fields{"steps": 10}})
		s.deliver(owner, s.popImage(owner, "one", fields{"models": []string{"stable_diffusion"}}))
		return id
	}
	for _, c := range []struct {
		name  string
		as    account
		asked bool
		want  bool
	}{
		{"asked for", u, true, true}, {"not asked for", u, false, false}, {"anonymous", anonymous, true, false},
		{"education", s.user(10_000, horde.Education), true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			id := make(c.as, c.asked)
			s.shows(s.status("image", id), fields{"shared": c.want})
			body := fields{"ratings": []fields{{"id": s.status("image", id).str("generations", 0, "id"), "rating": 8}}}
			rc := "AestheticsNotPublic"
			if c.want {
				rc = "AestheticsServerDown" // there is no service
			}
			before := s.kudos(c.as)
			s.refused(s.call("POST", "/generate/rate/"+id, account{}, body), http.StatusBadRequest, rc)
			if got := s.kudos(c.as); got != before {
				t.Errorf("a refused rating moved kudos from %v to %v", before, got)
			}
		})
	}
}

// The limit of ratings: worked example 9.
func TestRatingsAreLimited(t *testing.T) {
	t.Parallel()
	example(t, "ratings", 9)
	s := open(t, func(c *node.Config) { c.NoRateLimit = false })
	path := "/generate/rate/00000000-0000-4000-8000-00000000000"
	for range 5 {
		s.refused(s.call("POST", path+"1", account{}, fields{}), http.StatusNotFound, "RequestNotFound")
	}
	if a := s.call("POST", path+"1", account{}, fields{}); a.status != http.StatusTooManyRequests {
		t.Errorf("the sixth call got %d %s", a.status, a.text)
	}
	s.refused(s.call("POST", path+"2", account{}, fields{}), http.StatusNotFound, "RequestNotFound")
}

// The ratings service in the same program: what is shared is kept, can be rated by everybody, and is paid.
func TestRatingsServiceOfTheHorde(t *testing.T) {
	t.Parallel()
	s := open(t, rated(nil), func(c *node.Config) { c.RatingsService, c.RatingsHost = true, "ratings.example" })
	u, owner := s.user(10_000, 0), s.user(0, horde.Trusted)
	id := s.image(u, fields{"prompt": "a lighthouse", "models": []string{"Deliberate"}, "params": fields{"n": 2, "steps": 10}})
	first, second := s.popImage(owner, "one", nil), s.popImage(owner, "two", nil)
	s.deliver(owner, first)
	s.deliver(owner, second)
	before := s.kudos(u)
	s.want(s.call("POST", "/generate/rate/"+id, account{}, fields{"best": s.job(first)}), http.StatusOK)
	if got := s.kudos(u) - before; got <= 0 {
		t.Errorf("the owner got %v", got)
	}
	s.refused(s.call("POST", "/generate/rate/"+id, account{}, fields{"best": s.job(first)}), http.StatusBadRequest, "AestheticsAlreadyExist")
	get := func(url string) *httptest.ResponseRecorder {
		req := httptest.NewRequest("GET", url, nil)
		req.Header.Set("apikey", owner.key)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, req)
		return w
	}
	for _, base := range []string{"http://horde.example/ratings", "http://ratings.example"} {
		w := get(base + "/api/v1/datasets")
		var sets []struct {
			ID     string `json:"id"`
			Images int    `json:"image_count"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &sets); err != nil || len(sets) != 1 || sets[0].Images != 2 {
			t.Fatalf("%s has the data sets %d %s", base, w.Code, w.Body)
		}
		for _, job := range []string{s.job(first), s.job(second)} {
			if w := get(base + "/images/" + job + ".webp"); w.Code != http.StatusOK || w.Body.String() != "image" {
				t.Errorf("%s has for image %s %d %s", base, job, w.Code, w.Body)
			}
		}
		var popped struct{ ID, URL string }
		if w := get(base + "/api/v1/rating/new"); w.Code != http.StatusOK || json.Unmarshal(w.Body.Bytes(), &popped) != nil || popped.URL != base+"/images/"+popped.ID+".webp" {
			t.Errorf("%s gave %d %s", base, w.Code, w.Body)
		}
	}
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/node"
)

// What the tables of the errors chapter have and no example or demand provokes.

// popAs polls as a worker of a kind, without looking at the answer.
func (s *server) popAs(kind string, as account, name string, more fields, headers ...header) answer {
	s.t.Helper()
	body := fields{"name": name}
	path := "/interrogate/pop"
	switch kind {
	case "image":
		path, body["models"] = "/generate/pop", []string{"Deliberate"}
	case "text":
		path, body["models"] = "/generate/text/pop", []string{"test/7B"}
	default:
		body["forms"] = []string{"caption"}
	}
	return s.call("POST", path, as, body.with(more), headers...)
}

var kinds = []string{"image", "text", "alchemy"}

func TestPopsOfEachKindAreRefused(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *node.Config) { c.IPCheck.URL = checker(t) })
	mod, w, flagged, deleted := s.user(0, horde.Moderator), s.user(0, 0), s.user(0, horde.Flagged), s.user(0, horde.Deleted)
	s.want(s.popAs("image", w, "dreamer", nil), http.StatusOK)
	s.want(s.popAs("text", w, "scribe", nil), http.StatusOK)
	stranger := s.user(0, 0)
	for _, kind := range kinds {
		taken := "dreamer"
		if kind == "image" {
			taken = "scribe"
		}
		for _, c := range []struct {
			name   string
			as     account
			worker string
			more   fields
			where  string
			status int
			rc     string
		}{
			{"an unknown key", account{0, "bogus"}, "new", nil, "", 401, "InvalidAPIKey"},
			{"a flagged owner", flagged, "new", nil, "", 403, "WorkerFlaggedMaintenance"},
			{"a deleted owner", deleted, "new", nil, "", 403, "DeletedUser"},
			{"anonymous", anonymous, "new", nil, "", 403, "AnonForbiddenWorker"},
			{"a name of another kind", w, taken, nil, "", 400, "PolymorphicNameConflict"},
			{"a profane name", w, "fuck you", nil, "", 400, "ProfaneWorkerName"},
			{"a profane agent", w, "new", fields{"bridge_agent": "fuck this:1:x"}, "", 400, "ProfaneBridgeAgent"},
			{"a forbidden word in a name", w, "my Colab", nil, "", 400, "BadRequest"},
			{"a long name", w, strings.Repeat("n", 101), nil, "", 400, "TooLongWorkerName"},
			{"a friend without a number", w, "new", fields{"priority_usernames": []string{"nohash"}}, "", 400, "InvalidPriorityUsername"},
			{"a hidden address", stranger, "new", nil, "203.0.113.5", 403, "UnsafeIP"},
			{"an address that cannot be checked", stranger, "new", nil, "198.51.100.5", 403, "TooManyNewIPs"},
		} {
			t.Run(kind+", "+c.name, func(t *testing.T) {
				s := s.in(t)
				if kind == "alchemy" && c.rc == "InvalidPriorityUsername" {
					c.rc = "BadRequest"
				}
				var where []header
				if c.where != "" {
					where = []header{from(c.where)}
				}
				s.refused(s.popAs(kind, c.as, c.worker, c.more, where...), c.status, c.rc)
			})
		}
		t.Run(kind+" in maintenance, with the message that workers look for", func(t *testing.T) {
			s := s.in(t)
			name := "resting " + kind
			s.want(s.popAs(kind, mod, name, nil), http.StatusOK)
			id := s.want(s.get("/workers/name/"+strings.ReplaceAll(name, " ", "%20"), account{}), http.StatusOK).str("id")
			s.want(s.call("PUT", "/workers/"+id, mod, `{"maintenance":true}`), http.StatusOK)
			a := s.refused(s.popAs(kind, mod, name, nil), http.StatusForbidden, "WorkerMaintenance")
			if !strings.Contains(strings.ToLower(a.str("message")), "maintenance mode") {
				t.Errorf("got %s", a.text)
			}
		})
	}
	if a := s.want(s.get("/workers", account{}), http.StatusOK); len(a.list()) != 5 {
		t.Errorf("refused pops have left workers: %s", a.text)
	}
	s.want(s.call("PUT", "/status/modes", mod, `{"invite_only_mode":true}`), http.StatusOK)
	for _, kind := range kinds {
		s.refused(s.popAs(kind, stranger, "newcomer", nil), http.StatusForbidden, "WorkerInviteOnly")
	}
}

// Alchemists do not count as workers, but as callers of their address.
func TestWorkersOfOneAddress(t *testing.T) {
	t.Parallel()
	s := open(t)
	owner := s.user(0, 0)
	for i := range 4 {
		s.want(s.popAs("alchemy", owner, fmt.Sprint("alchemist ", i), nil), http.StatusOK)
	}
	for _, kind := range kinds {
		s.refused(s.popAs(kind, owner, "one more", nil), http.StatusForbidden, "TooManySameIPs")
	}
	s.want(s.popAs("image", owner, "one more", nil, from("203.0.113.77")), http.StatusOK)
}

func TestSubmissionsOfBothKindsAreRefused(t *testing.T) {
	t.Parallel()
	lewd := filepath.Join(t.TempDir(), "lewd.json")
	if err := os.WriteFile(lewd, []byte(`{"lewd/7B":{"name":"lewd/7B","parameters":7000000000,"nsfw":true}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, filterData(t), func(c *node.Config) { c.TextModels = append(c.TextModels, lewd) })
	u, trusted := s.user(1000, 0), s.user(1000, horde.Trusted)
	extras := func(n int) fields {
		return fields{"source_processing": "remix", "extra_source_images": slices.Repeat([]fields{{"image": small}}, n)}
	}
	expired := s.share(u, fields{"expiry": 0})
	s.want(s.call("PATCH", "/sharedkeys/"+expired.key, u, `{"expiry":0}`), http.StatusOK)
	for _, kind := range []string{"image", "text"} {
		for _, c := range []struct {
			name   string
			as     account
			more   fields
			status int
			rc     string
		}{
			{"a shared key that has ended", expired, nil, 403, "SharedKeyExpired"},
			{"6 extra images", trusted, extras(6), 400, "TooManyExtraSourceImages."},
			{"2 extra images of the untrusted", u, extras(2), 400, "MoreThanMinExtraSourceImage."},
			{"an extra image without a remix", u, extras(1).with(fields{"source_processing": "img2img"}), 400, "InvalidExtraSourceImages."},
			{"a prompt of which nothing is left", u, fields{"prompt": "👪", "models": []string{"Lewd", "lewd/7B"}}, 400, "CorruptPrompt"},
		} {
			t.Run(kind+", "+c.name, func(t *testing.T) {
				s := s.in(t)
				body := fields{"prompt": "x", "models": []string{"Stable Cascade 1.0"}}.with(c.more)
				if kind == "text" {
					delete(body, "source_processing")
				}
				s.refused(s.call("POST", generate(kind)+"/async", c.as, body), c.status, c.rc)
			})
		}
	}
}

func TestOthersAreRefused(t *testing.T) {
	t.Parallel()
	s := open(t)
	first, u, w := s.user(0, 0), s.user(1000, 0), s.user(0, horde.Trusted)
	s.Engine.Admins = []horde.UserID{first.id}
	team := s.want(s.call("POST", "/teams", w, fields{"name": "the owls"}), http.StatusOK).str("id")
	s.want(s.call("POST", "/teams", w, fields{"name": "the hawks"}), http.StatusOK)
	mod := s.user(0, horde.Moderator)
	s.refused(s.call("PATCH", "/teams/"+team, mod, `{"name":"the hawks"}`), http.StatusBadRequest, "TeamNameAlreadyExists")
	s.refused(s.call("PATCH", "/teams/"+team, mod, `{"name":"fuck you"}`), http.StatusBadRequest, "ProfaneTeamName")

	s.text(u, `{"prompt":"x"}`)
	job := s.job(s.popText(w, "scribe", nil))
	notes := slices.Repeat([]fields{{"type": "censorship", "value": "csam"}}, 51)
	s.refused(s.call("POST", "/generate/text/submit", w, fields{"id": job, "generation": "x", "gen_metadata": notes}), http.StatusBadRequest, "BadRequest")
	s.deliverText(w, job, "x")

	// Who is to be deleted awards nothing.
	s.want(s.call("DELETE", first.path(), first, nil), http.StatusOK)
	s.refused(s.call("POST", "/kudos/award", first, fields{"username": u.alias(), "amount": 5}), http.StatusForbidden, "DeletedUser")
}

// Inputs at which the reference fails (errors chapter, section 3).
func TestWhatTheReferenceFailsAt(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *node.Config) { c.Pairs = []string{"Dreamshaper"} })
	u, w, service := s.user(1000, 0), s.user(1000, horde.Trusted), s.user(1000, horde.Service)
	s.want(s.popAs("image", w, "dreamer", nil), http.StatusOK)
	worker := s.workerID(w, "dreamer")
	limited := s.share(u, fields{"max_image_pixels": 4096})
	long := func(n int) string { return strings.Repeat("x", n) }
	for _, c := range []struct {
		name, method, path string
		as                 account
		body               fields
		status             int
		rc, field          string
	}{
		{"a NUL in params", "POST", "/generate/async", u, fields{"params": fields{"seed": "a\x00"}}, 400, "NulByteInPayload", ""},
		{"a NUL in a model's name", "POST", "/generate/text/async", u, fields{"models": []string{"abc\x00"}}, 400, "NulByteInPayload", ""},
		{"a model of 256 characters", "POST", "/generate/async", u, fields{"models": []string{long(256)}}, 400, "", "models.0"},
		{"a proxied account of 256 characters", "POST", "/generate/async", service, fields{"proxied_account": long(256)}, 400, "", "proxied_account"},
		{"a webhook of 1025 characters", "POST", "/generate/text/async", u, fields{"webhook": "https://" + long(1017)}, 400, "", "webhook"},
		{"an extra text without a reference", "POST", "/generate/async", u, fields{"params": fields{"workflow": "qr_code", "extra_texts": []fields{{"text": "a"}}}}, 400, "", "*"},
		{"an extra image without an image", "POST", "/generate/async", u, fields{"extra_source_images": []fields{{"strength": 1}}}, 400, "", "*"},
		{"a comparison without n", "POST", "/generate/async", u, fields{"models": []string{"Dreamshaper"}}, 400, "BetaComparisonFault", ""},
		{"more than a shared key allows", "POST", "/generate/async", limited, nil, 400, "BadRequest", ""},
		{"a downgrade for any model", "POST", "/generate/async", s.user(0, 0), fields{"models": []string{}, "allow_downgrade": true, "params": fields{"steps": 100, "width": 2048, "height": 2048}}, 202, "", ""},
		{"a dry run of an unknown model", "POST", "/generate/text/async", u, fields{"models": []string{"nobody/knows"}, "dry_run": true}, 200, "", ""},
		{"a submit with an unknown key", "POST", "/generate/submit", account{0, "bogus"}, fields{"id": "JOB", "generation": "R2", "seed": 1}, 401, "InvalidAPIKey", ""},
		{"a text submit with an unknown key", "POST", "/generate/text/submit", account{0, "bogus"}, fields{"id": "TEXT", "generation": "x"}, 401, "InvalidAPIKey", ""},
		{"a profane name of a worker", "PUT", "/workers/" + worker, w, fields{"name": "fuck you"}, 400, "ProfaneWorkerName", ""},
		{"a message to all workers", "POST", "/workers/messages", w, fields{"message": "hello"}, 400, "BadRequest", ""},
		{"a message without an end", "POST", "/workers/messages", w, fields{"message": "hello", "worker_id": worker, "expiry": nil}, 400, "", "expiry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			body := c.body
			if strings.HasSuffix(c.path, "/async") {
				body = fields{"prompt": "x"}.with(c.body)
			}
			switch body["id"] {
			case "JOB":
				s.image(u, `{"prompt":"x","models":["Deliberate"]}`)
				body["id"] = s.job(s.popImage(w, "dreamer", nil))
			case "TEXT":
				s.text(u, `{"prompt":"x"}`)
				body["id"] = s.job(s.popText(w, "scribe", nil))
			}
			a := s.call(c.method, c.path, c.as, body)
			switch {
			case c.status < 300:
				s.want(a, c.status)
			case c.field == "*":
				s.isRefusal(s.want(a, c.status))
			case c.field != "":
				s.invalid(a, c.field)
			default:
				s.refused(a, c.status, c.rc)
			}
		})
	}
}

// What a model wants: errors chapter, section 7. A warning never refuses, and counts for styles too.
func TestModelsWarn(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "wants.json")
	if err := os.WriteFile(file, []byte(`{
		"bounds":{"name":"bounds","baseline":"stable diffusion 1","type":"ckpt","requirements":{"min_steps":10,"max_steps":20,"min_cfg_scale":3,"max_cfg_scale":7,"samplers":["k_euler"],"schedulers":["karras"]}},
		"exact":{"name":"exact","baseline":"stable diffusion 1","type":"ckpt","requirements":{"clip_skip":2,"cfg_scale":4}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, func(c *node.Config) { c.ImageModels = append(c.ImageModels, file) })
	u := s.user(10_000, horde.Customizer)
	for _, c := range []struct {
		name   string
		models []string
		params fields
		want   string
	}{
		{"nothing said", []string{"bounds"}, fields{}, "CfgScaleTooLarge SamplerMismatch StepsTooMany"}, // 7.5, k_euler_a and 30 are documented
		{"too much", []string{"bounds"}, fields{"steps": 21, "cfg_scale": 7.01, "sampler_name": "k_euler", "karras": true}, "CfgScaleTooLarge StepsTooMany"},
		{"too little", []string{"bounds"}, fields{"steps": 9, "cfg_scale": 2.99, "sampler_name": "k_euler", "karras": false}, "CfgScaleTooSmall SchedulerMismatch StepsTooFew"},
		{"at the bounds above", []string{"bounds"}, fields{"steps": 20, "cfg_scale": 7, "sampler_name": "k_euler"}, ""},
		{"at the bounds below", []string{"bounds"}, fields{"steps": 10, "cfg_scale": 3, "sampler_name": "k_euler"}, ""},
		{"another sampler", []string{"bounds"}, fields{"steps": 10, "cfg_scale": 3, "sampler_name": "DDIM"}, "SamplerMismatch"},
		{"exactly", []string{"exact"}, fields{"cfg_scale": 4, "clip_skip": 2}, ""},
		{"not exactly", []string{"exact"}, fields{"cfg_scale": 4.5}, "CfgScaleMismatch ClipSkipMismatch"},
		{"each once", []string{"exact", "bounds", "Deliberate"}, fields{"cfg_scale": 9, "steps": 15, "sampler_name": "k_euler", "clip_skip": 2}, "CfgScaleMismatch CfgScaleTooLarge"},
		{"no model that wants anything", []string{"Deliberate"}, fields{"steps": 9}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			codes := func(a answer) string {
				var list []string
				if a.has("warnings") {
					for i := range a.list("warnings") {
						if a.str("warnings", i, "message") == "" {
							t.Errorf("a warning without a message: %s", a.text)
						}
						list = append(list, a.str("warnings", i, "code"))
					}
				}
				slices.Sort(list)
				return strings.Join(list, " ")
			}
			want := strings.Fields(c.want + " NoAvailableWorker")
			slices.Sort(want)
			a := s.want(s.call("POST", "/generate/async", u, fields{"prompt": "x", "models": c.models, "params": c.params}), http.StatusAccepted)
			if got := codes(a); got != strings.Join(want, " ") {
				t.Errorf("the request: %q, want %q", got, want)
			}
			a = s.want(s.call("POST", "/styles/image", u, fields{"name": fresh("style"), "models": c.models, "params": c.params}), http.StatusOK)
			if got := codes(a); got != c.want {
				t.Errorf("the style: %q, want %q", got, c.want)
			}
		})
	}
}

// Ratings chapter, worked example 10 and 6: whatever the ratings service does with a set, the client gets its code, and unless the
// set was taken nobody is paid.
func TestRatings10WhatTheServiceAnswers(t *testing.T) {
	t.Parallel()
	example(t, "ratings", 6, 10)
	var status atomic.Int64
	var body atomic.Value
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body) // after which it is seen that the caller has left
		if status.Load() == 0 {     // no answer
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Second):
			}
			return
		}
		w.WriteHeader(int(status.Load()))
		w.Write([]byte(body.Load().(string)))
	}))
	t.Cleanup(service.Close)
	s := open(t, func(c *node.Config) { c.Sharing, c.RatingsURL = horde.SharingOptIn, service.URL+"/api/v1" })
	u, owner := s.user(10_000, 0), s.user(0, horde.Trusted)
	share := func(n int) (id string, images []string) {
		id = s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "shared": true, "params": fields{"n": n}})
		popped := s.popImage(owner, "one", fields{"amount": n})
		s.deliver(owner, popped)
		return id, popped.strings("ids")
	}
	id, images := share(3)
	rate := func(id string, body any) answer { return s.call("POST", "/generate/rate/"+id, account{}, body) }
	before := s.kudos(u)
	for _, c := range []struct {
		status int
		body   string
		rc     string
	}{
		{403, `{"message":"rated"}`, "AestheticsAlreadyExist"}, {500, `<html>`, "AestheticsServerRejected"}, {422, `{"message":"x"}`, "AestheticsServerError"},
		{500, `{}`, "InvalidAestheticAttempt"}, {0, ``, "AestheticsServerTimeout"},
	} {
		status.Store(int64(c.status))
		body.Store(c.body)
		s.refused(rate(id, fields{"best": images[0]}), http.StatusBadRequest, c.rc)
		if got := s.kudos(u); got != before {
			t.Errorf("%s moved kudos from %v to %v", c.rc, before, got)
		}
	}
	status.Store(201)
	body.Store(`{}`)
	two := []fields{{"id": images[0], "rating": 6}, {"id": images[1], "rating": 6}}
	s.refused(rate(id, fields{"ratings": two, "best": images[2]}), http.StatusBadRequest, "AestheticsConfused")
	solo, one := share(1)
	s.refused(rate(solo, fields{"best": one[0]}), http.StatusBadRequest, "AestheticsSolo")
	before = s.kudos(u)
	s.want(rate(solo, fields{"ratings": []fields{{"id": one[0], "rating": 8}}}), http.StatusOK)
	if got := s.kudos(u) - before; got != 5 {
		t.Errorf("a rating of one image earns %v, want 5", got)
	}
}

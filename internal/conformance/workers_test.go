// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
)

// The worker endpoints: dispatch chapter, 20.

func TestWorkersAreChangedByOwnersAndModerators(t *testing.T) {
	t.Parallel()
	s := open(t)
	w, other, mod := s.user(0, 0), s.user(0, 0), s.user(0, horde.Moderator)
	id, taken := s.workerID(w, "worker one"), s.workerID(other, "worker two")
	for _, c := range []struct {
		name   string
		id     string
		as     account
		body   string
		status int
		rc     string
		field  string
	}{
		{"an unknown worker, before the key", "00000000-0000-4000-8000-000000000000", account{0, "bogus"}, `{"info":"a"}`, 404, "WorkerNotFound", ""},
		{"a malformed id", "nope", w, `{"info":"a"}`, 404, "WorkerNotFound", ""},
		{"no key", id, account{}, `{"info":"a"}`, 400, "", "apikey"},
		{"an unknown key", id, account{0, "bogus"}, `{"info":"a"}`, 401, "InvalidAPIKey", ""},
		{"maintenance by a stranger", id, other, `{"maintenance":true}`, 403, "NotOwner", ""},
		{"info by a stranger", id, other, `{"info":"a"}`, 403, "NotOwner", ""},
		{"name by a stranger", id, other, `{"name":"another name"}`, 403, "NotModerator", ""},
		{"team by a stranger", id, other, `{"team":""}`, 403, "NotModerator", ""},
		{"paused by the owner", id, w, `{"paused":true}`, 403, "NotModerator", ""},
		{"nothing", id, w, `{}`, 400, "NoWorkerModSelected", ""},
		{"a message alone", id, w, `{"maintenance_msg":"soon"}`, 400, "NoWorkerModSelected", ""},
		{"profane info", id, w, `{"info":"fuck this"}`, 400, "ProfaneWorkerInfo", ""},
		{"a profane name", id, w, `{"name":"fuck you"}`, 400, "ProfaneWorkerName", ""},
		{"a name of 4 characters", id, w, `{"name":"abcd"}`, 400, "", "name"},
		{"a name of 101 characters", id, w, `{"name":"` + strings.Repeat("n", 101) + `"}`, 400, "", "name"},
		{"info of 1001 characters", id, w, `{"info":"` + strings.Repeat("n", 1001) + `"}`, 400, "", "info"},
		{"a taken name", id, w, `{"name":"worker two"}`, 400, "WorkerNameAlreadyExists", ""},
		{"an unknown team", id, w, `{"team":"00000000-0000-4000-8000-000000000000"}`, 404, "TeamNotFound", ""},
		{"deleted by a stranger", taken, w, ``, 403, "NotModerator", ""},
		{"deleted without a key", taken, account{}, ``, 401, "InvalidAPIKey", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			var a answer
			if c.body == "" {
				a = s.call("DELETE", "/workers/"+c.id, c.as, nil)
			} else {
				a = s.call("PUT", "/workers/"+c.id, c.as, c.body)
			}
			if c.field != "" {
				s.invalid(a, c.field)
				return
			}
			s.refused(a, c.status, c.rc)
		})
	}
	a := s.want(s.call("PUT", "/workers/"+id, w, fields{"maintenance": true, "maintenance_msg": strings.Repeat("m", 301)}), http.StatusBadRequest)
	s.isRefusal(a)
	s.shows(s.get("/workers/"+id, mod), fields{"name": "worker one", "maintenance_mode": false, "paused": false, "info": nil})

	for _, c := range []struct{ body, want string }{
		{`{"info":"a <b> & c"}`, `{"info":"a &lt;b&gt; &amp; c"}`},
		{`{"name":"worker one"}`, `{"name":"worker one"}`}, // its own name
		{`{"maintenance":true}`, `{"maintenance":true}`},
		{`{"team":""}`, `{"team":"None"}`},
		{`{"name":"worker renamed"}`, `{"name":"worker renamed"}`},
	} {
		if got := strings.TrimSpace(s.want(s.call("PUT", "/workers/"+id, w, c.body), http.StatusOK).text); got != c.want {
			t.Errorf("%s answers %s, want %s", c.body, got, c.want)
		}
	}
	s.refused(s.get("/workers/name/worker%20one", account{}), http.StatusNotFound, "WorkerNotFound")
	s.shows(s.get("/workers/name/worker%20renamed", account{}), fields{"id": id})
	s.want(s.call("PUT", "/workers/"+id, w, `{"info":""}`), http.StatusOK)
	if a := s.get("/workers/"+id, account{}); a.has("info") && a.at("info") != "" {
		t.Errorf("the info was not cleared: %s", a.text)
	}
	s.shows(s.want(s.call("DELETE", "/workers/"+id, w, nil), http.StatusOK), fields{"deleted_id": id, "deleted_name": "worker renamed"})
	s.refused(s.get("/workers/"+id, account{}), http.StatusNotFound, "WorkerNotFound")
	s.refused(s.call("DELETE", "/workers/"+id, w, nil), http.StatusNotFound, "WorkerNotFound")
}

func TestWorkersWithJobsCannotBeDeleted(t *testing.T) {
	t.Parallel()
	s := open(t)
	u, w := s.user(100, 0), s.user(0, 0)
	id := s.workerID(w, "worker")
	s.text(u, fields{"prompt": "x", "workers": []string{id}})
	s.refused(s.call("DELETE", "/workers/"+id, w, nil), http.StatusLocked, "Locked")
}

func TestB117AndB123AWorkerThatComesBackIsTheSame(t *testing.T) {
	t.Parallel()
	example(t, "cases", 117, 123)
	inBubble(t, func(t *testing.T, s *server) {
		w := s.user(0, 0)
		for range 5 {
			s.popText(w, "worker", nil)
			s.shows(s.want(s.get("/workers/name/worker", account{}), http.StatusOK), fields{"online": true})
			time.Sleep(6 * time.Minute)
			s.shows(s.want(s.get("/workers/name/worker", account{}), http.StatusOK), fields{"online": false})
			if a := s.get("/workers", account{}); len(a.list()) != 0 {
				t.Errorf("a worker that is silent for 6 minutes is listed: %s", a.text)
			}
		}
		s.popText(w, "worker", nil)
		if a := s.get("/workers", account{}); len(a.list()) != 1 {
			t.Errorf("the worker is listed %d times", len(a.list()))
		}
		s.shows(s.get("/find_user", w), fields{"worker_count": 1})
	})
}

func TestB119ARequestForAWorkerThatIsOffline(t *testing.T) {
	t.Parallel()
	example(t, "cases", 119)
	inBubble(t, func(t *testing.T, s *server) {
		u, w, other := s.user(100, 0), s.user(0, 0), s.user(0, 0)
		id := s.workerID(w, "the chosen one")
		time.Sleep(6 * time.Minute)
		s.popText(other, "another", nil)
		a := s.want(s.call("POST", "/generate/text/async", u, fields{"prompt": "x", "workers": []string{id}}), http.StatusAccepted)
		if !strings.Contains(a.str("message"), "the chosen one") {
			t.Errorf("the message does not name the worker: %s", a.text)
		}
		s.noJob(s.popText(other, "another", nil))
		s.shows(s.status("text", a.str("id")), fields{"waiting": 1, "is_possible": false, "done": false})
		s.job(s.popText(w, "the chosen one", nil))
	})
}

func TestB013ABlacklistOfTwoExcludesTwo(t *testing.T) {
	t.Parallel()
	example(t, "cases", 13)
	s := open(t)
	u := s.user(100, 0)
	var ids []string
	var owners []account
	for _, name := range []string{"one", "two", "three"} {
		w := s.user(0, 0)
		s.noJob(s.popImage(w, name, nil))
		owners = append(owners, w)
		ids = append(ids, s.get("/workers/name/"+url.PathEscape(name), account{}).str("id"))
	}
	s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "workers": ids[:2], "worker_blacklist": true})
	s.skips(s.popImage(owners[0], "one", nil), fields{"worker_id": 1})
	s.skips(s.popImage(owners[1], "two", nil), fields{"worker_id": 1})
	s.job(s.popImage(owners[2], "three", nil))
	s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "workers": ids[:1]})
	s.skips(s.popImage(owners[2], "three", nil), fields{"worker_id": 1})
	s.job(s.popImage(owners[0], "one", nil))
}

func TestB037MalformedFriends(t *testing.T) {
	t.Parallel()
	example(t, "cases", 37)
	s := open(t)
	w := s.user(0, 0)
	for _, bad := range []any{[]string{"nohash"}, []string{"a#1", ""}} {
		a := s.refused(s.tryPopImage(w, "w", fields{"priority_usernames": bad}), http.StatusBadRequest, "InvalidPriorityUsername")
		if !strings.Contains(a.str("message"), "#") {
			t.Errorf("the message does not say what is wanted: %s", a.text)
		}
	}
	s.invalid(s.tryPopImage(w, "w", fields{"priority_usernames": "a#1"}), "priority_usernames")
	s.invalid(s.tryPopImage(w, "w", fields{"priority_usernames": []any{5}}), "priority_usernames.0")
}

func TestB039LongModelNamesAreKept(t *testing.T) {
	t.Parallel()
	example(t, "cases", 39)
	s := open(t)
	u, w := s.user(100, 0), s.user(0, 0)
	for _, n := range []int{120, 255} {
		name := "m/" + strings.Repeat("n", n-2)
		s.text(u, fields{"prompt": "x", "models": []string{name}})
		a := s.popText(w, "w", fields{"models": []string{name}})
		s.job(a)
		if a.str("model") != name {
			t.Errorf("the model is %s", a.str("model"))
		}
	}
	long := "m/" + strings.Repeat("n", 254)
	s.invalid(s.tryPopText(w, "w", fields{"models": []string{long}}), "models.0")
	s.invalid(s.call("POST", "/generate/text/async", u, fields{"prompt": "x", "models": []string{long}}), "models.0")
	s.invalid(s.call("POST", "/generate/async", u, fields{"prompt": "x", "models": []string{long}}), "models.0")
}

func TestB093ModelsAreCountedExactly(t *testing.T) {
	t.Parallel()
	example(t, "cases", 93)
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(10000, 0), s.user(0, horde.Trusted)
		model := func() answer {
			a := s.want(s.get("/status/models?type=text", account{}), http.StatusOK)
			if len(a.list()) != 1 {
				t.Fatalf("%d models: %s", len(a.list()), a.text)
			}
			one := s.want(s.get("/status/models/test%252F7B", account{}), http.StatusOK)
			for _, key := range []string{"name", "count", "queued", "jobs", "performance", "type"} {
				if one.at(0, key) != a.at(0, key) {
					t.Errorf("alone %s is %v, in the list %v", key, one.at(0, key), a.at(0, key))
				}
			}
			return answer{value: a.at(0), text: a.text}
		}
		pop := func() answer { return s.popText(w, "w", fields{"threads": 2}) }
		s.noJob(pop())
		s.shows(model(), fields{"name": "test/7B", "type": "text", "count": 2, "queued": 0, "jobs": 0, "eta": 0, "performance": 0})
		request := s.text(u, `{"prompt":"x","models":["test/7B"],"params":{"n":5,"max_length":100}}`)
		s.shows(model(), fields{"count": 2, "queued": 500, "jobs": 5, "eta": 10000})
		id := s.job(pop())
		time.Sleep(10 * time.Second)
		s.shows(model(), fields{"queued": 500, "jobs": 5})
		s.deliverText(w, id, strings.Repeat("word", 100)) // 10 tokens a second
		s.shows(model(), fields{"queued": 400, "jobs": 4, "performance": 10, "eta": 20})
		s.shows(s.get("/status/performance", account{}), fields{
			"queued_text_requests": 4, "queued_tokens": 400, "text_worker_count": 1, "text_thread_count": 2, "past_minute_tokens": 100,
			"queued_requests": 0, "worker_count": 0, "thread_count": 0, "queued_forms": 0, "interrogator_count": 0,
		})
		time.Sleep(61 * time.Second)
		s.shows(s.get("/status/performance", account{}), fields{"past_minute_tokens": 0})

		// What still runs of a cancelled request counts nowhere.
		s.job(pop())
		s.want(s.call("DELETE", "/generate/text/status/"+request, account{}, nil), http.StatusOK)
		s.shows(model(), fields{"queued": 0, "jobs": 0})
		s.shows(s.get("/status/performance", account{}), fields{"queued_text_requests": 0, "queued_tokens": 0})
	})
}

func TestClients20And106NamesInPathsAndUnchangedNames(t *testing.T) {
	t.Parallel()
	s := open(t)
	w := s.user(0, 0)
	for name, path := range map[string]string{"a#b:c d": "a%23b%3Ac%20d", "abc": "abc"} {
		id := s.workerID(w, name)
		s.shows(s.get("/workers/name/"+path, account{}), fields{"id": id})
		s.shows(s.want(s.call("PUT", "/workers/"+id, w, fields{"name": name}), http.StatusOK), fields{"name": name})
	}
	id := s.workerID(w, "abc")
	s.invalid(s.call("PUT", "/workers/"+id, w, `{"name":"abd"}`), "name")
}

func TestAFailedSourceImageBlocksNothing(t *testing.T) {
	t.Parallel()
	s := open(t)
	u := s.user(100, 0)
	for range 3 {
		s.refused(s.call("POST", "/generate/async", u, img2img("abcde").with(fields{"params": fields{"n": 20}})), http.StatusBadRequest, "ImageValidationFailed")
	}
	s.untouched(u, 100)
	s.image(u, `{"prompt":"x","params":{"n":20}}`)
}

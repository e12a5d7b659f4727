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

// The worked examples of the status chapter about what goes on now: 1 to 7.

// square is the work of one image of the examples, in pixelsteps.
const square = 512 * 512 * 30

func TestStatus1And2And4Images(t *testing.T) {
	t.Parallel()
	example(t, "status", 1, 2, 4)
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(100_000, 0), s.user(0, horde.Trusted)
		params := func(n int) fields { return fields{"n": n, "width": 512, "height": 512, "steps": 30} }
		s.image(u, fields{"prompt": "A", "models": []string{"Deliberate"}, "params": params(5)})
		s.image(u, fields{"prompt": "B", "models": []string{"Deliberate"}, "params": params(1)})
		first := s.popImage(owner, "one", fields{"threads": 2})
		second := s.popImage(owner, "two", fields{"threads": 3})
		s.shows(s.get("/status/performance", account{}), fields{"queued_requests": 6, "queued_megapixelsteps": 47.19})

		s.want(s.call("PUT", "/workers/"+s.workerID(owner, "two"), owner, `{"maintenance":true}`), http.StatusOK)
		time.Sleep(3 * time.Second)
		s.shows(s.get("/status/performance", account{}), fields{"worker_count": 2, "thread_count": 5})
		s.shows(answer{value: s.get("/status/models", account{}).at(0)}, fields{"name": "Deliberate", "count": 2})

		s.deliver(owner, first)
		s.deliver(owner, second)
		third := s.popImage(owner, "one", nil)
		s.deliver(owner, third)
		s.fault("image", owner, s.job(s.popImage(owner, "one", nil)))
		if a := s.call("POST", "/generate/submit", owner, fields{"id": s.job(third), "generation": "R2", "seed": 1}); a.status == http.StatusOK {
			t.Errorf("a second submit is accepted: %s", a.text)
		}
		s.shows(s.get("/status/performance", account{}), fields{"past_minute_megapixelsteps": 23.59, "queued_requests": 3})
		s.away(20 * time.Second)
		s.shows(s.get("/status/performance", account{}), fields{"past_minute_megapixelsteps": 23.59, "queued_requests": 3})
		s.away(41 * time.Second)
		s.shows(s.get("/status/performance", account{}), fields{"past_minute_megapixelsteps": 0})
	})
}

func TestStatus3Texts(t *testing.T) {
	t.Parallel()
	example(t, "status", 3)
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(100_000, 0), s.user(0, horde.Trusted)
		tokens := 0
		for characters, want := range map[int]int{120: 30, 40: 20, 1000: 80} {
			s.text(u, fields{"prompt": "p", "models": []string{"test/7B"}, "params": fields{"max_length": 80}})
			s.deliverText(owner, s.job(s.popText(owner, "scribe", nil)), strings.Repeat("é", characters))
			tokens += want
			s.shows(s.get("/status/performance", account{}), fields{"past_minute_tokens": tokens})
		}
		s.away(time.Second)
		s.shows(s.get("/status/performance", account{}), fields{"past_minute_tokens": tokens})
	})
}

func TestStatus5AModel(t *testing.T) {
	t.Parallel()
	example(t, "status", 5)
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(100_000, 0), s.user(0, horde.Trusted)
		submit := func(n int) {
			s.image(u, fields{"prompt": "p", "models": []string{"Deliberate"}, "params": fields{"n": n, "width": 512, "height": 512, "steps": 30}})
		}
		both := func(list, alone fields) {
			t.Helper()
			s.shows(answer{value: s.get("/status/models", account{}).at(0)}, list)
			s.shows(answer{value: s.get("/status/models/Deliberate", account{}).at(0)}, alone)
		}
		submit(1)
		list := s.get("/status/models", account{})
		s.shows(answer{value: list.at(0)}, fields{"name": "Deliberate", "count": 0, "jobs": 1, "queued": float64(square), "eta": 10000})
		for _, took := range []time.Duration{7864320 * time.Microsecond, 15728640 * time.Microsecond} {
			p := s.popImage(owner, "painter", fields{"threads": 2})
			s.job(p)
			time.Sleep(took)
			s.deliver(owner, p)
			submit(1)
		}
		s.job(s.popImage(owner, "painter", fields{"threads": 2})) // runs
		submit(4)
		want := fields{"count": 2, "performance": 750000.0, "jobs": 5, "queued": 5.0 * square, "eta": 26}
		both(want, want)
		s.away(0)
		both(want, want)
		s.away(2 * time.Hour) // everything expires, and the worker is gone
		time.Sleep(3 * time.Second)
		if a := s.get("/status/models", account{}); len(a.list()) != 0 {
			t.Errorf("got %s", a.text)
		}
		alone := s.get("/status/models/Deliberate", account{})
		s.shows(answer{value: alone.at(0)}, fields{"count": 0, "performance": 0, "jobs": 0, "queued": 0, "eta": 10000})
	})
}

func TestStatus6And7ModelsByFilterAndName(t *testing.T) {
	t.Parallel()
	example(t, "status", 6, 7)
	s := open(t)
	owner := s.user(0, horde.Trusted)
	for name, threads := range map[string]int{"a/one": 1, "b/two": 2, "c/three": 3, "d/four": 4} {
		s.noJob(s.popText(owner, "scribe "+name, fields{"models": []string{name}, "threads": threads}))
	}
	a := s.want(s.get("/status/models?type=text&min_count=2&max_count=3", account{}), http.StatusOK)
	if len(a.list()) != 2 || a.at(0, "name") != "b/two" || a.at(1, "name") != "c/three" {
		t.Errorf("got %s", a.text)
	}
	private := "horde_special::" + s.get(owner.path(), account{}).str("username")
	s.noJob(s.popText(owner, "scribe of test", fields{"models": []string{"test/7B", private}}))
	for path, want := range map[string]any{
		"?type=interrogation":             nil,
		"/nonexistent":                    nil,
		"/a%252Fone":                      nil, // offered, and not in the reference
		"/test%252F7B":                    1,
		"/test%2F7B":                      1,
		"/test%252F7B%2520":               nil,
		"/SDXL_beta::stability.ai%236901": 0,
		"/SDXL_beta%253A%253Astability.ai%25236901": 0,
		"/" + url.PathEscape(private):               1,
	} {
		a := s.want(s.get("/status/models"+path, account{}), http.StatusOK)
		if want == nil && len(a.list()) != 0 || want != nil && (len(a.list()) != 1 || a.at(0, "count") != float64(want.(int))) {
			t.Errorf("%s: %s, want %v", path, a.text, want)
		}
	}
	s.refused(s.get("/status/models?model_state=bogus", account{}), http.StatusBadRequest, "BadRequest")
}

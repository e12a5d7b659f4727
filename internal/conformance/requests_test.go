// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
)

// The worked examples of the requests chapter. Prices are those of the analytic formula.

func TestRequests1AnImageRequestIsAcceptedWithItsPriceAndAWarning(t *testing.T) {
	t.Parallel()
	example(t, "requests", 1)
	s := open(t)
	u, mod := s.user(100, 0), s.user(0, horde.Moderator)
	a := s.want(s.call("POST", "/generate/async", u, `{"prompt":"x","models":["Deliberate"]}`), http.StatusAccepted)
	s.shows(a, fields{"kudos": 7.0})
	if a.str("message") == "" || len(a.list("warnings")) != 1 || a.str("warnings", 0, "code") != "NoAvailableWorker" {
		t.Errorf("no message, or other warnings than one about the workers: %s", a.text)
	}
	s.shows(s.check(a.str("id")), fields{
		"finished": 0, "processing": 0, "restarted": 0, "waiting": 1, "done": false, "faulted": false, "queue_position": 1,
		"kudos": 3, "is_possible": false, "wait_time": 8,
	})
	s.want(s.call("PUT", "/status/modes", mod, `{"raid_mode":true}`), http.StatusOK)
	a = s.want(s.call("POST", "/generate/async", u, `{"prompt":"x","models":["Deliberate"]}`), http.StatusAccepted)
	if a.has("message") || a.has("warnings") {
		t.Errorf("in raid mode nobody is told about the workers: %s", a.text)
	}
}

func TestRequests2And3DryRunsAnswerThePrice(t *testing.T) {
	t.Parallel()
	example(t, "requests", 2, 3)
	s := open(t)
	u := s.user(100, 0)
	for _, c := range []struct {
		name, kind, body string
		kudos            float64
	}{
		{"2 one image", "image", `{"prompt":"x","models":["Deliberate"],"dry_run":true}`, 9},
		{"2 two images", "image", `{"prompt":"x","models":["Deliberate"],"dry_run":true,"params":{"n":2}}`, 18},
		{"2 four images", "image", `{"prompt":"x","models":["Deliberate"],"dry_run":true,"params":{"n":4}}`, 34},
		{"3 one text", "text", `{"prompt":"x","dry_run":true}`, 37},
		{"3 three texts", "text", `{"prompt":"x","dry_run":true,"params":{"n":3}}`, 110},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			a := s.want(s.call("POST", generate(c.kind)+"/async", u, c.body), http.StatusOK)
			if m, _ := a.value.(map[string]any); len(m) != 2 || m["resolved"] == nil || a.number("kudos") != c.kudos {
				t.Errorf("got %s, want kudos %v and what they are for", a.text, c.kudos)
			}
		})
	}
	if s.kudos(u) != 100 {
		t.Errorf("dry runs have cost something: %v", s.kudos(u))
	}
	a := s.want(s.call("POST", "/generate/text/async", u, `{"prompt":"x"}`), http.StatusAccepted)
	s.shows(a, fields{"kudos": 0.0})
}

func TestRequests4WidthsAreMultiplesOf64AndNumbers(t *testing.T) {
	t.Parallel()
	example(t, "requests", 4)
	s := open(t)
	u := s.user(0, 0)
	for value, ok := range map[string]bool{`100`: false, `512.0`: true, `"512"`: false, `null`: false, `true`: false, `512.5`: false} {
		t.Run(value, func(t *testing.T) {
			s := s.in(t)
			a := s.call("POST", "/generate/async", u, `{"prompt":"x","params":{"width":`+value+`}}`)
			if ok {
				s.want(a, http.StatusAccepted)
			} else {
				s.invalid(a, "params.width")
			}
		})
	}
}

func TestRequests5SeedsThatAreTextBecomeNumbers(t *testing.T) {
	t.Parallel()
	example(t, "requests", 5)
	example(t, "dispatch", 22)
	s := open(t)
	u, w := s.user(0, 0), s.user(0, 0)
	for seed, want := range map[string]string{
		"5": "5", "00042": "42", "4294967296": "1", "8589934597": "2", "abc": "6513249", "abcd": "1684234849", "hello": "111",
		"-5": "13613", "3.7": "3616307", "The little seed that could": "25708", "²": "45762",
	} {
		t.Run(seed, func(t *testing.T) {
			s := s.in(t)
			s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "params": fields{"seed": seed}})
			if got := s.popImage(w, "w", nil).str("payload", "seed"); got != want {
				t.Errorf("the worker gets %s, want %s", got, want)
			}
		})
	}
	for _, params := range []fields{{}, {"seed": ""}} {
		s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "params": params})
		s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "params": params})
		if a, b := s.popImage(w, "w", nil).str("payload", "seed"), s.popImage(w, "w", nil).str("payload", "seed"); a == b {
			t.Errorf("the seeds of two requests without one are both %s", a)
		}
	}
}

func TestRequests6VariedSeeds(t *testing.T) {
	t.Parallel()
	example(t, "requests", 6)
	example(t, "dispatch", 22)
	s := open(t)
	u, w := s.user(0, 0), s.user(0, 0)
	for _, c := range []struct {
		seed         string
		variation, n int
		want         []string
	}{
		{"hello", 7, 2, []string{"125", "118"}},
		{"100", 7, 3, []string{"121", "114", "107"}},
		{"42", 10, 3, []string{"72", "62", "52"}}, // dispatch chapter, example 22
		{"4294967295", 1, 1, []string{"1"}},
		{"5", 0, 2, []string{"5", "5"}},
	} {
		t.Run(fmt.Sprint(c.seed, " varied by ", c.variation), func(t *testing.T) {
			s := s.in(t)
			params := fields{"seed": c.seed, "n": c.n}
			if c.variation > 0 {
				params["seed_variation"] = c.variation
			}
			s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "params": params})
			for i, want := range c.want {
				if got := s.popImage(w, "w", nil).str("payload", "seed"); got != want {
					t.Errorf("pop %d gets %s, want %s", i, got, want)
				}
			}
		})
	}
	t.Run("without a seed one is fixed at submission", func(t *testing.T) {
		s := s.in(t)
		s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "params": fields{"seed_variation": 7, "n": 2}})
		var a, b uint32
		fmt.Sscan(s.popImage(w, "w", nil).str("payload", "seed"), &a)
		fmt.Sscan(s.popImage(w, "w", nil).str("payload", "seed"), &b)
		if a-b != 7 && a > 100 { // but for a seed at the edge of the range
			t.Errorf("the seeds are %d and %d, want a difference of 7", a, b)
		}
	})
}

// queue lets n results of a kind wait.
func (s *server) queue(kind string, n int) {
	s.t.Helper()
	mod := s.user(0, horde.Moderator)
	for ; n > 0; n -= 500 {
		crowd := s.user(0, 0)
		s.want(s.call("PUT", crowd.path(), mod, `{"concurrency":500}`), http.StatusOK)
		for left := min(n, 500); left > 0; left -= 20 {
			body := fields{"prompt": "crowd", "models": []string{"Dreamshaper"}, "params": fields{"n": min(left, 20)}}
			if kind == "text" {
				body["models"] = []string{"test/1B"}
			}
			s.submit(kind, crowd, body)
		}
	}
}

func TestRequests7HowLargeIsFreeDependsOnTheLoad(t *testing.T) {
	t.Parallel()
	example(t, "requests", 7)
	for _, c := range []struct {
		name           string
		threads, queue int
		model          string
		free, dear     [2]int
	}{
		{"20 threads and 500 waiting: 774", 20, 500, "Deliberate", [2]int{768, 768}, [2]int{1024, 1024}},
		{"no threads and 1000 waiting: 576", 0, 1000, "Deliberate", [2]int{576, 576}, [2]int{640, 576}},
		{"an SDXL model: 1024", 0, 1000, "SDXL 1.0", [2]int{1024, 1024}, [2]int{1088, 1024}},
		{"10 threads and 5 waiting: 1024", 10, 5, "Deliberate", [2]int{1024, 1024}, [2]int{1088, 1024}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			if c.threads > 0 {
				s.noJob(s.popImage(s.user(0, 0), "w", fields{"threads": c.threads}))
			}
			s.queue("image", c.queue)
			u := s.user(0, 0)
			body := fields{"prompt": "x", "models": []string{c.model}}
			s.want(s.call("POST", "/generate/async", u, body.with(size(c.free[0], c.free[1], nil)).with(fields{"dry_run": true})), http.StatusOK)
			s.refused(s.call("POST", "/generate/async", u, body.with(size(c.dear[0], c.dear[1], nil))), http.StatusForbidden, "KudosUpfront")
		})
	}
}

func TestRequests8ManyStepsNeedKudosUpfront(t *testing.T) {
	t.Parallel()
	example(t, "requests", 8)
	example(t, "kudos", 9)
	s := open(t)
	u, w := s.user(0, 0), s.user(0, 0)
	body := func(params fields) fields {
		return fields{"prompt": "x", "models": []string{"Deliberate"}, "params": params}
	}
	s.refused(s.call("POST", "/generate/async", u, body(fields{"steps": 50})), http.StatusForbidden, "KudosUpfront")
	s.refused(s.call("POST", "/generate/async", u, body(fields{"steps": 25, "sampler_name": "k_heun"})), http.StatusForbidden, "KudosUpfront")
	s.refused(s.call("POST", "/generate/async", u, body(fields{"steps": 50}).with(fields{"dry_run": true})), http.StatusForbidden, "KudosUpfront")
	if b := s.kudos(u); b != 0 {
		t.Errorf("refusals have moved the balance to %v", b)
	}
	a := s.want(s.call("POST", "/generate/async", u, body(fields{"steps": 50}).with(fields{"allow_downgrade": true})), http.StatusAccepted)
	s.shows(a, fields{"kudos": 7})
	if got := s.popImage(w, "w", nil).number("payload", "ddim_steps"); got != 30 {
		t.Errorf("the worker is asked for %v steps, want 30", got)
	}
	s.image(u, body(fields{"steps": 40}))
	// Example 9 of the kudos chapter: 12.59 are required, and the floor of 25 cannot be spent.
	poor, rich := s.user(37.58, 0), s.user(37.59, 0)
	sd := fields{"prompt": "x", "models": []string{"stable_diffusion"}, "params": fields{"steps": 50}}
	s.refused(s.call("POST", "/generate/async", poor, sd), http.StatusForbidden, "KudosUpfront")
	s.image(rich, sd)
	s.refused(s.call("POST", "/generate/async", rich, sd), http.StatusForbidden, "KudosUpfront")
}

func TestRequests9DowngradesKeepTheShape(t *testing.T) {
	t.Parallel()
	example(t, "requests", 9)
	example(t, "kudos", 10)
	for _, c := range []struct {
		queue                    int // decides the free resolution
		width, height, wantW, wH int
	}{
		{0, 1536, 1024, 1216, 832},
		{0, 2048, 2048, 1024, 1024},
		{1000, 1024, 1024, 576, 576},
		{284, 832, 1216, 576, 896},
		{1000, 1536, 768, 768, 384}, // kudos chapter, example 10
	} {
		t.Run(fmt.Sprintf("%dx%d with %d waiting becomes %dx%d", c.width, c.height, c.queue, c.wantW, c.wH), func(t *testing.T) {
			t.Parallel()
			s := open(t)
			s.queue("image", c.queue)
			u, w := s.user(0, 0), s.user(0, 0)
			s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "allow_downgrade": true,
				"params": fields{"width": c.width, "height": c.height}})
			s.shows(answer{value: s.popImage(w, "w", nil).at("payload")}, fields{"width": c.wantW, "height": c.wH})
		})
	}
}

func TestRequests10LongTextsNeedKudosUpfront(t *testing.T) {
	t.Parallel()
	example(t, "requests", 10)
	example(t, "kudos", 14)
	s := open(t)
	long := func(n int) fields {
		return fields{"prompt": "x", "params": fields{"max_length": n, "max_context_length": 4096}}
	}
	t.Run("600 tokens cost 20 upfront", func(t *testing.T) {
		s := s.in(t)
		s.refused(s.call("POST", "/generate/text/async", s.user(44.99, 0), long(600)), http.StatusForbidden, "KudosUpfront")
		s.text(s.user(45, 0), long(600))
		two := long(600)
		two["params"].(fields)["n"] = 2
		s.refused(s.call("POST", "/generate/text/async", s.user(64.99, 0), two), http.StatusForbidden, "KudosUpfront")
		s.text(s.user(65, 0), two)
	})
	t.Run("a model of 70 billion costs 2000", func(t *testing.T) {
		s := s.in(t)
		body := long(600).with(fields{"models": []string{"test/70B"}})
		s.refused(s.call("POST", "/generate/text/async", s.user(2024.99, 0), body), http.StatusForbidden, "KudosUpfront")
		s.text(s.user(2025, 0), body)
	})
	t.Run("with allow_downgrade it becomes 512", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		w := s.user(0, 0)
		body := long(600).with(fields{"allow_downgrade": true, "models": []string{"test/13B"}})
		s.text(s.user(0, 0), body)
		if got := s.popText(w, "w", fields{"models": []string{"test/13B"}}).number("payload", "max_length"); got != 512 {
			t.Errorf("the worker is asked for %v tokens, want 512", got)
		}
	})
	t.Run("with 300 waiting 256 are free", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		s.queue("text", 300)
		s.text(s.user(0, 0), long(256))
		s.refused(s.call("POST", "/generate/text/async", s.user(0, 0), long(257)), http.StatusForbidden, "KudosUpfront")
	})
	t.Run("slow_workers false costs upfront whatever the size", func(t *testing.T) {
		s := s.in(t)
		body := long(80).with(fields{"slow_workers": false})
		s.refused(s.call("POST", "/generate/text/async", s.user(0, 0), body), http.StatusForbidden, "KudosUpfront")
		s.refused(s.call("POST", "/generate/async", s.user(0, 0), `{"prompt":"x","slow_workers":false}`), http.StatusForbidden, "KudosUpfront")
	})
}

func TestRequests11ConcurrencyCountsResults(t *testing.T) {
	t.Parallel()
	example(t, "requests", 11)
	s := open(t)
	u := s.user(0, 0)
	for _, kind := range []string{"image", "text"} {
		s.submit(kind, u, `{"prompt":"x","params":{"n":20}}`)
		s.refused(s.call("POST", generate(kind)+"/async", u, `{"prompt":"x","params":{"n":11}}`), http.StatusTooManyRequests, "TooManyPrompts")
		s.submit(kind, u, `{"prompt":"x","params":{"n":10}}`)
		s.refused(s.call("POST", generate(kind)+"/async", u, `{"prompt":"x"}`), http.StatusTooManyRequests, "TooManyPrompts")
	}
	t.Run("what was handed out no longer counts", func(t *testing.T) {
		s := s.in(t)
		s.job(s.popText(s.user(0, 0), "w", nil))
		s.text(u, `{"prompt":"x"}`)
	})
	t.Run("a dry run counts and does not stay", func(t *testing.T) {
		s := s.in(t)
		u := s.user(0, 0)
		s.image(u, `{"prompt":"x","params":{"n":20}}`)
		s.refused(s.call("POST", "/generate/async", u, `{"prompt":"x","params":{"n":11},"dry_run":true}`), http.StatusTooManyRequests, "TooManyPrompts")
		for range 3 {
			s.want(s.call("POST", "/generate/async", u, `{"prompt":"x","params":{"n":10},"dry_run":true}`), http.StatusOK)
		}
	})
}

func TestRequests12TheFirstCheckThatFailsAnswers(t *testing.T) {
	t.Parallel()
	example(t, "requests", 12)
	s := open(t)
	bogus, admin := account{0, "bogus"}, s.user(0, 0)
	s.Engine.Admins = []horde.UserID{admin.id}
	for _, kind := range []string{"image", "text"} {
		at := generate(kind) + "/async"
		s.refused(s.call("POST", at, bogus, `{"prompt":"x","webhook":"http://example.org/a"}`), http.StatusBadRequest, "BadRequest")
		s.refused(s.call("POST", at, bogus, `{"prompt":"x","style":"unknown"}`), http.StatusNotFound, "StyleNotFound")
		s.refused(s.call("POST", at, bogus, `{"prompt":"x"}`), http.StatusUnauthorized, "InvalidAPIKey")
	}
	s.want(s.call("PUT", "/status/modes", admin, `{"maintenance_mode":true}`), http.StatusOK)
	for _, kind := range []string{"image", "text"} {
		at := generate(kind) + "/async"
		s.refused(s.call("POST", at, bogus, `{"prompt":"x","style":"unknown"}`), http.StatusNotFound, "StyleNotFound")
		s.refused(s.call("POST", at, bogus, `{"prompt":"x"}`), http.StatusBadRequest, "MaintenanceMode")
		s.refused(s.call("POST", at, anonymous, `{"prompt":"x","webhook":"http://example.org/a"}`), http.StatusBadRequest, "MaintenanceMode")
	}
}

func TestRequests13ARequestIsDoneWhenNothingRunsAndGivenUpAtTheThirdFault(t *testing.T) {
	t.Parallel()
	example(t, "requests", 13)
	t.Run("three images, two faults, two results, one running", func(t *testing.T) {
		t.Parallel()
		s := open(t)
		u, w := s.user(0, 0), s.user(0, 0)
		id := s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":3}}`)
		pop := func() answer { return s.popImage(w, "w", nil) }
		a, b, c := pop(), pop(), pop()
		s.fault("image", w, s.job(a))
		s.fault("image", w, s.job(b))
		s.deliver(w, c)
		d, e := pop(), pop()
		s.deliver(w, d)
		s.shows(s.check(id), fields{"finished": 2, "restarted": 2, "processing": 1, "waiting": 0, "done": false, "faulted": false})
		s.fault("image", w, s.job(e))
		s.shows(s.check(id), fields{"finished": 2, "restarted": 3, "processing": 0, "done": true, "faulted": true})
		s.noJob(pop())
		if got := s.status("image", id).list("generations"); len(got) != 2 {
			t.Errorf("%d results, want 2", len(got))
		}
	})
	for _, kind := range []string{"image", "text"} {
		t.Run("one "+kind+" is tried three times", func(t *testing.T) {
			t.Parallel()
			s := open(t)
			u, w := s.user(0, 0), s.user(0, 0)
			id := s.submit(kind, u, `{"prompt":"x","models":["Deliberate","test/7B"]}`)
			pop := s.popImage
			if kind == "text" {
				pop = s.popText
			}
			for i := 1; i <= 2; i++ {
				s.fault(kind, w, s.job(pop(w, "w", nil)))
				s.shows(s.status(kind, id), fields{"restarted": i, "waiting": 1, "processing": 0, "done": false, "faulted": false})
			}
			s.fault(kind, w, s.job(pop(w, "w", nil)))
			s.shows(s.status(kind, id), fields{"restarted": 3, "processing": 0, "done": true, "faulted": true})
			s.noJob(pop(w, "w", nil))
		})
	}
}

func TestRequests14And15ACancelledRequestTakesWhatIsRunning(t *testing.T) {
	t.Parallel()
	example(t, "requests", 14, 15)
	s := open(t)
	u, w := s.user(100, 0), s.user(0, horde.Trusted)
	id := s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":2}}`)
	popped := s.popImage(w, "w", nil)
	a := s.want(s.call("DELETE", "/generate/status/"+id, account{}, nil), http.StatusOK)
	s.shows(a, fields{"waiting": 1, "processing": 1})
	s.shows(s.check(id), fields{"waiting": 0, "processing": 1, "done": false, "is_possible": true, "queue_position": 0})
	s.noJob(s.popImage(w, "w", nil))
	s.shows(s.want(s.call("DELETE", "/generate/status/"+id, account{}, nil), http.StatusOK), fields{"waiting": 0, "processing": 1})
	s.upload(popped.str("r2_upload"), "image")
	a = s.want(s.call("POST", "/generate/submit", w, fields{
		"id": popped.str("id"), "generation": "R2", "seed": 7, "gen_metadata": []fields{{"type": "censorship", "value": "nsfw"}},
	}), http.StatusOK)
	s.shows(a, fields{"reward": 7.37})
	a = s.status("image", id)
	s.shows(a, fields{"finished": 1, "done": true, "is_possible": true, "kudos": 4, "waiting": 0})
	s.shows(answer{value: a.at("generations", 0)}, fields{"censored": true, "state": "ok", "seed": "7"})
}

func TestRequests16TheWaitIsTheQueuePlusWhatRuns(t *testing.T) {
	t.Parallel()
	example(t, "requests", 16)
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(0, 0), s.user(0, horde.Trusted)
		const second = 7864 * time.Millisecond // what one image takes at a megapixelstep a second
		s.image(u, `{"prompt":"x","models":["Deliberate"]}`)
		first := s.popImage(w, "w", fields{"threads": 4})
		time.Sleep(second)
		s.deliver(w, first)
		time.Sleep(time.Minute) // for the speed to be taken in
		s.popImage(w, "w", fields{"threads": 4})
		id := s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":11}}`)
		s.job(s.popImage(w, "w", fields{"threads": 4}))
		time.Sleep(second - 5200*time.Millisecond)
		s.shows(s.check(id), fields{"wait_time": 25, "waiting": 10, "processing": 1})
	})
}

func TestRequests18RemixTakesExtraImages(t *testing.T) {
	t.Parallel()
	example(t, "requests", 18)
	s := open(t)
	trusted, other, w := s.user(100, horde.Trusted), s.user(100, 0), s.user(0, 0)
	picture := base64PNG(rgba(64, 64))
	body := fields{
		"prompt": "x", "models": []string{"Stable Cascade 1.0"}, "source_image": picture, "source_processing": "remix",
		"extra_source_images": []fields{{"image": picture}, {"image": picture, "strength": 0.5}},
	}
	s.refused(s.call("POST", "/generate/async", other, body), http.StatusBadRequest, "MoreThanMinExtraSourceImage.")
	id := s.image(trusted, body)
	s.shows(s.check(id), fields{"kudos": 13})
	if got := s.kudos(trusted); got != 87 {
		t.Errorf("the balance is %v, want 87", got)
	}
	a := s.popImage(w, "w", fields{"models": []string{"Stable Cascade 1.0"}})
	s.job(a)
	for i, strength := range []float64{1, 0.5} {
		url := a.str("extra_source_images", i, "image")
		if !strings.Contains(url, fmt.Sprintf("_exra_src_%d.webp?", i)) || strings.Contains(url, id) || a.number("extra_source_images", i, "strength") != strength {
			t.Errorf("extra image %d is %v", i, a.at("extra_source_images", i))
		}
		if got := s.fetch(url); got.status != http.StatusOK || !strings.HasPrefix(got.text, "RIFF") {
			t.Errorf("the worker gets %d %.20q", got.status, got.text)
		}
	}
	if a.str("source_processing") != "remix" {
		t.Errorf("source_processing is %v", a.at("source_processing"))
	}
}

func TestRequests20ModelsWarnAndRefuse(t *testing.T) {
	t.Parallel()
	example(t, "requests", 20)
	example(t, "errors", 16)
	s := open(t)
	u := s.user(1000, 0)
	flux := fields{"prompt": "x", "models": []string{"Flux.1-Schnell fp8 (Compact)"}}
	params := fields{"steps": 30, "cfg_scale": 9, "sampler_name": "DDIM"}
	a := s.want(s.call("POST", "/generate/async", u, flux.with(fields{"params": params})), http.StatusAccepted)
	codes := map[string]bool{}
	for _, w := range a.list("warnings") {
		codes[w.(map[string]any)["code"].(string)] = true
	}
	for _, code := range []string{"StepsTooMany", "CfgScaleTooLarge", "SamplerMismatch", "NoAvailableWorker"} {
		if !codes[code] {
			t.Errorf("no warning %s: %s", code, a.text)
		}
	}
	if len(a.list("warnings")) != 4 {
		t.Errorf("other warnings: %s", a.text)
	}
	s.refused(s.call("POST", "/generate/async", u, flux.with(fields{"params": params.with(fields{"hires_fix": true})})),
		http.StatusBadRequest, "HiResMismatch")
	t.Run("a model with another clip_skip", func(t *testing.T) {
		s := s.in(t)
		a := s.want(s.call("POST", "/generate/async", u, `{"prompt":"x","models":["Pony Diffusion XL"]}`), http.StatusAccepted)
		if !strings.Contains(a.text, `"ClipSkipMismatch"`) {
			t.Errorf("no warning: %s", a.text)
		}
		a = s.want(s.call("POST", "/generate/async", u, `{"prompt":"x","models":["Pony Diffusion XL"],"params":{"clip_skip":2}}`), http.StatusAccepted)
		if strings.Contains(a.text, `"ClipSkipMismatch"`) {
			t.Errorf("a warning without a reason: %s", a.text)
		}
	})
}

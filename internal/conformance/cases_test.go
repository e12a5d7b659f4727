// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"image"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/image/webp"

	"horde/internal/horde"
)

// Problems that people had in the field, by their numbers. Those that belong to an example of a chapter are beside it.

func TestB001WorkOnACancelledRequestIsTakenAndPaid(t *testing.T) {
	t.Parallel()
	example(t, "cases", 1)
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(100, 0), s.user(0, horde.Trusted)
		for _, kind := range []string{"image", "text"} {
			pop := s.popImage
			if kind == "text" {
				pop = s.popText
			}
			for _, end := range []string{"cancelled", "expired"} {
				slow := fields{"params": fields{"max_length": 16}}
				if kind == "image" {
					slow = size(2048, 2048, fields{"steps": 150}) // a lease of 4830 s, far beyond the 20 minutes
				}
				rich := s.user(10000, 0)
				if end == "cancelled" || kind == "text" {
					rich, slow = u, nil
				}
				id := s.submit(kind, rich, fields{"prompt": "x", "models": []string{"Deliberate", "test/7B"}}.with(slow))
				p := pop(w, kind, nil)
				s.job(p)
				if end == "cancelled" {
					s.want(s.call("DELETE", generate(kind)+"/status/"+id, account{}, nil), http.StatusOK)
					time.Sleep(2 * time.Minute)
				} else if kind == "image" {
					time.Sleep(25 * time.Minute)
				}
				if kind == "image" {
					s.upload(p.str("r2_upload"), "image")
				}
				a := s.want(s.call("POST", generate(kind)+"/submit", w, fields{"id": p.str("id"), "generation": "R2", "seed": 1}), http.StatusOK)
				if a.number("reward") <= 0 {
					t.Errorf("%s, %s: reward %v", kind, end, a.at("reward"))
				}
				s.shows(s.status(kind, id), fields{"finished": 1, "done": true, "waiting": 0, "is_possible": true})
			}
		}
	})
}

// adds checks that nothing of a request of n results is lost.
func (s *server) adds(a answer, n float64) {
	s.t.Helper()
	if sum := a.number("waiting") + a.number("processing") + a.number("finished"); sum != n && a.at("faulted") != true {
		s.t.Errorf("the counters add up to %v, want %v: %s", sum, n, a.text)
	}
}

func TestB003AnAbandonedResultIsMadeByAnother(t *testing.T) {
	t.Parallel()
	example(t, "cases", 3)
	inBubble(t, func(t *testing.T, s *server) {
		u, bad, good := s.user(100, 0), s.user(0, 0), s.user(0, horde.Trusted)
		id := s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":16}}`)
		s.job(s.popImage(bad, "bad", nil))
		for range 15 {
			s.deliver(good, s.popImage(good, "good", nil))
			s.adds(s.check(id), 16)
		}
		for range 15 { // others keep popping
			s.noJob(s.popImage(good, "good", nil))
			s.adds(s.check(id), 16)
			time.Sleep(10 * time.Second)
		}
		time.Sleep(2 * time.Second)
		s.shows(s.check(id), fields{"finished": 15, "waiting": 1, "restarted": 1, "processing": 0, "queue_position": 1})
		s.deliver(good, s.popImage(good, "good", nil))
		s.shows(s.check(id), fields{"finished": 16, "done": true, "faulted": false})
	})
}

func TestB005NothingOfACancelledRequestIsDispatchedAgain(t *testing.T) {
	t.Parallel()
	example(t, "cases", 5)
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(100, 0), s.user(0, 0)
		for _, kind := range []string{"image", "text"} {
			pop := s.popImage
			if kind == "text" {
				pop = s.popText
			}
			id := s.submit(kind, u, `{"prompt":"x","models":["Deliberate","test/7B"],"params":{"n":4}}`)
			s.job(pop(w, kind, nil))
			second := s.job(pop(w, kind, nil))
			s.want(s.call("DELETE", generate(kind)+"/status/"+id, account{}, nil), http.StatusOK)
			s.fault(kind, w, second)
			s.noJob(pop(w, kind, nil))
			time.Sleep(152 * time.Second)
			s.noJob(pop(w, kind, nil))
			s.shows(s.status(kind, id), fields{"waiting": 0, "processing": 0, "done": true, "restarted": 2})
			time.Sleep(10 * time.Minute)
			s.noJob(pop(w, kind, nil))
		}
	})
}

func TestB007ARewardOfNothingIsNoDuplicate(t *testing.T) {
	t.Parallel()
	example(t, "cases", 7)
	s := open(t)
	u, w := s.user(100, 0), s.user(0, 0)
	// 20 tokens of 10 million parameters pay 0.00 when the backend is not validated.
	s.text(u, `{"prompt":"x","models":["test/10M"],"params":{"max_length":16}}`)
	p := s.popText(w, "w", fields{"models": []string{"test/10M"}, "bridge_agent": "mine:1:x"})
	a := s.deliverText(w, s.job(p), "x")
	s.shows(a, fields{"reward": 0})
	s.refused(s.call("POST", "/generate/text/submit", w, fields{"id": p.str("id"), "generation": "x"}), http.StatusBadRequest, "DuplicateGen")
}

func TestB009OnlyRivalsCountForThePosition(t *testing.T) {
	t.Parallel()
	example(t, "cases", 9)
	s := open(t)
	w := s.user(0, 0)
	s.noJob(s.popImage(w, "w", nil))
	mod := s.user(0, horde.Moderator)
	crowd := s.user(100000, 0)
	s.want(s.call("PUT", crowd.path(), mod, `{"concurrency":500}`), http.StatusOK)
	for range 200 {
		s.image(crowd, `{"prompt":"x","models":["SDXL 1.0"]}`)
	}
	s.shows(s.check(s.image(s.user(100, 0), `{"prompt":"x","models":["Deliberate"]}`)), fields{"queue_position": 1})
	s.shows(s.check(s.image(s.user(50, 0), `{"prompt":"x","models":["Deliberate"]}`)), fields{"queue_position": 2})
}

func TestB011CountersAddUpAtEveryPoll(t *testing.T) {
	t.Parallel()
	example(t, "cases", 11)
	s := open(t)
	u, w := s.user(100, 0), s.user(0, horde.Trusted)
	const rounds, n = 4, 8
	for range rounds {
		id := s.text(u, fields{"prompt": "x", "params": fields{"n": n}})
		var work, polls sync.WaitGroup
		var over atomic.Bool
		for range 2 {
			polls.Add(1)
			go func() {
				defer polls.Done()
				for finished := 0.0; !over.Load(); {
					a := s.status("text", id)
					s.adds(a, n)
					if f := a.number("finished"); f < finished {
						t.Errorf("finished went from %v to %v", finished, f)
					} else {
						finished = f
					}
					if got := len(a.list("generations")); float64(got) != a.number("finished") {
						t.Errorf("%d results with finished %v", got, a.number("finished"))
					}
				}
			}()
		}
		for i := range n {
			work.Add(1)
			go func() {
				defer work.Done()
				p := s.popText(w, fmt.Sprint("w", i), nil)
				if id, ok := p.at("id").(string); ok {
					s.deliverText(w, id, "x")
				}
			}()
		}
		work.Wait()
		over.Store(true)
		polls.Wait()
		s.shows(s.status("text", id), fields{"finished": n, "done": true})
	}
}

func TestB019LongTextsHaveLongLeases(t *testing.T) {
	t.Parallel()
	example(t, "cases", 19)
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(10000, 0), s.user(0, horde.Trusted)
		body := `{"prompt":"x","models":["test/7B"],"params":{"max_length":4096,"max_context_length":8192}}`
		pop := fields{"max_length": 4096}
		s.text(u, body)
		p := s.popText(w, "w", pop)
		if p.number("ttl") != 30+4096/8 {
			t.Errorf("ttl %v, want 542", p.at("ttl"))
		}
		time.Sleep(273 * time.Second) // at 15 tokens a second
		s.deliverText(w, s.job(p), strings.Repeat("word", 4096))
		s.text(u, body)
		p = s.popText(w, "w", pop)
		time.Sleep(544 * time.Second)
		a := s.refused(s.call("POST", "/generate/text/submit", w, fields{"id": s.job(p), "generation": "x"}), http.StatusBadRequest, "AbortedGen")
		if !strings.Contains(a.text, "542") {
			t.Errorf("the message does not name the limit: %s", a.text)
		}
	})
}

func TestB021PopsNeverFail(t *testing.T) {
	t.Parallel()
	example(t, "cases", 21)
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(100000, 0), s.user(0, horde.Trusted)
		var id string
		for i := range 300 { // for an hour; every second would show the same
			switch i % 3 {
			case 0:
				id = s.text(u, fields{"prompt": "x", "models": []string{[]string{"test/7B", "elsewhere"}[i%2]}, "params": fields{"n": 1 + i%2}})
			case 1:
				s.want(s.call("DELETE", "/generate/text/status/"+id, account{}, nil), http.StatusOK)
			}
			p := s.popText(w, "w", nil)
			if job, ok := p.at("id").(string); ok && i%24 != 0 {
				s.deliverText(w, job, "x")
			}
			time.Sleep(12 * time.Second)
		}
	})
}

func TestB027And29And31Bounds(t *testing.T) {
	t.Parallel()
	example(t, "cases", 27, 29, 31)
	s := open(t)
	u := s.user(1000, 0)
	for _, cfg := range []string{"4.35", "1.1", "7.07", "0", "100", "8.29", "1.005e1", "64.1"} {
		s.want(s.call("POST", "/generate/async", u, `{"prompt":"x","dry_run":true,"params":{"cfg_scale":`+cfg+`}}`), http.StatusOK)
	}
	for _, cfg := range []string{"7.123", "0.001", "99.999"} {
		s.refused(s.call("POST", "/generate/async", u, `{"prompt":"x","params":{"cfg_scale":`+cfg+`}}`), http.StatusBadRequest, "BadCFGDecimals")
	}
	s.invalid(s.call("POST", "/generate/async", u, img2img(base64PNG(opaque(64, 64))).with(fields{"params": fields{"denoising_strength": 0}})), "params.denoising_strength")
	a := s.invalid(s.call("POST", "/generate/text/async", u, `{"prompt":"x","params":{"max_length":17000}}`), "params.max_length")
	if !strings.Contains(a.text, "16384") {
		t.Errorf("B031 the answer does not name the limit: %s", a.text)
	}
}

func TestB033ANulInAResult(t *testing.T) {
	t.Parallel()
	example(t, "cases", 33)
	s := open(t)
	u, w := s.user(100, 0), s.user(0, 0)
	id := s.text(u, `{"prompt":"x"}`)
	s.want(s.call("POST", "/generate/text/submit", w, `{"id":"`+s.job(s.popText(w, "w", nil))+`","generation":"abc\u0000def"}`), http.StatusOK)
	if got := s.status("text", id).str("generations", 0, "text"); got != "abc\uFFFDdef" {
		t.Errorf("the text is %q", got)
	}
}

func TestB071OneCensoredResultOfFour(t *testing.T) {
	t.Parallel()
	example(t, "cases", 71)
	s := open(t)
	u, w := s.user(100, 0), s.user(0, 0)
	id := s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":4}}`)
	p := s.popImage(w, "w", fields{"amount": 4})
	for i, job := range p.strings("ids") {
		s.upload(p.strings("r2_uploads")[i], "image")
		body := fields{"id": job, "generation": "R2", "seed": i}
		if i == 2 {
			body = body.with(fields{"state": "censored", "gen_metadata": []fields{{"type": "censorship", "value": "nsfw"}}})
		}
		s.want(s.call("POST", "/generate/submit", w, body), http.StatusOK)
	}
	a := s.status("image", id)
	s.shows(a, fields{"finished": 4, "done": true})
	for i, g := range a.list("generations") {
		g := answer{value: g}
		if (g.at("censored") == true) != (i == 2) || s.fetch(g.str("img")).status != http.StatusOK {
			t.Errorf("result %d: %v", i, g.value)
		}
	}
}

// What was accepted and paid for is what its requester sees, whatever the worker sends later.
func TestAnAcceptedImageIsNotExchanged(t *testing.T) {
	t.Parallel()
	s := open(t)
	u, w := s.user(100, 0), s.user(0, 0)
	id := s.image(u, `{"prompt":"x","models":["Deliberate"]}`)
	job := s.job(s.popImage(w, "w", nil))
	submit := func(m image.Image) answer {
		return s.call("POST", "/generate/submit", w, fields{"id": job, "generation": base64PNG(m), "seed": 1})
	}
	s.want(submit(opaque(64, 64)), http.StatusOK)
	link := s.status("image", id).str("generations", 0, "img")
	before := s.want(s.fetch(link), http.StatusOK).text
	s.refused(submit(opaque(128, 64)), http.StatusBadRequest, "DuplicateGen")
	if s.fetch(link).text != before {
		t.Error("another image is shown")
	}
}

func TestWhatIsWrittenLazilyOutlivesAStop(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		w := s.user(0, 0)
		for range 12 {
			s.popText(w, "w", nil)
			time.Sleep(45 * time.Second)
			s.popText(w, "w", nil)
			before := s.get("/workers/name/w", account{}).number("uptime")
			s.away(time.Second)
			if after := s.get("/workers/name/w", account{}).number("uptime"); after != before {
				t.Fatalf("uptime was %v, and is %v after a stop", before, after)
			}
		}
	})
}

func TestB079TransparencySurvives(t *testing.T) {
	t.Parallel()
	example(t, "cases", 79)
	s := open(t)
	u, w := s.user(100, 0), s.user(0, 0)
	source := rgba(64, 64)
	s.image(u, img2img(base64PNG(source)).with(fields{"source_processing": "inpainting", "models": []string{"DreamShaper Inpainting"}}))
	p := s.popImage(w, "w", fields{"models": []string{"DreamShaper Inpainting"}})
	s.job(p)
	m, err := webp.Decode(strings.NewReader(s.fetch(p.str("source_image")).text))
	if err != nil {
		t.Fatal(err)
	}
	var through int
	for y := range 64 {
		for x := range 64 {
			_, _, _, a := m.At(x, y).RGBA()
			if a < 0x8000 {
				through++
			}
		}
	}
	if m.Bounds() != image.Rect(0, 0, 64, 64) || through < 64*64/3 {
		t.Errorf("%v with %d holes, want half of 64x64", m.Bounds(), through)
	}
	s.refused(s.call("POST", "/generate/async", u, img2img(base64PNG(opaque(64, 64))).with(fields{"source_processing": "inpainting"})),
		http.StatusBadRequest, "InpaintingMissingMask")
}

func TestB085DowngradesKeepTheRatio(t *testing.T) {
	t.Parallel()
	example(t, "cases", 85)
	s := open(t)
	s.queue("image", 1000) // 576x576 are free
	u, w := s.user(0, 0), s.user(0, 0)
	s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "allow_downgrade": true, "params": fields{"width": 1536, "height": 512}})
	p := s.popImage(w, "w", nil)
	width, height := p.number("payload", "width"), p.number("payload", "height")
	if width*height > 576*576 || width/3 > height+64 || width/3 < height-64 {
		t.Errorf("1536x512 became %vx%v", width, height)
	}
}

func TestB091TextsRefusedForTheirContent(t *testing.T) {
	t.Parallel()
	example(t, "cases", 91)
	s := open(t)
	u, w := s.user(100, 0), s.user(0, 0)
	for _, c := range []struct {
		name  string
		more  fields
		state string
	}{
		{"state csam", fields{"state": "csam"}, "csam"},
		{"a note", fields{"gen_metadata": []fields{{"type": "censorship", "value": "csam"}}}, "csam"},
		{"state censored", fields{"state": "censored"}, "censored"},
	} {
		id := s.text(u, `{"prompt":"x"}`)
		before := s.kudos(u)
		p := s.popText(w, "w", nil)
		a := s.want(s.call("POST", "/generate/text/submit", w, fields{"id": s.job(p), "generation": "x", "seed": 1}.with(c.more)), http.StatusOK)
		if a.number("reward") <= 0 || before-s.kudos(u) != 1 {
			t.Errorf("%s: reward %v, the requester pays %v", c.name, a.at("reward"), before-s.kudos(u))
		}
		st := s.status("text", id)
		s.shows(st, fields{"done": true, "faulted": false})
		if st.str("generations", 0, "state") != c.state {
			t.Errorf("%s: %s", c.name, st.text)
		}
		if c.state == "csam" && fmt.Sprint(st.at("generations", 0, "gen_metadata")) != "[map[type:censorship value:csam]]" {
			t.Errorf("%s: %s", c.name, st.text)
		}
	}
	s.shows(s.get("/workers/name/w", account{}), fields{"uncompleted_jobs": 0, "requests_fulfilled": 3})
}

func TestB127EachResultOfABatchTellsItsSeed(t *testing.T) {
	t.Parallel()
	example(t, "cases", 127)
	s := open(t)
	u, w := s.user(100, horde.Trusted), s.user(0, 0)
	id := s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":4,"seed":"7"}}`)
	p := s.popImage(w, "w", fields{"amount": 4})
	if p.str("payload", "seed") != "7" {
		t.Errorf("the batch starts at seed %v", p.at("payload", "seed"))
	}
	for i, job := range p.strings("ids") {
		s.upload(p.strings("r2_uploads")[i], "image")
		s.want(s.call("POST", "/generate/submit", w, fields{"id": job, "generation": "R2", "seed": 7 + i,
			"gen_metadata": []fields{{"type": "batch_index", "value": "see_ref", "ref": fmt.Sprint(i)}}}), http.StatusOK)
	}
	a := s.status("image", id)
	for i := range 4 {
		s.shows(answer{value: a.at("generations", i)}, fields{"seed": fmt.Sprint(7 + i), "id": p.strings("ids")[i],
			"gen_metadata": fmt.Sprintf("[map[ref:%d type:batch_index value:see_ref]]", i)})
	}
	s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":4,"seed":"7"},"disable_batching":true}`)
	for range 4 {
		if p := s.popImage(w, "w", fields{"amount": 4}); len(p.list("ids")) != 1 || p.str("payload", "seed") != "7" {
			t.Errorf("without batching the worker gets %v with seed %v", p.at("ids"), p.at("payload", "seed"))
		}
	}
}

func TestB131ThePriceOfARequestAndOfAResult(t *testing.T) {
	t.Parallel()
	example(t, "cases", 131)
	s := open(t)
	u, w := s.user(100, 0), s.user(0, 0)
	id := s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":4}}`)
	var rewards float64
	for range 4 {
		rewards += s.deliver(w, s.popImage(w, "w", nil)).number("reward")
	}
	s.shows(s.check(id), fields{"kudos": 36}) // 3 + 4*(7.37 + 1) = 36.48
	if got := 100 - s.kudos(u); got < 36.47 || got > 36.49 {
		t.Errorf("the requester paid %v", got)
	}
	if rewards < 29.47 || rewards > 29.49 {
		t.Errorf("the rewards are %v", rewards)
	}
}

func TestB059AnonymousIsNoBottleneck(t *testing.T) {
	t.Parallel()
	example(t, "cases", 59)
	s := open(t)
	owners := make([]account, 8)
	for i := range owners {
		owners[i] = s.user(0, horde.Trusted)
	}
	var crowd sync.WaitGroup
	var done atomic.Int64
	for i := range 200 {
		crowd.Add(1)
		go func() {
			defer crowd.Done()
			a := s.call("POST", "/generate/text/async", anonymous, `{"prompt":"x","models":["test/7B"]}`)
			if a.status != http.StatusAccepted {
				t.Errorf("submit: %d %s", a.status, a.text)
				return
			}
			w := owners[i%len(owners)]
			p := s.tryPopText(w, fmt.Sprint("w", i%len(owners)), nil)
			job, ok := p.at("id").(string)
			if !ok {
				t.Errorf("pop: %d %s", p.status, p.text)
				return
			}
			if d := s.call("POST", "/generate/text/submit", w, fields{"id": job, "generation": "x"}); d.status != http.StatusOK {
				t.Errorf("deliver: %d %s", d.status, d.text)
				return
			}
			done.Add(1)
		}()
	}
	crowd.Wait()
	if done.Load() != 200 {
		t.Errorf("%d of 200 lifecycles", done.Load())
	}
	if b := s.kudos(anonymous); b != -50 {
		t.Errorf("anonymous has %v", b)
	}
	a := s.get("/users/0", account{})
	if a.number("records", "request", "text") != 400 { // a tax and a settlement each
		t.Errorf("records are %v", a.at("records"))
	}
}

func TestRequestsExpireTwentyMinutesAfterTheLastThingThatHappened(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 3)
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(1000, 0), s.user(0, 0)
		image := s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":2},"extra_slow_workers":true}`)
		text := s.text(u, `{"prompt":"x","models":["elsewhere"]}`)
		time.Sleep(15 * time.Minute)
		s.check(image) // reading does not prolong it
		s.status("text", text)
		s.deliver(w, s.popImage(w, "w", nil))
		time.Sleep(6 * time.Minute)
		s.refused(s.get("/generate/text/status/"+text, account{}), http.StatusNotFound, "RequestNotFound")
		s.shows(s.check(image), fields{"finished": 1, "waiting": 1})
		p := s.popImage(w, "slow", fields{"extra_slow_worker": true})
		s.fault("image", w, s.job(p))
		time.Sleep(58 * time.Minute)
		s.shows(s.check(image), fields{"finished": 1, "waiting": 1, "restarted": 1})
		time.Sleep(3 * time.Minute)
		s.refused(s.get("/generate/check/"+image, account{}), http.StatusNotFound, "RequestNotFound")
		s.refused(s.call("POST", "/generate/submit", w, fields{"id": p.str("id"), "generation": "R2", "seed": 1}), http.StatusNotFound, "InvalidJobID")
		s.untouched(u, s.kudos(u))
	})
}

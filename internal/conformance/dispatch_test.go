// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/horde"
)

// The worked examples of the dispatch chapter.

// always are the keys that skipped has in every image pop without a job.
var always = []string{"worker_id", "performance", "nsfw", "untrusted", "models", "bridge_version", "unsafe_ip", "img2img",
	"painting", "post-processing", "lora", "controlnet"}

// skips checks that a pop got no job and why: counts that are not named are zero.
func (s *server) skips(a answer, want fields) {
	s.t.Helper()
	s.noJob(a)
	skipped, _ := a.at("skipped").(map[string]any)
	for _, key := range always {
		if _, ok := skipped[key]; !ok {
			s.t.Errorf("skipped lacks %s: %s", key, a.text)
		}
	}
	for key, got := range skipped {
		w := want[key]
		if w == nil {
			w = 0
		}
		if fmt.Sprint(got) != fmt.Sprint(w) {
			s.t.Errorf("skipped.%s is %v, want %v", key, got, w)
		}
		if got == 0.0 && !slices.Contains(always, key) {
			s.t.Errorf("skipped.%s is there without a count", key)
		}
	}
	for key := range want {
		if _, ok := skipped[key]; !ok {
			s.t.Errorf("skipped lacks %s: %s", key, a.text)
		}
	}
}

func TestDispatch1And2EmptyPopsHaveEverything(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 1, 2)
	s := open(t)
	w := s.user(0, 0)
	skipped := fields{}
	for _, key := range always {
		skipped[key] = 0.0
	}
	image := fields{
		"id": nil, "ids": []any{}, "model": nil, "ttl": nil, "r2_upload": nil, "r2_uploads": nil, "source_image": nil, "source_mask": nil,
		"extra_source_images": nil, "source_processing": "img2img", "messages": []any{}, "skipped": map[string]any(skipped),
		"payload": map[string]any{
			"sampler_name": "k_euler_a", "cfg_scale": 7.5, "height": 512.0, "width": 512.0, "karras": false, "tiling": false,
			"hires_fix": false, "image_is_control": false, "return_control_map": false, "transparent": false, "ddim_steps": 30.0, "n_iter": 1.0,
		},
	}
	text := fields{
		"id": nil, "ids": []any{}, "model": nil, "ttl": nil, "messages": []any{}, "skipped": map[string]any{}, "softprompt": nil,
		"extra_source_images": nil,
		"payload": map[string]any{
			"max_length": 80.0, "max_context_length": 2048.0, "min_p": 0.0, "smoothing_factor": 0.0, "dynatemp_range": 0.0, "dynatemp_exponent": 1.0,
		},
	}
	for _, c := range []struct {
		a    answer
		want fields
	}{{s.popImage(w, "dreamer", nil), image}, {s.popText(w, "scribe", nil), text}} {
		got := c.a.value.(map[string]any)
		if k, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(c.want)); !slices.Equal(k, w) {
			t.Errorf("the keys are %q, want %q", k, w)
		}
		for key, want := range c.want {
			if fmt.Sprint(got[key]) != fmt.Sprint(want) {
				t.Errorf("%s is %v, want %v", key, got[key], want)
			}
		}
	}
}

func TestDispatch3Leases(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 3)
	s := open(t)
	u, w := s.user(100000, 0), s.user(0, horde.Trusted)
	image := func(width, height, steps int, more fields) fields {
		return fields{"width": width, "height": height, "steps": steps}.with(more)
	}
	for i, c := range []struct {
		params fields
		model  string
		pop    fields
		ttl    int
	}{
		{image(512, 512, 20, nil), "Deliberate", nil, 150},
		{image(1024, 1024, 30, nil), "Deliberate", nil, 270},
		{image(832, 1216, 30, nil), "Deliberate", nil, 261},
		{image(1536, 768, 40, nil), "Deliberate", nil, 390},
		{image(576, 576, 50, fields{"sampler_name": "k_dpm_2"}), "Deliberate", nil, 283},
		{image(768, 768, 40, fields{"control_type": "canny"}), "Deliberate", nil, 420},
		{image(1024, 1024, 8, nil), "Flux.1-Schnell fp8 (Compact)", nil, 282},
		{image(512, 512, 20, nil), "Deliberate", fields{"extra_slow_worker": true}, 450},
	} {
		t.Run(fmt.Sprint(i, " ", c.model, c.params), func(t *testing.T) {
			s := s.in(t)
			body := fields{"prompt": "x", "models": []string{c.model}, "params": c.params, "extra_slow_workers": true}
			if c.params["control_type"] != nil {
				body["source_image"] = base64PNG(opaque(64, 64))
			}
			s.image(u, body)
			a := s.popImage(w, fmt.Sprint("w", i), fields{"models": []string{c.model}}.with(c.pop))
			if a.number("ttl") != float64(c.ttl) {
				t.Errorf("ttl %v, want %d", a.at("ttl"), c.ttl)
			}
		})
	}
	for length, ttl := range map[int]float64{80: 150, 512: 150, 960: 150, 1024: 158} {
		s.text(u, fields{"prompt": "x", "params": fields{"max_length": length, "max_context_length": 4096}})
		if got := s.popText(w, "scribe", nil).number("ttl"); got != ttl {
			t.Errorf("ttl of %d tokens is %v, want %v", length, got, ttl)
		}
	}
}

func TestDispatch4BatchSizes(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 4)
	s := open(t)
	u := s.user(100000, horde.Trusted)
	s.want(s.call("PUT", u.path(), s.user(0, horde.Moderator), `{"concurrency":500}`), http.StatusOK)
	w := s.user(0, horde.Trusted)
	for i, c := range []struct {
		maxPixels, amount, width, height int
		post                             []string
		want                             int
	}{
		{1048576, 4, 512, 512, nil, 4},
		{1048576, 4, 1024, 1024, nil, 1},
		{4194304, 4, 1024, 1024, nil, 4},
		{2097152, 8, 832, 1216, []string{"GFPGAN"}, 3},
		{4194304, 10, 1024, 1024, []string{"RealESRGAN_x4plus"}, 5},
		{262144, 4, 512, 512, nil, 1},
	} {
		t.Run(fmt.Sprint(c.maxPixels, " pixels, ", c.amount, " of ", c.width, "x", c.height, c.post), func(t *testing.T) {
			s := s.in(t)
			params := fields{"width": c.width, "height": c.height, "n": 20}
			if c.post != nil {
				params["post_processing"] = c.post
			}
			id := s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "params": params})
			a := s.popImage(w, fmt.Sprint("w", i), fields{"max_pixels": c.maxPixels, "amount": c.amount})
			if len(a.list("ids")) != c.want || len(a.list("r2_uploads")) != c.want || a.number("payload", "n_iter") != float64(c.want) {
				t.Errorf("the batch has %d, want %d: %s", len(a.list("ids")), c.want, a.text)
			}
			s.shows(s.check(id), fields{"processing": c.want, "waiting": 20 - c.want})
			s.want(s.call("DELETE", "/generate/status/"+id, account{}, nil), http.StatusOK)
		})
	}
	t.Run("disable_batching gives one", func(t *testing.T) {
		s := s.in(t)
		s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":4},"disable_batching":true}`)
		if a := s.popImage(w, "w0", fields{"amount": 4}); len(a.list("ids")) != 1 {
			t.Errorf("the batch has %d", len(a.list("ids")))
		}
	})
	t.Run("a text worker gets all it wants", func(t *testing.T) {
		s := s.in(t)
		s.text(u, `{"prompt":"x","params":{"n":5}}`)
		if a := s.popText(w, "scribe", fields{"amount": 3}); len(a.list("ids")) != 3 {
			t.Errorf("the batch has %d, want 3", len(a.list("ids")))
		}
		if a := s.popText(w, "scribe", fields{"amount": 3}); len(a.list("ids")) != 2 {
			t.Errorf("the batch has %d, want the last 2", len(a.list("ids")))
		}
	})
}

// Each row is a queue of one request and a worker that cannot have it, or can.
func TestDispatch5To9And21WhyAWorkerIsSkipped(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 5, 6, 7, 8, 9)
	example(t, "cases", 15)
	const job = "job"
	lora := fields{"params": fields{"loras": []fields{{"name": "a"}}}}
	m := func(names ...string) fields { return fields{"models": append([]string{}, names...)} }
	agent := func(a string) fields { return fields{"bridge_agent": a} }
	s := open(t)
	u := s.user(100000, 0)
	for _, c := range []struct {
		name    string
		request fields
		pop     fields
		want    any // job, or what is skipped
	}{
		{"5 another model, and a size that is the largest", m("Dreamshaper").with(size(1024, 1024, nil)), fields{"max_pixels": 1048576}, fields{"models": 1, "max_pixels": 1}},
		{"5 a size that is the largest", size(1024, 1024, nil), fields{"max_pixels": 1048576}, job},
		{"too large", size(1024, 1024, nil), fields{"max_pixels": 1048575}, fields{"max_pixels": 1}},
		{"6 a program without LoRAs", lora, agent("AI Horde Worker reGen:1.9.9:x"), fields{"bridge_version": 2}},
		{"6 a worker without LoRAs", lora, fields{"allow_lora": false}, fields{"lora": 1}},
		{"6 an empty list of LoRAs", fields{"params": fields{"loras": []fields{}}}, fields{"allow_lora": false}, fields{"lora": 1}},
		{"7 a release candidate", fields{"params": fields{"post_processing": []string{"RestoreFormer"}}}, agent("AI Horde Worker reGen:13.0.0-rc1:x"), fields{"bridge_version": 1}},
		{"7 the release", fields{"params": fields{"post_processing": []string{"RestoreFormer"}}}, agent("AI Horde Worker reGen:13:https://x"), job},
		{"8 an unknown program and r2", nil, agent("foo:1:x"), fields{}},
		{"7 two parts are unknown", nil, agent("AI Horde Worker reGen:13"), fields{}},
		{"8 an unknown program without r2", fields{"r2": false}, agent("foo:1:x"), job},
		{"9 31 steps", fields{"params": fields{"steps": 31}}, fields{"limit_max_steps": true}, fields{"step_count": 1}},
		{"9 30 steps", fields{"params": fields{"steps": 30}}, fields{"limit_max_steps": true}, job},
		{"9 16 steps that count double", fields{"params": fields{"steps": 16, "sampler_name": "k_heun"}}, fields{"limit_max_steps": true}, fields{"step_count": 1}},
		{"9 8 steps of Flux", m("Flux.1-Schnell fp8 (Compact)").with(fields{"params": fields{"steps": 8}}),
			m("Flux.1-Schnell fp8 (Compact)").with(fields{"limit_max_steps": true}), fields{"step_count": 1}},
		{"9 5 steps of Flux", m("Flux.1-Schnell fp8 (Compact)").with(fields{"params": fields{"steps": 5}}),
			m("Flux.1-Schnell fp8 (Compact)").with(fields{"limit_max_steps": true}), job},
		{"B015 any model and 150 steps", m().with(fields{"params": fields{"steps": 150}}), fields{"limit_max_steps": true}, fields{"step_count": 1}},
		{"trusted workers only", fields{"trusted_workers": true}, nil, fields{"untrusted": 1}},
		{"not safe for work", nil, fields{"nsfw": false}, fields{"nsfw": 1}},
		{"safe for work", fields{"nsfw": false}, fields{"nsfw": false}, job},
		{"img2img that the worker does not do", fields{"source_image": base64PNG(opaque(64, 64))}, fields{"allow_img2img": false}, fields{"img2img": 1}},
		{"img2img", fields{"source_image": base64PNG(opaque(64, 64))}, nil, job},
		{"painting that the worker does not do", fields{"source_image": base64PNG(rgba(64, 64)), "source_processing": "inpainting", "models": []string{"DreamShaper Inpainting"}},
			fields{"allow_painting": false, "models": []string{"DreamShaper Inpainting"}}, fields{"painting": 1}},
		{"painting", fields{"source_image": base64PNG(rgba(64, 64)), "source_processing": "inpainting", "models": []string{"DreamShaper Inpainting"}},
			m("DreamShaper Inpainting"), job},
		{"a word of the blacklist, in another case", fields{"prompt": "a FORBIDDEN thing"}, fields{"blacklist": []string{"forbidden"}}, fields{"blacklist": 1}},
		{"a word of the blacklist counts by its first 15 characters", fields{"prompt": "0123456789abcdeXYZ"}, fields{"blacklist": []string{"0123456789abcdefgh"}}, fields{"blacklist": 1}},
		{"an extra slow worker", nil, fields{"extra_slow_worker": true}, fields{"performance": 1}},
		{"an extra slow worker that may", fields{"extra_slow_workers": true}, fields{"extra_slow_worker": true}, job},
		{"21 fast workers only, and a new worker", fields{"slow_workers": false}, nil, job},
		{"any model", m(), nil, job},
		{"a sampler that the program does not know", fields{"params": fields{"sampler_name": "lcm"}}, agent("AI Horde Worker reGen:2:x"), fields{"bridge_version": 2}},
		{"hires_fix", fields{"params": fields{"hires_fix": true}}, agent("AI Horde Worker:12:x"), fields{"bridge_version": 2}},
		{"a control map", fields{"source_image": base64PNG(opaque(64, 64)), "params": fields{"control_type": "canny"}}, fields{"allow_controlnet": false}, fields{"controlnet": 1}},
		{"an order in the letters of a model's name", m("deliberate"), nil, fields{"models": 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			id := s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}}.with(c.request))
			defer s.call("DELETE", "/generate/status/"+id, account{}, nil)
			a := s.popImage(s.user(0, 0), c.name, c.pop)
			if c.want == job {
				s.job(a)
				return
			}
			s.skips(a, c.want.(fields))
		})
	}
}

func TestRequestsForAnyModelPassWorkersWithAPrivateOneBy(t *testing.T) {
	t.Parallel()
	s := open(t)
	u, w := s.user(100, 0), s.user(0, horde.Special)
	private := "horde_special::" + s.get("/find_user", w).str("username")
	s.image(u, `{"prompt":"x","models":[]}`)
	s.skips(s.popImage(w, "w", fields{"models": []string{private, "Deliberate"}}), nil)
	s.refused(s.tryPopImage(w, "w2", fields{"models": []string{"horde_special::x#1", "Deliberate"}}), http.StatusBadRequest, "BadRequest")
	s.job(s.popImage(w, "w3", nil))
	id := s.image(w, fields{"prompt": "x", "models": []string{private}, "params": fields{"special": fields{"a": 1}}})
	a := s.popImage(w, "w", fields{"models": []string{private, "Deliberate"}})
	s.job(a)
	s.shows(s.check(id), fields{"processing": 1})
	if fmt.Sprint(a.at("payload", "special")) != "map[a:1]" || a.str("model") != private {
		t.Errorf("the worker gets %s", a.text)
	}
	if a := s.get("/status/models", account{}); strings.Contains(a.text, "horde_special") {
		t.Errorf("private models are listed: %s", a.text)
	}
}

func TestDispatch10WorkersThatWantKudosUpfront(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 10)
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(29, 0), s.user(0, 0) // 26 when the request is charged its 3
		s.image(u, `{"prompt":"x","models":["Deliberate"]}`)
		if b := s.kudos(u); b != 26 {
			t.Fatalf("the balance is %v, want 26", b)
		}
		s.skips(s.popImage(w, "w", fields{"require_upfront_kudos": true}), fields{"kudos": 1})
		s.skips(s.popImage(w, "w", fields{"require_upfront_kudos": true}), fields{"kudos": 1}) // kept inside the check-in window
		time.Sleep(time.Minute)
		s.skips(s.popImage(w, "w", fields{"require_upfront_kudos": true}), fields{"kudos": 1})
		s.job(s.popImage(w, "w", nil))
		rich, trusted := s.user(1000, 0), s.user(0, horde.Trusted)
		for _, u := range []account{rich, trusted} {
			s.image(u, `{"prompt":"x","models":["Deliberate"]}`)
			s.job(s.popImage(w, "w", fields{"require_upfront_kudos": true}))
		}
		// Better: friends need no kudos.
		s.image(u, `{"prompt":"x","models":["Deliberate"]}`)
		s.job(s.popImage(w, "w", fields{"require_upfront_kudos": true, "priority_usernames": []string{u.alias()}}))
	})
}

func TestDispatch11OwnAndFriendsWorkComesFirst(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 11)
	for _, kind := range []string{"image", "text"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			pop := s.popImage
			if kind == "text" {
				pop = s.popText
			}
			owner := s.user(1000, horde.Trusted)
			users := []account{s.user(90000, 0), s.user(10000, 0), owner, s.user(500, 0), anonymous}
			ids := map[string]int{}
			for i, u := range users {
				ids[s.submit(kind, u, `{"prompt":"x","models":["Deliberate","test/7B"]}`)] = i
			}
			var got []int
			for range users {
				before := map[string]float64{}
				for id := range ids {
					before[id] = s.status(kind, id).number("processing")
				}
				s.job(pop(owner, "w", fields{"priority_usernames": []string{users[3].alias()}}))
				for id, i := range ids {
					if s.status(kind, id).number("processing") > before[id] {
						got = append(got, i)
					}
				}
			}
			if want := []int{2, 3, 0, 1, 4}; !slices.Equal(got, want) {
				t.Errorf("the order is %v, want %v", got, want)
			}
			s.noJob(pop(owner, "w", nil))
		})
	}
}

func TestDispatch12PrioritiesAndAgeing(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 12)
	t.Run("the flagged, and one tick", func(t *testing.T) {
		inBubble(t, func(t *testing.T, s *server) {
			mod, w := s.user(0, horde.Moderator), s.user(0, horde.Trusted)
			flagged, poor := s.user(0, 0), s.user(0, 0) // who has been given 10 has 25, the floor
			s.want(s.call("PUT", flagged.path(), mod, `{"flagged":true}`), http.StatusOK)
			early := s.text(s.user(10000, 0), `{"prompt":"10050 after a tick"}`)
			last := s.text(flagged, `{"prompt":"-100, not 0"}`)
			before := s.text(poor, `{"prompt":"0, and later than it"}`)
			time.Sleep(11 * time.Second)
			first := s.text(s.user(10051, 0), `{"prompt":"10051"}`)
			third := s.text(s.user(10049, 0), `{"prompt":"10049"}`)
			for i, want := range []string{first, early, third, before, last} {
				s.job(s.popText(w, "w", nil))
				if got := s.status("text", want).number("processing"); got != 1 {
					t.Errorf("pop %d did not get %s", i, want)
				}
			}
		})
	})
	inBubble(t, func(t *testing.T, s *server) {
		mod, w := s.user(0, horde.Moderator), s.user(0, horde.Trusted)
		flaggedRich, flaggedPoor := s.user(90000, 0), s.user(0, 0)
		for _, u := range []account{flaggedRich, flaggedPoor} {
			s.want(s.call("PUT", u.path(), mod, `{"flagged":true}`), http.StatusOK)
		}
		// 90 for the rich flagged one, -100 for the poor; 100 and 80 are beside the first.
		hundred, eighty := s.user(100, 0), s.user(80, 0)
		order := []account{flaggedPoor, eighty, flaggedRich, hundred}
		ids := make([]string, len(order))
		for i, u := range order {
			ids[i] = s.text(u, `{"prompt":"x"}`)
		}
		time.Sleep(40 * time.Second) // each tick adds 50 to all that wait, and to nobody who is late
		late := s.text(s.user(295, 0), `{"prompt":"x"}`)
		for _, want := range []string{ids[3], late, ids[2], ids[1], ids[0]} {
			s.job(s.popText(w, "w", nil))
			if got := s.status("text", want).number("processing"); got != 1 {
				t.Errorf("request %s was not next", want)
			}
		}
	})
}

func TestDispatch13TextWorkersSeeBeyondWhatTheyCannotHave(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 13)
	s := open(t)
	rich, poor, w := s.user(90000, 0), s.user(10000, 0), s.user(0, 0)
	for range 8 {
		s.text(rich, `{"prompt":"x","trusted_workers":true}`)
	}
	open := s.text(poor, `{"prompt":"x"}`)
	s.job(s.popText(w, "w", nil))
	s.shows(s.status("text", open), fields{"processing": 1})
	a := s.noJob(s.popText(w, "w", nil))
	if fmt.Sprint(a.at("skipped")) != "map[untrusted:8]" {
		t.Errorf("skipped is %v", a.at("skipped"))
	}
}

func TestDispatch14ThreeTimeOutsEndARequest(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 14)
	for _, kind := range []string{"image", "text"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, s *server) {
				pop := s.popImage
				if kind == "text" {
					pop = s.popText
				}
				u, w := s.user(100, 0), s.user(0, 0)
				id := s.submit(kind, u, `{"prompt":"x","models":["Deliberate","test/7B"]}`)
				for i := 1; i <= 3; i++ {
					p := pop(w, "w", nil)
					job := s.job(p)
					time.Sleep(149 * time.Second)
					s.shows(s.status(kind, id), fields{"processing": 1, "restarted": i - 1, "waiting": 0})
					time.Sleep(3 * time.Second)
					s.shows(s.status(kind, id), fields{"processing": 0, "restarted": i, "finished": 0, "done": i == 3, "faulted": i == 3})
					if kind == "image" {
						s.upload(p.str("r2_upload"), "late")
					}
					a := s.refused(s.call("POST", generate(kind)+"/submit", w, fields{"id": job, "generation": "R2", "seed": 1}),
						http.StatusBadRequest, "AbortedGen")
					if !strings.Contains(a.text, "Please check your worker speed") {
						t.Errorf("the message lacks what workers look for: %s", a.text)
					}
					// Handing back what is lost already is no error.
					s.shows(s.fault(kind, w, job), fields{"reward": 0})
					s.shows(s.status(kind, id), fields{"restarted": i})
				}
				s.noJob(pop(w, "w", nil))
				s.shows(s.status(kind, id), fields{"done": true, "faulted": true, "restarted": 3, "waiting": 1})
				a := s.want(s.get("/workers/name/w", account{}), http.StatusOK)
				s.shows(a, fields{"uncompleted_jobs": 3, "requests_fulfilled": 0})
			})
		})
	}
}

// Three failures end a request: they should not all be of the one worker that asks first.
func TestAfterAFailureAnotherWorkerIsPreferred(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, broken, sound := s.user(100, 0), s.user(0, 0), s.user(0, 0)
		s.noJob(s.popText(sound, "sound", nil))
		id := s.text(u, `{"prompt":"x"}`)
		s.fault("text", broken, s.job(s.popText(broken, "broken", nil)))
		s.noJob(s.popText(broken, "broken", nil))
		s.deliverText(sound, s.job(s.popText(sound, "sound", nil)), "done")
		s.shows(s.status("text", id), fields{"done": true, "faulted": false, "finished": 1})

		t.Log("nobody else is there any more: the request is not kept waiting for nobody")
		time.Sleep(10 * time.Minute)
		s.text(u, `{"prompt":"y"}`)
		s.fault("text", broken, s.job(s.popText(broken, "broken", nil)))
		s.job(s.popText(broken, "broken", nil))
	})
}

func TestDispatch15BatchesEndJobByJob(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 15)
	s := open(t)
	u, w, other := s.user(100, 0), s.user(0, 0), s.user(0, 0)
	id := s.text(u, `{"prompt":"x","params":{"n":2}}`)
	ids := s.popText(w, "w", fields{"amount": 2}).strings("ids")
	s.shows(s.fault("text", w, ids[0]), fields{"reward": 0})
	s.shows(s.status("text", id), fields{"waiting": 1, "processing": 1})
	if got := s.deliverText(w, ids[1], "an answer").number("reward"); got <= 0 {
		t.Errorf("reward %v", got)
	}
	again := fields{"id": ids[1], "generation": "an answer"}
	s.refused(s.call("POST", "/generate/text/submit", w, again), http.StatusBadRequest, "DuplicateGen")
	worker := s.want(s.get("/workers/name/w", account{}), http.StatusOK).str("id")
	s.want(s.call("PUT", "/workers/"+worker, w, `{"maintenance":true}`), http.StatusOK)
	s.refused(s.call("POST", "/generate/text/submit", w, again), http.StatusBadRequest, "DuplicateGen") // better: whatever the worker's state
	s.refused(s.call("POST", "/generate/text/submit", other, again), http.StatusForbidden, "WrongCredentials")
	s.shows(s.status("text", id), fields{"finished": 1, "waiting": 1, "restarted": 1})
}

func TestDispatch16PausedWorkersGetDecoys(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 16)
	for _, kind := range []string{"image", "text"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			pop := s.popImage
			if kind == "text" {
				pop = s.popText
			}
			u, w, mod := s.user(100, 0), s.user(100, 0), s.user(0, horde.Moderator)
			s.noJob(pop(w, "w", nil))
			worker := s.want(s.get("/workers/name/w", account{}), http.StatusOK).str("id")
			s.refused(s.call("PUT", "/workers/"+worker, w, `{"paused":true}`), http.StatusForbidden, "NotModerator")
			s.want(s.call("PUT", "/workers/"+worker, mod, `{"paused":true}`), http.StatusOK)
			model := map[string]string{"image": "Deliberate", "text": "test/7B"}[kind]
			id := s.submit(kind, u, fields{"prompt": "x", "models": []string{model}, "params": fields{"n": 2}})
			before := []balance{s.balance(u), s.balance(w)}
			p := pop(w, "w", fields{"amount": 2})
			job := s.job(p)
			if p.number("ttl") != 150 || len(p.list("ids")) != 1 {
				t.Errorf("the decoy is %s", p.text)
			}
			s.shows(s.status(kind, id), fields{"waiting": 2, "processing": 0})
			next := s.noJob(pop(w, "w", nil))
			if kind == "text" && fmt.Sprint(next.at("skipped")) != "map[]" {
				t.Errorf("skipped gives the decoy away: %s", next.text)
			}
			if kind == "image" {
				s.skips(next, nil)
				s.upload(p.str("r2_upload"), "image")
			}
			submit := fields{"id": job, "generation": "R2", "seed": 1}
			if got := s.want(s.call("POST", generate(kind)+"/submit", w, submit), http.StatusOK).number("reward"); got <= 0 {
				t.Errorf("reward %v", got)
			}
			s.refused(s.call("POST", generate(kind)+"/submit", w, submit), http.StatusBadRequest, "DuplicateGen")
			if after := []balance{s.balance(u), s.balance(w)}; !slices.Equal(before, after) {
				t.Errorf("the decoy moved kudos: %v, then %v", before, after)
			}
			s.shows(s.status(kind, id), fields{"waiting": 2, "processing": 0, "finished": 0, "restarted": 0})
			if got := s.status(kind, id).list("generations"); len(got) != 0 {
				t.Errorf("the client sees the decoy: %v", got)
			}
			s.shows(s.get("/status/performance", account{}), fields{"past_minute_megapixelsteps": 0, "past_minute_tokens": 0})
			// Its own requests are real.
			own := s.submit(kind, w, `{"prompt":"x","models":["Deliberate","test/7B"]}`)
			s.job(pop(w, "w", nil))
			s.shows(s.status(kind, own), fields{"processing": 1})
		})
	}
}

func TestDispatch16DecoysThatTimeOutCountForNothing(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, w, mod := s.user(100, 0), s.user(0, 0), s.user(0, horde.Moderator)
		s.noJob(s.popText(w, "w", nil))
		worker := s.get("/workers/name/w", account{}).str("id")
		s.want(s.call("PUT", "/workers/"+worker, mod, `{"paused":true}`), http.StatusOK)
		id := s.text(u, `{"prompt":"x"}`)
		s.job(s.popText(w, "w", nil))
		time.Sleep(5 * time.Minute)
		s.shows(s.status("text", id), fields{"waiting": 1, "processing": 0, "restarted": 0})
	})
}

func TestDispatch17UnreasonablyFastWorkersArePaused(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 17)
	inBubble(t, func(t *testing.T, s *server) {
		u, w, mod := s.user(100000, horde.Trusted), s.user(0, 0), s.user(0, horde.Moderator)
		for i := 1; i <= 5; i++ {
			s.image(u, fields{"prompt": "x", "models": []string{"Deliberate"}, "params": fields{"width": 1024, "height": 1024, "steps": 40}})
			p := s.popImage(w, "w", nil)
			time.Sleep(2 * time.Second) // 41.9 megapixelsteps in 2 s
			s.deliver(w, p)
			s.shows(s.want(s.get("/workers/name/w", mod), http.StatusOK), fields{"paused": i == 5, "suspicious": i})
		}
	})
}

func TestDispatch18WorkersThatLoseJobsGoIntoMaintenance(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 18)
	s := open(t)
	u, w, mod := s.user(100, 0), s.user(0, 0), s.user(0, horde.Moderator)
	for i := range 21 {
		if i%2 == 0 {
			s.text(u, `{"prompt":"x","params":{"n":2}}`)
		}
		s.fault("text", w, s.job(s.popText(w, "w", nil)))
		s.shows(s.get("/workers/name/w", mod), fields{"uncompleted_jobs": i + 1, "maintenance_mode": i == 20})
	}
	s.shows(s.get("/workers/name/w", mod), fields{"suspicious": 1})
	a := s.refused(s.tryPopText(w, "w", nil), http.StatusForbidden, "WorkerMaintenance")
	if !strings.Contains(strings.ToLower(a.str("message")), "maintenance mode") {
		t.Errorf("the message lacks what workers look for: %s", a.text)
	}
	events := s.want(s.get("/operations/moderation/worker_suspicion_events", mod), http.StatusOK)
	if list := events.list("events"); len(list) != 1 || events.str("events", 0, "reason") != "TOO_MANY_JOBS_ABORTED" {
		t.Errorf("the worker is suspected of %s", events.text)
	}
	// The count starts anew.
	worker := s.get("/workers/name/w", mod).str("id")
	s.want(s.call("PUT", "/workers/"+worker, w, `{"maintenance":false}`), http.StatusOK)
	s.text(u, `{"prompt":"x"}`)
	s.fault("text", w, s.job(s.popText(w, "w", nil)))
	s.shows(s.get("/workers/name/w", mod), fields{"uncompleted_jobs": 22, "maintenance_mode": false})
}

func TestDispatch19And20UptimeAndSpeed(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 19)
	inBubble(t, func(t *testing.T, s *server) {
		w := s.user(0, horde.Trusted)
		pop := func(gap int) float64 {
			time.Sleep(time.Duration(gap) * time.Second)
			s.popImage(w, "w", nil)
			return s.get("/workers/name/w", account{}).number("uptime")
		}
		var got []float64
		for _, gap := range []int{0, 282, 280, 41} {
			got = append(got, pop(gap))
		}
		if want := []float64{0, 282, 562, 603}; !slices.Equal(got, want) {
			t.Errorf("uptime %v, want %v", got, want)
		}
		// One model and LoRAs: 50 + 2 + 30.
		if b := s.balance(w); b.Spendable != 8200 {
			t.Errorf("the owner has %v, want 82", b)
		}
		s.shows(s.get("/workers/name/w", account{}), fields{"kudos_details": map[string]any{"generated": 0, "uptime": 82}})
		if got := pop(301); got != 603 {
			t.Errorf("after a gap of 301 s the uptime is %v, want 603", got)
		}
		for range 2 {
			pop(290)
		}
		if b := s.balance(w); b.Spendable != 8200 { // 580 since the gap
			t.Errorf("the gap did not lose the progress: %v", b)
		}
		pop(29) // not a full check-in
		pop(1)
		if b := s.balance(w); b.Spendable != 16400 {
			t.Errorf("the owner has %v, want 164", b)
		}
	})
}

func TestDispatch20SpeedIsTheMeanOfTheLast20(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 20)
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(100000, 0), s.user(0, horde.Trusted)
		// 80 tokens in 4 s and in 2 s.
		for _, d := range []time.Duration{4, 2} {
			s.text(u, `{"prompt":"x"}`)
			id := s.job(s.popText(w, "w", nil))
			time.Sleep(d * time.Second)
			s.deliverText(w, id, strings.Repeat("word", 80))
		}
		time.Sleep(31 * time.Second)
		s.shows(s.get("/workers/name/w", account{}), fields{"performance": "30.0 tokens per second"})
	})
}

func TestDispatch21FastWorkersOnly(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 21)
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(100000, 0), s.user(0, horde.Trusted)
		s.text(u, `{"prompt":"fast please","models":["test/70B"],"slow_workers":false}`)
		s.noJob(s.popText(w, "new", fields{"models": []string{"test/70B"}})) // its baseline is 1 token a second
		for _, c := range []struct {
			worker, model string
			seconds       float64 // for 80 tokens
			job           bool
		}{
			{"a", "test/70B", 80 / 2.9, false}, {"b", "test/70B", 80 / 3.0, true}, {"c", "unknown", 80 / 4.9, false}, {"d", "unknown", 16, true},
		} {
			s.text(u, fields{"prompt": "x", "workers": []string{s.workerID(w, c.worker)}})
			s.text(u, fields{"prompt": "fast please", "models": []string{c.model}, "slow_workers": false})
			p := s.popText(w, c.worker, fields{"models": []string{c.model}})
			if p.str("payload", "prompt") != "x" {
				t.Fatalf("worker %s got a fast one: %s", c.worker, p.text)
			}
			time.Sleep(time.Duration(c.seconds*1000) * time.Millisecond)
			s.deliverText(w, s.job(p), strings.Repeat("word", 80))
			time.Sleep(31 * time.Second)
			p = s.popText(w, c.worker, fields{"models": []string{c.model}})
			if got := p.at("id") != nil; got != c.job {
				t.Errorf("worker %s at %s: job %v, want %v; %s", c.worker, c.model, got, c.job, s.get("/workers/name/"+c.worker, account{}).text)
			}
		}
	})
}

// workerID is the id of a text worker, which is made if need be.
func (s *server) workerID(owner account, name string) string {
	s.t.Helper()
	if a := s.get("/workers/name/"+url.PathEscape(name), account{}); a.status == http.StatusOK {
		return a.str("id")
	}
	s.noJob(s.popText(owner, name, fields{"models": []string{"nobody asks for this"}, "max_length": 16}))
	return s.want(s.get("/workers/name/"+url.PathEscape(name), account{}), http.StatusOK).str("id")
}

func TestDispatch23WorkersPerUser(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 23)
	s := open(t)
	untrusted, trusted := s.user(0, 0), s.user(0, horde.Trusted)
	for i := range 4 {
		s.popText(untrusted, fmt.Sprint("u", i), nil)
	}
	s.refused(s.tryPopText(untrusted, "u4", nil), http.StatusForbidden, "TooManyWorkers")
	s.refused(s.tryPopImage(untrusted, "u5", nil), http.StatusForbidden, "TooManyWorkers")
	s.popText(untrusted, "u3", nil)
	for i := range 21 {
		s.popText(trusted, fmt.Sprint("t", i), nil)
	}
	s.refused(s.tryPopText(trusted, "t21", nil), http.StatusForbidden, "TooManyWorkersTrusted")
}

func TestDispatch24ASlotIsHandedOutOnce(t *testing.T) {
	t.Parallel()
	example(t, "dispatch", 24)
	s := open(t)
	u, w := s.user(100, 0), s.user(0, horde.Trusted)
	wanted := map[string]int{}
	for i := range 30 {
		n := 1 + i%3
		if len(wanted) >= 12 {
			u = s.user(100, 0)
		}
		wanted[s.text(u, fields{"prompt": "x", "params": fields{"n": n}})] = n
	}
	var mu sync.Mutex
	seen := map[string]bool{}
	var crowd sync.WaitGroup
	for i := range 8 {
		crowd.Add(1)
		go func() {
			defer crowd.Done()
			for misses := 0; misses < 3; {
				a := s.popText(w, fmt.Sprint("w", i), fields{"amount": 2})
				if a.at("id") == nil {
					misses++
					continue
				}
				mu.Lock()
				for _, id := range a.strings("ids") {
					if seen[id] {
						t.Errorf("job %s was handed out twice", id)
					}
					seen[id] = true
				}
				mu.Unlock()
			}
		}()
	}
	crowd.Wait()
	total := 0
	for id, n := range wanted {
		s.shows(s.status("text", id), fields{"processing": n, "waiting": 0})
		total += n
	}
	if len(seen) != total {
		t.Errorf("%d jobs were handed out, want %d", len(seen), total)
	}
}

// The checks of a pop, in the order of the dispatch chapter, 5.
func TestPopsAreRefusedInOrder(t *testing.T) {
	t.Parallel()
	s := open(t)
	mod, w, other := s.user(0, horde.Moderator), s.user(0, 0), s.user(0, 0)
	flagged, deleted := s.user(0, 0), s.user(0, 0)
	s.want(s.call("PUT", flagged.path(), mod, `{"flagged":true}`), http.StatusOK)
	s.want(s.call("DELETE", deleted.path(), deleted, nil), http.StatusOK)
	s.popImage(w, "dreamer", nil)
	s.popText(w, "scribe", nil)
	bogus := account{0, "bogus"}
	for _, c := range []struct {
		name   string
		as     account
		worker string
		more   fields
		status int
		rc     string
	}{
		{"a friend without a number, before the key", bogus, "a", fields{"priority_usernames": []string{"nohash"}}, 400, "InvalidPriorityUsername"},
		{"an unknown key", bogus, "a", nil, 401, "InvalidAPIKey"},
		{"a deleted owner", deleted, "a", nil, 403, "DeletedUser"},
		{"a flagged owner", flagged, "a", nil, 403, "WorkerFlaggedMaintenance"},
		{"anonymous", anonymous, "a", nil, 403, "AnonForbiddenWorker"},
		{"a name of another kind", w, "scribe", nil, 400, "PolymorphicNameConflict"},
		{"a name of another kind and owner", other, "scribe", nil, 400, "PolymorphicNameConflict"},
		{"a profane name", w, "fuck you", nil, 400, "ProfaneWorkerName"},
		{"a profane agent", w, "a", fields{"bridge_agent": "fuck this:1:x"}, 400, "ProfaneBridgeAgent"},
		{"a name with colab", w, "my Colab", nil, 400, "BadRequest"},
		{"a name with tpu", w, "TPU v4", nil, 400, "BadRequest"},
		{"a name with google", w, "xGooglex", nil, 400, "BadRequest"},
		{"a name of 101 characters", w, strings.Repeat("n", 101), nil, 400, "TooLongWorkerName"},
		{"somebody else's worker", other, "dreamer", nil, 403, "WrongCredentials"},
		{"a friend without digits", w, "dreamer", fields{"priority_usernames": []string{"a#"}}, 400, "InvalidPriorityUsername"},
		{"a friend whose number is none", w, "dreamer", fields{"priority_usernames": []string{"a#b"}}, 400, "InvalidPriorityUsername"},
		{"no model that is known", w, "new", fields{"models": []string{"who knows"}}, 400, "BadRequest"},
		{"no model", w, "new", fields{"models": []string{}}, 400, "BadRequest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			a := s.refused(s.tryPopImage(c.as, c.worker, c.more), c.status, c.rc)
			if strings.HasPrefix(c.name, "no model") && !strings.Contains(a.str("message"), "we cannot accept workers serving") {
				t.Errorf("the message lacks what workers look for: %s", a.text)
			}
		})
	}
	s.popImage(w, "dreamer", fields{"priority_usernames": []string{"gone#99999", "huge#99999999999999999999"}})
	t.Run("invite-only mode", func(t *testing.T) {
		s := s.in(t)
		s.want(s.call("PUT", "/status/modes", mod, `{"invite_only_mode":true}`), http.StatusOK)
		s.refused(s.tryPopImage(other, "newcomer", nil), http.StatusForbidden, "WorkerInviteOnly")
		s.popImage(w, "dreamer", nil)
		s.want(s.call("PUT", other.path(), mod, `{"worker_invited":1}`), http.StatusOK)
		s.popImage(other, "newcomer", nil)
	})
	a := s.want(s.get("/workers", account{}), http.StatusOK)
	if len(a.list()) != 3 {
		t.Errorf("refused pops have left workers: %s", a.text)
	}
}

func TestWorkersInMaintenanceServeTheirOwner(t *testing.T) {
	t.Parallel()
	s := open(t)
	u, w := s.user(100, 0), s.user(100, 0)
	s.noJob(s.popImage(w, "w", nil))
	worker := s.get("/workers/name/w", account{}).str("id")
	s.shows(s.want(s.call("PUT", "/workers/"+worker, w, `{"maintenance":true,"maintenance_msg":"back at <b>noon</b>"}`), http.StatusOK), fields{"maintenance": true})
	s.image(u, `{"prompt":"x","models":["Deliberate"]}`)
	own := s.image(w, `{"prompt":"x","models":["Deliberate"]}`)
	s.job(s.popImage(w, "w", nil))
	s.shows(s.check(own), fields{"processing": 1})
	a := s.refused(s.tryPopImage(w, "w", nil), http.StatusForbidden, "WorkerMaintenance")
	if !strings.Contains(a.str("message"), "noon") {
		t.Errorf("the owner's message is lost: %s", a.text)
	}
	s.want(s.call("PUT", "/workers/"+worker, w, `{"maintenance":false}`), http.StatusOK)
	s.want(s.call("PUT", "/workers/"+worker, w, `{"maintenance":true}`), http.StatusOK)
	s.want(s.call("PUT", "/workers/"+worker, w, `{"maintenance":false}`), http.StatusOK)
	s.job(s.popImage(w, "w", nil))
}

// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/kudos"
)

// contracted is what a worker adds to its pop that keeps the promises on samplers.
var contracted = fields{"sampler_execution_contract_version": "1.0"}

// fox is a request for an image with these params.
func fox(params fields) fields {
	return fields{"prompt": "a fox", "models": []string{"Deliberate"}, "params": params}
}

func TestWhatGoesWithASampler(t *testing.T) {
	t.Parallel()
	example(t, "newer", 3)
	s := open(t)
	asker := s.user(1e6, 0)
	flux := []string{"Flux.1-Schnell fp8 (Compact)"}
	for _, c := range []struct {
		name    string
		params  fields
		models  []string
		refusal string // what the message names; empty for accepted
	}{
		{"example 3: a setting of another sampler", fields{"sampler_name": "k_euler", "sampler_eta": 1}, nil, "sampler_eta"},
		{"example 3: a pairing by karras", fields{"sampler_name": "dpmpp_3m_sde", "karras": false}, nil, "scheduler"},
		{"example 3: the scheduler wins", fields{"sampler_name": "dpmpp_3m_sde", "karras": false, "scheduler": "karras"}, nil, ""},
		{"no scheduler at all is karras", fields{"sampler_name": "dpmpp_3m_sde"}, nil, ""},
		{"a pairing by name", fields{"sampler_name": "dpmpp_3m_sde", "scheduler": "normal"}, nil, "scheduler"},
		{"an old sampler with old fields", fields{"sampler_name": "k_euler", "karras": false}, nil, ""},
		{"churn", fields{"sampler_name": "k_heun", "sampler_s_churn": 100, "sampler_s_tmin": 0, "sampler_s_tmax": 1e9, "sampler_s_noise": 100}, nil, ""},
		{"too much churn", fields{"sampler_name": "k_heun", "sampler_s_churn": 100.5}, nil, "sampler_s_churn"},
		{"eta of an ancestral sampler", fields{"sampler_name": "k_euler_a", "sampler_eta": 100, "sampler_s_noise": 0}, nil, ""},
		{"eta of the default sampler", fields{"sampler_eta": 1}, nil, ""},
		{"a narrow eta", fields{"sampler_name": "euler_ancestral_cfg_pp", "sampler_eta": 1, "sampler_s_noise": 10}, nil, ""},
		{"above a narrow eta", fields{"sampler_name": "euler_ancestral_cfg_pp", "sampler_eta": 1.5}, nil, "sampler_eta"},
		{"noise alone", fields{"sampler_name": "lcm", "sampler_s_noise": 1}, nil, ""},
		{"order", fields{"sampler_name": "k_lms", "sampler_order": 100}, nil, ""},
		{"too high an order", fields{"sampler_name": "k_lms", "sampler_order": 101}, nil, "sampler_order"},
		{"too low an order", fields{"sampler_name": "deis", "sampler_order": 1}, nil, "sampler_order"},
		{"order of the adaptive one", fields{"sampler_name": "k_dpm_adaptive", "sampler_order": 2, "sampler_eta": 0}, nil, ""},
		{"order where there is none", fields{"sampler_name": "DDIM", "sampler_order": 2}, nil, "sampler_order"},
		{"solver type", fields{"sampler_name": "dpmpp_2m_sde", "sampler_solver_type": "heun"}, nil, ""},
		{"a solver type of another", fields{"sampler_name": "dpmpp_2m_sde", "sampler_solver_type": "phi_1"}, nil, "sampler_solver_type"},
		{"phi", fields{"sampler_name": "exp_heun_2_x0", "sampler_solver_type": "phi_2"}, nil, ""},
		{"phi and nothing else", fields{"sampler_name": "exp_heun_2_x0", "sampler_eta": 1}, nil, "sampler_eta"},
		{"phi with eta", fields{"sampler_name": "seeds_2", "sampler_solver_type": "phi_1", "sampler_eta": 1}, nil, ""},
		{"a scheduler for some models", fields{"scheduler": "align_your_steps"}, nil, ""},
		{"a scheduler for other models", fields{"scheduler": "gits"}, flux, "scheduler"},
		{"a scheduler for some models with any model", fields{"scheduler": "gits"}, []string{}, "scheduler"},
		{"a scheduler for all", fields{"scheduler": "beta"}, flux, ""},
		{"flow shift", fields{"flow_shift": 3}, flux, ""},
		{"flow shift without a flow", fields{"flow_shift": 3}, nil, "flow_shift"},
	} {
		t.Run(c.name, func(t *testing.T) {
			body := fox(c.params)
			if c.models != nil {
				body["models"] = c.models
			}
			s := s.in(t)
			a := s.call("POST", "/generate/async", asker, body.with(fields{"dry_run": true}))
			if c.refusal == "" {
				s.want(a, 200)
			} else if s.refused(a, 400, "UnsupportedSampler"); !strings.HasPrefix(a.str("message"), c.refusal+":") {
				t.Errorf("the message is %q, want one that names %s", a.str("message"), c.refusal)
			}
		})
	}
	for field, value := range map[string]any{
		"scheduler": "turbo", "sampler_name": "PLMS", "sampler_eta": -1, "sampler_order": 0, "sampler_solver_type": "rk4", "flow_shift": -1,
		"control_strength": 3.5, "post_processing_order": "any", "control_type": "tiles",
	} {
		a := s.call("POST", "/generate/async", asker, fox(fields{field: value}))
		s.invalid(a, "params."+field)
	}
}

func TestOldWorkersGetNoNewPayloads(t *testing.T) {
	t.Parallel()
	s := open(t)
	asker, owner := s.user(1e6, 0), s.user(0, 0)
	for _, c := range []struct {
		name     string
		params   fields
		newer    bool // only who knows the newer parameters gets it
		payload  fields
		withheld []string // keys that an older worker does not get
	}{
		{"nothing new", fields{}, false, fields{"karras": true}, []string{"scheduler"}},
		{"karras by name", fields{"scheduler": "karras", "karras": false}, false, fields{"karras": true}, []string{"scheduler"}},
		{"normal by name", fields{"scheduler": "normal", "karras": true}, false, fields{"karras": false}, []string{"scheduler"}},
		{"the default order by name", fields{"post_processing_order": "facefixers_first"}, false, fields{}, []string{"post_processing_order"}},
		{"another scheduler", fields{"scheduler": "beta", "karras": true}, true, fields{"scheduler": "beta", "karras": false}, nil},
		{"a newer sampler", fields{"sampler_name": "uni_pc"}, true, fields{"sampler_name": "uni_pc"}, nil},
		{"a setting", fields{"sampler_name": "k_euler", "sampler_s_churn": 0.5}, true, fields{"sampler_s_churn": 0.5}, nil},
		{"an order of post-processing", fields{"post_processing_order": "upscalers_first"}, true,
			fields{"post_processing_order": "upscalers_first"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.image(asker, fox(c.params))
			old := s.popImage(owner, "old", nil)
			if c.newer {
				s.noJob(old)
				if n := old.number("skipped", "bridge_version"); n < 1 {
					t.Errorf("bridge_version of skipped is %v, want some", n)
				}
				job := s.popImage(owner, "new", contracted)
				s.job(job)
				for k, v := range c.payload {
					if got := job.at("payload", k); got != v && fmt.Sprint(got) != fmt.Sprint(v) {
						t.Errorf("payload.%s is %v, want %v", k, got, v)
					}
				}
				s.deliver(owner, job)
				return
			}
			s.job(old)
			for k, v := range c.payload {
				if got := old.at("payload", k); got != v {
					t.Errorf("payload.%s is %v, want %v", k, got, v)
				}
			}
			for _, k := range c.withheld {
				if _, there := old.at("payload").(document)[k]; there {
					t.Errorf("an old worker got %s", k)
				}
			}
			s.deliver(owner, old)
		})
	}
}

func TestALimitOfStepsCountsWork(t *testing.T) {
	t.Parallel()
	s := open(t)
	asker, owner := s.user(1e6, 0), s.user(0, 0)
	limited := fields{"limit_max_steps": true} // 30 steps of this model, the mean of 20 and 40
	for _, c := range []struct {
		name     string
		params   fields
		old, new bool // who takes it
	}{
		{"as many steps", fields{"sampler_name": "k_euler", "steps": 30}, true, true},
		{"two units a step", fields{"sampler_name": "k_heun", "steps": 16}, false, false},
		{"two units a step within", fields{"sampler_name": "k_heun", "steps": 15}, true, true},
		{"three units a step", fields{"sampler_name": "seeds_3", "steps": 11}, false, false},
		{"three units a step within", fields{"sampler_name": "seeds_3", "steps": 10}, false, true},
		{"adaptive, bounded by the contract", fields{"sampler_name": "k_dpm_adaptive", "steps": 8}, false, true}, // 10 times 3
		{"adaptive, of a lower order", fields{"sampler_name": "k_dpm_adaptive", "steps": 12, "sampler_order": 2}, false, true},
		{"adaptive, beyond", fields{"sampler_name": "k_dpm_adaptive", "steps": 9}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			id := s.image(asker, fox(c.params))
			for _, w := range []struct {
				name  string
				more  fields
				takes bool
			}{{"old", limited, c.old}, {"new", limited.with(contracted), c.new}} {
				a := s.popImage(owner, w.name, w.more)
				if !w.takes {
					s.noJob(a)
					if w.name == "new" && a.number("skipped", "step_count") != 1 {
						t.Errorf("skipped is %v, want one for step_count", a.at("skipped"))
					}
					continue
				}
				s.job(a)
				s.fault("image", owner, a.str("id"))
			}
			s.want(s.call("DELETE", "/generate/status/"+id, asker, nil), 200)
		})
	}
}

func TestNewerControlTypes(t *testing.T) {
	t.Parallel()
	s := open(t)
	asker, owner := s.user(1e6, 0), s.user(0, 0)
	body := fox(fields{"control_type": "mlsd", "control_strength": 0.5, "steps": 10}).with(fields{"source_image": small})
	s.image(asker, body)
	with := fields{"allow_controlnet": true}.with(contracted)
	a := s.noJob(s.popImage(owner, "a", with))
	if n := a.number("skipped", "controlnet"); n != 1 {
		t.Errorf("controlnet of skipped is %v, want 1", n)
	}
	job := s.popImage(owner, "b", with.with(fields{"allow_extended_controlnet": true}))
	s.job(job)
	if job.at("payload", "control_type") != "mlsd" || job.number("payload", "control_strength") != 0.5 {
		t.Errorf("the payload is %v", job.at("payload"))
	}
	price := func(control string) float64 {
		p := fox(fields{"control_type": control, "steps": 10}).with(fields{"source_image": small, "dry_run": true})
		return s.want(s.call("POST", "/generate/async", asker, p), 200).number("kudos")
	}
	if a, b := price("mlsd"), price("hough"); a != b {
		t.Errorf("mlsd costs %v, and hough %v", a, b)
	}
}

func TestSamplerConstraintsAreWhatIsChecked(t *testing.T) {
	t.Parallel()
	s := open(t)
	asker := s.user(1e6, 0)
	a := s.want(s.get("/status/sampler_constraints", account{}), 200)
	if got := a.header.Get("Cache-Control"); got != "public, max-age=300" {
		t.Errorf("Cache-Control is %q", got)
	}
	samplers := a.at("samplers").(document)
	if len(samplers) != 41 || a.str("schema_version") != "1.0" {
		t.Errorf("%d samplers, want 41; version %q", len(samplers), a.str("schema_version"))
	}
	try := func(params fields) answer {
		return s.call("POST", "/generate/async", asker, fox(params).with(fields{"dry_run": true}))
	}
	for name, r := range samplers {
		record := r.(document)
		if record["name"] != name {
			t.Errorf("%s is called %v", name, record["name"])
		}
		s.want(try(fields{"sampler_name": name, "scheduler": "beta"}), 200)
		settings := record["accepted_settings"].(document)
		for _, field := range strings.Fields("sampler_eta sampler_s_noise sampler_s_churn sampler_s_tmin sampler_s_tmax sampler_order") {
			bounds, accepted := settings[field].(document)
			if !accepted {
				s.refused(try(fields{"sampler_name": name, "scheduler": "beta", field: 2}), 400, "UnsupportedSampler")
				continue
			}
			s.want(try(fields{"sampler_name": name, "scheduler": "beta", field: bounds["minimum"]}), 200)
			if most, ok := bounds["maximum"].(float64); ok {
				s.want(try(fields{"sampler_name": name, "scheduler": "beta", field: most}), 200)
				s.refused(try(fields{"sampler_name": name, "scheduler": "beta", field: most + 1}), 400, "UnsupportedSampler")
			}
		}
		types := fmt.Sprint(record["solver_type_choices"])
		for _, solver := range strings.Fields("midpoint heun phi_1 phi_2") {
			got := try(fields{"sampler_name": name, "scheduler": "beta", "sampler_solver_type": solver})
			if strings.Contains(types, solver) {
				s.want(got, 200)
			} else {
				s.refused(got, 400, "UnsupportedSampler")
			}
		}
	}
	for _, p := range a.list("hard_constraints", "rejected_sampler_scheduler_pairings") {
		s.refused(try(fields{"sampler_name": p.(document)["sampler"], "scheduler": p.(document)["scheduler"]}), 400, "UnsupportedSampler")
	}
}

func TestControlStrengthNeedsAControlType(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.refused(s.call("POST", "/generate/async", s.user(1e6, 0), fox(fields{"control_strength": 1})), 400, "ControlNetInvalidPayload")
}

func TestRecordedSubmissions(t *testing.T) {
	t.Parallel()
	example(t, "newer", 4)
	inBubble(t, func(t *testing.T, s *server) {
		asker, other := s.user(1e6, 0), s.user(0, 0)
		recorded := func(kind, id string, as account) answer {
			return s.get(generate(kind)+"/request/"+id, as)
		}
		// Worked example 4.
		id := s.image(asker, `{"prompt":"a fox","params":{"steps":30,"n":1,"seed":"7"},"models":["Deliberate"],"nsfw":false,"r2":true,"slow_workers":true,
			"dry_run":false,"allow_downgrade":true,"replacement_filter":true,"unknown":1}`)
		want := `{"models":["Deliberate"],"nsfw":false,"params":{"n":1,"seed":"7","steps":30},"prompt":"a fox","r2":true,"slow_workers":true}`
		sameJSON(t, s.want(recorded("image", id, asker), 200).text, want)
		s.refused(recorded("image", id, other), 403, "NotOwner")
		s.refused(recorded("image", id, anonymous), 403, "AnonForbidden")
		s.refused(recorded("image", id, account{key: "unknown-key"}), 401, "InvalidAPIKey")
		s.refused(recorded("text", id, asker), 404, "RequestNotFound")
		s.refused(recorded("image", "nonsense", asker), 404, "RequestNotFound")
		s.want(recorded("image", id, account{}), 400)

		// All that a submission can hold, and the images by their names alone.
		full := s.image(asker, fields{
			"prompt": "a fox", "models": []string{"Deliberate"}, "workers": []string{}, "worker_blacklist": false, "trusted_workers": false,
			"validated_backends": true, "extra_slow_workers": true, "disable_batching": false, "censor_nsfw": true, "shared": false,
			"webhook": "https://example.org/hook", "source_image": small, "source_processing": "img2img",
			"params": fields{"loras": []any{fields{"name": "1", "is_version": true}}, "tis": []any{}, "cfg_scale": 7.5, "scheduler": "karras",
				"sampler_name": "k_euler_a", "sampler_eta": 0.5, "karras": false, "post_processing": []string{"GFPGAN"}, "width": 128},
		})
		a := s.want(recorded("image", full, asker), 200)
		if name := a.str("source_image"); !strings.HasSuffix(name, "_src.webp") || strings.Contains(name, full) || strings.Contains(name, "://") {
			t.Errorf("source_image is %q, want the name of the object", name)
		}
		rest := a.value.(document)
		delete(rest, "source_image")
		sameJSON(t, encode(t, rest), `{"prompt":"a fox","models":["Deliberate"],"workers":[],"worker_blacklist":false,"trusted_workers":false,
			"validated_backends":true,"extra_slow_workers":true,"disable_batching":false,"censor_nsfw":true,"shared":false,
			"webhook":"https://example.org/hook","source_processing":"img2img","params":{"loras":[{"name":"1","is_version":true}],"tis":[],
			"cfg_scale":7.5,"scheduler":"karras","sampler_name":"k_euler_a","sampler_eta":0.5,"karras":false,"post_processing":["GFPGAN"],"width":128}}`)

		text := s.text(asker, `{"prompt":"once","params":{"max_length":20,"top_k":0,"stop_sequence":["."]},"models":["test/7B"],"softprompt":"x"}`)
		sameJSON(t, s.want(recorded("text", text, asker), 200).text,
			`{"prompt":"once","params":{"max_length":20,"top_k":0,"stop_sequence":["."]},"models":["test/7B"],"softprompt":"x"}`)

		// It lives as long as the request, restarts included.
		s.away(10 * time.Minute)
		sameJSON(t, s.want(recorded("image", id, asker), 200).text, want)
		s.away(11 * time.Minute)
		time.Sleep(time.Minute)
		s.refused(recorded("image", id, asker), 404, "RequestNotFound")
	})
}

// encode is a value as JSON.
func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// sameJSON compares two JSON texts by what they mean.
func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(got), &g); err != nil || !reflect.DeepEqual(g, w) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestProgressTellsWhoCanServe(t *testing.T) {
	t.Parallel()
	example(t, "newer", 1)
	inBubble(t, func(t *testing.T, s *server) {
		asker, owner := s.user(1e6, 0), s.user(0, horde.Trusted)
		for i, w := range []struct {
			name string
			more fields
		}{
			{"able", fields{"threads": 2}}, {"able too", fields{"threads": 3}}, {"for small images", fields{"max_pixels": 64 * 64}},
			{"of another model", fields{"models": []string{"Dreamshaper"}}}, {"an old program", fields{"bridge_agent": "AI Horde Worker:7:x"}},
			{"in maintenance", nil},
		} {
			s.noJob(s.popImage(owner, fmt.Sprint(w.name, i), w.more))
		}
		sick := s.get("/workers/name/in%20maintenance5", account{})
		s.want(s.call("PUT", "/workers/"+sick.str("id"), owner, fields{"maintenance": true}), 200)
		time.Sleep(3 * time.Second)
		id := s.image(asker, fox(fields{"width": 512}))
		s.shows(s.check(id), fields{"waiting": 1, "eligible_workers": 2, "eligible_worker_threads": 5, "might_stall": false})
		s.shows(s.status("image", id), fields{"eligible_workers": 2, "eligible_worker_threads": 5})
		first := s.image(s.user(1e7, 0), fox(fields{}))
		s.shows(s.check(first), fields{"eligible_workers": 2})
		job := s.popImage(owner, "able0", nil)
		s.deliver(owner, job)
		s.shows(s.check(first), fields{"done": true, "eligible_workers": 0, "eligible_worker_threads": 0, "might_stall": false})

		// Ten minutes in which more came before it than was done.
		for range 11 {
			s.image(s.user(1e7, 0), fox(fields{}))
			s.image(s.user(1e7, 0), fox(fields{}))
			s.deliver(owner, s.popImage(owner, "able0", nil))
			s.popImage(owner, "able too1", fields{"models": []string{"Dreamshaper"}})
			s.check(id)
			time.Sleep(time.Minute)
		}
		s.shows(s.check(id), fields{"waiting": 1, "might_stall": true})
	})
}

func TestNewerWorkersAreToldWhatIsShared(t *testing.T) {
	t.Parallel()
	s := open(t)
	asker, owner := s.user(1e6, 0), s.user(0, 0)
	for _, shared := range []any{true, false} {
		for _, worker := range []fields{contracted, nil} {
			s.image(asker, fox(fields{}).with(fields{"shared": shared}))
			job := s.popImage(owner, "dreamer", worker)
			if s.job(job); worker == nil && job.has("shared") || worker != nil && job.at("shared") != shared {
				t.Errorf("shared is %v for a worker that tells %v, want %v", job.at("shared"), worker, shared)
			}
			s.deliver(owner, job)
		}
	}
}

func TestTemplateFieldsNeedAStyle(t *testing.T) {
	t.Parallel()
	s := open(t)
	asker := s.user(1e6, 0)
	for _, path := range []string{"/generate/async", "/generate/text/async"} {
		try := func(fields any) answer {
			return s.call("POST", path, asker, map[string]any{"prompt": "a fox", "template_fields": fields})
		}
		s.refused(try(fields{"caption": "in snow"}), 400, "TemplateFieldsRequireStyle")
		s.refused(try(fields{"caption": strings.Repeat("snow ", 7501)}), 400, "InvalidPromptSize")
		s.refused(try(fields{"a": strings.Repeat("snow ", 4000), "b": strings.Repeat("snow ", 4000)}), 400, "InvalidPromptSize")
		s.invalid(try(fields{"caption": 5}), "template_fields.caption")
		s.invalid(try("caption"), "template_fields")
	}
}

func TestContextFit(t *testing.T) {
	t.Parallel()
	example(t, "newer", 5)
	s := open(t)
	asker, owner := s.user(1e6, 0), s.user(0, horde.Trusted)
	// Worked example 5.
	ask := func(fit any, more fields) answer {
		body := fields{"prompt": strings.Repeat("a", 9000), "params": fields{"max_context_length": 2048, "max_length": 80}, "models": []string{"test/7B"}}
		if fit != nil {
			body["context_fit"] = fit
		}
		return s.call("POST", "/generate/text/async", asker, body.with(more))
	}
	s.refused(ask("reject", nil), 400, "PromptExceedsContext")
	s.refused(ask("grow", nil), 400, "PromptExceedsContext") // nobody is there
	s.invalid(ask("shrink", nil), "context_fit")
	s.noJob(s.popText(owner, "long", fields{"max_context_length": 8192}))
	s.noJob(s.popText(owner, "longer, of another model", fields{"max_context_length": 16384, "models": []string{"test/13B"}}))
	time.Sleep(2100 * time.Millisecond) // who is online is looked at every two seconds
	s.refused(ask("grow", fields{"prompt": strings.Repeat("a", 3*8192)}), 400, "PromptExceedsContext")

	dry := func(fit any) answer { return s.want(ask(fit, fields{"dry_run": true}), 200) }
	plain, grown := dry("ignore"), dry("grow")
	if absent := dry(nil); absent.number("kudos") != plain.number("kudos") || plain.number("kudos") >= grown.number("kudos") {
		t.Errorf("kudos are %v absent, %v ignored, %v grown", absent.number("kudos"), plain.number("kudos"), grown.number("kudos"))
	}
	if n := plain.number("resolved", "params", "max_context_length"); n != 2048 {
		t.Errorf("ignored, the context is %v", n)
	}
	if n := grown.number("resolved", "params", "max_context_length"); n != 3080 || grown.number("resolved", "estimated_prompt_tokens") != 3000 ||
		grown.str("resolved", "context_fit") != "grow" {
		t.Errorf("grown, it resolves to %.200v", grown.at("resolved"))
	}
	s.want(ask("reject", fields{"prompt": strings.Repeat("ä", 3*1968)}), 202) // characters, not bytes
	job := s.popText(owner, "long", fields{"max_context_length": 2048})
	s.job(job)
	s.deliverText(owner, job.str("id"), "text")
	s.noJob(s.popText(owner, "long", nil)) // it has the longer context again

	id := s.want(ask("grow", nil), 202).str("id")
	s.noJob(s.popText(owner, "short", fields{"max_context_length": 2048}))
	job = s.popText(owner, "long", nil)
	if s.job(job); job.number("payload", "max_context_length") != 3080 {
		t.Errorf("the payload has a context of %v", job.number("payload", "max_context_length"))
	}
	reward := s.deliverText(owner, job.str("id"), strings.Repeat("text ", 60)).number("reward")
	plainID := s.want(ask(nil, nil), 202).str("id")
	job = s.popText(owner, "long", nil)
	less := s.deliverText(owner, job.str("id"), strings.Repeat("text ", 60)).number("reward")
	if reward <= less {
		t.Errorf("a grown context earns %v, and another %v", reward, less)
	}
	if a, b := s.status("text", id).number("kudos"), s.status("text", plainID).number("kudos"); a <= b {
		t.Errorf("a grown context is charged %v, and another %v", a, b)
	}
}

func TestDryRunsTellWhatIsPriced(t *testing.T) {
	t.Parallel()
	s := open(t)
	poor := s.user(0, 0)
	a := s.want(s.call("POST", "/generate/async", poor, `{"prompt":"a fox ### dogs","models":["Deliberate"],"dry_run":true,"allow_downgrade":true,
		"params":{"width":2048,"height":1024,"steps":20,"n":2,"seed":"7","scheduler":"beta","loras":[{"name":"x"}]}}`), 200)
	resolved := a.at("resolved").(document)
	params := resolved["params"].(document)
	if resolved["prompt"] != "a fox ### dogs" || resolved["negative_prompt"] != " dogs" || params["seed"] != "7" || params["n"] != 2.0 || params["scheduler"] != "beta" {
		t.Errorf("it resolves to %v", resolved)
	}
	if w, h := params["width"].(float64), params["height"].(float64); w*h > 1024*1024 {
		t.Errorf("the size is %vx%v, not what a poor account may ask for", w, h)
	}
	sameJSON(t, encode(t, s.want(s.call("POST", "/generate/async", poor, `{"prompt":"a fox","models":["Deliberate"],"dry_run":true,
		"params":{"sampler_name":"k_euler","steps":10,"width":512}}`), 200).at("resolved")),
		`{"prompt":"a fox","models":["Deliberate"],"negative_prompt":null,"params":{"n":1,"steps":10,"width":512,"height":512,"sampler_name":"k_euler","cfg_scale":5,"karras":true}}`)
	if a := s.want(s.call("POST", "/generate/async", poor, `{"prompt":"a fox","models":["Deliberate"]}`), 202); a.has("resolved") {
		t.Errorf("an accepted request tells what it resolves to: %s", a.text)
	}
}

func TestAnnotations(t *testing.T) {
	t.Parallel()
	example(t, "newer", 7)
	s := open(t)
	asker, owner := s.user(1e6, 0), s.user(0, 0)
	submit := func(payload any) answer {
		return s.call("POST", "/interrogate/async", asker, fields{"source_image": small, "extra_slow_workers": false,
			"forms": []any{fields{"name": "annotation", "payload": payload}, fields{"name": "caption"}}})
	}
	for _, wrong := range []any{fields{"control_type": "hough"}, fields{"control_type": "x"}, fields{"control_type": 5}, fields{}} {
		s.invalid(submit(wrong), "forms.0.payload.control_type")
	}
	// Worked example 7.
	id := s.want(submit(fields{"control_type": "canny"}), 202).str("id")
	pop := func(name string, forms, types []string) answer {
		return s.want(s.call("POST", "/interrogate/pop", owner, fields{"name": name, "forms": forms, "annotation_types": types, "amount": 5}), 200)
	}
	for _, a := range []answer{pop("hed", []string{"annotation"}, []string{"hed"}), pop("none", []string{"annotation"}, []string{}), pop("captions", []string{"nsfw"}, []string{"canny"})} {
		if a.at("forms") != nil {
			t.Errorf("a worker that makes no such map got %s", a.text)
		}
	}
	s.invalid(s.call("POST", "/interrogate/pop", owner, fields{"name": "x", "forms": []string{"annotation"}, "annotation_types": []string{"hough"}}), "annotation_types.0")
	a := pop("able", []string{"annotation", "nsfw"}, []string{"hed", "canny"})
	forms := a.list("forms")
	if len(forms) != 1 || a.str("forms", 0, "form") != "annotation" || a.str("forms", 0, "payload", "control_type") != "canny" {
		t.Fatalf("the worker got %s", a.text)
	}
	s.upload(a.str("forms", 0, "r2_upload"), "a map")
	done := s.want(s.call("POST", "/interrogate/submit", owner, fields{"id": a.str("forms", 0, "id"), "result": fields{"annotation": "R2"}, "state": "ok"}), 200)
	if done.number("reward") != kudos.FormPrice("GFPGAN", 1) {
		t.Errorf("it earns %v, want what post-processing does", done.number("reward"))
	}
	if url := s.get("/interrogate/status/"+id, account{}).str("forms", 0, "result", "annotation"); !strings.HasPrefix(url, "http") {
		t.Errorf("the result is %q, want a link", url)
	}
	if types := s.get("/workers/name/able", account{}).strings("annotation_types"); fmt.Sprint(types) != "[canny hed]" {
		t.Errorf("the worker shows %v", types)
	}
}

// N20: programs are generated from the document by these names.
func TestNewerNamesAreInTheDocument(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.readOpenAPI()
	schemas := openapi.document["components"].(document)["schemas"].(document)
	for name := range strings.FieldsSeq(`GenerationSubmittedStable GenerationSubmittedKobold SamplerConstraintsDocument StyleContract
		StyleContractStyleType ModerationOverview PromotionReviewUser PausedWorkerReview ModerationSuspicionReason PromptModerationEvents
		PromptModerationEvent PromptModerationRetention PromptModerationNote PromptModerationNoteInput WorkerSuspicionEvents
		WorkerSuspicionEvent StyleParameterPolicy StyleTemplateField ResolvedRequest ResolvedRequestStable ResolvedRequestKobold
		ResolvedRequestStyle RequestAsync RequestAsyncStable RequestAsyncKobold SharedKeyActiveUsage SharedKeyActiveUsageByType`) {
		if schemas[name] == nil {
			t.Errorf("there is no schema %s", name)
		}
	}
}

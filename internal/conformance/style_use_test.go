// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/node"
)

// The styles chapter, sections 4, 8 and 9, and the newer chapter, 2.5: what requests make of styles.

func TestStyles1To4And19TheWorkerGetsTheRenderedPrompt(t *testing.T) {
	t.Parallel()
	example(t, "styles", 1, 2, 3, 4, 19)
	example(t, "cases", 73)
	s := open(t)
	author, u, w := s.user(0, horde.Customizer), s.user(10_000, 0), s.user(0, horde.Trusted)
	for _, c := range []struct{ kind, template, prompt, want string }{
		{"image", "{p}, impasto impressionism###no blur, {np}", "a horde of robots###organic", "a horde of robots, impasto impressionism###no blur, organic"},
		{"image", "{p}{np}", "cat###dog", "cat###dog"},
		{"image", "{p}{np}", "cat", "cat"},
		{"image", "{p}, x{np}", "a###b###c", "a, xb###c"},
		{"image", "{a|b} {p} {np}", "a{p}b###z", "{a|b} a{p}b ###z"},
		// Field case B073.
		{"image", "{p}, {red|blue} dress, {{x}} ###{np}", "a###b", "a, {red|blue} dress, {{x}} ###b"},
		{"text", "### Instruction: {p}\n### Response:", "hi", "### Instruction: hi\n### Response:"},
		{"text", "{{p}} {x} {p.a} {", "hi", "{hi} {x} {p.a} {"},
	} {
		t.Run(c.template, func(t *testing.T) {
			s := s.in(t)
			s.submit(c.kind, u, fields{"prompt": c.prompt, "style": s.style(c.kind, author, fields{"prompt": c.template})})
			pop := s.popText
			if c.kind == "image" {
				pop = s.popImage
			}
			if got := pop(w, "worker "+c.kind, nil).str("payload", "prompt"); got != c.want {
				t.Errorf("the worker gets %q, want %q", got, c.want)
			}
		})
	}
}

func TestStyles5And6WhatCountsOfTheRequest(t *testing.T) {
	t.Parallel()
	example(t, "styles", 5, 6)
	s := open(t)
	author, u, w := s.user(0, horde.Customizer), s.user(10_000, 0), s.user(0, horde.Trusted)
	pop := func(models ...string) answer {
		t.Helper()
		return s.popImage(w, "painter", fields{"models": models, "amount": 10})
	}
	id := s.style("image", author, fields{"models": []string{"Fustercluck", "AlbedoBase XL (SDXL)"},
		"params": fields{"width": 1024, "height": 512, "steps": 8, "cfg_scale": 7, "sampler_name": "k_euler_a"}})
	s.image(u, fields{"prompt": "x", "style": id, "models": []string{"stable_diffusion"}, "params": fields{
		"width": 1024, "height": 1024, "steps": 8, "cfg_scale": 1.5, "sampler_name": "k_euler"}})
	s.noJob(pop("stable_diffusion"))
	a := pop("stable_diffusion", "AlbedoBase XL (SDXL)")
	if len(a.strings("ids")) != 1 || a.str("model") != "AlbedoBase XL (SDXL)" {
		t.Errorf("%s", a.text)
	}
	for name, want := range (fields{"width": 1024, "height": 512, "sampler_name": "k_euler_a", "cfg_scale": 7, "ddim_steps": 8}) {
		if got := a.at("payload", name); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("5: %s is %v, want %v", name, got, want)
		}
	}

	id = s.style("image", author, fields{"params": fields{"steps": 8}})
	s.image(u, fields{"prompt": "x", "style": id, "params": fields{"width": 768, "seed": "1", "n": 3, "steps": 50}})
	a = pop("Deliberate")
	for name, want := range (fields{"width": 768, "height": 512, "ddim_steps": 8}) {
		if got := a.at("payload", name); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("6: %s is %v, want %v", name, got, want)
		}
	}
	if len(a.strings("ids")) != 3 || a.str("payload", "seed") == "1" {
		t.Errorf("6: %s", a.text)
	}

	// What is not declared counts, where a request could say it.
	id = s.style("image", author, fields{"params": json.RawMessage(`{"seed":"5","n":4,"control_type":"nope","seed_variation":"x","mine":[{}],"steps":9}`)})
	s.image(u, fields{"prompt": "x", "style": id})
	if a = pop("Deliberate"); a.str("payload", "seed") != "5" || a.number("payload", "ddim_steps") != 9 || len(a.strings("ids")) != 1 {
		t.Errorf("%s", a.text)
	}

	// Texts take the lengths of the request where the style has none.
	text := func(params fields, request fields, want fields) {
		t.Helper()
		s.text(u, fields{"prompt": "x", "style": s.style("text", author, fields{"params": params}), "params": request})
		a := s.popText(w, "writer", nil)
		for name, v := range want {
			if got := a.at("payload", name); fmt.Sprint(got) != fmt.Sprint(v) {
				t.Errorf("%v with %v: %s is %v, want %v", params, request, name, got, v)
			}
		}
	}
	text(fields{"temperature": 0.5}, fields{"temperature": 1, "max_length": 100, "max_context_length": 1024}, fields{"temperature": 0.5, "max_length": 100, "max_context_length": 1024})
	text(fields{"max_length": 64}, fields{"max_length": 100, "top_k": 3}, fields{"max_length": 64, "max_context_length": 2048, "top_k": nil})
	text(fields{}, fields{}, fields{"max_length": 80})

	// The style's own models are checked, not the request's; the rest of the request is the client's.
	flux := s.style("image", author, fields{"models": []string{"Flux.1-Schnell fp8 (Compact)"}})
	s.image(u, fields{"prompt": "x", "style": flux, "models": []string{"GFPGAN"}, "nsfw": false})
	remix := fields{"prompt": "x", "style": s.style("image", author, nil), "models": []string{"Stable Cascade 1.0"}, "source_processing": "remix", "source_image": base64PNG(opaque(64, 64))}
	s.refused(s.call("POST", "/generate/async", u, remix), http.StatusBadRequest, "InvalidRemix")
}

func TestStylesAreResolvedBeforeEverythingElse(t *testing.T) {
	t.Parallel()
	s := open(t, func(c *node.Config) { c.Admins = []horde.UserID{1} })
	author, u := s.user(0, horde.Customizer), s.user(0, 0)
	image, text := s.style("image", author, fields{"name": "I"}), s.style("text", author, fields{"name": "Text"})
	empty := s.want(s.call("POST", "/collections", u, fields{"name": "empty", "styles": []string{s.style("image", author, fields{"name": "gone"})}}), http.StatusOK).str("id")
	s.want(s.call("DELETE", "/styles/image/"+s.get("/styles/image_by_name/gone", account{}).str("id"), author, nil), http.StatusOK)
	nobody := account{0, "bogus"}
	for _, c := range []struct {
		name, kind string
		as         account
		body       fields
		status     int
		rc         string
	}{
		{"unknown, with an unknown key", "image", nobody, fields{"style": "nope"}, 404, "StyleNotFound"},
		{"an unknown id", "image", u, fields{"style": "00000000-0000-4000-8000-000000000000"}, 404, "StyleNotFound"},
		{"a text style for an image, by id", "image", nobody, fields{"style": text}, 400, "StyleMismatch"},
		{"a text style for an image, by name", "image", nobody, fields{"style": "Text"}, 400, "StyleMismatch"},
		{"an image style for a text", "text", u, fields{"style": image}, 400, "StyleMismatch"},
		{"an empty collection", "image", u, fields{"style": empty}, 404, "StyleNotFound"},
		{"a collection of the other kind", "text", u, fields{"style": "empty"}, 400, "StyleMismatch"},
		{"a style with an unknown key", "image", nobody, fields{"style": image}, 401, "InvalidAPIKey"},
		{"a style and a bad webhook", "image", nobody, fields{"style": image, "webhook": "http://a.example"}, 400, "BadRequest"},
		{"fields without a style", "image", u, fields{"template_fields": fields{}}, 400, "TemplateFieldsRequireStyle"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.refused(s.call("POST", generate(c.kind)+"/async", c.as, fields{"prompt": "x"}.with(c.body)), c.status, c.rc)
		})
	}
	s.invalid(s.call("POST", "/generate/async", u, fields{"prompt": "x", "style": "ab"}), "style")
	// Requests checks, 12: an unknown style during maintenance.
	s.want(s.call("PUT", "/status/modes", author, `{"maintenance_mode":true}`), http.StatusOK)
	s.refused(s.call("POST", "/generate/async", nobody, fields{"prompt": "x", "style": "nope"}), http.StatusNotFound, "StyleNotFound")
	s.refused(s.call("POST", "/generate/async", nobody, fields{"prompt": "x", "style": image}), http.StatusBadRequest, "MaintenanceMode")
}

// Worked example 17, kudos chapter 10.3, and field case B075.
func TestStyles17UsesAreCountedAndRewarded(t *testing.T) {
	t.Parallel()
	example(t, "styles", 17)
	example(t, "cases", 75)
	inBubble(t, func(t *testing.T, s *server) {
		a, b, w := s.user(100, horde.Customizer), s.user(1000, 0), s.user(0, horde.Trusted)
		image, text := s.style("image", a, fields{"name": "I"}), s.style("text", a, fields{"name": "T"})
		before := s.kudos(a)
		uses := func(path string, want float64) {
			t.Helper()
			if got := s.get(path, account{}).number("use_count"); got != want {
				t.Errorf("%s was used %v times, want %v", path, got, want)
			}
		}
		pays := func(as account, want float64, kind string, body fields) {
			t.Helper()
			had := s.kudos(as)
			s.submit(kind, as, fields{"prompt": "x"}.with(body))
			if got := had - s.kudos(as); got != want {
				t.Errorf("%s %v costs %v, want %v", kind, body, got, want)
			}
		}
		pays(b, 3, "image", fields{"style": image, "params": fields{"n": 4}})
		if got := s.popImage(w, "painter", fields{"amount": 4}).strings("ids"); len(got) != 4 {
			t.Errorf("%d results of 4", len(got))
		}
		uses("/styles/image/"+image, 1)
		earned := func(want float64, images, texts int) {
			t.Helper()
			v := s.get(a.path(), account{})
			if got := s.kudos(a) - before; got != want {
				t.Errorf("the author has earned %v, want %v", got, want)
			}
			if v.number("kudos_details", "styled") != float64(2*(images+texts)) || v.number("records", "style", "image") != float64(images) || v.number("records", "style", "text") != float64(texts) {
				t.Errorf("the author's records are %v, %v", v.at("kudos_details"), v.at("records", "style"))
			}
		}
		earned(2, 1, 0)
		pays(b, 3, "text", fields{"style": text})
		pays(b, 1, "text", nil)
		earned(4, 1, 1)
		// One's own style is used, and not rewarded.
		pays(a, 1, "text", fields{"style": text})
		earned(3, 1, 1)
		uses("/styles/text/"+text, 2)

		// Neither dry runs nor refused requests count.
		s.want(s.call("POST", "/generate/async", b, fields{"prompt": "x", "style": image, "dry_run": true}), http.StatusOK)
		s.refused(s.call("POST", "/generate/async", account{0, "bogus"}, fields{"prompt": "x", "style": image}), http.StatusUnauthorized, "InvalidAPIKey")
		s.refused(s.call("POST", "/generate/async", b, fields{"prompt": "x", "style": image, "params": fields{"n": 20}, "workers": []string{"nope"}}), http.StatusNotFound, "WorkerNotFound")
		s.call("POST", "/generate/async", b, fields{"prompt": "x", "style": image, "source_image": "no picture"})
		uses("/styles/image/"+image, 1)

		// A collection and the style that was drawn are counted once.
		c := s.want(s.call("POST", "/collections", b, fields{"name": "Mixed", "styles": []string{image}}), http.StatusOK).str("id")
		pays(b, 3, "image", fields{"style": c})
		pays(b, 3, "image", fields{"style": "Mixed"})
		pays(b, 3, "image", fields{"style": "collection::Mixed", "source_image": base64PNG(opaque(64, 64))})
		uses("/collections/"+c, 3)
		uses("/styles/image/"+image, 4)
		earned(9, 4, 1)
		if found, err := s.Engine.Verify(t.Context()); err != nil || len(found) > 0 {
			t.Errorf("the memory and the record: %q, %v", found, err)
		}
		s.away(time.Minute) // the audit finds every kudos again
		uses("/collections/"+c, 3)
		uses("/styles/image/"+image, 4)
		earned(9, 4, 1)
	})
}

func TestStylesOfACollectionAreDrawnAlike(t *testing.T) {
	t.Parallel()
	s := open(t)
	author, u := s.user(0, horde.Customizer), s.user(10_000, horde.Trusted)
	var styles []string
	for i := range 3 {
		styles = append(styles, s.style("image", author, fields{"prompt": fmt.Sprintf("{p}{np} %d", i)}))
	}
	s.want(s.call("POST", "/collections", u, fields{"name": "Mixed", "styles": styles}), http.StatusOK)
	seen := map[string]int{}
	const draws = 300
	for range draws {
		a := s.want(s.call("POST", "/generate/async", u, `{"prompt":"x","style":"Mixed","dry_run":true}`), http.StatusOK)
		seen[a.str("resolved", "style", "id")]++
	}
	for _, id := range styles {
		// 300 draws of one in three miss this range once in ten million times.
		if n := seen[id]; n < 57 || n > 145 {
			t.Errorf("of %d draws %v", draws, seen)
		}
	}
}

// Newer chapter, worked examples 2 and 6, and sections 1.3 and 2.5.
func TestNewer6StylePolicies(t *testing.T) {
	t.Parallel()
	example(t, "newer", 6)
	s := open(t)
	author, u := s.user(0, horde.Customizer), s.user(10_000, 0)
	make := func(kind, policy string) answer {
		t.Helper()
		body := fields{"name": fresh("style"), "models": []string{"Deliberate"}, "params": fields{}, "parameter_policy": json.RawMessage(policy)}
		if kind == "image" {
			body["params"] = fields{"steps": 20, "cfg_scale": 5}
		}
		return s.call("POST", "/styles/"+kind, author, body)
	}
	for _, c := range []struct{ kind, policy, rc, field string }{
		{"image", `{"override":"all","overridable":["steps"]}`, "StylePolicyOverridableMisplaced", ""},
		{"image", `{"overridable":["steps"]}`, "StylePolicyOverridableMisplaced", ""},
		{"image", `{"override":"some"}`, "", "parameter_policy.override"},
		{"image", `{"override":"listed","overridable":["nope"]}`, "", "parameter_policy.overridable.0"},
		{"image", `{"override":"listed","overridable":["n"]}`, "", "parameter_policy.overridable.0"},
		{"text", `{"override":"listed","overridable":["width"]}`, "", "parameter_policy.overridable.0"},
		{"image", `{"override":"listed","overridable":["steps"],"ceilings":{"steps":30,"n":4,"width":512}}`, "", "parameter_policy.ceilings.width"},
		{"image", `{"ceilings":{"steps":30}}`, "", "parameter_policy.ceilings.steps"},
		{"image", `{"ceilings":{"n":21}}`, "", "parameter_policy.ceilings.n"},
		{"image", `{"ceilings":{"n":"x"}}`, "", "parameter_policy.ceilings.n"},
		{"image", `{"override":"all","ceilings":{"cfg_scale":5}}`, "", "parameter_policy.ceilings.cfg_scale"},
	} {
		t.Run(c.policy, func(t *testing.T) {
			s := s.in(t)
			if a := make(c.kind, c.policy); c.field != "" {
				s.invalid(a, c.field)
			} else {
				s.refused(a, http.StatusBadRequest, c.rc)
			}
		})
	}
	dry := func(kind, style string, params fields) answer {
		t.Helper()
		return s.call("POST", generate(kind)+"/async", u, fields{"prompt": "x", "style": style, "dry_run": true, "params": params})
	}
	resolved := func(kind, style string, params, want fields) {
		t.Helper()
		a := s.want(dry(kind, style, params), http.StatusOK)
		for name, v := range want {
			if got := a.at("resolved", "params", name); fmt.Sprint(got) != fmt.Sprint(v) {
				t.Errorf("%s is %v, want %v: %s", name, got, v, a.text)
			}
		}
	}
	policy := `{"override":"listed","overridable":["steps"],"ceilings":{"steps":30,"n":4}}`
	listed := s.want(make("image", policy), http.StatusOK).str("id")
	var shown, want any
	shown = s.get("/styles/image/"+listed, account{}).at("parameter_policy")
	_ = json.Unmarshal([]byte(policy), &want)
	if fmt.Sprint(shown) != fmt.Sprint(want) {
		t.Errorf("the policy is shown as %v", shown)
	}
	resolved("image", listed, fields{"steps": 30, "cfg_scale": 9, "n": 4, "width": 768}, fields{"steps": 30, "cfg_scale": 5, "n": 4, "width": 512})
	resolved("image", listed, fields{}, fields{"steps": 20})
	s.refused(dry("image", listed, fields{"steps": 31}), http.StatusBadRequest, "StyleParameterAboveCeiling")
	s.refused(s.call("POST", "/generate/async", u, fields{"prompt": "x", "style": listed, "params": fields{"steps": 31}}), http.StatusBadRequest, "StyleParameterAboveCeiling")
	s.refused(dry("image", listed, fields{"n": 5}), http.StatusBadRequest, "StyleParameterAboveCeiling")

	all := s.want(make("image", `{"override":"all","ceilings":{"width":1024,"n":null}}`), http.StatusOK).str("id")
	resolved("image", all, fields{"steps": 31, "cfg_scale": 9, "n": 5, "width": 1024, "sampler_name": "dpmpp_2m_sde", "sampler_solver_type": "heun"},
		fields{"steps": 31, "cfg_scale": 9, "n": 5, "width": 1024, "sampler_solver_type": "heun"})
	s.refused(dry("image", all, fields{"width": 1088}), http.StatusBadRequest, "StyleParameterAboveCeiling")

	none := s.want(make("image", `{"ceilings":{"n":2}}`), http.StatusOK).str("id")
	resolved("image", none, fields{"steps": 31, "width": 768, "n": 2}, fields{"steps": 20, "width": 768, "n": 2})
	s.refused(dry("image", none, fields{"n": 3}), http.StatusBadRequest, "StyleParameterAboveCeiling")
	// A policy that says nothing is none, and takes one away.
	s.want(s.call("PATCH", "/styles/image/"+none, author, `{"parameter_policy":{"override":"none"}}`), http.StatusOK)
	if a := s.get("/styles/image/"+none, account{}); a.has("parameter_policy") {
		t.Errorf("%s", a.text)
	}
	resolved("image", none, fields{"n": 3}, fields{"n": 3})

	text := s.want(make("text", `{"override":"listed","overridable":["temperature","max_length"],"ceilings":{"max_length":100}}`), http.StatusOK).str("id")
	resolved("text", text, fields{"temperature": 0.5, "top_k": 5, "max_length": 100, "max_context_length": 4096}, fields{"temperature": 0.5, "top_k": nil, "max_length": 100, "max_context_length": 2048})
	s.refused(dry("text", text, fields{"max_length": 101}), http.StatusBadRequest, "StyleParameterAboveCeiling")

	// The published rules are those that are kept.
	contract := s.want(s.get("/status/style_contract", account{}), http.StatusOK)
	if contract.number("schema_version") != 1 || contract.header.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("%s", contract.text)
	}
	for kind, values := range map[string]fields{"image": {"width": 3072, "height": 64, "steps": 500, "n": 20}, "text": {"max_length": 16, "max_context_length": 80, "n": 1}} {
		for _, name := range contract.strings(kind, "overridable_parameters") {
			s.want(make(kind, `{"override":"listed","overridable":["`+name+`"]}`), http.StatusOK)
		}
		ceilings, _ := contract.at(kind, "ceiling_parameters").(map[string]any)
		if !slices.Equal(slices.Sorted(maps.Keys(ceilings)), slices.Sorted(maps.Keys(values))) {
			t.Errorf("%s: ceilings %v", kind, ceilings)
		}
		for name, bounds := range ceilings {
			least, most := bounds.(map[string]any)["minimum"].(float64), bounds.(map[string]any)["maximum"].(float64)
			for value, ok := range map[float64]bool{least: true, most: true, least - 1: false, most + 1: false} {
				a := make(kind, fmt.Sprintf(`{"override":"all","ceilings":{%q:%d}}`, name, int(value)))
				if ok {
					s.want(a, http.StatusOK)
				} else {
					s.invalid(a, "parameter_policy.ceilings."+name)
				}
			}
		}
	}
	if contract.at("image", "context_fit_modes") != nil || len(contract.strings("text", "context_fit_modes")) != 3 ||
		!slices.Equal(contract.strings("image", "placeholders"), []string{"p", "np"}) || !slices.Equal(contract.strings("text", "placeholders"), []string{"p"}) ||
		!slices.Contains(contract.strings("image", "style_modify_rate_limits"), "20/hour") || !slices.Contains(contract.strings("image", "style_create_rate_limits"), "90/minute") {
		t.Errorf("%s", contract.text)
	}
}

func TestNewer2TemplateFields(t *testing.T) {
	t.Parallel()
	example(t, "newer", 2)
	s := open(t)
	author, u := s.user(0, horde.Customizer), s.user(10_000, 0)
	declared := func(list string) fields {
		return fields{"prompt": "{p}, {caption}{np} {mood} {other}", "template_fields": json.RawMessage(list)}
	}
	for list, field := range map[string]string{
		`[{"name":"a{b","description":"d"}]`:                              "template_fields.0.name",
		`[{"name":"np","description":"d"}]`:                               "template_fields.0.name",
		`[{"name":"a","description":"d"},{"name":"a","description":"d"}]`: "template_fields.1.name",
		`[{"name":"","description":"d"}]`:                                 "template_fields.0.name",
		`[{"name":"` + strings.Repeat("n", 33) + `","description":"d"}]`:  "template_fields.0.name",
		`[{"name":"a","description":""}]`:                                 "template_fields.0.description",
		`[{"name":"a"}]`:                                                  "template_fields.0.description",
		`[` + strings.Repeat(`{"name":"a","description":"d"},`, 16) + `{"name":"b","description":"d"}]`: "template_fields",
	} {
		s.invalid(s.call("POST", "/styles/image", author, fields{"name": fresh("style"), "models": []string{"m"}}.with(declared(list))), field)
	}
	list := `[{"name":"caption","description":"Where","required":true},{"name":"mood","description":"How"}]`
	id := s.style("image", author, declared(list).with(fields{"name": "S"}))
	if a := s.get("/styles/image/"+id, account{}); len(a.list("template_fields")) != 2 || a.str("template_fields", 0, "name") != "caption" {
		t.Errorf("%s", a.text)
	}
	dry := func(style string, given any) answer {
		t.Helper()
		return s.call("POST", "/generate/async", u, fields{"prompt": "a fox###dogs", "style": style, "dry_run": true, "models": []string{}, "template_fields": given})
	}
	a := s.want(dry(id, fields{"caption": "{mood} snow", "mood": "calm {p}"}), http.StatusOK)
	if got := a.str("resolved", "prompt"); got != "a fox, {mood} snow###dogs calm {p} {other}" {
		t.Errorf("the prompt is %q", got)
	}
	if a.str("resolved", "negative_prompt") != "dogs calm {p} {other}" || fmt.Sprint(a.at("resolved", "style")) != fmt.Sprint(map[string]any{"id": id, "name": "S"}) ||
		!slices.Equal(a.strings("resolved", "models"), []string{"Deliberate"}) {
		t.Errorf("%s", a.text)
	}
	if got := s.want(dry(id, fields{"caption": "c"}), http.StatusOK).str("resolved", "prompt"); got != "a fox, c###dogs  {other}" {
		t.Errorf("the prompt is %q", got)
	}
	s.invalid(dry(id, fields{"mood": "m"}), "template_fields")
	s.invalid(dry(id, fields{"caption": "c", "other": "o"}), "template_fields")
	s.invalid(s.call("POST", "/generate/async", u, fields{"prompt": "x", "style": id}), "template_fields")

	// Worked example 2, as it is.
	s.style("image", author, fields{"name": "S2", "prompt": "{p}, {caption}{np}", "models": []string{"M"}, "params": fields{"steps": 20, "width": 1024, "height": 1024},
		"template_fields": json.RawMessage(`[{"name":"caption","description":"Where"}]`)})
	second := s.get("/styles/image_by_name/S2", account{}).str("id")
	a = s.want(s.call("POST", "/generate/async", u, fields{"prompt": "a fox", "style": second, "template_fields": fields{"caption": "in snow"}, "models": []string{}, "dry_run": true}), http.StatusOK)
	resolved := answer{value: a.at("resolved"), text: a.text}
	s.shows(resolved, fields{"prompt": "a fox, in snow", "models": []any{"M"}, "style": map[string]any{"id": second, "name": "S2"}, "negative_prompt": nil})
	s.shows(answer{value: resolved.at("params"), text: a.text}, fields{"steps": 20, "width": 1024, "height": 1024})
	if a.number("kudos") <= 0 || !resolved.has("negative_prompt") {
		t.Errorf("got %s", a.text)
	}
	s.refused(s.call("POST", "/generate/async", u, `{"prompt":"a fox","template_fields":{"caption":"in snow"},"dry_run":true}`), http.StatusBadRequest, "TemplateFieldsRequireStyle")

	// A collection draws from those that take the fields.
	plain := s.style("image", author, nil)
	c := s.want(s.call("POST", "/collections", u, fields{"name": "Mixed", "styles": []string{id, plain}}), http.StatusOK).str("id")
	for range 10 {
		if got := s.want(dry(c, fields{"caption": "c"}), http.StatusOK).str("resolved", "style", "id"); got != id {
			t.Errorf("the style %s was drawn", got)
		}
		if got := s.want(dry(c, fields{}), http.StatusOK).str("resolved", "style", "id"); got != plain {
			t.Errorf("the style %s was drawn", got)
		}
	}
	s.refused(dry(c, fields{"nope": "c"}), http.StatusBadRequest, "TemplateFieldsMatchNoCollectionStyle")
	// They are taken away by an empty list.
	s.want(s.call("PATCH", "/styles/image/"+id, author, `{"template_fields":[]}`), http.StatusOK)
	s.invalid(dry(id, fields{"caption": "c"}), "template_fields")
}

func TestStylesGoWithTheirOwner(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, mod := s.user(0, horde.Customizer), s.user(0, horde.Moderator)
		theirs, other := s.style("image", u, fields{"name": "theirs"}), s.style("image", mod, fields{"name": "other"})
		mine := s.want(s.call("POST", "/collections", u, fields{"name": "mine", "styles": []string{other}}), http.StatusOK).str("id")
		mixed := s.want(s.call("POST", "/collections", mod, fields{"name": "mixed", "styles": []string{theirs, other}}), http.StatusOK).str("id")
		s.want(s.call("DELETE", u.path(), u, nil), http.StatusOK)
		s.away(32 * 24 * time.Hour)
		s.want(s.call("DELETE", u.path(), mod, nil), http.StatusOK)
		for range 2 {
			s.refused(s.get("/styles/image/"+theirs, account{}), http.StatusNotFound, "Image styleNotFound")
			s.refused(s.get("/styles/image_by_name/theirs", account{}), http.StatusNotFound, "StyleNotFound")
			s.refused(s.get("/collections/"+mine, account{}), http.StatusNotFound, "CollectionNotFound")
			if a := s.get("/collections/"+mixed, account{}); len(a.list("styles")) != 1 || a.str("styles", 0, "id") != other {
				t.Errorf("%s", a.text)
			}
			s.away(time.Minute)
		}
	})
}

// The filters see what the style makes of a prompt.
func TestStylesAreFilteredAsTheyAreRendered(t *testing.T) {
	t.Parallel()
	s := open(t)
	author, u := s.user(0, horde.Customizer), s.user(0, horde.Moderator) // whose address gets no time-out
	s.exampleFilters(u)
	bad := s.style("image", author, fields{"prompt": "a zebracorn in vermillex, {p}{np}"})
	for _, more := range []fields{{}, {"dry_run": true}} {
		a := s.call("POST", "/generate/async", u, fields{"prompt": "x", "style": bad, "replacement_filter": false}.with(more))
		s.refused(a, http.StatusBadRequest, "CorruptPrompt")
	}
	s.shows(s.get("/styles/image/"+bad, account{}), fields{"use_count": 0})
	good := s.style("image", author, fields{"prompt": "{p}{np}, calm"})
	s.image(u, fields{"prompt": "x", "style": good})
	s.refused(s.call("POST", "/generate/async", u, fields{"prompt": "zebracorn vermillex", "style": good, "replacement_filter": false}), http.StatusBadRequest, "CorruptPrompt")
}

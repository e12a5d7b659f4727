// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/node"
)

// The demands of existing programs, by their numbers in the clients chapter, section 10, and its worked examples.

func TestClients1To7And14To16Transport(t *testing.T) {
	t.Parallel()
	example(t, "clients", 19, 20)
	s := open(t)
	for _, path := range []string{"/generate/async", "/generate/check/x", "/generate/status/x", "/generate/text/async", "/generate/pop",
		"/generate/submit", "/users/1", "/workers/x", "/find_user", "/status/models", "/status/modes"} {
		a := s.call("OPTIONS", path, account{}, nil, header{"Origin", "null"}, header{"Access-Control-Request-Method", "PATCH"},
			header{"Access-Control-Request-Headers", "apikey, client-agent, content-type, x-fields"})
		if a.status != http.StatusOK || a.text != "" || a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Allow") == "" {
			t.Errorf("1 OPTIONS %s: %d %q %v", path, a.status, a.text, a.header)
		}
		allowed := strings.ToLower(a.header.Get("Access-Control-Allow-Headers"))
		for _, h := range []string{"apikey", "client-agent", "content-type", "x-fields"} {
			if !strings.Contains(allowed, h) {
				t.Errorf("1 OPTIONS %s does not allow %s", path, h)
			}
		}
		for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), m) {
				t.Errorf("2 OPTIONS %s does not allow %s", path, m)
			}
		}
	}
	a := s.get("/status/heartbeat", account{})
	if !strings.Contains(a.header.Get("Access-Control-Expose-Headers"), "Retry-After") {
		t.Errorf("6 Retry-After is not exposed: %v", a.header)
	}
	if a.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Error("5 credentials are allowed")
	}
	s.common(a)
	if a.str("message") != "OK" || a.str("version") == "" || a.at("db_connection") != true || a.number("threads") < 0 || a.number("queue") < 0 {
		t.Errorf("18 heartbeat: %s", a.text)
	}
	id := s.image(anonymous, `{"prompt":"x"}`)
	for name, req := range map[string]*http.Request{
		"8 a GET with a content type":          s.request("GET", "/api/v2/generate/check/"+id, account{}, nil, header{"Content-Type", "application/json"}),
		"8 a DELETE with a content type":       s.request("DELETE", "/api/v2/generate/status/"+id, account{}, nil, header{"Content-Type", "application/json"}),
		"14 another host":                      s.request("GET", "http://10.1.2.3:99/api/v2/generate/check/"+id, account{}, nil),
		"15 two slashes":                       s.request("GET", "//api/v2/generate/check/"+id, account{}, nil),
		"15 two slashes and a POST":            s.request("POST", "//api/v2/generate/async", anonymous, `{"prompt":"x","dry_run":true}`),
		"example 19 a slash at the end":        s.request("GET", "/api/v2/generate/check/"+id+"/", account{}, nil),
		"HEAD":                                 s.request("HEAD", "/api/v2/generate/check/"+id, account{}, nil),
		"12 no headers at all":                 s.request("GET", "/api/v2/generate/check/"+id, account{}, nil, header{"Accept", ""}, header{"User-Agent", ""}),
		"10 lower case, and an old JSON type":  s.request("POST", "/api/v2/generate/async", anonymous, `{"prompt":"x","dry_run":true}`, header{"Content-Type", "application/json; charset=utf-8"}),
		"14 what says that it came by TLS too": s.request("GET", "/api/v2/generate/check/"+id, account{}, nil, header{"X-Forwarded-Proto", "http"}),
	} {
		if a := s.send(req); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", name, a.status, a.text)
		}
	}
	for _, path := range []string{"/api/v1/generate/sync", "/api/v1/generate/async", "/api/latest/generate/sync", "/api/v2/generate/sync", "/api/v2/servers", "/api/v2/"} {
		a := s.send(s.request("POST", path, anonymous, `{}`))
		if a.status != http.StatusNotFound || a.at("message") == nil || a.at("message") == "" {
			t.Errorf("example 20 POST %s: %d %s", path, a.status, a.text)
			continue
		}
		s.common(a)
		if strings.HasSuffix(path, "/generate/sync") && !strings.Contains(a.str("message"), "/generate/async") {
			t.Errorf("20 the message does not name what to use: %s", a.text)
		}
	}
}

func TestClients10To12AgentsOfAnyForm(t *testing.T) {
	t.Parallel()
	s := open(t)
	for _, agent := range []string{"AiHordeClient", "Lite:17", "a:b:c:d:e", "it's me : 1 : you", "", strings.Repeat("x", 2000)} {
		for _, name := range []string{"Client-Agent", "client_agent"} {
			req := s.request("POST", "/api/v2/generate/async", anonymous, `{"prompt":"x"}`)
			req.Header[name] = []string{agent}
			s.want(s.send(req), http.StatusAccepted)
		}
	}
}

func TestClients13FieldMasks(t *testing.T) {
	t.Parallel()
	s := open(t)
	u := s.user(100, 0)
	for _, c := range []struct{ method, path, mask, body, want string }{
		{"POST", "/generate/async", "id,kudos", `{"prompt":"x"}`, "id kudos"},
		{"GET", "/find_user", "id, username , nothing", "", "id username"},
		{"GET", "/find_user", "{records{request{image}},id}", "", "id records"},
		{"GET", "/status/performance", "worker_count", "", "worker_count"},
	} {
		var body any
		if c.body != "" {
			body = c.body
		}
		a := s.call(c.method, c.path, u, body, header{"X-Fields", c.mask})
		got := strings.Join(slices.Sorted(maps.Keys(a.value.(map[string]any))), " ")
		if got != c.want {
			t.Errorf("%s with %q: %s", c.path, c.mask, a.text)
		}
	}
	if a := s.call("GET", "/users", account{}, nil, header{"X-Fields", "username"}); len(a.at(0).(map[string]any)) != 1 {
		t.Errorf("the mask does not reach the rows: %s", a.text)
	}
	if a := s.call("GET", "/find_user", u, nil, header{"X-Fields", "id,*"}); !a.has("kudos") {
		t.Errorf("the star does not stand for the rest: %s", a.text)
	}
	a := s.refused(s.call("GET", "/find_user", u, nil, header{"X-Fields", "{id"}), http.StatusBadRequest, "")
	if !strings.HasPrefix(a.str("message"), "Mask parse error") {
		t.Errorf("message %s", a.text)
	}
}

func TestClients17To54WhatIsSubmitted(t *testing.T) {
	t.Parallel()
	example(t, "clients", 3)
	example(t, "cases", 25, 89)
	s := open(t)
	u := s.user(10000, 0)
	w := s.user(0, horde.Trusted)
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
	for _, c := range []struct{ name, kind, body string }{
		{"17 unknown fields", "image", `{"prompt":"x","jobId":"","index":0,"waitData":{"a":[1]},"params":{"use_gfpgan":true,"toggles":[1,4],"batch_size":4}}`},
		{"example 3 stable-ui", "image", `{"prompt":"a ### b","params":{"sampler_name":"k_euler","seed":"","seed_variation":1000,"denoising_strength":0.75,` +
			`"post_processing":[],"steps":30,"width":512,"height":512,"cfg_scale":7,"n":1},"nsfw":false,"censor_nsfw":true,"trusted_workers":true,` +
			`"models":["Deliberate"],"r2":true,"shared":false,"jobId":"","index":0,"gathered":false,"failed":false,"waitData":{}}`},
		{"43 empty lists", "image", `{"prompt":"x","params":{"post_processing":[],"loras":[],"tis":[]},"workers":[],"models":[]}`},
		{"44 img2img fields without an image", "image", `{"prompt":"x","params":{"denoising_strength":0.5,"hires_fix_denoising_strength":0.5},"source_processing":"img2img"}`},
		{"45 an empty control type", "image", `{"prompt":"x","params":{"control_type":""}}`},
		{"46 whole numbers with a fraction", "image", `{"prompt":"x","params":{"cfg_scale":7.0,"steps":30.0,"width":512.0}}`},
		{"48 undeclared text params", "text", `{"prompt":"x","max_length":5,"params":{"sampler_seed":5,"mirostat":1,"grammar":"a","streaming":true}}`},
		{"49 models that repeat", "text", `{"prompt":"x","models":["test/7B","test/7B"," test/7B "]}`},
		{"50 LoRAs with more", "image", `{"prompt":"x","params":{"loras":[{"name":"12345","x":1}],"tis":[{"name":"6","y":{}}]}}`},
		{"51 shared", "image", `{"prompt":"x","shared":true}`},
		{"B089 a negative strength", "image", `{"prompt":"x","params":{"loras":[{"name":"9999","model":1,"clip":-1.5}]}}`},
		{"54 a PNG as bare base64", "image", `{"prompt":"x","source_image":"` + base64PNG(opaque(64, 64)) + `"}`},
		{"B025 no params", "image", `{"prompt":"a cat"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			a := s.want(s.call("POST", generate(c.kind)+"/async", u, c.body), http.StatusAccepted)
			if !uuid.MatchString(a.str("id")) {
				t.Errorf("36 the id is %s", a.str("id"))
			}
			a.number("kudos")
			for _, key := range []string{"errors", "done", "generations"} {
				if a.has(key) {
					t.Errorf("39 the answer has %s", key)
				}
			}
			if a.has("message") {
				a.str("message")
			}
			if a.has("warnings") && len(a.list("warnings")) == 0 {
				t.Error("38 warnings are empty")
			}
			s.call("DELETE", generate(c.kind)+"/status/"+a.str("id"), account{}, nil)
		})
	}
	t.Run("52 anonymous", func(t *testing.T) {
		s := s.in(t)
		s.image(anonymous, `{"prompt":"x","models":["ToonYou"]}`)
		s.text(anonymous, `{"prompt":"x","models":["elsewhere"]}`)
	})
	t.Run("51 a service's account", func(t *testing.T) {
		s := s.in(t)
		s.image(s.user(100, horde.Service), `{"prompt":"x","proxied_account":"somebody","models":["ToonYou"]}`)
	})
	t.Run("48 what is undeclared does not reach the worker", func(t *testing.T) {
		s := s.in(t)
		s.text(u, `{"prompt":"x","models":["test/13B"],"params":{"sampler_seed":5,"temperature":0.5,"stop_sequence":["\n"]}}`)
		p := s.popText(w, "scribe", fields{"models": []string{"test/13B"}})
		got := slices.Sorted(maps.Keys(p.at("payload").(map[string]any)))
		want := []string{"dynatemp_exponent", "dynatemp_range", "max_context_length", "max_length", "min_p", "n", "prompt", "smoothing_factor", "stop_sequence", "temperature"}
		if !slices.Equal(got, want) {
			t.Errorf("the payload has %q, want %q", got, want)
		}
	})
	t.Run("38 with a worker there is no message", func(t *testing.T) {
		s := s.in(t)
		s.popImage(w, "dreamer", nil)
		if a := s.want(s.call("POST", "/generate/async", u, `{"prompt":"x","models":["Deliberate"]}`), http.StatusAccepted); a.has("message") || a.has("warnings") {
			t.Errorf("got %s", a.text)
		}
	})
}

// integers are members that strict parsers want without fraction and exponent.
var integers = regexp.MustCompile(`"(finished|processing|restarted|waiting|wait_time|queue_position)":(\d+)[,}]`)

func TestClients55To75CheckAndStatus(t *testing.T) {
	t.Parallel()
	example(t, "clients", 5, 6, 7, 8, 9)
	s := open(t)
	u, w := s.user(100, 0), s.user(0, horde.Trusted)
	// Ten, and three numbers and truths that newer clients know (newer chapter, 2.2).
	ten := []string{"done", "eligible_worker_threads", "eligible_workers", "faulted", "finished", "is_possible", "kudos", "might_stall",
		"processing", "queue_position", "restarted", "wait_time", "waiting"}
	keys := func(v any) []string { return slices.Sorted(maps.Keys(v.(map[string]any))) }
	shape := func(a answer, want []string) {
		t.Helper()
		if !slices.Equal(keys(a.value), want) {
			t.Errorf("55, 61 the keys are %q, want %q", keys(a.value), want)
		}
		if n := len(integers.FindAllString(a.text, -1)); n != 6 {
			t.Errorf("56 %d of 6 counts are plain integers: %s", n, a.text)
		}
		for _, key := range []string{"done", "faulted", "is_possible"} {
			if _, ok := a.at(key).(bool); !ok {
				t.Errorf("57 %s is %v", key, a.at(key))
			}
		}
	}
	image := s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":2}}`)
	text := s.text(u, `{"prompt":"x","models":["test/7B"],"params":{"n":2}}`)
	full := append(slices.Clone(ten), "generations")
	slices.Sort(full)
	withShared := append(slices.Clone(full), "shared")
	slices.Sort(withShared)
	all := func() {
		t.Helper()
		shape(s.check(image), ten)
		a := s.status("image", image)
		shape(a, withShared)
		if a.at("shared") != false {
			t.Errorf("75 shared is %v", a.at("shared"))
		}
		shape(s.status("text", text), full)
	}
	all()
	if !strings.Contains(s.status("image", image).text, `"generations":[]`) || !strings.Contains(s.status("text", text).text, `"generations":[]`) {
		t.Error("62 generations is no empty array")
	}
	p := s.popImage(w, "dreamer", nil)
	s.upload(p.str("r2_upload"), "image")
	s.want(s.call("POST", "/generate/submit", w, fields{"id": p.str("id"), "generation": "R2", "state": "ok", "seed": "1312", "censored": false,
		"gen_metadata": []fields{{"type": "batch_index", "value": "see_ref", "ref": "0"}, {"type": "lora", "value": "download_failed"}}}), http.StatusOK)
	s.deliverText(w, s.job(s.popText(w, "scribe", nil)), "an answer")
	all()
	a := s.status("image", image)
	g := answer{value: a.at("generations", 0), text: a.text}
	if want := []string{"censored", "gen_metadata", "id", "img", "model", "seed", "state", "worker_id", "worker_name"}; !slices.Equal(keys(g.value), want) {
		t.Errorf("63 an image has %q, want %q", keys(g.value), want)
	}
	s.shows(g, fields{"seed": "1312", "state": "ok", "censored": false, "model": "Deliberate", "worker_name": "dreamer", "id": p.str("id")})
	if _, ok := g.at("seed").(string); !ok {
		t.Errorf("64 the seed of an image is %v", g.at("seed"))
	}
	if got := fmt.Sprint(g.at("gen_metadata")); got != "[map[ref:0 type:batch_index value:see_ref] map[type:lora value:download_failed]]" {
		t.Errorf("66 gen_metadata is %s", got)
	}
	a = s.status("text", text)
	g = answer{value: a.at("generations", 0), text: a.text}
	if _, ok := g.at("seed").(float64); !ok {
		t.Errorf("example 8 the seed of a text is %v", g.at("seed"))
	}
	if a := s.get("/status/performance", account{}); !regexp.MustCompile(`"queued_forms":\d+[,}]`).MatchString(a.text) {
		t.Errorf("example 6 queued_forms is no plain integer: %s", a.text)
	}
	if want := []string{"gen_metadata", "model", "seed", "state", "text", "worker_id", "worker_name"}; !slices.Equal(keys(g.value), want) {
		t.Errorf("67 a text has %q, want %q", keys(g.value), want)
	}
	s.shows(g, fields{"seed": 0, "state": "ok", "text": "an answer", "model": "test/7B", "worker_name": "scribe"})
	for kind, id := range map[string]string{"image": image, "text": text} {
		a := s.want(s.call("DELETE", generate(kind)+"/status/"+id, account{}, nil), http.StatusOK)
		s.shows(a, fields{"finished": 1, "waiting": 1})
		if len(a.list("generations")) != 1 {
			t.Errorf("71 DELETE shows %s", a.text)
		}
	}
	all()
}

func TestClients58And59WhatIsDoneWasPossible(t *testing.T) {
	t.Parallel()
	example(t, "clients", 4)
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(100, 0), s.user(0, 0)
		image := s.image(u, `{"prompt":"x","models":["Deliberate"]}`)
		text := s.text(u, `{"prompt":"x","models":["test/7B"]}`)
		cancelled := s.image(u, `{"prompt":"x","models":["nobody has this"]}`)
		cancelledText := s.text(u, `{"prompt":"x","models":["nobody has this"]}`)
		s.shows(s.check(cancelled), fields{"is_possible": false})
		s.want(s.call("DELETE", "/generate/status/"+cancelled, account{}, nil), http.StatusOK)
		s.want(s.call("DELETE", "/generate/text/status/"+cancelledText, account{}, nil), http.StatusOK)
		p, q := s.popImage(w, "dreamer", nil), s.popText(w, "scribe", nil)
		s.shows(s.check(image), fields{"is_possible": true})
		s.deliver(w, p)
		s.deliverText(w, s.job(q), "x")
		for range 3 {
			for _, id := range []string{image, cancelled} {
				s.shows(s.check(id), fields{"done": true, "faulted": false, "is_possible": true})
				s.shows(s.status("image", id), fields{"done": true, "faulted": false, "is_possible": true})
			}
			for _, id := range []string{text, cancelledText} {
				s.shows(s.status("text", id), fields{"done": true, "faulted": false, "is_possible": true})
			}
			time.Sleep(6 * time.Minute) // example 4: all workers are gone
		}
	})
	t.Run("59 no flicker while a worker polls", func(t *testing.T) {
		t.Parallel()
		inBubble(t, func(t *testing.T, s *server) {
			u, w := s.user(100, 0), s.user(100, 0)
			for range 5 {
				s.text(w, `{"prompt":"the owner's own","models":["test/7B"]}`)
			}
			id := s.text(u, `{"prompt":"x","models":["test/7B"]}`)
			s.popText(w, "scribe", fields{"models": []string{"test/7B", "nobody asks for this"}, "max_length": 16})
			time.Sleep(3 * time.Second) // a no is kept for two
			for range 4 {
				s.deliverText(w, s.job(s.popText(w, "scribe", nil)), "x")
				for range 29 {
					s.shows(s.status("text", id), fields{"is_possible": true})
					time.Sleep(10 * time.Second)
				}
			}
		})
	})
}

func TestClients82To89PopsWithAJob(t *testing.T) {
	t.Parallel()
	example(t, "clients", 10, 15, 16)
	example(t, "cases", 87)
	s := open(t)
	u, w := s.user(1000, horde.Trusted), s.user(0, horde.Trusted)
	s.image(u, fields{"prompt": "a cat###a dog", "models": []string{"Deliberate"}, "nsfw": false, "source_image": base64PNG(opaque(64, 64)), "params": fields{
		"n": 4, "seed": "7", "control_type": "canny", "loras": []fields{{"name": "a"}}, "tis": []fields{{"name": "b"}}, "post_processing": []string{"GFPGAN"},
	}})
	p := s.popImage(w, "dreamer", fields{"amount": 4})
	ids, uploads := p.strings("ids"), p.strings("r2_uploads")
	if len(ids) != 4 || len(uploads) != 4 || p.str("id") != ids[0] || p.str("r2_upload") != uploads[0] || p.str("model") != "Deliberate" {
		t.Fatalf("82 got %s", p.text)
	}
	for i, id := range ids {
		if !strings.Contains(uploads[i], "/"+id+".webp?") {
			t.Errorf("B087 upload %d is for another job: %s, %s", i, id, uploads[i])
		}
	}
	sortedIDs, sortedUploads := slices.Sorted(slices.Values(ids)), slices.Sorted(slices.Values(uploads))
	for i, id := range sortedIDs {
		if !strings.Contains(sortedUploads[i], id) {
			t.Error("83 sorting ids and uploads gives other pairs")
		}
	}
	payload := p.at("payload").(map[string]any)
	for _, key := range strings.Fields("prompt height width ddim_steps n_iter sampler_name cfg_scale seed karras tiling image_is_control control_type") {
		if payload[key] == nil {
			t.Errorf("85 the payload lacks %s: %s", key, p.text)
		}
	}
	for _, key := range strings.Fields("n steps seed_variation batch_size") {
		if _, ok := payload[key]; ok {
			t.Errorf("the payload has %s", key)
		}
	}
	s.shows(answer{value: payload}, fields{
		"seed": "7", "prompt": "a cat###a dog", "n_iter": 4, "ddim_steps": 20, "cfg_scale": 5, "karras": true, "use_nsfw_censor": true,
		"loras": "[map[clip:1 is_version:false model:1 name:a]]", "tis": "[map[name:b strength:1]]", "post_processing": "[GFPGAN]",
	})
	if strings.Contains(fmt.Sprint(payload), "<nil>") {
		t.Errorf("86 a null in %v", payload)
	}
	if p.str("source_processing") != "img2img" || p.at("source_mask") != nil || !strings.Contains(p.str("source_image"), "_src.webp?") {
		t.Errorf("84, 134 got %s", p.text)
	}
	t.Run("96 parallel submits of a batch", func(t *testing.T) {
		var all sync.WaitGroup
		for i, id := range ids {
			all.Add(1)
			go func() {
				defer all.Done()
				s.upload(uploads[i], "image "+id)
				a := s.call("POST", "/generate/submit", w, fields{"id": id, "generation": "R2", "seed": 7 + i,
					"gen_metadata": []fields{{"type": "batch_index", "value": "see_ref", "ref": fmt.Sprint(i)}}})
				if a.status != http.StatusOK || a.number("reward") <= 0 {
					t.Errorf("submit %d: %d %s", i, a.status, a.text)
				}
			}()
		}
		all.Wait()
	})
	t.Run("an old program gets base64", func(t *testing.T) {
		s := s.in(t)
		s.image(u, img2img(base64PNG(rgba(64, 64))).with(fields{"r2": false, "models": []string{"Deliberate"}}))
		p := s.popImage(w, "old", fields{"bridge_agent": "AI Horde Worker:11:x"})
		s.job(p)
		b, err := base64.StdEncoding.DecodeString(p.str("source_image"))
		if err != nil || !bytes.HasPrefix(b, []byte("RIFF")) {
			t.Errorf("source_image is %.80s", p.str("source_image"))
		}
	})
	t.Run("an unknown program gets no source image", func(t *testing.T) {
		s := s.in(t)
		s.text(u, `{"prompt":"y"}`)
		p := s.popText(w, "scribe", nil)
		s.job(p)
		for _, key := range []string{"width", "steps", "length"} {
			if _, ok := p.at("payload").(map[string]any)[key]; ok {
				t.Errorf("89 the payload of a text has %s", key)
			}
		}
		if strings.Contains(fmt.Sprint(p.at("payload")), "<nil>") {
			t.Errorf("86 a null in %v", p.at("payload"))
		}
	})
}

// The submit of the Python SDK, as it is.
func TestClientsExample12(t *testing.T) {
	t.Parallel()
	example(t, "clients", 12)
	s := open(t)
	u, w := s.user(1000, 0), s.user(0, horde.Trusted)
	id := s.image(u, `{"prompt":"x","models":["Deliberate"]}`)
	p := s.popImage(w, "dreamer", nil)
	s.upload(p.str("r2_upload"), "image")
	a := s.want(s.call("POST", "/generate/submit", w, `{"id":"`+s.job(p)+`","generation":"R2","state":"ok","seed":"1312","censored":false,"gen_metadata":[]}`), http.StatusOK)
	if m := a.value.(map[string]any); len(m) != 1 || a.number("reward") != 7.37 {
		t.Errorf("got %s, want the reward 7.37", a.text)
	}
	if got := s.status("image", id).text; !strings.Contains(got, `"seed":"1312"`) || !strings.Contains(got, `"gen_metadata":[]`) {
		t.Errorf("got %s", got)
	}
}

func TestClients91To100PopAndSubmitFields(t *testing.T) {
	t.Parallel()
	s := open(t)
	u, w := s.user(1000, 0), s.user(0, horde.Trusted)
	s.want(s.call("PUT", u.path(), s.user(0, horde.Moderator), `{"concurrency":100}`), http.StatusOK)
	s.text(u, `{"prompt":"x","models":["test/7B"],"params":{"n":20}}`)
	s.image(u, `{"prompt":"x","models":["Deliberate"],"params":{"n":20}}`)
	s.popText(w, "a#b-c 1", fields{"bridge_version": 9, "allow_unsafe_ip": true, "softprompts": []string{"a"}, "bridge_agent": "KCPP:1"})
	s.popText(w, "https", fields{"bridge_agent": "name:1:https://example.org:8080/a"})
	for _, seed := range []any{5, 0, -1, "1312", "-1"} {
		p := s.popImage(w, "dreamer", nil)
		s.upload(p.str("r2_upload"), "image")
		s.want(s.call("POST", "/generate/submit", w, fields{"id": s.job(p), "generation": "R2", "seed": seed}), http.StatusOK)
		p = s.popText(w, "scribe", nil)
		s.want(s.call("POST", "/generate/text/submit", w, fields{"id": s.job(p), "generation": "text", "seed": seed}), http.StatusOK)
	}
	p := s.popText(w, "scribe", nil)
	s.want(s.call("POST", "/generate/text/submit", w, fields{"id": s.job(p), "generation": "text", "seed": nil}), http.StatusOK)
	p = s.popText(w, "scribe", nil)
	s.want(s.call("POST", "/generate/text/submit", w, fields{"id": s.job(p), "generation": "faulted", "state": "faulted", "seed": -1}), http.StatusOK)
	t.Run("98 an image as base64", func(t *testing.T) {
		s := s.in(t)
		id := s.image(u, `{"prompt":"y","models":["Dreamshaper"]}`)
		inline := s.image(u, `{"prompt":"y","models":["Dreamshaper"],"r2":false}`)
		for range 2 {
			p := s.popImage(w, "dreamer", fields{"models": []string{"Dreamshaper"}})
			s.want(s.call("POST", "/generate/submit", w, fields{"id": s.job(p), "generation": base64PNG(opaque(64, 64)), "seed": 1}), http.StatusOK)
		}
		url := s.status("image", id).str("generations", 0, "img")
		a := s.fetch(url)
		if a.status != http.StatusOK || !strings.HasPrefix(a.text, "RIFF") || a.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("131, 132 the image is %d %.10q %v", a.status, a.text, a.header)
		}
		img := s.status("image", inline).str("generations", 0, "img")
		if b, err := base64.StdEncoding.DecodeString(img); err != nil || !bytes.HasPrefix(b, []byte("RIFF")) {
			t.Errorf("135 the image is %.60s", img)
		}
	})
	t.Run("15 no image at all is passed on", func(t *testing.T) {
		s := s.in(t)
		id := s.image(u, `{"prompt":"y","models":["RPG"]}`)
		p := s.popImage(w, "dreamer", fields{"models": []string{"RPG"}})
		s.want(s.call("POST", "/generate/submit", w, fields{"id": s.job(p), "generation": "no image, sorry", "seed": 1}), http.StatusOK)
		if img := s.status("image", id).str("generations", 0, "img"); img != "no image, sorry" {
			t.Errorf("the client gets %q", img)
		}
	})
	t.Run("15 a corrupt image is refused and made again", func(t *testing.T) {
		s := s.in(t)
		id := s.image(u, `{"prompt":"y","models":["ToonYou"]}`)
		p := s.popImage(w, "dreamer", fields{"models": []string{"ToonYou"}})
		half := base64.StdEncoding.EncodeToString(encodePNG(rgba(64, 64))[:120])
		s.isRefusal(s.want(s.call("POST", "/generate/submit", w, fields{"id": s.job(p), "generation": half, "seed": 1}), http.StatusBadRequest))
		s.shows(s.check(id), fields{"waiting": 1, "restarted": 1})
		p = s.popImage(w, "dreamer", fields{"models": []string{"ToonYou"}})
		s.isRefusal(s.want(s.call("POST", "/generate/submit", w, fields{"id": s.job(p), "generation": "R2", "seed": 1}), http.StatusBadRequest))
		s.shows(s.check(id), fields{"waiting": 1, "restarted": 2})
		s.deliver(w, s.popImage(w, "dreamer", fields{"models": []string{"ToonYou"}}))
		s.shows(s.check(id), fields{"done": true, "finished": 1})
	})
	t.Run("more than 50 notes", func(t *testing.T) {
		s := s.in(t)
		notes := make([]fields, 51)
		for i := range notes {
			notes[i] = fields{"type": "information", "value": "see_ref", "ref": fmt.Sprint(i)}
		}
		p := s.popImage(w, "dreamer", nil)
		s.upload(p.str("r2_upload"), "image")
		s.refused(s.call("POST", "/generate/submit", w, fields{"id": s.job(p), "generation": "R2", "seed": 1, "gen_metadata": notes}), http.StatusBadRequest, "BadRequest")
		s.want(s.call("POST", "/generate/submit", w, fields{"id": s.job(p), "generation": "R2", "seed": 1, "gen_metadata": notes[:50]}), http.StatusOK)
	})
}

func TestClients101To105AndListOfWorkers(t *testing.T) {
	t.Parallel()
	s := open(t)
	w, mod := s.user(0, 0), s.user(0, horde.Moderator)
	s.popImage(w, "dreamer", nil)
	s.popText(w, "scribe", nil)
	a := s.want(s.get("/workers", account{}), http.StatusOK)
	if len(a.list()) != 2 {
		t.Fatalf("got %s", a.text)
	}
	for i, v := range a.list() {
		row := answer{value: v, text: a.text}
		for _, key := range []string{"type", "name", "id", "bridge_agent", "performance"} {
			row.str(key)
		}
		for _, key := range []string{"uptime", "threads", "requests_fulfilled", "uncompleted_jobs", "kudos_rewards"} {
			row.number(key)
		}
		for _, key := range []string{"online", "maintenance_mode", "trusted", "flagged", "nsfw"} {
			if _, ok := row.at(key).(bool); !ok {
				t.Errorf("%s is %v", key, row.at(key))
			}
		}
		row.number("kudos_details", "generated")
		row.number("kudos_details", "uptime")
		if team, ok := row.at("team").(map[string]any); !ok || len(team) != 2 || team["name"] != nil || team["id"] != nil {
			t.Errorf("101 team is %v", row.at("team"))
		}
		if len(row.list("models")) != 1 {
			t.Errorf("103 models is %v", row.at("models"))
		}
		unit := []string{"1.0 megapixelsteps per second", "1.0 tokens per second"}[i]
		if row.str("performance") != unit {
			t.Errorf("104 performance of worker %d is %q", i, row.str("performance"))
		}
		for _, key := range []string{"owner", "ipaddr", "paused", "suspicious", "contact", "messages"} {
			if row.has(key) {
				t.Errorf("everybody sees %s", key)
			}
		}
	}
	for _, kind := range []string{"image", "text", "interrogation", "nonsense"} {
		list := s.want(s.get("/workers?type="+kind, account{0, "even an invalid key"}), http.StatusOK).list()
		if want := map[string]int{"image": 1, "text": 1}[kind]; len(list) != want {
			t.Errorf("105 %d workers of type %s, want %d", len(list), kind, want)
		}
	}
	if list := s.get("/workers?name=DREAMER", account{}).list(); len(list) != 1 {
		t.Errorf("by name there are %d", len(list))
	}
	s.refused(s.get("/workers/name/DREAMER", account{}), http.StatusNotFound, "WorkerNotFound")
	s.shows(s.get("/workers/name/dreamer", mod), fields{"paused": false, "suspicious": 0, "ipaddr": "192.0.2.1"})
	if !strings.HasSuffix(s.get("/workers/name/dreamer", mod).str("owner"), fmt.Sprint("#", w.id)) {
		t.Error("moderators do not see the owner")
	}
	s.want(s.call("PUT", w.path(), w, `{"public_workers":true}`), http.StatusOK)
	if !s.get("/workers/name/dreamer", account{}).has("owner") || len(s.get(w.path(), account{}).list("worker_ids")) != 2 {
		t.Error("public_workers does not show owner and workers")
	}
	for _, id := range []string{"nope", "00000000-0000-4000-8000-000000000000"} {
		s.refused(s.get("/workers/"+id, account{}), http.StatusNotFound, "WorkerNotFound")
	}
}

func TestClients115And116ModelsAndPerformance(t *testing.T) {
	t.Parallel()
	s := open(t)
	u, w := s.user(1000, 0), s.user(0, 0)
	s.popImage(w, "dreamer", fields{"models": []string{"Deliberate", "Dreamshaper"}, "threads": 3})
	s.popText(w, "scribe", nil)
	s.image(u, `{"prompt":"x","models":["SDXL 1.0"],"params":{"n":2}}`) // nobody serves it
	s.image(u, `{"prompt":"x","models":["never heard of"]}`)
	a := s.want(s.get("/status/models", account{}), http.StatusOK)
	got := map[string]answer{}
	for _, v := range a.list() {
		row := answer{value: v, text: a.text}
		got[row.str("name")] = row
		for _, key := range []string{"count", "performance", "queued", "jobs", "eta"} {
			row.number(key)
		}
		if row.str("type") != "image" {
			t.Errorf("the default is images: %s", a.text)
		}
	}
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{"Deliberate", "Dreamshaper", "SDXL 1.0"}) {
		t.Fatalf("models are %q", names)
	}
	s.shows(got["Deliberate"], fields{"count": 3, "jobs": 0, "queued": 0, "eta": 0})
	s.shows(got["SDXL 1.0"], fields{"count": 0, "jobs": 2, "queued": float64(2 * 512 * 512 * 30), "eta": 10000})
	for query, n := range map[string]int{
		"?type=text": 1, "?type=nonsense": 0, "?min_count=1": 2, "?max_count=0": 1, "?model_state=custom": 0, "?model_state=known": 3,
		"?type=text&model_state=known": 1,
	} {
		if list := s.want(s.get("/status/models"+query, account{}), http.StatusOK).list(); len(list) != n {
			t.Errorf("%s lists %d, want %d", query, len(list), n)
		}
	}
	s.refused(s.get("/status/models?model_state=x", account{}), http.StatusBadRequest, "BadRequest")
	s.invalid(s.get("/status/models?min_count=x", account{}), "min_count")
	if a := s.want(s.get("/status/models/never%20heard%20of", account{}), http.StatusOK); strings.TrimSpace(a.text) != "[]" {
		t.Errorf("an unknown model is %s", a.text)
	}
	p := s.want(s.get("/status/performance", account{}), http.StatusOK)
	want := []string{"interrogator_count", "interrogator_thread_count", "past_minute_megapixelsteps", "past_minute_tokens", "queued_forms",
		"queued_megapixelsteps", "queued_requests", "queued_text_requests", "queued_tokens", "text_thread_count", "text_worker_count", "thread_count", "worker_count"}
	if keys := slices.Sorted(maps.Keys(p.value.(map[string]any))); !slices.Equal(keys, want) {
		t.Errorf("116 the keys are %q", keys)
	}
	s.shows(p, fields{"queued_requests": 3, "queued_megapixelsteps": 23.59, "worker_count": 1, "thread_count": 3, "text_worker_count": 1})
}

func TestClients131To136Objects(t *testing.T) {
	t.Parallel()
	example(t, "clients", 11)
	inBubble(t, func(t *testing.T, s *server) {
		u, w := s.user(100, 0), s.user(0, 0)
		id := s.image(u, `{"prompt":"x","models":["Deliberate"]}`)
		p := s.popImage(w, "dreamer", nil)
		url := p.str("r2_upload")
		if !strings.HasPrefix(url, "https://horde.example/") || !strings.Contains(url, p.str("id")+".webp?") {
			t.Errorf("the upload is to %s", url)
		}
		put := func(url, content string, h ...header) answer {
			req := httptest.NewRequest("PUT", url, strings.NewReader(content))
			for _, h := range h {
				req.Header.Set(h.name, h.value)
			}
			return s.send(req)
		}
		s.want(put(url, "hello"), http.StatusOK) // example 11
		s.want(put(url, "again", header{"Content-Type", "image/webp"}), http.StatusOK)
		s.want(put(url, "and again", header{"Content-Type", "application/x-anything"}), http.StatusOK)
		for name, bad := range map[string]string{
			"another job": strings.Replace(url, p.str("id"), "00000000-0000-4000-8000-000000000000", 1), "no signature": url[:strings.IndexByte(url, '?')],
		} {
			if a := put(bad, "bad"); a.status < 400 || a.status >= 500 {
				t.Errorf("an upload with %s: %d", name, a.status)
			}
		}
		s.want(s.call("POST", "/generate/submit", w, fields{"id": p.str("id"), "generation": "R2", "seed": 1}), http.StatusOK)
		if a := put(url, "exchanged"); a.status == http.StatusOK {
			t.Error("a delivered image can be exchanged")
		}
		img := s.status("image", id).str("generations", 0, "img")
		if a := s.fetch(img); a.status != http.StatusOK || a.text != "and again" || a.header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("131, 132: %d %q %v", a.status, a.text, a.header)
		}
		time.Sleep(19 * time.Minute)
		if fresh := s.status("image", id).str("generations", 0, "img"); fresh == img {
			t.Error("a status call later answers the same link")
		}
		s.want(s.fetch(img), http.StatusOK)
		time.Sleep(12 * time.Minute)
		if a := s.fetch(img); a.status == http.StatusOK {
			t.Error("the link works after 31 minutes")
		}
		s.refused(s.get("/generate/status/"+id, account{}), http.StatusNotFound, "RequestNotFound")
		if a := put(url, "late"); a.status == http.StatusOK {
			t.Error("an upload works after 31 minutes")
		}
	}, func(c *node.Config) { c.PublicURL = "https://horde.example" })
}

func TestClients19Compression(t *testing.T) {
	t.Parallel()
	s := open(t)
	for range 30 {
		s.user(5, 0)
	}
	for accept, want := range map[string]string{"": "", "gzip": "gzip", "gzip, deflate, br": "gzip", "br": ""} {
		w := httptest.NewRecorder()
		req := s.request("GET", "/api/v2/users", account{}, nil, header{"Accept-Encoding", accept})
		s.Handler().ServeHTTP(w, req)
		if got := w.Header().Get("Content-Encoding"); got != want {
			t.Errorf("with Accept-Encoding %q the answer is %q, want %q", accept, got, want)
		}
		if want == "gzip" {
			z, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(z); err != nil || !bytes.HasPrefix(b, []byte("[{")) {
				t.Errorf("got %.40q, %v", b, err)
			}
		}
	}
}

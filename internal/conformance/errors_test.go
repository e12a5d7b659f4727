// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"horde/internal/horde"
	"horde/internal/node"
)

// The worked examples of the errors chapter.

func TestErrors1To7BodiesAreRefusedFieldByField(t *testing.T) {
	t.Parallel()
	example(t, "errors", 1, 2, 3, 4, 5, 6, 7, 9, 10)
	s := open(t)
	u, nobody, bogus := s.user(100, 0), account{}, account{0, "no-such-key"}
	for _, c := range []struct {
		name, path string
		as         account
		body       string
		status     int
		rc         string
		errors     []string // fields; nil where there are none
	}{
		{"1 an empty object without a key", "/generate/async", nobody, `{}`, 400, "", []string{"prompt"}},
		{"2 no key", "/generate/async", nobody, `{"prompt":"x"}`, 400, "", []string{"apikey"}},
		{"2 an unknown key", "/generate/async", bogus, `{"prompt":"x"}`, 401, "InvalidAPIKey", nil},
		{"3 all violations at once", "/generate/async", u, `{"prompt":5,"params":{"width":100,"height":4096,"n":21,"steps":0}}`, 400, "",
			[]string{"prompt", "params.width", "params.height", "params.n", "params.steps"}},
		{"4 in arrays", "/generate/async", u, `{"prompt":"x","params":{"loras":[{"model":9}]}}`, 400, "",
			[]string{"params.loras.0.name", "params.loras.0.model"}},
		{"5 a text without a prompt", "/generate/text/async", u, `{}`, 400, "", []string{"prompt"}},
		{"5 a text with an empty prompt", "/generate/text/async", u, `{"prompt":""}`, 400, "MissingPrompt", nil},
		{"an image with an empty prompt", "/generate/async", u, `{"prompt":""}`, 400, "", []string{"prompt"}},
		{"6 an array", "/generate/async", u, `[1]`, 400, "", []string{""}},
		{"6 null", "/generate/async", u, `null`, 400, "", []string{""}},
		{"6 broken JSON", "/generate/async", u, `{bad`, 400, "", nil},
		{"6 nothing", "/generate/async", u, ``, 400, "", nil},
		{"7 a NUL in an image prompt", "/generate/async", u, `{"prompt":"a\u0000b"}`, 400, "NulByteInPayload", nil},
		{"7 a NUL in a text prompt", "/generate/text/async", u, `{"prompt":"a\u0000b"}`, 400, "NulByteInPayload", nil},
		{"a NUL in params", "/generate/async", u, `{"prompt":"x","params":{"seed":"a\u0000b"}}`, 400, "NulByteInPayload", nil},
		{"9 a special model", "/generate/async", u, `{"prompt":"x","models":["horde_special::u#1"]}`, 403, "Forbidden", nil},
		{"9 a special payload", "/generate/async", u, `{"prompt":"x","params":{"special":{"a":1}}}`, 400, "BadRequest", nil},
		{"10 an unknown style", "/generate/async", u, `{"prompt":"x","style":"nope"}`, 404, "StyleNotFound", nil},
		{"an unknown worker", "/generate/async", u, `{"prompt":"x","workers":["00000000-0000-4000-8000-000000000000"]}`, 404, "WorkerNotFound", nil},
		{"a worker that is no id", "/generate/text/async", u, `{"prompt":"x","workers":["nope"]}`, 404, "WorkerNotFound", nil},
		{"the banned agent", "/generate/async", u, `{"prompt":"x"}`, 403, "BannedClientAgent", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			var h []header
			if c.rc == "BannedClientAgent" {
				h = append(h, header{"Client-Agent", "My-Project:v0.0.1:My-Contact"})
			}
			a := s.call("POST", c.path, c.as, c.body, h...)
			if c.errors != nil {
				s.invalid(a, c.errors...)
				return
			}
			if s.refused(a, c.status, c.rc); a.has("errors") {
				t.Errorf("more than a message: %s", a.text)
			}
		})
	}
	t.Run("6 another content type", func(t *testing.T) {
		s := s.in(t)
		for _, ct := range []string{"text/plain", "application/x-www-form-urlencoded", ""} {
			s.refused(s.call("POST", "/generate/async", u, `{"prompt":"x"}`, header{"Content-Type", ct}), http.StatusBadRequest, "")
		}
	})
	s.untouched(u, 100)
}

func TestErrors8UnknownIDsAndMethods(t *testing.T) {
	t.Parallel()
	example(t, "errors", 8)
	s := open(t)
	for _, id := range []string{"not-a-uuid", "00000000-0000-4000-8000-000000000000", "%00", strings.Repeat("a", 3000)} {
		for _, path := range []string{"/generate/check/", "/generate/status/", "/generate/text/status/"} {
			s.refused(s.get(path+id, account{}), http.StatusNotFound, "RequestNotFound")
		}
		for _, path := range []string{"/generate/status/", "/generate/text/status/"} {
			s.refused(s.call("DELETE", path+id, account{}, nil), http.StatusNotFound, "RequestNotFound")
		}
	}
	image, text := s.image(anonymous, `{"prompt":"x"}`), s.text(anonymous, `{"prompt":"x"}`)
	s.refused(s.get("/generate/check/"+text, account{}), http.StatusNotFound, "RequestNotFound")
	s.refused(s.get("/generate/status/"+text, account{}), http.StatusNotFound, "RequestNotFound")
	s.refused(s.get("/generate/text/status/"+image, account{}), http.StatusNotFound, "RequestNotFound")
	s.want(s.get("/generate/check/"+strings.ToUpper(strings.ReplaceAll(image, "-", "")), account{}), http.StatusOK)

	a := s.refused(s.get("/generate/async", account{}), http.StatusMethodNotAllowed, "")
	if got := a.header.Get("Allow"); got != "OPTIONS, POST" {
		t.Errorf("Allow is %q", got)
	}
	for _, path := range []string{"/nothing", "/generate", "/generate/sync"} {
		s.refused(s.call("POST", path, anonymous, `{}`), http.StatusNotFound, "")
	}
}

func TestErrors11And12InSubmits(t *testing.T) {
	t.Parallel()
	example(t, "errors", 11)
	s := open(t)
	u, w, other := s.user(0, 0), s.user(0, 0), s.user(0, 0)
	s.image(u, `{"prompt":"x","models":["Deliberate"]}`)
	p := s.popImage(w, "w", nil)
	id := s.job(p)
	submit := func(as account, id string) answer {
		return s.call("POST", "/generate/submit", as, fields{"id": id, "generation": "R2", "seed": 1})
	}
	contains := func(a answer, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(a.str("message"), part) {
				t.Errorf("the message lacks %q: %s", part, a.text)
			}
		}
	}
	for _, unknown := range []string{"00000000-0000-4000-8000-000000000000", "no-uuid", ""} {
		contains(s.refused(submit(w, unknown), http.StatusNotFound, "InvalidJobID"), "Processing Job with ID", "does not exist")
	}
	s.refused(submit(account{0, "bogus"}, id), http.StatusUnauthorized, "InvalidAPIKey")
	contains(s.refused(submit(other, id), http.StatusForbidden, "WrongCredentials"), "rong credentials")
	s.invalid(submit(account{}, id), "apikey")
	s.deliver(w, p)
	contains(s.refused(submit(w, id), http.StatusBadRequest, "DuplicateGen"), "already submitted")
	s.refused(submit(other, id), http.StatusForbidden, "WrongCredentials")
}

// limited turns the rate limits on.
func limited(c *node.Config) { c.NoRateLimit = false }

func TestErrors12TwoSubmissionsASecond(t *testing.T) {
	t.Parallel()
	example(t, "errors", 12)
	example(t, "clients", 14)
	example(t, "accounts", 16)
	inBubble(t, func(t *testing.T, s *server) {
		u, trusted := s.user(0, 0), s.user(0, horde.Trusted)
		for i := range 3 {
			a := s.call("POST", "/generate/async", u, `{}`) // invalid ones count too
			want := []string{"2", "2", "2"}[i]
			if a.header.Get("X-RateLimit-Limit") != want {
				t.Errorf("X-RateLimit-Limit is %q, want %s", a.header.Get("X-RateLimit-Limit"), want)
			}
			if i < 2 {
				s.invalid(a, "prompt")
				continue
			}
			s.refused(a, http.StatusTooManyRequests, "")
			if a.str("message") != "2 per 1 second" || a.header.Get("X-RateLimit-Remaining") != "0" || a.header.Get("Retry-After") != "1" {
				t.Errorf("got %s with %v", a.text, a.header)
			}
		}
		time.Sleep(time.Second)
		// Clients example 14: after the second it works again.
		s.want(s.call("POST", "/generate/async", u, `{"prompt":"x"}`), http.StatusAccepted)
		time.Sleep(time.Second)
		s.want(s.call("POST", "/generate/async", trusted, `{"prompt":"x"}`), http.StatusAccepted)
		for i := range 10 {
			a := s.call("POST", "/generate/async", trusted, `{"prompt":"x"}`)
			if got := a.header.Get("X-RateLimit-Limit"); got != "10" {
				t.Errorf("after a trusted user the limit of the address is %s, want 10", got)
			}
			if i < 9 {
				s.want(a, http.StatusAccepted)
			}
		}
	}, limited)
}

func TestErrors13StatusHasALimitForEachMethod(t *testing.T) {
	t.Parallel()
	example(t, "errors", 13)
	inBubble(t, func(t *testing.T, s *server) {
		image, text := s.image(anonymous, `{"prompt":"x"}`), s.text(anonymous, `{"prompt":"x"}`)
		for _, c := range []struct {
			path    string
			allowed int
			message string
		}{
			{"/generate/status/" + image, 12, "12 per 1 minute"},
			{"/generate/text/status/" + text, 120, "120 per 1 minute"},
			{"/generate/check/" + image, 10, "10 per 1 second"},
		} {
			for range c.allowed {
				s.want(s.get(c.path, account{}), http.StatusOK)
			}
			if a := s.refused(s.get(c.path, account{}), http.StatusTooManyRequests, ""); a.str("message") != c.message {
				t.Errorf("message %q, want %q", a.str("message"), c.message)
			}
			if !strings.Contains(c.path, "check") {
				s.want(s.call("DELETE", c.path, account{}, nil), http.StatusOK)
			}
		}
	}, limited)
}

func TestErrors14ConcurrencyIsAnother429(t *testing.T) {
	t.Parallel()
	example(t, "errors", 14)
	inBubble(t, func(t *testing.T, s *server) {
		u := s.user(0, 0)
		s.image(u, `{"prompt":"x","params":{"n":20}}`)
		a := s.refused(s.call("POST", "/generate/async", u, `{"prompt":"x","params":{"n":11}}`), http.StatusTooManyRequests, "TooManyPrompts")
		if a.header.Get("X-RateLimit-Limit") == "" {
			t.Error("no rate limit headers")
		}
	}, limited)
}

func TestErrors15UserIDsThatAreNone(t *testing.T) {
	t.Parallel()
	example(t, "errors", 15)
	example(t, "accounts", 3)
	s := open(t)
	for _, id := range []string{"99999999999999999999999999", "db0", "-1", "999999", "2147483648", "1.0", "+1", "0x1", "%00"} {
		s.refused(s.get("/users/"+id, account{}), http.StatusNotFound, "UserNotFound")
		s.refused(s.call("PUT", "/users/"+id, anonymous, `{"contact":"somebody"}`), http.StatusNotFound, "UserNotFound")
	}
}

func TestPreflightsAreNeverLimited(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		for range 100 { // clients chapter, example 1
			a := s.call("OPTIONS", "/generate/async", account{}, nil, header{"Origin", "https://tinybots.net"},
				header{"Access-Control-Request-Method", "POST"}, header{"Access-Control-Request-Headers", "apikey,client-agent,content-type"})
			if a.status != http.StatusOK || a.text != "" || a.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Fatalf("preflight: %d %s %v", a.status, a.text, a.header)
			}
		}
		for range 200 {
			s.want(s.get("/status/heartbeat", account{}), http.StatusOK)
		}
		for range 90 {
			s.want(s.get("/status/performance", account{}), http.StatusOK)
		}
		s.refused(s.get("/status/performance", account{}), http.StatusTooManyRequests, "")
	}, limited)
}

func TestAccounts16ReadsAndWritesOfUsersAreCountedSeparately(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 16)
	inBubble(t, func(t *testing.T, s *server) {
		u := s.user(0, 0)
		counts := func(a answer, left string) {
			t.Helper()
			if limit, remaining := a.header.Get("X-RateLimit-Limit"), a.header.Get("X-RateLimit-Remaining"); limit != "60" || remaining != left {
				t.Errorf("%s of %s are left, want %s of 60", remaining, limit, left)
			}
		}
		for i := range 3 {
			counts(s.want(s.get(u.path(), u), http.StatusOK), fmt.Sprint(59-i))
		}
		for i := range 2 {
			counts(s.want(s.call("PUT", u.path(), u, `{"public_workers":true}`), http.StatusOK), fmt.Sprint(59-i))
		}
		for range 57 {
			s.want(s.get(u.path(), u), http.StatusOK)
		}
		s.refused(s.get(u.path(), u), http.StatusTooManyRequests, "")
		s.want(s.call("PUT", u.path(), u, `{"public_workers":true}`), http.StatusOK)
	}, limited)
}

func TestAccounts15WhoCallsIsToldByTrustedProxiesOnly(t *testing.T) {
	t.Parallel()
	example(t, "accounts", 15)
	inBubble(t, func(t *testing.T, s *server) {
		// httptest calls from 192.0.2.1, which is a trusted proxy here. An address is told apart by its limit.
		left := func(remote string, h ...header) string {
			req := s.request("GET", "/api/v2/status/performance", account{}, nil, h...)
			req.RemoteAddr = remote
			return s.want(s.send(req), http.StatusOK).header.Get("X-RateLimit-Remaining")
		}
		const proxy, stranger = "192.0.2.1:1234", "9.9.9.9:1234"
		chain := header{"X-Forwarded-For", "6.6.6.6, 1.2.3.4"}
		for i, c := range []struct {
			remote string
			h      []header
			want   string
		}{
			{proxy, []header{chain}, "89"},
			{proxy, []header{{"X-Forwarded-For", "1.2.3.4"}}, "88"},
			{"1.2.3.4:99", nil, "87"},
			{stranger, []header{chain}, "89"},
			{stranger, nil, "88"},
			{"[::ffff:9.9.9.9]:99", nil, "87"},
			{"[2001:db8:1:2:3::4]:99", nil, "89"},
			{"[2001:db8:1:2:5::6]:99", nil, "88"}, // one /64 is one caller
			{stranger, []header{{"Proxy-Authorization", "wrong"}, {"Proxied-For", "5.5.5.5"}}, "86"},
		} {
			if got := left(c.remote, c.h...); got != c.want {
				t.Errorf("call %d from %s with %v: %s left, want %s", i, c.remote, c.h, got, c.want)
			}
		}
	}, limited)
}

func TestB063ServiceAccountsSpeakForOthers(t *testing.T) {
	t.Parallel()
	example(t, "cases", 63)
	example(t, "accounts", 15)
	inBubble(t, func(t *testing.T, s *server) {
		mod, service := s.user(0, horde.Moderator), s.user(0, 0)
		s.refused(s.call("PUT", service.path(), service, `{"generate_proxy_passkey":true}`), http.StatusForbidden, "NonServiceForbidden")
		s.want(s.call("PUT", service.path(), mod, `{"service":true}`), http.StatusOK)
		passkey := s.want(s.call("PUT", service.path(), service, `{"generate_proxy_passkey":true}`), http.StatusOK).str("proxy_passkey")
		send := func(n int, key, who string) (passed int) {
			for range n {
				a := s.call("POST", "/generate/async", anonymous, `{"prompt":"x"}`, header{"Proxy-Authorization", key}, header{"Proxied-For", who})
				if a.status == http.StatusAccepted {
					passed++
				}
			}
			return passed
		}
		for _, who := range []string{"198.51.100.7", "198.51.100.8"} {
			if got := send(5, passkey, who); got != 2 {
				t.Errorf("%d of 5 calls for %s passed within a second, want 2", got, who)
			}
		}
		time.Sleep(time.Second)
		if got := send(5, "not the passkey", "198.51.100.9") + send(5, "not the passkey", "198.51.100.10"); got != 2 {
			t.Errorf("%d calls passed without a passkey, want 2: the header is ignored", got)
		}
		time.Sleep(time.Second)
		s.want(s.call("PUT", service.path(), mod, `{"service":false}`), http.StatusOK)
		if got := send(5, passkey, "198.51.100.11") + send(5, passkey, "198.51.100.12"); got != 2 {
			t.Errorf("%d calls passed with a passkey that lost its role, want 2", got)
		}
	}, limited)
}

func TestB065TenRequestsAtOnceAreToldWhenToComeBack(t *testing.T) {
	t.Parallel()
	example(t, "cases", 65)
	inBubble(t, func(t *testing.T, s *server) {
		u := s.user(0, 0)
		var refused int
		for range 10 {
			a := s.call("POST", "/generate/async", u, `{"prompt":"x"}`)
			if a.status == http.StatusAccepted {
				continue
			}
			refused++
			s.refused(a, http.StatusTooManyRequests, "")
			if a.header.Get("Retry-After") != "1" {
				t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
			}
		}
		if refused != 8 {
			t.Errorf("%d refused, want 8", refused)
		}
	}, limited)
}

func TestB061EveryAnswerCanBeReadByBrowsers(t *testing.T) {
	t.Parallel()
	example(t, "cases", 61)
	inBubble(t, func(t *testing.T, s *server) {
		for _, c := range []struct {
			method, path string
			as           account
			body         any
			status       int
		}{
			{"GET", "/status/heartbeat", account{}, nil, 200},
			{"POST", "/generate/async", anonymous, `{"prompt":"x"}`, 202},
			{"POST", "/generate/async", anonymous, `{}`, 400},
			{"POST", "/generate/async", anonymous, `{bad`, 429},
			{"POST", "/generate/text/async", account{0, "bogus"}, `{"prompt":"x"}`, 401},
			{"GET", "/generate/check/nope", account{}, nil, 404},
			{"GET", "/nothing/at/all", account{}, nil, 404},
			{"GET", "/generate/async", account{}, nil, 405},
			{"GET", "/status/modes", anonymous, nil, 403},
			{"POST", "/generate/pop", anonymous, strings.Repeat(" ", 40<<20) + `{}`, 413},
		} {
			a := s.call(c.method, c.path, c.as, c.body, header{"Origin", "null"})
			if a.status != c.status {
				t.Errorf("%s %s: %d %s, want %d", c.method, c.path, a.status, a.text, c.status)
			}
			s.common(a)
		}
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/generate/async", nil))
		if w.Code != http.StatusNotFound || w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("an old path: %d %v", w.Code, w.Header())
		}
	}, limited)
}

// Everything that requests.md, 8.2 and 8.3 refuses, one row each.
func TestRequestsAreRefusedWithTheirCodes(t *testing.T) {
	t.Parallel()
	s := open(t)
	u := s.user(10000, 0)
	special := s.user(1000, horde.Special)
	loras := make([]fields, 6)
	tis := make([]fields, 21)
	for i := range loras {
		loras[i] = fields{"name": fmt.Sprint("lora", i)}
	}
	for i := range tis {
		tis[i] = fields{"name": fmt.Sprint("ti", i)}
	}
	extras := []fields{{"image": "a"}, {"image": "a"}, {"image": "a"}, {"image": "a"}, {"image": "a"}, {"image": "a"}}
	png := base64PNG(opaque(64, 64))
	words := make([]string, 7501)
	for i := range words {
		words[i] = "w"
	}
	stops := make([]string, 129)
	for i := range stops {
		stops[i] = fmt.Sprint("s", i)
	}
	model := func(m string) fields { return fields{"models": []string{m}} }
	p := func(params fields) fields { return fields{"params": params} }
	for _, c := range []struct {
		name   string
		kind   string
		body   fields
		status int
		rc     string // with errors: a path
	}{
		{"2 hires_fix with Qwen", "image", model("Qwen-Image").with(p(fields{"hires_fix": true})), 400, "HiResMismatch"},
		{"2 hires_fix with an unknown model that says Flux", "image", model("mine [Flux]").with(p(fields{"hires_fix": true})), 400, "HiResMismatch"},
		{"3 a lora version that is no number", "image", p(fields{"loras": []fields{{"name": "abc", "is_version": true}}}), 400, "BadLoraVersion"},
		{"5 transparent with Flux", "image", model("Flux.1-Schnell fp8 (Compact)").with(p(fields{"transparent": true})), 400, "InvalidTransparencyModel"},
		{"6 a QR code with Flux", "image", model("Flux.1-Schnell fp8 (Compact)").with(p(fields{"workflow": "qr_code"})), 400, "ControlNetMismatch."},
		{"7 7501 words", "image", fields{"prompt": strings.Join(words, " ")}, 400, "InvalidPromptSize"},
		{"8 a post-processor as a model", "image", model("GFPGAN"), 400, "UnexpectedModelName"},
		{"9 two upscalers", "image", p(fields{"post_processing": []string{"NMKD_Siax", "4x_AnimeSharp"}}), 400, "TooManyUpscalers"},
		{"10 three decimals", "image", p(fields{"cfg_scale": 7.123}), 400, "BadCFGDecimals"},
		{"14 a mask alone", "image", fields{"source_mask": png}, 400, "SourceMaskUnnecessary"},
		{"15 normal with SD 2", "image", model("stable_diffusion_2.1").with(p(fields{"control_type": "normal"})).with(fields{"source_image": png}), 400, "ControlNetUnsupported"},
		{"16 control with pix2pix", "image", model("pix2pix").with(p(fields{"control_type": "canny"})).with(fields{"source_image": png}), 400, "ControlNetUnsupported"},
		{"17 control without an image", "image", p(fields{"control_type": "canny"}), 400, "ControlNetSourceMissing"},
		{"18 control with inpainting", "image", p(fields{"control_type": "canny"}).with(fields{"source_image": png, "source_processing": "inpainting"}), 400, "ControlNetInpaintingMismatch"},
		{"19 control with SDXL", "image", model("SDXL 1.0").with(p(fields{"control_type": "canny"})).with(fields{"source_image": png}), 400, "ControlNetMismatch"},
		{"20 transparent with control", "image", model("Deliberate").with(p(fields{"control_type": "canny", "transparent": true})).with(fields{"source_image": png}), 400, "InvalidTransparencyCN"},
		{"20 transparent with an extra image", "image", model("SDXL 1.0").with(p(fields{"transparent": true})).with(fields{"extra_source_images": extras[:1]}), 400, "InvalidTransparencyImg2Img"},
		{"21 remix with SD 1", "image", model("Deliberate").with(fields{"source_processing": "remix"}), 400, "InvalidRemix"},
		{"22 an extra image without remix", "image", fields{"extra_source_images": extras[:1]}, 400, "InvalidExtraSourceImages."},
		{"23 extra texts without a QR code", "image", p(fields{"extra_texts": []fields{{"text": "a", "reference": "abc"}}}), 400, "InvalidExtraTexts."},
		{"24 a QR code without its text", "image", model("Deliberate").with(p(fields{"workflow": "qr_code"})), 400, "MissingExtraTexts."},
		{"24 a QR code with another text", "image", model("Deliberate").with(p(fields{"workflow": "qr_code", "extra_texts": []fields{{"text": "a", "reference": "abc"}}})), 400, "MissingExtraTexts."},
		{"25 an init map and a returned map", "image", p(fields{"init_as_image": true, "return_control_map": true}), 400, "ControlNetInvalidPayload"},
		{"26 a depth model without an image", "image", model("Stable Diffusion 2 Depth"), 400, "SourceImageRequiredForModel"},
		{"26 pix2pix without an image", "image", model("pix2pix"), 400, "SourceImageRequiredForModel"},
		{"27 a controlnet as a model", "image", model("Test Control"), 400, "UnexpectedModelName"},
		{"five extra images are for the trusted", "image", fields{"extra_source_images": extras[:5]}, 400, "MoreThanMinExtraSourceImage."},
		{"disable_batching with two results is for the trusted", "image", p(fields{"n": 2}).with(fields{"disable_batching": true}), 400, "RequiresTrust"},
		{"disable_batching of texts too", "text", p(fields{"n": 2}).with(fields{"disable_batching": true}), 400, "RequiresTrust"},
		{"proxied_account is for services", "image", fields{"proxied_account": "a"}, 400, "OnlyServiceAccountProxy"},
		{"more tokens than context", "text", p(fields{"max_length": 100, "max_context_length": 99}), 400, "TokenOverflow"},
		{"six samplers", "text", p(fields{"sampler_order": []int{1, 2, 3, 4, 5, 6, 6}}), 400, "MissingFullSamplerOrder"},
		{"129 stop sequences", "text", p(fields{"stop_sequence": stops}), 400, "TooManyStopSequences"},
		{"2001 characters of stop sequences", "text", p(fields{"stop_sequence": []string{strings.Repeat("a", 1000), strings.Repeat("b", 1001)}}), 400, "ExcessiveStopSequence"},
		{"extra images with a text", "text", fields{"extra_source_images": extras[:1]}, 400, "InvalidExtraSourceImages."},
		{"a webhook without TLS", "text", fields{"webhook": "http://example.org/"}, 400, "BadRequest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			s.refused(s.call("POST", generate(c.kind)+"/async", u, fields{"prompt": "x"}.with(c.body)), c.status, c.rc)
		})
	}
	for name, body := range map[string]fields{
		"a special model without a user":      model("horde_special"),
		"a special model of another":          model("horde_special::x#1"),
		"a special model without its payload": model(fmt.Sprintf("horde_special::%s", s.get("/find_user", special).str("username"))),
		"six loras":                           p(fields{"loras": loras}),
		"21 TIs":                              p(fields{"tis": tis}),
		"six extra source images":             {"extra_source_images": extras},
	} {
		rc := map[string]string{
			"a special model without a user": "SpecialMissingUsername", "a special model of another": "Forbidden",
			"a special model without its payload": "SpecialMissingPayload", "six extra source images": "TooManyExtraSourceImages.",
		}[name]
		t.Run(name, func(t *testing.T) {
			s := s.in(t)
			a := s.call("POST", "/generate/async", special, fields{"prompt": "x"}.with(body))
			if rc == "" || a.has("errors") { // a list that is too long may be refused by its length
				s.want(a, http.StatusBadRequest)
				s.isRefusal(a)
				return
			}
			if a.rc() != rc {
				t.Errorf("got %d %s, want %s", a.status, a.text, rc)
			}
		})
	}
	s.untouched(u, 10000)
}

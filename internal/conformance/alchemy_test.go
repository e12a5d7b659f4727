// SPDX-License-Identifier: AGPL-3.0-or-later

package conformance

import (
	"encoding/base64"
	"fmt"
	"image"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"horde/internal/engine"
	"horde/internal/horde"
)

// The worked examples of the alchemy chapter, by their numbers, and what else it says.

// small is an image of one tile.
var small = base64PNG(opaque(8, 8))

// wide is an image of 4 tiles, 1024x768.
var wide = sync.OnceValue(func() string { return base64PNG(image.NewGray(image.Rect(0, 0, 1024, 768))) })

// formsOf are the forms of a request, without payloads.
func formsOf(names ...string) []fields {
	forms := make([]fields, len(names))
	for i, name := range names {
		forms[i] = fields{"name": name}
	}
	return forms
}

// alchemy sends an alchemy request for a small image and returns its id.
func (s *server) alchemy(as account, more fields, names ...string) string {
	s.t.Helper()
	return s.want(s.tryAlchemy(as, more, names...), http.StatusAccepted).str("id")
}

func (s *server) tryAlchemy(as account, more fields, names ...string) answer {
	s.t.Helper()
	return s.call("POST", "/interrogate/async", as, fields{"source_image": small, "forms": formsOf(names...)}.with(more))
}

// popForms polls as an alchemist that offers everything the tests ask for.
func (s *server) popForms(as account, name string, more fields) answer {
	s.t.Helper()
	return s.want(s.tryPopForms(as, name, more), http.StatusOK)
}

func (s *server) tryPopForms(as account, name string, more fields) answer {
	s.t.Helper()
	return s.call("POST", "/interrogate/pop", as, fields{
		"name":  name,
		"forms": []string{"caption", "interrogation", "nsfw", "palette", "describe", "GFPGAN", "RealESRGAN_x4plus", "strip_background"},
	}.with(more))
}

// form is the id of the only form of a pop.
func (s *server) form(a answer) string {
	s.t.Helper()
	forms, _ := a.at("forms").([]any)
	if len(forms) != 1 {
		s.t.Fatalf("the pop got %d forms: %d %.1000s", len(forms), a.status, a.text)
	}
	return a.str("forms", 0, "id")
}

// noForm checks that a pop got nothing, and what was skipped.
func (s *server) noForm(a answer, skipped string) {
	s.t.Helper()
	if want := `{"forms":null,"skipped":` + skipped + `}`; a.status != http.StatusOK || strings.TrimSpace(a.text) != want {
		s.t.Errorf("got %d %.500s, want %s", a.status, a.text, want)
	}
}

func (s *server) submitForm(as account, id, result string) answer {
	s.t.Helper()
	return s.call("POST", "/interrogate/submit", as, `{"id":"`+id+`","result":`+result+`,"state":"ok"}`)
}

func (s *server) deliverForm(as account, id, result string, reward float64) {
	s.t.Helper()
	s.shows(s.want(s.submitForm(as, id, result), http.StatusOK), fields{"reward": reward})
}

func (s *server) faultForm(as account, id string) {
	s.t.Helper()
	s.shows(s.want(s.call("POST", "/interrogate/submit", as, fields{"id": id, "state": "faulted"}), http.StatusOK), fields{"reward": 0.0})
}

// stands checks the whole answer about a request.
func (s *server) stands(id, want string) {
	s.t.Helper()
	if a := s.want(s.get("/interrogate/status/"+id, account{}), http.StatusOK); strings.TrimSpace(a.text) != want {
		s.t.Errorf("got %s, want %s", a.text, want)
	}
}

func TestAlchemy1WhatFormsAreWorth(t *testing.T) {
	t.Parallel()
	example(t, "alchemy", 1)
	inBubble(t, func(t *testing.T, s *server) {
		for _, c := range []struct {
			more fields
			paid float64
		}{{nil, 22}, {fields{"slow_workers": false}, 19}} {
			u, owner := s.user(1000, 0), s.user(1000, horde.Trusted)
			earned := s.kudos(owner)
			s.alchemy(u, fields{"source_image": wide()}.with(c.more), "caption", "interrogation", "RealESRGAN_x4plus")
			popped := s.popForms(owner, fresh("alchemist"), fields{"amount": 5})
			for i, want := range []struct {
				form   string
				result string
				reward float64
			}{{"caption", `{"caption":"x"}`, 1}, {"interrogation", `{"interrogation":{"tags":[]}}`, 3}, {"RealESRGAN_x4plus", `{"RealESRGAN_x4plus":"R2"}`, 12}} {
				if got := popped.str("forms", i, "form"); got != want.form {
					t.Fatalf("form %d is %s", i, got)
				}
				if want.reward == 12 {
					s.upload(popped.str("forms", i, "r2_upload"), "image")
				}
				s.deliverForm(owner, popped.str("forms", i, "id"), want.result, want.reward)
			}
			if paid := 1000 - s.kudos(u); paid != c.paid {
				t.Errorf("paid %v, want %v", paid, c.paid)
			}
			if earned := s.kudos(owner) - earned; earned != 16 {
				t.Errorf("earned %v", earned)
			}
			s.away(time.Minute)
			s.shows(s.get(u.path(), u), fields{"kudos": 1000 - c.paid})
			records := s.get(u.path(), u).at("records", "request")
			if fmt.Sprint(records) != "map[image:0 interrogation:3 text:0]" {
				t.Errorf("the requester's records are %v", records)
			}
			if got := s.get(owner.path(), owner).at("records", "fulfillment", "interrogation"); got != 3.0 {
				t.Errorf("the owner's records have %v forms", got)
			}
		}
	})
}

// Kudos chapter, example 15: forms that make an image cost by its tiles.
func TestKudos15FormsOfManyTiles(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 15)
	s := open(t)
	u, owner := s.user(1000, 0), s.user(1000, horde.Trusted)
	portrait := base64PNG(image.NewGray(image.Rect(0, 0, 1024, 1536)))
	for _, c := range []struct {
		form         string
		source       string
		slow         bool
		earned, paid float64
	}{{"caption", small, true, 1, 3}, {"GFPGAN", portrait, true, 18, 20}, {"GFPGAN", portrait, false, 18, 19}} {
		before := s.kudos(u)
		had := s.kudos(owner)
		s.alchemy(u, fields{"source_image": c.source, "slow_workers": c.slow}, c.form)
		popped := s.popForms(owner, "one", nil)
		result := `{"caption":"x"}`
		if c.form == "GFPGAN" {
			s.upload(popped.str("forms", 0, "r2_upload"), "image")
			result = `{"GFPGAN":"R2"}`
		}
		s.deliverForm(owner, s.form(popped), result, c.earned)
		if paid, earned := before-s.kudos(u), s.kudos(owner)-had; paid != c.paid || earned != c.earned {
			t.Errorf("%s, slow workers %v: %v paid and %v earned, want %v and %v", c.form, c.slow, paid, earned, c.paid, c.earned)
		}
	}
}

// Kudos chapter, example 23. To want kudos upfront is no part of what an alchemist says (alchemy chapter, 6.2): who says so all
// the same gets the form, of an account that has 4 to spend and pays 5. Nothing is set aside for it, and the floor takes the rest.
func TestKudos23AlchemistsCannotWantKudosUpfront(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 23)
	s := open(t)
	u, owner := s.user(29, 0), s.user(1000, horde.Trusted)
	available := func() float64 { return s.kudos(u) - (&horde.User{ID: 1, OAuthID: "g_1"}).Floor().Float() }
	if got := available(); got != 4 {
		t.Fatalf("%v can be spent", got)
	}
	s.alchemy(u, nil, "interrogation")
	form := s.form(s.popForms(owner, "one", fields{"require_upfront_kudos": true}))
	// All 4 can be given away meanwhile.
	s.want(s.transfer(u, owner, 4), http.StatusOK)
	s.deliverForm(owner, form, `{"interrogation":{"tags":[]}}`, 3)
	if got := available(); got != 0 {
		t.Errorf("afterwards %v can be spent", got)
	}
}

func TestAlchemy2And3Images(t *testing.T) {
	t.Parallel()
	example(t, "alchemy", 2, 3)
	s := open(t)
	u, owner := s.user(1000, 0), s.user(0, horde.Trusted)
	images := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch kind, rest, _ := strings.Cut(strings.Trim(r.URL.Path, "/"), "/"); kind {
		case "png":
			width, height, _ := strings.Cut(rest, "x")
			x, _ := strconv.Atoi(width)
			y, _ := strconv.Atoi(height)
			w.Write(declaredPNG(x, y))
		case "missing":
			w.WriteHeader(http.StatusNotFound)
			w.Write(declaredPNG(8, 8))
		case "text":
			w.Write([]byte("this is no image"))
		case "empty":
		case "cut":
			w.Write(declaredPNG(8, 8)[:20])
		case "large":
			w.Header().Set("Content-Length", "5120001")
			w.Write(declaredPNG(8, 8))
		case "endless":
			for range 6 {
				w.Write(make([]byte, 1<<20))
			}
		case "moved":
			http.Redirect(w, r, "/png/512x513", http.StatusFound)
		}
	}))
	t.Cleanup(images.Close)
	const resolution = "SourceImageResolutionExceeded"
	for _, c := range []struct {
		source string
		tiles  int
		rc     string
	}{
		{"/png/512x512", 1, ""}, {"/png/513x512", 2, ""}, {"/png/640x480", 2, ""}, {"/png/1920x1080", 12, ""},
		{"/png/3072x3072", 36, ""}, {"/png/9000x1048", 54, ""}, {"/png/7680x8192", 240, ""}, {"/png/130560x512", 255, ""},
		{"/png/130561x512", 0, resolution}, {"/png/8160x8160", 0, resolution}, {"/moved", 2, ""},
		{"/png/20000x20000", 0, "SourceImageUnreadable"},
		{"/missing", 0, "ImageValidationFailed"}, {"/text", 0, "SourceImageUrlInvalid"}, {"/empty", 0, "ImageValidationFailed"},
		{"/cut", 0, "SourceImageUnreadable"}, {"/large", 0, "SourceImageSizeExceeded"}, {"/endless", 0, "SourceImageSizeExceeded"},
		{"http://10.0.0.1/a.png", 0, "ImageValidationFailed"}, {"http://", 0, "ImageValidationFailed"},
		{base64.StdEncoding.EncodeToString(declaredPNG(3073, 3072)), 0, resolution},
		{base64PNG(image.NewGray(image.Rect(0, 0, 3072, 3072))), 36, ""},
		{base64PNG(image.NewGray(image.Rect(0, 0, 9000, 1048))), 54, ""},
		{"data:image/png;base64," + small, 0, "ImageValidationFailed"},
		{"bm8gaW1hZ2U=", 0, "ImageValidationFailed"}, {"", 0, "ImageValidationFailed"},
		{strings.TrimRight(small, "=") + " \n*", 1, ""},
	} {
		t.Run(fmt.Sprintf("%.40s", c.source), func(t *testing.T) {
			s := s.in(t)
			source := c.source
			if strings.HasPrefix(source, "/") && strings.Count(source, "/") < 4 && len(source) < 40 {
				source = images.URL + source
			}
			a := s.tryAlchemy(u, fields{"source_image": source}, "caption")
			if c.rc != "" {
				s.refused(a, http.StatusBadRequest, c.rc)
				return
			}
			s.want(a, http.StatusAccepted)
			name := fresh("alchemist")
			if c.tiles > 1 {
				s.noForm(s.popForms(owner, name, fields{"max_tiles": c.tiles - 1}), "{}")
			}
			popped := s.popForms(owner, name, fields{"max_tiles": c.tiles})
			s.deliverForm(owner, s.form(popped), `{"caption":"x"}`, 1)
			if given := popped.str("forms", 0, "source_image"); strings.HasPrefix(source, "http") {
				if given != source {
					t.Errorf("the URL was changed: %s", given)
				}
			} else if got := s.fetch(given); got.status != http.StatusOK || !strings.HasPrefix(got.text, "RIFF") {
				t.Errorf("the image is not to be had: %d", got.status)
			}
		})
	}
}

func TestAlchemy4And5And6WhatIsAccepted(t *testing.T) {
	t.Parallel()
	example(t, "alchemy", 4, 5, 6)
	example(t, "accounts", 17)
	s := open(t)
	u, deleted := s.user(1000, 0), s.user(1000, horde.Deleted)
	for _, c := range []struct {
		name   string
		as     account
		body   string
		status int
		rc     string
		field  string
	}{
		{"an unknown form", u, `{"source_image":"x","forms":[{"name":"bad"}]}`, 400, "", "forms.0.name"},
		{"a form that differs in case", u, `{"source_image":"x","forms":[{"name":"Caption"}]}`, 400, "", "forms.0.name"},
		{"a form without a name", u, `{"source_image":"x","forms":[{}]}`, 400, "", "forms.0.name"},
		{"post_process", u, `{"source_image":"x","forms":[{"name":"post_process"}]}`, 400, "", "forms.0.name"},
		{"a null payload", u, `{"source_image":"x","forms":[{"name":"caption","payload":null}]}`, 400, "", "forms.0.payload"},
		{"a long payload", u, `{"source_image":"x","forms":[{"name":"caption","payload":{"a":"` + strings.Repeat("x", 16<<10) + `"}}]}`, 400, "", "forms.0.payload"},
		{"null forms", u, `{"source_image":"x","forms":null}`, 400, "", "forms"},
		{"a null image", u, `{"source_image":null,"forms":[]}`, 400, "", "source_image"},
		{"no image", u, `{"forms":[]}`, 400, "", "source_image"},
		{"slow_workers that is no boolean", u, `{"source_image":"x","slow_workers":1}`, 400, "", "slow_workers"},
		{"a short webhook", u, `{"source_image":"x","webhook":"http://a"}`, 400, "", "webhook"},
		{"a webhook without TLS", account{0, "bogus"}, `{"source_image":"x","webhook":"http://abcdefg.hi"}`, 400, "BadRequest", ""},
		{"no key", account{}, `{"source_image":"x"}`, 400, "", "apikey"},
		{"an unknown key", account{0, "bogus"}, `{"source_image":"x"}`, 401, "InvalidAPIKey", ""},
		{"a shared key", account{0, "6bd1a7a2-9b1c-4b6f-9a51-0a4a3b4c1d2e"}, `{"source_image":"x"}`, 401, "InvalidAPIKey", ""},
		{"a deleted account", deleted, `{"source_image":"x"}`, 403, "DeletedUser", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			a := s.call("POST", "/interrogate/async", c.as, c.body)
			if c.field != "" {
				s.invalid(a, c.field)
				return
			}
			s.refused(a, c.status, c.rc)
		})
	}
	s.want(s.tryAlchemy(anonymous, fields{"extra_slow_workers": true}, "caption"), http.StatusAccepted)

	s.alchemy(u, nil, slices.Repeat([]string{"caption"}, 295)...)
	s.refused(s.tryAlchemy(u, nil, slices.Repeat([]string{"nsfw"}, 6)...), http.StatusTooManyRequests, "TooManyPrompts")
	s.alchemy(u, nil, slices.Repeat([]string{"nsfw"}, 5)...)
	s.refused(s.tryAlchemy(u, nil, "nsfw"), http.StatusTooManyRequests, "TooManyPrompts")

	for _, body := range []fields{{"forms": []any{}}, {}} {
		a := s.want(s.call("POST", "/interrogate/async", u, fields{"source_image": small}.with(body)), http.StatusAccepted)
		if a.has("message") {
			t.Errorf("a message: %s", a.text)
		}
		s.stands(a.str("id"), `{"state":"faulted","forms":[]}`)
	}
	s.shows(s.get("/status/performance", account{}), fields{"queued_forms": 301})
	for _, id := range []string{"nope", "00000000-0000-4000-8000-000000000000"} {
		s.refused(s.get("/interrogate/status/"+id, account{}), http.StatusNotFound, "RequestNotFound")
		s.refused(s.call("DELETE", "/interrogate/status/"+id, account{}, nil), http.StatusNotFound, "RequestNotFound")
	}
	admin := true
	if err := s.Engine.SetModes(t.Context(), engine.Authority{Operator: true}, &horde.ModesChange{MaintenanceMode: &admin}); err != nil {
		t.Fatal(err)
	}
	s.refused(s.tryAlchemy(account{0, "bogus"}, fields{"webhook": "http://abcdefg.hi"}, "nsfw"), http.StatusBadRequest, "MaintenanceMode")
	s.form(s.popForms(s.user(0, horde.Trusted), fresh("alchemist"), nil)) // pops go on
}

func TestAlchemy7And8AFullCycle(t *testing.T) {
	t.Parallel()
	example(t, "alchemy", 7, 8)
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(1000, 0), s.user(0, horde.Trusted)
		id := s.alchemy(u, nil, "caption")
		s.away(time.Second)
		s.stands(id, `{"state":"waiting","forms":[{"form":"caption","state":"waiting"}]}`)
		popped := s.popForms(owner, "Fake Alchemist", fields{"forms": []string{"caption", "strip_background", "interrogation"}, "max_tiles": 96})
		form := s.form(popped)
		if item := popped.list("forms")[0].(map[string]any); len(item) != 3 || !strings.HasSuffix(strings.TrimSpace(popped.text), `"skipped":{}}`) {
			t.Errorf("the pop got %s", popped.text)
		}
		s.stands(id, `{"state":"processing","forms":[{"form":"caption","state":"processing"}]}`)
		s.away(time.Second)
		s.deliverForm(owner, form, `{"caption":"Test"}`, 1)
		const done = `{"state":"done","forms":[{"form":"caption","state":"done","result":{"caption":"Test"}}]}`
		s.stands(id, done)
		s.refused(s.submitForm(owner, form, `{"caption":"Test"}`), http.StatusBadRequest, "DuplicateGen")
		s.away(time.Minute)
		s.stands(id, done)
		s.refused(s.submitForm(owner, form, `{"caption":"Test"}`), http.StatusBadRequest, "DuplicateGen")
		if paid := 1000 - s.kudos(u); paid != 3 {
			t.Errorf("paid %v", paid)
		}

		id = s.alchemy(u, nil, "palette", "describe")
		popped = s.popForms(owner, "Fake Alchemist", fields{"amount": 2})
		if n := len(popped.list("forms")); n != 2 {
			t.Fatalf("%d forms", n)
		}
		s.deliverForm(owner, popped.str("forms", 1, "id"), `{"describe":{"width":8}}`, 1)
		s.stands(id, `{"state":"processing","forms":[{"form":"palette","state":"processing"},{"form":"describe","state":"done","result":{"describe":{"width":8}}}]}`)
		s.deliverForm(owner, popped.str("forms", 0, "id"), `{"palette":{"colors":[]}}`, 1)
		s.stands(id, `{"state":"done","forms":[{"form":"palette","state":"done","result":{"palette":{"colors":[]}}},{"form":"describe","state":"done","result":{"describe":{"width":8}}}]}`)
		s.away(time.Minute)
	})
}

func TestAlchemy9And15And16And18WhoGetsWhat(t *testing.T) {
	t.Parallel()
	example(t, "alchemy", 9, 15, 16, 18)
	inBubble(t, func(t *testing.T, s *server) {
		rich, poor := s.user(5000, 0), s.user(100, 0)
		owner, untrusted := s.user(0, horde.Trusted), s.user(0, 0)
		s.noForm(s.popForms(owner, "one", nil), "{}")
		s.noForm(s.popForms(owner, "one", fields{"forms": []string{}}), "{}")
		ids := []string{}
		for _, yes := range []any{true, "yes", 1} {
			ids = append(ids, s.alchemy(poor, fields{"trusted_workers": yes}, "caption"))
		}
		s.noForm(s.popForms(untrusted, "two", nil), `{"untrusted":3}`)
		s.noForm(s.popForms(untrusted, "two", fields{"forms": []string{"nsfw"}}), `{}`)
		for range ids {
			s.deliverForm(owner, s.form(s.popForms(owner, "one", nil)), `{"caption":"x"}`, 1)
		}

		// 16
		wideID := s.alchemy(poor, fields{"source_image": wide()}, "caption")
		s.noForm(s.popForms(owner, "small one", fields{"max_tiles": 3}), "{}")
		s.deliverForm(owner, s.form(s.popForms(owner, "one", nil)), `{"caption":"x"}`, 1)
		s.stands(wideID, `{"state":"done","forms":[{"form":"caption","state":"done","result":{"caption":"x"}}]}`)

		// 18, the order of friends, and of those who are none
		s.alchemy(poor, nil, "caption")
		time.Sleep(time.Millisecond)
		s.alchemy(rich, nil, "caption", "nsfw")
		s.alchemy(owner, nil, "nsfw")
		popped := s.popForms(owner, "one", fields{"priority_usernames": []string{"#", "x#y", "x#999999", poor.alias()}, "amount": 3})
		got := []string{}
		for i := range popped.list("forms") {
			got = append(got, popped.str("forms", i, "form"))
			s.deliverForm(owner, popped.str("forms", i, "id"), `{"x":1}`, 1)
		}
		if fmt.Sprint(got) != "[caption nsfw caption]" { // the poor one's, the owner's, the rich one's
			t.Errorf("got %v", got)
		}
		s.deliverForm(owner, s.form(s.popForms(owner, "one", nil)), `{"nsfw":true}`, 1)
		first := s.alchemy(poor, nil, "caption")
		s.alchemy(rich, nil, "caption")
		s.form(s.popForms(untrusted, "two", nil))
		s.stands(first, `{"state":"waiting","forms":[{"form":"caption","state":"waiting"}]}`)
		s.form(s.popForms(untrusted, "two", nil))

		// 15
		for range 20 {
			id := s.alchemy(rich, nil, "palette")
			form := s.form(s.popForms(owner, "slow one", fields{"forms": []string{"palette"}}))
			time.Sleep(12 * time.Second)
			s.deliverForm(owner, form, `{"palette":{"colors":[]}}`, 1)
			s.want(s.get("/interrogate/status/"+id, account{}), http.StatusOK)
		}
		s.shows(s.get("/workers/name/slow%20one", account{}), fields{"performance": "12.0 seconds per form", "models": nil, "type": "interrogation", "nsfw": false, "max_pixels": nil})
		fast := s.alchemy(rich, fields{"slow_workers": false}, "palette")
		s.noForm(s.popForms(owner, "slow one", fields{"forms": []string{"palette"}}), "{}")
		s.alchemy(rich, nil, "palette")
		s.form(s.popForms(owner, "slow one", fields{"forms": []string{"palette"}}))
		s.stands(fast, `{"state":"waiting","forms":[{"form":"palette","state":"waiting"}]}`)
		s.form(s.popForms(owner, "one", fields{"forms": []string{"palette"}}))
	})
}

func TestAlchemy10And11And12PayloadsAndResults(t *testing.T) {
	t.Parallel()
	example(t, "alchemy", 10, 11, 12)
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(1000, 0), s.user(0, horde.Trusted)
		for _, c := range []struct{ payload, want string }{
			{`{"num_beams":7,"top_p":0.9,"sample":true}`, `{"num_beams":"7","sample":"True","top_p":"0.9"}`},
			{`{}`, ""},
			{`{"a":null}`, ""},
			{`{"a":null,"b":"text","c":false,"d":[1, {"e": null}]}`, `{"b":"text","c":"False","d":"[1,{\"e\":null}]"}`},
		} {
			s.want(s.call("POST", "/interrogate/async", u, `{"source_image":"`+small+`","forms":[{"name":"caption","payload":`+c.payload+`}]}`), http.StatusAccepted)
			popped := s.popForms(owner, "one", nil)
			s.deliverForm(owner, s.form(popped), `{"caption":"x"}`, 1)
			if c.want == "" && popped.at("forms", 0, "payload") != nil || c.want != "" && !strings.Contains(popped.text, `"payload":`+c.want+`,`) {
				t.Errorf("%s reaches the worker as %s", c.payload, popped.text)
			}
		}
		for _, c := range []struct{ form, sent, want string }{
			{"nsfw", `{"nsfw":false}`, `{"nsfw":false}`},
			{"caption", `{"caption":null}`, ""},
			{"caption", `{"x":{}}`, ""},
			{"caption", `{}`, ""},
			{"caption", `{"x":{},"a":[],"b":"","c":0,"d":null,"e":{"f":null}}`, `{"a":[],"b":"","c":0,"e":{"f":null}}`},
			{"interrogation", `{"interrogation":{"tags":[],"artists":[]}}`, `{"interrogation":{"tags":[],"artists":[]}}`},
			{"caption", `{"caption":"R2"}`, "URL"},
			{"GFPGAN", `{"GFPGAN":"R2"}`, "URL"},
		} {
			id := s.alchemy(u, nil, c.form)
			popped := s.popForms(owner, "one", nil)
			form := s.form(popped)
			if c.form == "GFPGAN" {
				upload := popped.str("forms", 0, "r2_upload")
				if !strings.Contains(upload, form+".webp?") {
					t.Errorf("the image goes to %s", upload)
				}
				s.upload(upload, "the new image")
			}
			s.want(s.submitForm(owner, form, c.sent), http.StatusOK)
			a := s.get("/interrogate/status/"+id, account{})
			if c.want == "URL" {
				url := a.str("forms", 0, "result", c.form)
				if !strings.HasPrefix(url, "http") || !strings.Contains(url, form+".webp?") {
					t.Errorf("%s was rewritten to %s", c.sent, url)
				}
				if got := s.fetch(url); c.form == "GFPGAN" && got.text != "the new image" {
					t.Errorf("the image is %d %s", got.status, got.text)
				}
				continue
			}
			want := `{"form":"` + c.form + `","state":"done"}`
			if c.want != "" {
				want = `{"form":"` + c.form + `","state":"done","result":` + c.want + `}`
			}
			s.stands(id, `{"state":"done","forms":[`+want+`]}`)
			s.away(time.Second)
			s.stands(id, `{"state":"done","forms":[`+want+`]}`)
		}
		// An image that was never uploaded is none: another worker gets the form.
		id := s.alchemy(u, nil, "GFPGAN")
		before := s.kudos(u)
		s.refused(s.submitForm(owner, s.form(s.popForms(owner, "one", nil)), `{"GFPGAN":"R2"}`), http.StatusBadRequest, "BadRequest")
		s.stands(id, `{"state":"waiting","forms":[{"form":"GFPGAN","state":"waiting"}]}`)
		if s.kudos(u) != before {
			t.Error("kudos moved")
		}
	})
}

func TestAlchemy13Cancelling(t *testing.T) {
	t.Parallel()
	example(t, "alchemy", 13)
	example(t, "cases", 47)
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(1000, 0), s.user(1000, horde.Trusted)
		earned := s.kudos(owner)
		id := s.alchemy(u, nil, "caption", "nsfw")
		s.deliverForm(owner, s.form(s.popForms(owner, "one", fields{"forms": []string{"caption"}})), `{"caption":"x"}`, 1)
		const want = `{"state":"partial","forms":[{"form":"caption","state":"done","result":{"caption":"x"}},{"form":"nsfw","state":"cancelled"}]}`
		for range 2 {
			if a := s.want(s.call("DELETE", "/interrogate/status/"+id, account{}, nil), http.StatusOK); strings.TrimSpace(a.text) != want {
				t.Errorf("got %s", a.text)
			}
		}
		if paid := 1000 - s.kudos(u); paid != 3 {
			t.Errorf("paid %v for one form", paid)
		}
		s.noForm(s.popForms(owner, "one", nil), "{}")

		id = s.alchemy(u, nil, "caption")
		form := s.form(s.popForms(owner, "one", nil))
		time.Sleep(2 * time.Second)
		for range 2 {
			s.want(s.call("DELETE", "/interrogate/status/"+id, account{}, nil), http.StatusOK)
		}
		s.away(time.Minute)
		s.stands(id, `{"state":"partial","forms":[{"form":"caption","state":"cancelled"}]}`)
		if paid := 1000 - s.kudos(u); paid != 6 {
			t.Errorf("paid %v for two forms", paid)
		}
		if earned := s.kudos(owner) - earned; earned != 2 {
			t.Errorf("earned %v", earned)
		}
		s.refused(s.submitForm(owner, form, `{"caption":"late"}`), http.StatusBadRequest, "DuplicateGen")
	})
}

func TestAlchemy14FormsComeBack(t *testing.T) {
	t.Parallel()
	example(t, "alchemy", 14)
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(1000, 0), s.user(0, horde.Trusted)
		nothing := s.balance(owner)
		id := s.alchemy(u, nil, "caption")
		late := s.form(s.popForms(owner, "one", nil))
		time.Sleep(horde.FormLease - time.Second)
		s.stands(id, `{"state":"processing","forms":[{"form":"caption","state":"processing"}]}`)
		s.away(5 * time.Second) // the lease goes on
		time.Sleep(3 * time.Second)
		s.stands(id, `{"state":"waiting","forms":[{"form":"caption","state":"waiting"}]}`)
		s.refused(s.submitForm(owner, late, `{"caption":"late"}`), http.StatusBadRequest, "DuplicateGen")
		for range 2 {
			s.faultForm(owner, s.form(s.popForms(owner, "one", nil)))
			s.stands(id, `{"state":"waiting","forms":[{"form":"caption","state":"waiting"}]}`)
		}
		form := s.form(s.popForms(owner, "one", nil))
		s.want(s.call("POST", "/interrogate/submit", owner, `{"id":"`+form+`","state":"faulted","result":null}`), http.StatusOK)
		s.stands(id, `{"state":"faulted","forms":[{"form":"caption","state":"faulted"}]}`)
		s.noForm(s.popForms(owner, "one", nil), "{}")
		s.away(time.Minute)
		s.stands(id, `{"state":"faulted","forms":[{"form":"caption","state":"faulted"}]}`)
		if s.kudos(u) != 1000 || s.balance(owner) != nothing {
			t.Error("kudos moved")
		}
		s.shows(s.get("/workers/name/one", account{}), fields{"uncompleted_jobs": 4, "requests_fulfilled": 0, "performance": "No requests fulfilled yet"})
		// 20 minutes after the last pop, the request is gone.
		time.Sleep(18 * time.Minute)
		s.stands(id, `{"state":"faulted","forms":[{"form":"caption","state":"faulted"}]}`)
		time.Sleep(2 * time.Minute)
		s.refused(s.get("/interrogate/status/"+id, account{}), http.StatusNotFound, "RequestNotFound")
		s.away(time.Minute)
		s.refused(s.get("/interrogate/status/"+id, account{}), http.StatusNotFound, "RequestNotFound")
		s.refused(s.submitForm(owner, form, `{"caption":"late"}`), http.StatusNotFound, "InvalidJobID")
	})
}

func TestAlchemy17SubmitsThatAreRefused(t *testing.T) {
	t.Parallel()
	example(t, "alchemy", 17)
	s := open(t)
	u, owner, stranger := s.user(1000, 0), s.user(0, horde.Trusted), s.user(0, horde.Trusted)
	s.alchemy(u, nil, "caption")
	form := s.form(s.popForms(owner, "one", nil))
	for _, c := range []struct {
		name   string
		as     account
		body   string
		status int
		rc     string
		field  string
	}{
		{"an unknown id", owner, `{"id":"00000000-0000-4000-8000-000000000000","result":{}}`, 404, "InvalidJobID", ""},
		{"a number for an id", owner, `{"id":5,"result":{}}`, 404, "InvalidJobID", ""},
		{"an unknown id comes before the key", account{0, "bogus"}, `{"id":"x","result":{}}`, 404, "InvalidJobID", ""},
		{"an unknown key", account{0, "bogus"}, `{"id":"` + form + `","result":{}}`, 401, "InvalidAPIKey", ""},
		{"another's form", stranger, `{"id":"` + form + `","result":{}}`, 403, "WrongCredentials", ""},
		{"a string for a result", owner, `{"id":"` + form + `","result":"text"}`, 400, "", "result"},
		{"no result", owner, `{"id":"` + form + `"}`, 400, "", "result"},
		{"a null result", owner, `{"id":"` + form + `","result":null,"state":"ok"}`, 400, "", "result"},
		{"no id", owner, `{"result":{}}`, 400, "", "id"},
		{"no key", account{}, `{"id":"x","result":{}}`, 400, "", "apikey"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			a := s.call("POST", "/interrogate/submit", c.as, c.body)
			if c.field != "" {
				s.invalid(a, c.field)
				return
			}
			s.refused(a, c.status, c.rc)
		})
	}
	// All at once: one is taken.
	var wg sync.WaitGroup
	answers := make([]answer, 8)
	for i := range answers {
		wg.Go(func() { answers[i] = s.submitForm(owner, form, `{"caption":"x"}`) })
	}
	wg.Wait()
	taken := 0
	for _, a := range answers {
		if a.status == http.StatusOK {
			taken++
		} else {
			s.refused(a, http.StatusBadRequest, "DuplicateGen")
		}
	}
	if paid := 1000 - s.kudos(u); taken != 1 || paid != 3 {
		t.Errorf("%d submits were taken, %v was paid", taken, paid)
	}
	s.away(0)
}

func TestAlchemistsAndTheirOwners(t *testing.T) {
	t.Parallel()
	s := open(t)
	u, owner, untrusted, mod := s.user(1000, 0), s.user(0, horde.Trusted), s.user(0, 0), s.user(0, horde.Moderator)
	s.popForms(owner, "taken", nil)
	s.popImage(owner, "painter", nil)
	for _, c := range []struct {
		name   string
		as     account
		more   fields
		status int
		rc     string
		field  string
	}{
		{"no key", account{}, nil, 400, "", "apikey"},
		{"no name", owner, fields{"name": nil}, 400, "", "name"},
		{"an unknown form", owner, fields{"forms": []string{"bad"}}, 400, "", "forms.0"},
		{"101 threads", owner, fields{"threads": 101}, 400, "", "threads"},
		{"257 tiles", owner, fields{"max_tiles": 257}, 400, "", "max_tiles"},
		{"no tiles", owner, fields{"max_tiles": 0}, 400, "", "max_tiles"},
		{"no alias", account{0, "bogus"}, fields{"priority_usernames": []string{"somebody"}}, 400, "BadRequest", ""},
		{"an unknown key", account{0, "bogus"}, nil, 401, "InvalidAPIKey", ""},
		{"a deleted owner", s.user(0, horde.Deleted), nil, 403, "DeletedUser", ""},
		{"a flagged owner", s.user(0, horde.Flagged), nil, 403, "WorkerFlaggedMaintenance", ""},
		{"anonymous", anonymous, nil, 403, "AnonForbiddenWorker", ""},
		{"a name of an image worker", owner, fields{"name": "painter"}, 400, "PolymorphicNameConflict", ""},
		{"another's name", untrusted, fields{"name": "taken"}, 403, "WrongCredentials", ""},
		{"a forbidden name", owner, fields{"name": "my Colab"}, 400, "BadRequest", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			a := s.tryPopForms(c.as, "an alchemist", c.more)
			if c.field != "" {
				s.invalid(a, c.field)
				return
			}
			s.refused(a, c.status, c.rc)
		})
	}
	// Alchemists do not count, but are counted for.
	for i := range 10 {
		address := header{"X-Forwarded-For", fmt.Sprint("203.0.113.", i)}
		path, body := "/interrogate/pop", fields{"name": fmt.Sprint("of the untrusted ", i), "amount": -3}
		if i >= 3 && i < 7 {
			path, body = "/generate/pop", fields{"name": fmt.Sprint("of the untrusted ", i), "models": []string{"Deliberate"}}
		}
		a := s.call("POST", path, untrusted, body, address)
		if i >= 7 {
			s.refused(a, http.StatusForbidden, "TooManyWorkers")
		} else {
			s.want(a, http.StatusOK)
		}
	}

	list := s.get("/workers?type=interrogation", account{})
	if n := len(list.list()); n != 4 {
		t.Errorf("%d alchemists are listed: %s", n, list.text)
	}
	id := s.get("/workers/name/taken", account{}).str("id")
	if forms := s.get("/workers/"+id, account{}).strings("forms"); len(forms) != 8 {
		t.Errorf("the alchemist offers %q", forms)
	}
	s.shows(s.get("/status/performance", account{}), fields{"interrogator_count": 4, "interrogator_thread_count": 4})

	// In maintenance and while paused, an alchemist gets its owner's forms only.
	s.alchemy(u, nil, "caption")
	for _, set := range []fields{{"maintenance": true}, {"maintenance": false, "paused": true}} {
		s.want(s.call("PUT", "/workers/"+id, mod, set), http.StatusOK)
		if set["paused"] == true {
			s.noForm(s.popForms(owner, "taken", nil), "{}")
		} else {
			s.refused(s.tryPopForms(owner, "taken", nil), http.StatusForbidden, "WorkerMaintenance")
		}
		own := s.alchemy(owner, nil, "nsfw")
		form := s.form(s.popForms(owner, "taken", nil))
		s.refused(s.call("DELETE", "/workers/"+id, owner, nil), http.StatusLocked, "Locked")
		s.deliverForm(owner, form, `{"nsfw":true}`, 1)
		if again := s.submitForm(owner, form, `{"nsfw":true}`); set["paused"] == nil {
			s.shows(s.want(again, http.StatusOK), fields{"reward": 0.0})
		} else {
			s.refused(again, http.StatusBadRequest, "DuplicateGen")
		}
		s.stands(own, `{"state":"done","forms":[{"form":"nsfw","state":"done","result":{"nsfw":true}}]}`)
	}
	s.want(s.call("DELETE", "/workers/"+id, owner, nil), http.StatusOK)
	s.away(0)
	s.refused(s.get("/workers/"+id, account{}), http.StatusNotFound, "WorkerNotFound")
}

func TestAlchemistsOfUntrustedOwnersAndTheirUptime(t *testing.T) {
	t.Parallel()
	example(t, "kudos", 15, 16)
	example(t, "cases", 47)
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(1000, 0), s.user(1000, 0)
		start := s.balance(owner)
		s.alchemy(u, nil, "GFPGAN", "caption")
		popped := s.popForms(owner, "one", fields{"amount": 2})
		for i, id := range []string{popped.str("forms", 0, "id"), popped.str("forms", 1, "id")} {
			if i == 0 {
				s.upload(popped.str("forms", 0, "r2_upload"), "image")
				s.deliverForm(owner, id, `{"GFPGAN":"R2"}`, 3)
			} else {
				s.deliverForm(owner, id, `{"caption":"x"}`, 1)
			}
		}
		if b := s.balance(owner); b.Escrow != 200 || b.Spendable-start.Spendable != 200 {
			t.Errorf("of 4 kudos %v waits", b.Escrow)
		}
		for range 4 { // 12 minutes, so one block
			time.Sleep(4 * time.Minute)
			s.popForms(owner, "one", nil)
		}
		if b := s.balance(owner); b.Escrow != 200 || b.Spendable-start.Spendable != 4200 {
			t.Errorf("after a block of uptime: %v, %v waits", b.Spendable-start.Spendable, b.Escrow)
		}
		s.away(time.Minute)
		if b := s.balance(owner); b.Escrow != 200 || b.Spendable-start.Spendable != 4200 {
			t.Errorf("the record has %v, %v waits", b.Spendable-start.Spendable, b.Escrow)
		}
	})
}

func TestAlchemistsThatLoseManyForms(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(1000, 0), s.user(0, horde.Trusted)
		for n := range 101 {
			s.alchemy(u, nil, "caption")
			s.faultForm(owner, s.form(s.popForms(owner, "one", nil)))
			if n < 100 {
				s.shows(s.get("/workers/name/one", account{}), fields{"maintenance_mode": false})
			}
			if n%4 == 3 {
				time.Sleep(time.Second)
			}
			if n == 90 {
				s.away(time.Second)
			}
		}
		s.shows(s.get("/workers/name/one", account{}), fields{"maintenance_mode": true})
	})
}

func TestSourceImagesOfAlchemyGoWithTheirRequest(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(1000, 0), s.user(0, horde.Trusted)
		s.alchemy(u, nil, "caption")
		time.Sleep(15 * time.Minute)
		popped := s.popForms(owner, "one", nil)
		url := popped.str("forms", 0, "source_image")
		time.Sleep(15 * time.Minute) // the link is of the pop, not of the request
		if got := s.fetch(url); got.status != http.StatusOK {
			t.Errorf("the image is gone early: %d", got.status)
		}
		time.Sleep(6 * time.Minute)
		if got := s.fetch(url); got.status != http.StatusNotFound && got.status != http.StatusForbidden {
			t.Errorf("the image is still there: %d", got.status)
		}
		fresh := s.popForms(owner, "one", nil)
		s.noForm(fresh, "{}")
	})
}

func TestEventsOfAlchemy(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *server) {
		u, owner := s.user(1000, 0), s.user(0, horde.Trusted)
		id := s.alchemy(u, nil, "caption", "nsfw")
		es := s.listen(id)
		now := func() string { return strings.TrimSpace(s.get("/interrogate/status/"+id, account{}).text) }
		for n, step := range []func(){
			func() {},
			func() { s.popForms(owner, "one", fields{"forms": []string{"caption"}}) },
			func() { s.popForms(owner, "one", fields{"forms": []string{"nsfw"}}) },
		} {
			step()
			if got := s.next(es, "status", strconv.Itoa(n+1), false); got.text != now() {
				t.Errorf("event %d is %s, the status %s", n+1, got.text, now())
			}
		}
		s.want(s.call("DELETE", "/interrogate/status/"+id, account{}, nil), http.StatusOK)
		if got := s.next(es, "done", "end", true); got.text != now() {
			t.Errorf("the last event is %s, the status %s", got.text, now())
		}
		id = s.alchemy(u, nil)
		s.next(s.listen(id), "fault", "end", true)
		id = s.alchemy(u, nil, "caption")
		es = s.listen(id)
		s.next(es, "status", "1", false)
		time.Sleep(horde.Lifetime + 2*time.Second)
		events, ended := es.events()
		if last := events[len(events)-1]; !ended || last.name != "gone" || last.rc() != "RequestNotFound" {
			t.Errorf("of a request that expired: %+v", last)
		}
	})
}
